use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::LoadError;
use crate::bench::Certificate;
use crate::bench::stand::Identity;
use crate::sys::process::bind_to_parent;
use crate::sys::processor::ProcessorClock;

/// Whom the load goes to.
#[derive(Debug)]
pub struct Node {
    /// Its address, for UDP and TCP.
    pub address: SocketAddr,
    /// The name that its certificate must have.
    pub name: String,
    /// What requests name as their authority.
    pub authority: String,
    /// What requests ask for.
    pub path: String,
    /// What its certificate must lead to.
    pub roots: Vec<CertificateDer<'static>>,
    /// The number of its process, if that runs on this machine.
    pub pid: Option<u32>,
}

/// A gateway as operators run it, in a process of its own on loopback. Dropping it ends the process.
#[derive(Debug)]
pub struct NodeProcess {
    node: Node,
    process: Child,
    directory: PathBuf,
}

impl Node {
    /// The clock of its process.
    pub(super) fn clock(&self) -> io::Result<Option<ProcessorClock>> {
        self.pid.map(ProcessorClock::of_process).transpose()
    }

    pub(super) const fn process(&self) -> Option<u32> {
        self.pid
    }
}

impl NodeProcess {
    /// Starts a gateway with one worker and the built-in origin, and waits until it listens.
    ///
    /// `program` is the command `wayhold`.
    ///
    /// # Errors
    /// [`LoadError`]; nothing runs then.
    pub fn start(program: &Path, certificate: Certificate) -> Result<Self, LoadError> {
        let identity = Identity::make(certificate)?;
        let name = format!("wayhold-load-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).map_err(LoadError::Node)?;
        let spawned = spawn(program, &directory, &identity);
        let process = spawned.inspect_err(|_| drop(fs::remove_dir_all(&directory)));
        let process = process.map_err(LoadError::Node)?;
        let mut started = Self {
            node: Node {
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                name: Identity::NAME.into(),
                authority: Identity::NAME.into(),
                path: "/bytes/64".into(),
                roots: vec![identity.root],
                pid: Some(process.id()),
            },
            process,
            directory,
        };
        started.node.address = started.until_listening()?;
        Ok(started)
    }

    /// Whom to send the load to.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    fn until_listening(&mut self) -> Result<SocketAddr, LoadError> {
        for _ in 0..START_POLLS {
            let out = fs::read_to_string(self.directory.join(OUT)).map_err(LoadError::Node)?;
            // A line is whole when the next begins.
            let lines = out.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let said = lines
                .lines()
                .find_map(|line| line.strip_prefix("listening on "));
            if let Some(address) = said {
                return address
                    .parse()
                    .map_err(|_unreadable| LoadError::Start(out.clone()));
            }
            if self.process.try_wait().map_err(LoadError::Node)?.is_some() {
                break;
            }
            std::thread::sleep(POLL);
        }
        let log = fs::read_to_string(self.directory.join(LOG)).map_err(LoadError::Node)?;
        Err(LoadError::Start(log))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // A process that has ended already is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn spawn(program: &Path, directory: &Path, identity: &Identity) -> io::Result<Child> {
    let (cert, key) = (directory.join("tls.pem"), directory.join("tls.key"));
    fs::write(&cert, &identity.chain)?;
    let mut secret = File::options();
    let secret = secret.write(true).create(true).truncate(true).mode(0o600);
    secret.open(&key)?.write_all(identity.key.as_bytes())?;
    let mut command = Command::new(program);
    command
        .args(["run", "--listen", "127.0.0.1:0", "--admin", "off"])
        .arg("--cert")
        .arg(&cert)
        .arg("--key")
        .arg(&key)
        .arg("--state-dir")
        .arg(directory)
        .args(["--set", "workers=1", "--set", "log.level=warn"]);
    command
        .stdin(Stdio::null())
        .stdout(File::create(directory.join(OUT))?)
        .stderr(File::create(directory.join(LOG))?);
    bind_to_parent(&mut command);
    command.spawn()
}

const OUT: &str = "out";
const LOG: &str = "log";
const POLL: Duration = Duration::from_millis(10);
const START_POLLS: u32 = 1000;
