use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use super::DemoError;
use super::workload::SERVICE_NAME;
use crate::control::write_key_file;
use crate::fleet::{Epoch, FleetKey, Keyring};
use crate::testbed::Backend;

/// What the nodes read and write, in a directory of the demo's own that is removed with this.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Files {
    /// Makes the certificate and the fleet's key.
    pub(super) fn make() -> Result<Self, DemoError> {
        let minted = rcgen::generate_simple_self_signed(vec![SERVICE_NAME.into()])?;
        let unique = u64::from_ne_bytes(random()?);
        let directory = std::env::temp_dir().join(format!("wayhold-demo-{unique:016x}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self {
            directory,
            certificate: minted.cert.der().clone(),
        };
        fs::write(files.path("tls.pem"), minted.cert.pem())?;
        let key = minted.signing_key.serialize_pem();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(files.path("tls.key"));
        file?.write_all(key.as_bytes())?;
        let key = FleetKey::new(Epoch::default(), random()?);
        write_key_file(&files.key_file(), &Keyring::new(key))?;
        Ok(files)
    }

    /// The certificate that every node has.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Writes the fleet's file and a configuration for each of its nodes.
    ///
    /// The relay ports are free now; another process can still take one before its node does.
    pub(super) fn configure(&self, nodes: usize, backends: &[Backend]) -> io::Result<()> {
        let tunnels = (0..nodes)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<io::Result<Vec<_>>>()?;
        let mut fleet = String::from("key_file = \"fleet.key\"\n");
        for (number, tunnel) in (1..).zip(&tunnels) {
            let relay = tunnel.local_addr()?;
            writeln!(fleet, "[[member]]\nid = {number}\nrelay = \"{relay}\"")
                .map_err(io::Error::other)?;
        }
        fs::write(self.path("fleet.toml"), fleet)?;
        let urls: Vec<_> = backends
            .iter()
            .map(|backend| format!("\"http://{}\"", backend.address()))
            .collect();
        for number in 1..=nodes {
            let text = CONFIG
                .replace("NUMBER", &number.to_string())
                .replace("BACKENDS", &urls.join(", "));
            fs::write(self.config(number), text)?;
        }
        Ok(())
    }

    /// The configuration of a node.
    pub(super) fn config(&self, number: usize) -> PathBuf {
        self.path(&format!("node-{number}.toml"))
    }

    /// Where a node's standard output goes.
    pub(super) fn output(&self, number: usize) -> PathBuf {
        self.path(&format!("node-{number}.out"))
    }

    /// Where a node's standard error goes.
    pub(super) fn log(&self, number: usize) -> PathBuf {
        self.path(&format!("node-{number}.log"))
    }

    /// The socket of a node's admin listener.
    pub(super) fn admin(&self, number: usize) -> PathBuf {
        self.path(&format!("node-{number}/admin.sock"))
    }

    /// The fleet's key file.
    pub(super) fn key_file(&self) -> PathBuf {
        self.path("fleet.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind, it is some small files in the system's directory for such.
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_unspecified| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

/// Relative paths begin at the file. A process that gave way tells its clients to go after a second,
/// so that a run sees that too.
const CONFIG: &str = r#"
state_dir = "node-NUMBER"
[[listen]]
addr = "127.0.0.1:0"
cert = "tls.pem"
key = "tls.key"
[[route]]
to = [BACKENDS]
[node]
id = NUMBER
[fleet]
file = "fleet.toml"
[log]
access = false
[shutdown]
grace = "5s"
[upgrade]
keep = "1s"
"#;
