use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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
    host: Ipv4Addr,
    certificate: CertificateDer<'static>,
    members: Vec<SocketAddr>,
    upstreams: Vec<String>,
    /// Keys of every node's `fleet`, one on a line.
    fleet_keys: &'static str,
}

impl Files {
    /// Makes the certificate and the fleet's key.
    pub(super) fn make(fleet_keys: &'static str) -> Result<Self, DemoError> {
        let minted = rcgen::generate_simple_self_signed(vec![SERVICE_NAME.into()])?;
        let unique = u64::from_ne_bytes(random()?);
        let directory = std::env::temp_dir().join(format!("wayhold-demo-{unique:016x}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self {
            directory,
            host: own_host(random()?),
            certificate: minted.cert.der().clone(),
            members: Vec::new(),
            upstreams: Vec::new(),
            fleet_keys,
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

    /// The loopback address that every node of this demo binds.
    ///
    /// On 127.0.0.1 a node may get a port that was another program's, to which somebody on the machine
    /// still sends: datagrams that the node counts and the relay did not deliver.
    pub(super) fn host(&self) -> Ipv4Addr {
        self.host
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
            .map(|_| UdpSocket::bind((self.host, 0)))
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
            self.write_config(number, self.any_port())?;
        }
        Ok(())
    }

    /// Adds a member to the fleet's file, and writes its configuration: it listens on this address.
    pub(super) fn add(&mut self, listen: SocketAddr) -> io::Result<()> {
        let tunnel = UdpSocket::bind((self.host, 0))?;
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
        (1..=nodes).try_for_each(|number| self.write_config(number, self.any_port()))
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
            .replace("BACKENDS", &self.upstreams.join(", "))
            .replace("FLEET_KEYS", self.fleet_keys);
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

    fn any_port(&self) -> SocketAddr {
        (self.host, 0).into()
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

/// 127.128.0.0 to 127.191.255.255, above the addresses of the relay's NATs.
fn own_host([high, middle, low]: [u8; 3]) -> Ipv4Addr {
    Ipv4Addr::new(127, 0x80 | (high & 0x3f), middle, low)
}

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
FLEET_KEYS
[log]
access = false
[upgrade]
keep = "1s"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_bind_where_no_other_program_does() {
        for (random, host) in [
            ([0, 0, 1], [127, 128, 0, 1]),
            ([0xff, 2, 3], [127, 191, 2, 3]),
        ] {
            assert_eq!(own_host(random).octets(), host);
        }
        let hosts: Vec<_> = (0..2).map(|_| Files::make("").unwrap().host()).collect();
        assert_ne!(hosts[0], hosts[1]);
        assert!(UdpSocket::bind((hosts[0], 0)).is_ok());
    }
}
