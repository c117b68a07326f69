//! A wire between one client and the nodes, on which a test records, reroutes and cuts.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// A running wire.
pub(crate) struct Tap {
    /// Where the client sends.
    pub(crate) address: SocketAddr,
    wire: Arc<Wire>,
    _tasks: JoinSet<()>,
}

struct Wire {
    nodes: Vec<SocketAddr>,
    route: AtomicUsize,
    mute: AtomicBool,
    recorded: Mutex<Vec<Vec<u8>>>,
}

impl Tap {
    /// Leads to the first of these nodes, which see the client at this address.
    pub(crate) async fn start(from: IpAddr, nodes: impl IntoIterator<Item = SocketAddr>) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind((from, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        let wire = Arc::new(Wire {
            nodes: nodes.into_iter().collect(),
            route: AtomicUsize::new(0),
            mute: AtomicBool::new(false),
            recorded: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&wire).carry(front, back));
        Self {
            address,
            wire,
            _tasks: tasks,
        }
    }

    /// Leads to another node from now on.
    pub(crate) fn route(&self, node: usize) {
        self.wire.route.store(node, Ordering::Relaxed);
    }

    /// Loses everything on its way to the client from now on.
    pub(crate) fn mute(&self) {
        self.wire.mute.store(true, Ordering::Relaxed);
    }

    /// Lets everything through again.
    pub(crate) fn unmute(&self) {
        self.wire.mute.store(false, Ordering::Relaxed);
    }

    /// Takes what the client has sent since the last call.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.wire.recorded.lock().unwrap())
    }
}

impl Wire {
    async fn carry(self: Arc<Self>, front: UdpSocket, back: UdpSocket) {
        let mut client = None;
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                received = front.recv_from(&mut up) => {
                    let Ok((len, from)) = received else { continue };
                    client = Some(from);
                    self.recorded.lock().unwrap().push(up[..len].to_vec());
                    let node = self.nodes[self.route.load(Ordering::Relaxed)];
                    drop(back.send_to(&up[..len], node).await);
                }
                received = back.recv_from(&mut down) => {
                    let (Ok((len, _)), Some(client)) = (received, client) else { continue };
                    if !self.mute.load(Ordering::Relaxed) {
                        drop(front.send_to(&down[..len], client).await);
                    }
                }
            }
        }
    }
}
