//! Claims about tunnels of UDP (RFC 9298), over every protocol.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use wayhold::Gateway;
use wayhold::client::{Trust, tls_config};
use wayhold::telemetry::Reason;

use crate::raw::{DATA, Ended, HEADERS, Raw, ended, frame, head, status, take_varint};
use crate::stage::{Directory, Node, PATIENCE, turn, until};

/// A gateway before a target that sends back what it gets.
pub(crate) struct Proxy {
    pub(crate) node: Node,
    pub(crate) directory: Directory,
    pub(crate) target: SocketAddr,
    _echo: JoinSet<()>,
    _turn: SemaphorePermit<'static>,
}

impl Proxy {
    pub(crate) async fn start(more: &str) -> Self {
        let turn = turn().await;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = socket.local_addr().unwrap();
        let mut echoing = JoinSet::new();
        echoing.spawn(echo(socket));
        let directory = Directory::new();
        directory.certify();
        let text = format!("{more}\n[[route]]\nconnect_udp = [\"{target}\", \"localhost:*\"]\n");
        let gateway = Gateway::builder().config(directory.config(&text));
        Self {
            node: Node::start(gateway.bind().unwrap()),
            directory,
            target,
            _echo: echoing,
            _turn: turn,
        }
    }

    pub(crate) fn path(&self) -> String {
        format!(
            "/.well-known/masque/udp/{}/{}/",
            self.target.ip(),
            self.target.port()
        )
    }

    fn request(&self) -> Vec<u8> {
        ask(&self.path())
    }

    async fn client(&self, settings: &[u8]) -> Raw {
        let raw = Raw::connect(&self.directory, self.node.address).await;
        raw.one_way(settings).await;
        raw
    }

    async fn tls(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let trust = Trust::File(self.directory.file("tls.pem"));
        let mut tls = Arc::unwrap_or_clone(tls_config(&trust).unwrap());
        tls.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.node.address).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(tls))
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap()
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        let dropped = &self.node.metrics.udp.dropped;
        dropped.get_or_create(&Reason { reason }).get()
    }

    fn open(&self) -> i64 {
        self.node.metrics.udp.tunnels.get()
    }
}

/// Sends back each packet; to one that begins with a number of four digits, as many bytes.
async fn echo(socket: UdpSocket) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        let number = std::str::from_utf8(&buffer[..len.min(4)]).ok();
        let wanted = number
            .filter(|text| text.len() == 4)
            .and_then(|text| text.parse().ok());
        drop(socket.send_to(&buffer[..wanted.unwrap_or(len)], from).await);
    }
}

fn ask(path: &str) -> Vec<u8> {
    let fields = [(":protocol", "connect-udp"), ("capsule-protocol", "?1")];
    head("CONNECT", path, &fields)
}

/// The HTTP datagram of a packet.
fn udp(payload: &[u8]) -> Vec<u8> {
    [&[0], payload].concat()
}

/// A DATAGRAM capsule with the packet.
fn capsule(payload: &[u8]) -> Vec<u8> {
    frame(0, &udp(payload))
}

/// A stream's frames, and the capsules in its DATA.
struct Answer {
    stream: RecvStream,
    held: Vec<u8>,
    data: Vec<u8>,
}

impl Answer {
    /// Waits for the head.
    async fn of(stream: RecvStream) -> Self {
        let mut answer = Self {
            stream,
            held: Vec::new(),
            data: Vec::new(),
        };
        let (kind, head) = answer.frame().await;
        assert_eq!(kind, HEADERS);
        assert_eq!(head[..3], [0, 0, 0xd9], "200");
        answer
    }

    async fn frame(&mut self) -> (u64, Vec<u8>) {
        loop {
            if let Some((kind, payload, used)) = whole(&self.held) {
                self.held.drain(..used);
                return (kind, payload);
            }
            let piece = timeout(PATIENCE, self.stream.read_chunk(1 << 16, true)).await;
            let chunk = piece.unwrap().unwrap().expect("the stream ended");
            self.held.extend_from_slice(&chunk.bytes);
        }
    }

    async fn capsule(&mut self) -> (u64, Vec<u8>) {
        loop {
            if let Some((kind, payload, used)) = whole(&self.data) {
                self.data.drain(..used);
                return (kind, payload);
            }
            let (kind, payload) = self.frame().await;
            assert_eq!(kind, DATA);
            self.data.extend_from_slice(&payload);
        }
    }
}

