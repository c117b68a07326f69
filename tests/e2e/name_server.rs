//! A DNS server on loopback (RFC 1035) that answers what a test tells it to.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What is answered for a name.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Hosts(Vec<Ipv4Addr>),
    /// Priority, weight, port and target of each record.
    Services(Vec<(u16, u16, u16, &'static str)>),
    /// Over UDP nothing but that it was too long.
    OverTcp(Vec<Ipv4Addr>),
    NoData,
    NoSuchName,
    ServerFailure,
    Garbage,
    Silence,
}

/// A name server; it ends when this is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Zone,
    _tasks: JoinSet<()>,
}

type Zone = Arc<Mutex<HashMap<String, Answer>>>;

impl NameServer {
    pub(crate) async fn start() -> Self {
        // The port that is free for UDP may be taken for TCP.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let zone = Zone::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(over_udp(udp, Arc::clone(&zone)));
        tasks.spawn(over_tcp(tcp, Arc::clone(&zone)));
        Self {
            address,
            zone,
            _tasks: tasks,
        }
    }

    /// Answers this for a name from here on.
    pub(crate) fn set(&self, name: &str, answer: Answer) {
        self.zone.lock().unwrap().insert(name.to_owned(), answer);
    }

    /// The configuration of who asks it often.
    pub(crate) fn config(&self) -> String {
        format!(
            "dns = {{ servers = [\"{}\"], families = \"ipv4\", min_ttl = \"100ms\", \
             max_ttl = \"200ms\", timeout = \"500ms\" }}\n",
            self.address
        )
    }
}

async fn over_udp(socket: UdpSocket, zone: Zone) {
    let mut query = [0; 1500];
    while let Ok((len, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = answer(&query[..len], &zone, Transport::Udp) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn over_tcp(listener: TcpListener, zone: Zone) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&zone)));
    }
}

async fn connection(mut stream: TcpStream, zone: Zone) {
    while let Ok(len) = stream.read_u16().await {
        let mut query = vec![0; len.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(answer) = answer(&query, &zone, Transport::Tcp) else {
            continue;
        };
        let len = u16::try_from(answer.len()).unwrap();
        let message = [&len.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The answer to a query with one question.
fn answer(query: &[u8], zone: &Zone, transport: Transport) -> Option<Vec<u8>> {
    let (name, end) = name(query, 12);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let answer = zone.lock().unwrap().get(&name).cloned();
    let answer = answer.unwrap_or(Answer::NoSuchName);
    let mut flags = 0x8180_u16;
    let mut records = Vec::new();
    match answer {
        Answer::Silence => return None,
        Answer::Garbage => return Some([&query[..2], &[0xff; 40]].concat()),
        Answer::NoSuchName => flags |= 3,
        Answer::ServerFailure => flags |= 2,
        Answer::OverTcp(_) if transport == Transport::Udp => flags |= 0x0200,
        Answer::Hosts(hosts) | Answer::OverTcp(hosts) if kind == A => {
            records.extend(hosts.iter().map(|host| host.octets().to_vec()));
        }
        Answer::Services(services) if kind == SRV => {
            for (priority, weight, port, target) in services {
                let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
                let labels = target.split('.').flat_map(|label| {
                    [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()
                });
                records.push(numbers.into_iter().chain(labels).chain([0]).collect());
            }
        }
        Answer::NoData | Answer::Hosts(_) | Answer::OverTcp(_) | Answer::Services(_) => {}
    }
    let mut message = query[..2].to_vec();
    let count = u16::try_from(records.len()).unwrap();
    for number in [flags, 1, count, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(&query[12..end + 4]);
    for record in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0]);
        message.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        message.extend(record);
    }
    Some(message)
}

/// The name that begins there, and where it ends.
fn name(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

const A: u16 = 1;
const SRV: u16 = 33;
