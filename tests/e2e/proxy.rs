//! A UDP proxy for one client whose way to the gateway can change, and whose datagrams can be
//! sent on from an address that is not the client's.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    front: UdpSocket,
    client: Mutex<Option<SocketAddr>>,
    way: Mutex<Way>,
    recorded: Mutex<Vec<Vec<u8>>>,
}

struct Way {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    spoof: Option<(RangeInclusive<usize>, Arc<UdpSocket>)>,
}

impl Proxy {
    /// Takes datagrams on a port of 127.0.0.1 and leads them to this address.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let socket = near(to).await;
        let shared = Arc::new(Shared {
            front,
            client: Mutex::default(),
            way: Mutex::new(Way {
                socket: Arc::clone(&socket),
                to,
                spoof: None,
            }),
            recorded: Mutex::default(),
        });
        let mut proxy = Self {
            address,
            shared: Arc::clone(&shared),
            tasks: JoinSet::new(),
        };
        proxy.tasks.spawn(Arc::clone(&shared).up());
        proxy.tasks.spawn(shared.down(socket));
        proxy
    }

    /// Leads to this address from now on, from a new socket; replies to the old one are lost.
    pub(crate) async fn lead_to(&mut self, to: SocketAddr) {
        let socket = near(to).await;
        self.lead(socket, to);
    }

    fn lead(&mut self, socket: Arc<UdpSocket>, to: SocketAddr) {
        let mut way = self.shared.way.lock().unwrap();
        (way.socket, way.to) = (Arc::clone(&socket), to);
        drop(way);
        self.tasks.spawn(Arc::clone(&self.shared).down(socket));
    }

    /// The same, but nothing from anywhere else reaches the client: its NAT or a firewall lets only
    /// answers in.
    pub(crate) async fn lead_strictly_to(&mut self, to: SocketAddr) {
        let socket = near(to).await;
        socket.connect(to).await.unwrap();
        self.lead(socket, to);
    }

    /// Sends the next datagram of such a length on from another address, whose replies are lost.
    pub(crate) async fn spoof_next(&self, len: RangeInclusive<usize>) -> SocketAddr {
        let to = self.shared.way.lock().unwrap().to;
        let socket = near(to).await;
        let address = socket.local_addr().unwrap();
        self.shared.way.lock().unwrap().spoof = Some((len, socket));
        address
    }

    /// Whether the datagram to spoof is yet to come.
    pub(crate) fn is_about_to_spoof(&self) -> bool {
        self.shared.way.lock().unwrap().spoof.is_some()
    }

    /// Where the client's datagrams come from, as the gateway sees it.
    pub(crate) fn source(&self) -> SocketAddr {
        self.shared.way.lock().unwrap().socket.local_addr().unwrap()
    }

    /// Everything that the client has sent so far.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.shared.recorded.lock().unwrap().clone()
    }
}

impl Shared {
    async fn up(self: Arc<Self>) {
        let mut buffer = vec![0; 65_535];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer).await {
            *self.client.lock().unwrap() = Some(client);
            let datagram = &buffer[..len];
            self.recorded.lock().unwrap().push(datagram.to_vec());
            let (socket, to) = self.way.lock().unwrap().choose(len);
            // A datagram that cannot be sent is lost, as on any network.
            drop(socket.send_to(datagram, to).await);
        }
    }

    async fn down(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 65_535];
        while let Ok(len) = socket.recv(&mut buffer).await {
            let client = *self.client.lock().unwrap();
            let current = Arc::ptr_eq(&self.way.lock().unwrap().socket, &socket);
            if let (Some(client), true) = (client, current) {
                drop(self.front.send_to(&buffer[..len], client).await);
            }
        }
    }
}

impl Way {
    fn choose(&mut self, len: usize) -> (Arc<UdpSocket>, SocketAddr) {
        let spoofs = self
            .spoof
            .as_ref()
            .is_some_and(|(lens, _)| lens.contains(&len));
        match self.spoof.take_if(|_| spoofs) {
            Some((_, socket)) => (socket, self.to),
            None => (Arc::clone(&self.socket), self.to),
        }
    }
}

/// A socket on the loopback address of the same family.
async fn near(to: SocketAddr) -> Arc<UdpSocket> {
    let any = if to.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    Arc::new(UdpSocket::bind(any).await.unwrap())
}