/// A type, a length and as many bytes.
fn whole(bytes: &[u8]) -> Option<(u64, Vec<u8>, usize)> {
    let varint = |bytes: &[u8]| {
        let len = 1 << (bytes.first()? >> 6);
        (bytes.len() >= len).then(|| (take_varint(bytes).0, len))
    };
    let (kind, first) = varint(bytes)?;
    let (len, second) = varint(&bytes[first..])?;
    let begin = first + second;
    let end = begin + usize::try_from(len).unwrap();
    (bytes.len() >= end).then(|| (kind, bytes[begin..end].to_vec(), end))
}

async fn datagram(raw: &Raw) -> Bytes {
    let datagram = timeout(PATIENCE, raw.connection.read_datagram()).await;
    datagram.expect("a datagram comes").unwrap()
}

/// Opens a tunnel in datagrams on the first stream.
async fn open(proxy: &Proxy) -> (Raw, SendStream, Answer) {
    let raw = proxy.client(&CONTROL_WITH_DATAGRAMS).await;
    let (send, receive) = raw.begin(&proxy.request()).await;
    let answer = Answer::of(receive).await;
    // What SETTINGS say may come after the request.
    loop {
        raw.connection
            .send_datagram(b"\0\0first".as_slice().into())
            .unwrap();
        let answered = timeout(PATIENCE / 20, raw.connection.read_datagram()).await;
        if let Ok(datagram) = answered {
            assert_eq!(datagram.unwrap(), b"\0\0first"[..]);
            return (raw, send, answer);
        }
    }
}

#[tokio::test]
async fn a_tunnel_carries_packets_in_datagrams_both_ways() {
    let proxy = Proxy::start("").await;
    let (raw, mut send, answer) = open(&proxy).await;
    assert_eq!(proxy.open(), 1);
    for packet in [&b"two"[..], b"", &[7; 1000]] {
        let sent = [&[0], &udp(packet)[..]].concat();
        raw.connection.send_datagram(sent.clone().into()).unwrap();
        assert_eq!(datagram(&raw).await, sent);
    }
    send.finish().unwrap();
    assert_eq!(ended(answer.stream).await, Ended::Cleanly(vec![]));
    until(|| proxy.open() == 0).await;
    // What comes for it later harms nobody.
    raw.connection
        .send_datagram(b"\0\0late".as_slice().into())
        .unwrap();
    until(|| proxy.dropped("late") == 1).await;
    assert_eq!(proxy.node.failed("client_gone"), 0);
    raw.close().await;
}

#[tokio::test]
async fn a_client_that_takes_no_datagrams_gets_capsules() {
    let proxy = Proxy::start("").await;
    let raw = proxy.client(&crate::raw::CONTROL).await;
    let (mut send, receive) = raw.begin(&proxy.request()).await;
    let mut answer = Answer::of(receive).await;
    for packet in [&b"one"[..], b"", &[7; 1400]] {
        let sent = [frame(0x17, b"unknown"), capsule(packet)].concat();
        send.write_all(&frame(DATA, &sent)).await.unwrap();
        assert_eq!(answer.capsule().await, (0, udp(packet)));
    }
    assert_eq!(proxy.dropped("capsule"), 3);
    send.finish().unwrap();
    assert_eq!(ended(answer.stream).await, Ended::Cleanly(vec![]));
    raw.close().await;
}

#[tokio::test]
async fn datagrams_that_overtake_their_request_are_not_lost() {
    let proxy = Proxy::start("").await;
    let raw = proxy.client(&CONTROL_WITH_DATAGRAMS).await;
    // The gateway has the settings when it answers something else.
    let other = raw.send(&head("GET", "/", &[])).await;
    assert_eq!(status(other).await, 404);
    raw.connection
        .send_datagram(b"\x01\0early".as_slice().into())
        .unwrap();
    let (_send, receive) = raw.begin(&proxy.request()).await;
    let _answer = Answer::of(receive).await;
    assert_eq!(datagram(&raw).await, b"\x01\0early"[..]);
    raw.close().await;
}

#[tokio::test]
async fn a_tunnel_keeps_its_target_while_its_client_moves() {
    let proxy = Proxy::start("").await;
    let (raw, _send, _answer) = open(&proxy).await;
    let socket = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    raw.endpoint.rebind(socket).unwrap();
    raw.connection
        .send_datagram(b"\0\0moved".as_slice().into())
        .unwrap();
    assert_eq!(datagram(&raw).await, b"\0\0moved"[..]);
    assert_eq!(proxy.open(), 1);
    raw.close().await;
}

#[tokio::test]
async fn a_packet_larger_than_the_clients_path_is_dropped_and_counted() {
    let proxy = Proxy::start("quic.mtu_discovery = false\n").await;
    let (raw, _send, _answer) = open(&proxy).await;
    // The first is larger than a datagram of 1200 bytes carries, the second is not.
    for ask in [&b"\0\x001300"[..], b"\0\x001000"] {
        raw.connection
            .send_datagram(Bytes::from_static(ask))
            .unwrap();
    }
    assert_eq!(datagram(&raw).await.len(), 2 + 1000);
    assert_eq!(proxy.dropped("client_path"), 1);
    raw.close().await;
}

