use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
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
    members: Vec<SocketAddr>,
    upstreams: Vec<String>,
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
            members: Vec::new(),
            upstreams: Vec::new(),
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
    pub(super) fn configure(&mut self, nodes: usize, backends: &[Backend]) -> io::Result<()> {
        let tunnels = (0..nodes)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<io::Result<Vec<_>>>()?;
        self.members = tunnels
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        self.upstreams = backends
            .iter()
            .map(|backend| format!("\"http://{}\"", backend.address()))
            .collect();
        self.write_fleet()?;
        for number in 1..=nodes {
            self.write_config(number, ANY_PORT)?;
        }
        Ok(())
    }

    /// Adds a member to the fleet's file, and writes its configuration: it listens on this address.
    pub(super) fn add(&mut self, listen: SocketAddr) -> io::Result<()> {
        let tunnel = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        self.members.push(tunnel.local_addr()?);
        self.write_fleet()?;
        self.write_config(self.members.len(), listen)
    }

    /// Takes the last member out of the fleet's file.
    pub(super) fn remove_last(&mut self) -> io::Result<()> {
        self.members.pop();
        self.write_fleet()
    }

    /// Gives the first nodes, as many as there are, another order of upstreams.
    pub(super) fn reroute(&mut self, nodes: usize) -> io::Result<()> {
        self.upstreams.rotate_left(1);
        (1..=nodes).try_for_each(|number| self.write_config(number, ANY_PORT))
    }

    fn write_fleet(&self) -> io::Result<()> {
        let mut fleet = String::from("key_file = \"fleet.key\"\n");
        for (number, relay) in (1..).zip(&self.members) {
            writeln!(fleet, "[[member]]\nid = {number}\nrelay = \"{relay}\"")
                .map_err(io::Error::other)?;
        }
        fs::write(self.path("fleet.toml"), fleet)
    }

    fn write_config(&self, number: usize, listen: SocketAddr) -> io::Result<()> {
        let text = CONFIG
            .replace("NUMBER", &number.to_string())
            .replace("ADDRESS", &listen.to_string())
            .replace("BACKENDS", &self.upstreams.join(", "));
        fs::write(self.config(number), text)
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

const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
/// Relative paths begin at the file. A process that gave way tells its clients to go after a second,
/// so that a run sees that too.
const CONFIG: &str = r#"
state_dir = "node-NUMBER"
[[listen]]
addr = "ADDRESS"
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
[upgrade]
keep = "1s"
"#;
