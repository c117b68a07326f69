use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::DemoError;
use super::audit::NodeBooks;
use super::files::Files;
use super::node::NodeProcess;
use super::plan::{NODES, Plan};

/// A fourth node, which joins the fleet and leaves it again, each time as a new process.
#[derive(Debug)]
pub(super) struct Guest {
    address: SocketAddr,
    /// Keeps its address while no process of it runs.
    reserved: Option<(UdpSocket, TcpListener)>,
    process: Option<NodeProcess>,
    /// What its earlier processes have counted.
    former: NodeBooks,
}

impl Guest {
    /// Takes a free port of this address for it.
    pub(super) fn reserve(host: Ipv4Addr) -> io::Result<Self> {
        let udp = UdpSocket::bind((host, 0))?;
        let address = udp.local_addr()?;
        let tcp = TcpListener::bind(address)?;
        Ok(Self {
            address,
            reserved: Some((udp, tcp)),
            process: None,
            former: NodeBooks::default(),
        })
    }

    /// Where clients reach it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, while there is one.
    pub(super) fn process(&self) -> Option<&NodeProcess> {
        self.process.as_ref()
    }

    /// Starts it, and waits until it and the members know each other.
    pub(super) async fn start(&mut self, files: &Files, plan: &Plan) -> Result<(), DemoError> {
        self.reserved = None;
        let process = NodeProcess::start(NODES + 1, files, plan).await?;
        process.until_ready(1..=NODES).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends its process, which has no clients left.
    pub(super) async fn end(&mut self) -> Result<(), DemoError> {
        if let Some(process) = self.process.take() {
            self.former = self.former + process.end().await?;
            let udp = UdpSocket::bind(self.address)?;
            self.reserved = Some((udp, TcpListener::bind(self.address)?));
        }
        Ok(())
    }

    /// What it has counted so far, in all its processes.
    pub(super) async fn books(&self) -> Result<NodeBooks, DemoError> {
        Ok(match &self.process {
            Some(process) => self.former + process.books().await?,
            None => self.former,
        })
    }
}