#[tokio::test]
async fn tunnels_over_tcp_carry_capsules() {
    let proxy = Proxy::start("").await;
    let mut stream = proxy.tls(b"http/1.1").await;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n\
         Capsule-Protocol: ?1\r\n\r\n",
        proxy.path()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let response = String::from_utf8(response).unwrap().to_ascii_lowercase();
    assert!(response.starts_with("http/1.1 101 "), "{response}");
    assert!(
        response.contains("\r\nupgrade: connect-udp\r\n"),
        "{response}"
    );
    assert!(
        response.contains("\r\ncapsule-protocol: ?1\r\n"),
        "{response}"
    );
    stream.write_all(&capsule(b"over http/1.1")).await.unwrap();
    let mut answer = vec![0; 2 + 14];
    timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, [&[0, 14], &udp(b"over http/1.1")[..]].concat());
    drop(stream);
    until(|| proxy.open() == 0).await;

    let (client, connection) = h2::client::handshake(proxy.tls(b"h2").await).await.unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(async move { drop(connection.await) });
    // Extended CONNECT is offered in SETTINGS.
    let mut client = client.ready().await.unwrap();
    let offered = async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, offered).await.unwrap();
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = format!("https://localhost{}", proxy.path())
        .parse()
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from("connect-udp"));
    let (response, mut send) = client.send_request(request, false).unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["capsule-protocol"], "?1");
    send.send_data(capsule(b"over h2").into(), false).unwrap();
    let mut body = response.into_body();
    let mut answer = Vec::new();
    while answer.len() < 2 + 8 {
        let data = timeout(PATIENCE, body.data())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        answer.extend_from_slice(&data);
    }
    assert_eq!(answer, [&[0, 8], &udp(b"over h2")[..]].concat());
    send.send_data(Bytes::new(), true).unwrap();
    until(|| proxy.open() == 0).await;
}

#[tokio::test]
async fn what_is_refused_opens_no_tunnel() {
    let proxy = Proxy::start("connect_udp.tunnels_per_client = 1\n").await;
    let (raw, _send, _answer) = open(&proxy).await;
    let port = proxy.target.port();
    let at = |rest: &str| ask(&format!("/.well-known/masque/udp/{rest}"));
    let websocket = head("CONNECT", &proxy.path(), &[(":protocol", "websocket")]);
    for (request, expected) in [
        (at("192.0.2.1/53/"), 403),
        (at("other.example/53/"), 403),
        (at(&format!("127.0.0.1/{}/", port ^ 1)), 403),
        (at("127.0.0.1/0/"), 400),
        (at("127.0.0.1/65536/"), 400),
        (at("127.0.0.1/53"), 400),
        (at("%5B::1%5D/53/"), 400),
        (proxy.request(), 503),
        (websocket, 501),
        (head("GET", &proxy.path(), &[]), 400),
    ] {
        let (_open, receive) = raw.begin(&request).await;
        assert_eq!(status(receive).await, expected);
    }
    assert_eq!(proxy.open(), 1);
    raw.close().await;
    until(|| proxy.open() == 0).await;
    // It is allowed by name, and resolves to what is named by no rule.
    let raw = proxy.client(&CONTROL_WITH_DATAGRAMS).await;
    let (_open, receive) = raw.begin(&at("localhost/9/")).await;
    assert_eq!(status(receive).await, 502);
    let refused = &proxy.node.metrics.udp.refused;
    let reason = Reason {
        reason: "prohibited",
    };
    assert_eq!(refused.get_or_create(&reason).get(), 1);
    raw.close().await;
}

#[tokio::test]
async fn where_no_route_takes_tunnels_datagrams_are_not_offered() {
    let turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let text = "[[route]]\nto = [\"http://127.0.0.1:9\"]\n";
    let gateway = Gateway::builder().config(directory.config(text));
    let node = Node::start(gateway.bind().unwrap());
    let raw = Raw::connect(&directory, node.address).await;
    raw.one_way(&CONTROL_WITH_DATAGRAMS).await;
    assert_eq!(raw.connection.max_datagram_size(), None);
    let (_open, receive) = raw
        .begin(&ask("/.well-known/masque/udp/192.0.2.1/53/"))
        .await;
    assert_eq!(status(receive).await, 501);
    raw.close().await;
    drop(turn);
}

/// A control stream that begins with `SETTINGS_H3_DATAGRAM` = 1.
pub(crate) const CONTROL_WITH_DATAGRAMS: [u8; 5] = [0, 4, 2, 0x33, 1];
