use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::*;
use crate::request::{
    BodyError, DatagramQueue, PathFacts, SendDatagramError, SendDatagrams, clock,
};
use crate::telemetry::UdpDirection;

/// A proxy, its route, and where its metrics are.
struct Bed {
    proxy: UdpProxy,
    route: UdpRoute,
    metrics: UdpMetrics,
}

/// The client's data stream, which a test writes.
struct Stream(mpsc::Receiver<Result<Bytes, BodyError>>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

type Writer = mpsc::Sender<Result<Bytes, BodyError>>;

/// Takes datagrams in frames, or says why not.
#[derive(Default)]
struct Frames {
    sent: Mutex<Vec<Vec<u8>>>,
    refusal: Mutex<Option<SendDatagramError>>,
}

impl SendDatagrams for Frames {
    fn send(&self, payload: &[u8]) -> Result<(), SendDatagramError> {
        if let Some(refusal) = *self.refusal.lock().unwrap() {
            return Err(refusal);
        }
        self.sent.lock().unwrap().push(payload.to_vec());
        Ok(())
    }
}

impl Bed {
    fn new(rules: &[&str], bounds: ConnectUdp) -> Self {
        let rules = rules.iter().map(|rule| rule.parse().unwrap());
        let metrics = UdpMetrics::default();
        Self {
            proxy: UdpProxy::new(bounds, metrics.clone()),
            route: UdpRoute::new(ConnectUdp::PATH, AllowList::new(rules.collect())),
            metrics,
        }
    }

    /// One that allows this socket's address.
    fn before(target: &UdpSocket, bounds: ConnectUdp) -> Self {
        let address = target.local_addr().unwrap();
        Self::new(&[&address.to_string()], bounds)
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, RequestError> {
        let local = SocketAddr::from(([192, 0, 2, 1], 443));
        let client = SocketAddr::from(([192, 0, 2, 7], 4000));
        let facts = ClientFacts::new(Arc::new(PathFacts::default()), client, local);
        self.proxy.handle(&self.route, request, &facts).await
    }

    async fn refusal(&self, target: &str) -> (u16, String) {
        let (_writer, request) = request(target);
        let response = self.ask(request).await.unwrap();
        let status = response.headers().get("proxy-status").unwrap();
        assert!(!response.headers().contains_key("capsule-protocol"));
        let error = status.to_str().unwrap().rsplit_once('=').unwrap().1;
        (response.status().as_u16(), error.to_owned())
    }

    /// A tunnel to a target, in its two directions.
    async fn tunnel(&self, target: &UdpSocket) -> (Writer, Body) {
        let (writer, request) = request(&path_of(target));
        (writer, self.opened(request).await)
    }

    async fn opened(&self, request: Request<Body>) -> Body {
        let response = self.ask(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["capsule-protocol"], "?1");
        assert!(response.extensions().get::<KeepsTime>().is_some());
        response.into_body()
    }

    fn refused(&self, reason: &'static str) -> u64 {
        self.metrics.refused.get_or_create(&Reason { reason }).get()
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        self.metrics.dropped.get_or_create(&Reason { reason }).get()
    }

    fn ended(&self, reason: &'static str) -> u64 {
        self.metrics.ended.get_or_create(&Reason { reason }).get()
    }
}

async fn target() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

fn path_of(target: &UdpSocket) -> String {
    let address = target.local_addr().unwrap();
    format!("/{}/{}/", address.ip(), address.port())
}

fn request(target: &str) -> (Writer, Request<Body>) {
    let (writer, stream) = mpsc::channel(4);
    let mut request = Request::new(Body::new(Stream(stream)));
    *request.method_mut() = Method::CONNECT;
    let uri = format!("https://proxy.example{}{target}", ConnectUdp::PATH);
    *request.uri_mut() = uri.parse().unwrap();
    let protocol = ConnectProtocol::new(connect_udp::PROTOCOL.as_bytes()).unwrap();
    request.extensions_mut().insert(protocol);
    (writer, request)
}

fn capsule(kind: u8, payload: &[u8]) -> Bytes {
    let len = u16::try_from(payload.len()).unwrap() | 0x4000;
    [&[kind][..], &len.to_be_bytes(), payload].concat().into()
}

fn udp(payload: &[u8]) -> Bytes {
    capsule(0, &[&[0], payload].concat())
}

async fn received(target: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = target.recv_from(&mut buffer).await.unwrap();
    (buffer[..len].to_vec(), from)
}

async fn piece(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

#[tokio::test]
async fn capsules_carry_packets_both_ways() {
    let target = target().await;
    let bed = Bed::before(&target, ConnectUdp::default());
    let (writer, mut body) = bed.tunnel(&target).await;
    assert_eq!(bed.metrics.tunnels.get(), 1);
    writer.send(Ok(udp(b"ping"))).await.unwrap();
    let answered = async {
        let (packet, from) = received(&target).await;
        assert_eq!(packet, b"ping");
        target.send_to(b"pong", from).await.unwrap();
        target.send_to(b"", from).await.unwrap();
    };
    let (pong, ()) = tokio::join!(piece(&mut body), answered);
    assert_eq!(pong, Some(Ok(Bytes::from_static(b"\0\x05\0pong"))));
    let empty = piece(&mut body).await;
    assert_eq!(empty, Some(Ok(Bytes::from_static(b"\0\x01\0"))));
    let passed = |to| bed.metrics.passed.get_or_create(&to).get();
    assert_eq!(passed(UdpDirection::TARGET), 1);
    assert_eq!(passed(UdpDirection::CLIENT), 2);
    drop(writer);
    assert_eq!(piece(&mut body).await, None);
    drop(body);
    assert_eq!((bed.metrics.tunnels.get(), bed.ended("client")), (0, 1));
}

#[tokio::test]
async fn datagrams_go_in_frames_where_the_client_takes_them() {
    let target = target().await;
    let bed = Bed::before(&target, ConnectUdp::default());
    let (_writer, mut request) = request(&path_of(&target));
    let queue = Arc::new(DatagramQueue::new(4));
    let frames = Arc::new(Frames::default());
    let datagrams = Datagrams::new(
        Arc::clone(&queue),
        Arc::clone(&frames) as Arc<dyn SendDatagrams>,
    );
    request.extensions_mut().insert(datagrams);
    let mut body = bed.opened(request).await;
    assert!(queue.put(Bytes::from_static(b"\0one")));
    let script = async {
        let (packet, from) = received(&target).await;
        assert_eq!(packet, b"one");
        for refusal in [
            None,
            Some(SendDatagramError::TooLarge),
            Some(SendDatagramError::Full),
            Some(SendDatagramError::Unsupported),
        ] {
            *frames.refusal.lock().unwrap() = refusal;
            let before = bed.dropped("client_path") + bed.dropped("client_queue");
            target.send_to(b"two", from).await.unwrap();
            while frames.sent.lock().unwrap().is_empty()
                || refusal.is_some_and(|refusal| refusal != SendDatagramError::Unsupported)
                    && bed.dropped("client_path") + bed.dropped("client_queue") == before
            {
                tokio::task::yield_now().await;
            }
        }
    };
    let (capsule, ()) = tokio::join!(piece(&mut body), script);
    assert_eq!(capsule, Some(Ok(Bytes::from_static(b"\0\x04\0two"))));
    assert_eq!(*frames.sent.lock().unwrap(), [b"\0two"]);
    assert_eq!(bed.dropped("client_path"), 1);
    assert_eq!(bed.dropped("client_queue"), 1);
}

#[tokio::test]
async fn what_is_no_packet_for_the_target_is_dropped_and_counted() {
    let target = target().await;
    let bounds = ConnectUdp {
        payload_bytes: 1200,
        ..ConnectUdp::default()
    };
    let bed = Bed::before(&target, bounds);
    let (writer, mut body) = bed.tunnel(&target).await;
    for bytes in [
        capsule(0, b"\x02other context"),
        capsule(0, b"\x40"),
        capsule(0x17, b"other capsule"),
        udp(&[7; 1201]),
        udp(&[7; 3000]),
        udp(b"a packet"),
    ] {
        tokio::select! {
            sent = writer.send(Ok(bytes)) => sent.unwrap(),
            end = piece(&mut body) => panic!("{end:?}"),
        }
    }
    let from = tokio::select! {
        (packet, from) = received(&target) => {
            assert_eq!(packet, b"a packet");
            from
        }
        end = piece(&mut body) => panic!("{end:?}"),
    };
    for (reason, count) in [("context", 1), ("cut", 1), ("capsule", 1), ("too_long", 2)] {
        assert_eq!(bed.dropped(reason), count, "{reason}");
    }
    target.send_to(&[7; 1201], from).await.unwrap();
    target.send_to(&[7; 1200], from).await.unwrap();
    let longest = piece(&mut body).await.unwrap().unwrap();
    assert_eq!(longest.len(), 1 + 2 + 1201);
    assert_eq!(bed.dropped("too_long"), 3);
}

#[tokio::test]
async fn a_malformed_data_stream_breaks_the_tunnel_off() {
    let long = [0, 0x80, 0x01, 0, 0, 0];
    for bytes in [&[0, 5, 0, 1][..], &long] {
        let target = target().await;
        let bed = Bed::before(&target, ConnectUdp::default());
        let (writer, mut body) = bed.tunnel(&target).await;
        writer
            .send(Ok(Bytes::copy_from_slice(bytes)))
            .await
            .unwrap();
        drop(writer);
        assert_eq!(piece(&mut body).await, Some(Err(BodyError::Malformed)));
        assert_eq!(piece(&mut body).await, None);
        drop(body);
        assert_eq!(bed.ended("malformed"), 1);
    }
}

#[tokio::test]
async fn a_target_that_nobody_listens_at_breaks_the_tunnel_off() {
    let target = target().await;
    let bed = Bed::before(&target, ConnectUdp::default());
    let (writer, mut body) = bed.tunnel(&target).await;
    drop(target);
    writer.send(Ok(udp(b"ping"))).await.unwrap();
    assert_eq!(piece(&mut body).await, Some(Err(BodyError::UpstreamGone)));
    drop(body);
    assert_eq!(bed.ended("unreachable"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_when_nothing_passed_for_the_idle_time() {
    let target = target().await;
    let bed = Bed::before(&target, ConnectUdp::default());
    let (writer, mut body) = bed.tunnel(&target).await;
    let began = clock::now();
    let traffic = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        writer.send(Ok(udp(b"ping"))).await.unwrap();
        // What is dropped does not count.
        tokio::time::sleep(Duration::from_secs(100)).await;
        writer.send(Ok(capsule(0, b"\x02other"))).await.unwrap();
    };
    let (end, ()) = tokio::join!(piece(&mut body), traffic);
    assert_eq!(end, None);
    assert_eq!(began.elapsed().as_secs(), 220);
    drop(body);
    assert_eq!(bed.ended("idle"), 1);
}

#[tokio::test]
async fn a_flood_from_the_target_is_bounded_and_every_packet_is_counted() {
    let target = target().await;
    let bounds = ConnectUdp {
        queue: 8,
        ..ConnectUdp::default()
    };
    let bed = Bed::before(&target, bounds);
    let (writer, mut body) = bed.tunnel(&target).await;
    writer.send(Ok(udp(b"ping"))).await.unwrap();
    let from = tokio::select! {
        (_, from) = received(&target) => from,
        end = piece(&mut body) => panic!("{end:?}"),
    };
    // Nobody polls the tunnel meanwhile.
    for _ in 0..5000 {
        target.send_to(&[7; 1000], from).await.unwrap();
    }
    let (mut taken, mut marks) = (0, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            taking = piece(&mut body) => match taking.unwrap().unwrap() {
                mark if mark.ends_with(b"mark") => break,
                _ => taken += 1,
            },
            _ = ticks.tick() => {
                marks += 1;
                target.send_to(b"mark", from).await.unwrap();
            }
        }
    }
    drop(body);
    assert!(taken < 200, "{taken} packets waited");
    let counted = taken + bed.dropped("target_queue");
    assert!(
        (5000..5000 + marks).contains(&counted),
        "{counted}, {marks}"
    );
}

#[tokio::test]
async fn what_must_not_be_reached_is_refused_with_the_reason() {
    let bed = Bed::new(
        &["*.example:53", "localhost:53", "0.0.0.0/0:53", "[::]/0:53"],
        ConnectUdp::default(),
    );
    let denied = (403, "http_request_denied".to_owned());
    let prohibited = (502, "destination_ip_prohibited".to_owned());
    for (target, expected, reason) in [
        ("/other.test/53/", &denied, "not_allowed"),
        ("/a.example/54/", &denied, "not_allowed"),
        ("/1.1.1.1/54/", &denied, "not_allowed"),
        ("/127.0.0.1/53/", &prohibited, "prohibited"),
        ("/%3A%3A1/53/", &prohibited, "prohibited"),
        ("/::ffff:127.0.0.1/53/", &prohibited, "prohibited"),
        ("/169.254.169.254/53/", &prohibited, "prohibited"),
        // A name that is allowed and resolves to what is not.
        ("/localhost/53/", &prohibited, "prohibited"),
        // The gateway's own address, as the client reached it.
        ("/192.0.2.1/53/", &prohibited, "prohibited"),
    ] {
        let before = bed.refused(reason);
        assert_eq!(bed.refusal(target).await, *expected, "{target}");
        assert_eq!(bed.refused(reason), before + 1, "{target}");
    }
    for target in [
        "/127.0.0.1/0/",
        "/a/53",
        "",
        "/a/b/53/",
        "/a%2Fb/53/",
        "/a/53/?x=y",
    ] {
        let malformed = (400, "http_request_error".to_owned());
        assert_eq!(bed.refusal(target).await, malformed, "{target}");
    }
    assert_eq!(bed.metrics.tunnels.get(), 0);
}

#[tokio::test]
async fn an_address_of_this_machine_is_prohibited_unless_it_alone_is_named() {
    let own = sys::addresses::local_addresses().unwrap();
    for own in own {
        let IpAddr::V4(own) = own else { continue };
        let around = format!("{}.{}.0.0/16:53", own.octets()[0], own.octets()[1]);
        let path = format!("/{own}/53/");
        let bed = Bed::new(&[&around], ConnectUdp::default());
        assert_eq!(bed.refusal(&path).await.0, 502, "{own}");
        let bed = Bed::new(&[&format!("{own}:53")], ConnectUdp::default());
        let (_writer, request) = request(&path);
        assert_eq!(bed.ask(request).await.unwrap().status(), 200, "{own}");
    }
}

#[tokio::test]
async fn tunnels_over_a_bound_are_refused_until_one_ends() {
    let target = target().await;
    for (bounds, reason) in [
        (
            ConnectUdp {
                tunnels: 1,
                ..ConnectUdp::default()
            },
            "tunnels",
        ),
        (
            ConnectUdp {
                tunnels_per_client: 1,
                ..ConnectUdp::default()
            },
            "tunnels_per_client",
        ),
    ] {
        let bed = Bed::before(&target, bounds);
        let held = bed.tunnel(&target).await;
        let full = (503, "connection_limit_reached".to_owned());
        assert_eq!(bed.refusal(&path_of(&target)).await, full);
        assert_eq!(bed.refused(reason), 1);
        drop(held);
        let _again = bed.tunnel(&target).await;
    }
}

#[tokio::test]
async fn names_beyond_those_being_resolved_are_refused() {
    let bed = Bed::new(&["a.example:53"], ConnectUdp::default());
    let all = u32::try_from(LOOKUPS).unwrap();
    let _held = bed.proxy.lookups.acquire_many(all).await.unwrap();
    assert_eq!(bed.refusal("/a.example/53/").await.0, 503);
    assert_eq!(bed.refused("lookups"), 1);
}

#[tokio::test]
async fn what_is_no_request_for_a_tunnel_of_udp_is_refused() {
    let bed = Bed::new(&["a.example:53"], ConnectUdp::default());
    let (_writer, mut plain) = request("/a.example/53/");
    plain.extensions_mut().remove::<ConnectProtocol>();
    let refused = bed.ask(plain).await.unwrap_err();
    assert!(matches!(refused, RequestError::Malformed(_)), "{refused}");
    let (_writer, mut other) = request("/a.example/53/");
    let websocket = ConnectProtocol::new(b"websocket").unwrap();
    other.extensions_mut().insert(websocket);
    assert_eq!(
        bed.ask(other).await.unwrap_err(),
        RequestError::NotImplemented
    );
    for name in ["content-length", "content-type", "transfer-encoding"] {
        let (_writer, mut content) = request("/a.example/53/");
        content
            .headers_mut()
            .insert(name, HeaderValue::from_static("0"));
        let refused = bed.ask(content).await.unwrap_err();
        assert!(matches!(refused, RequestError::Malformed(_)), "{name}");
    }
}
