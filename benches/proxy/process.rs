//! A gateway as a process: its directory, its port, its processor time, its end.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use wayhold::sys::process::{bind_to_parent, terminate};
use wayhold::sys::processor::ProcessorClock;

/// A directory that is removed with this, in which every user may read.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let name = format!("wayhold-proxy-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A process with all that descend from it; they end with this.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        bind_to_parent(command);
        command.spawn().map(Self)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<String>> {
        let status = self.0.try_wait()?;
        Ok(status.map(|status| status.to_string()))
    }

    /// The processor time of all its processes so far, in user space and in the kernel.
    ///
    /// What ended in between is missing; none of the gateways ends processes as it serves.
    pub(crate) fn spent(&self) -> io::Result<Duration> {
        let mut spent = Duration::ZERO;
        let mut left = vec![self.0.id()];
        while let Some(process) = left.pop() {
            spent += ProcessorClock::of_process(process)?.read()?;
            left.extend(children(process)?);
        }
        Ok(spent)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(terminate(self.0.id()));
        for _ in 0..ENDING_LOOKS {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(ENDING_PAUSE);
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port of 127.0.0.1 that is free for TCP and for UDP. Gateways that are not ours cannot say which
/// one they got for 0.
pub(crate) fn free_port() -> io::Result<u16> {
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        let address: SocketAddr = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Takes a key file from other users, which some gateways want.
pub(crate) fn private(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// Where a program is that the shell would start by this name.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|place| place.is_file())
}

fn children(process: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended since has no children.
        let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

const PORT_TRIES: usize = 50;
/// Two seconds in all.
const ENDING_LOOKS: usize = 40;
const ENDING_PAUSE: Duration = Duration::from_millis(50);
