use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::upstream::Tasks;
use super::*;
use crate::config::{self, Limits, Timeouts, UpstreamProtocol};
use crate::request::{AnsweredBy, BodyError, Handshake};
use crate::telemetry::{PoolLabel, PoolReason};

mod bad;
mod bad_http2;
mod connections;
mod dressing;
mod early;
mod gate;
mod http1;
mod http2;
mod outcome;
mod pools;
mod proxy_protocol;
mod reload;
mod tls;
mod tunnel;

/// A backend on loopback whose connections the test plays byte by byte.
struct Backend(TcpListener);

impl Backend {
    async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn upstream(&self, protocol: UpstreamProtocol) -> config::Upstream {
        config::Upstream {
            protocol,
            authority: self.0.local_addr().unwrap().to_string(),
        }
    }

    async fn accept(&self) -> Peer {
        Peer {
            stream: within(self.0.accept()).await.unwrap().0,
            heard: Vec::new(),
        }
    }
}

/// One connection from the bridge.
struct Peer {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Peer {
    /// Reads up to and including `end`, and returns all of that.
    async fn hear(&mut self, end: &str) -> String {
        loop {
            let found = self
                .heard
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(place) = found {
                let rest = self.heard.split_off(place + end.len());
                let heard = std::mem::replace(&mut self.heard, rest);
                return String::from_utf8(heard).unwrap();
            }
            let read = within(self.stream.read_buf(&mut self.heard)).await.unwrap();
            assert_ne!(
                read,
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&self.heard)
            );
        }
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads to the end of the connection, clean or not.
    async fn hear_end(mut self) -> Vec<u8> {
        let mut rest = self.heard;
        // A reset is an end as well.
        let _reset = within(self.stream.read_to_end(&mut rest)).await;
        rest
    }
}

/// A body that the test sends piece by piece, and that ends when the sender is dropped.
struct Pieces(mpsc::Receiver<Piece>);

type Piece = Result<Frame<Bytes>, BodyError>;

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}

fn pieces() -> (mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Body::new(Pieces(receiver)))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a piece of a body may be an error"
)]
fn data(text: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(name, HeaderValue::from_static(value));
    map
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("in time")
}

fn bridge_to(to: Vec<config::Upstream>, limits: &Limits, timeouts: &Timeouts) -> Arc<Bridge> {
    Arc::new(made(vec![config::Route::new(to)], limits, timeouts).unwrap())
}

fn made(
    route: Vec<config::Route>,
    limits: &Limits,
    timeouts: &Timeouts,
) -> Result<Bridge, BridgeError> {
    let config = Config {
        route,
        limits: limits.clone(),
        timeouts: timeouts.clone(),
        ..Config::default()
    };
    Bridge::new(&config, &Metrics::default())
}

fn bridge(backend: &Backend, protocol: UpstreamProtocol) -> Arc<Bridge> {
    bridge_to(
        vec![backend.upstream(protocol)],
        &Limits::default(),
        &Timeouts::default(),
    )
}

fn request(method: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("https://gw.test/path?query")
        .body(body)
        .unwrap()
}

fn client() -> ClientFacts {
    let address = "192.0.2.7:5000".parse().unwrap();
    ClientFacts::new(Arc::default(), address, address)
}

/// A call that runs by itself; dropping it cancels the call.
struct Call(JoinSet<Result<Response<Body>, RequestError>>);

impl Call {
    fn start(bridge: &Arc<Bridge>, request: Request<Body>) -> Self {
        Self::start_as(client(), bridge, request)
    }

    fn start_as(client: ClientFacts, bridge: &Arc<Bridge>, request: Request<Body>) -> Self {
        let mut tasks = JoinSet::new();
        let bridge = Arc::clone(bridge);
        tasks.spawn(async move { bridge.handle(request, client).await });
        Self(tasks)
    }

    async fn answer(mut self) -> Result<Response<Body>, RequestError> {
        within(self.0.join_next()).await.unwrap().unwrap()
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn ask(bridge: &Bridge, request: Request<Body>) -> Result<Response<Body>, RequestError> {
    within(Box::pin(bridge.handle(request, client()))).await
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    within(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await
}

#[tokio::test]
async fn no_route_is_not_found() {
    let bridge = made(Vec::new(), &Limits::default(), &Timeouts::default()).unwrap();
    let error = ask(&bridge, request("GET", Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error, RequestError::NoRoute);
    assert_eq!(error.status(), StatusCode::NOT_FOUND);
}

#[test]
fn routes_that_cannot_be_served_are_refused() {
    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    let upstream = |authority: &&str| config::Upstream {
        protocol: UpstreamProtocol::Http1,
        authority: (*authority).to_owned(),
    };
    let route = |path: &str, to: &[&str]| config::Route {
        path: path.to_owned(),
        ..config::Route::new(to.iter().map(upstream).collect())
    };
    let made = |routes: &[config::Route]| made(routes.to_vec(), &limits, &timeouts).map(drop);
    assert_eq!(made(&[route("/", &[])]), Err(BridgeError::NoUpstream(0)));
    assert_eq!(
        made(&[route("/a", &["a:1"]), route("/a/", &["b:1"])]),
        Err(BridgeError::Duplicate(1))
    );
    for bad in ["", "a", "a:", "u@a:1", "a:99999"] {
        let error = Err(BridgeError::Authority(bad.to_owned()));
        assert_eq!(made(&[route("/", &[bad])]), error);
    }
}

#[tokio::test]
async fn requests_go_past_a_full_upstream() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let upstreams = vec![
        first.upstream(UpstreamProtocol::Http1),
        second.upstream(UpstreamProtocol::Http1),
    ];
    let limits = Limits {
        upstream_requests: 1,
        ..Limits::default()
    };
    let bridge = bridge_to(upstreams, &limits, &Timeouts::default());
    let begun = async || {
        let call = Call::start(&bridge, request("GET", Body::empty()));
        let mut peer = tokio::select! {
            peer = first.accept() => peer,
            peer = second.accept() => peer,
        };
        peer.hear("\r\n\r\n").await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")
            .await;
        (call.answer().await.unwrap(), peer)
    };
    let (one, mut peer) = begun().await;
    let (two, _second) = begun().await;
    let by = |response: &Response<Body>| response.extensions().get::<AnsweredBy>().cloned();
    assert_ne!(by(&one), by(&two));

    let error = ask(&bridge, request("GET", Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error, RequestError::Overloaded, "both are full");

    peer.say("x").await;
    assert_eq!(text(one).await, "x");
    let call = Call::start(&bridge, request("GET", Body::empty()));
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    let three = call.answer().await.unwrap();
    assert_eq!(
        three.status(),
        StatusCode::NO_CONTENT,
        "the other one is full"
    );
}

/// An upstream whose queue of connections is full, so that the kernel answers no more.
async fn unreachable() -> (Backend, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let backend = Backend(socket.listen(1).unwrap());
    let address = backend.0.local_addr().unwrap();
    let mut queued = Vec::new();
    let limit = Duration::from_millis(100);
    while let Ok(stream) = timeout(limit, TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 16, "the queue never fills");
    }
    (backend, queued)
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_in_time_is_a_gateway_timeout() {
    let (backend, _queued) = unreachable().await;
    let timeouts = Timeouts {
        connect: Duration::from_millis(50),
        ..Timeouts::default()
    };
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let upstreams = vec![backend.upstream(protocol)];
        let bridge = bridge_to(upstreams, &Limits::default(), &timeouts);
        let answer = ask(&bridge, request("GET", Body::empty())).await.map(drop);
        assert_eq!(answer, Err(RequestError::UpstreamConnectTimeout));
    }
}
