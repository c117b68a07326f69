//! The edge on loopback sockets, with clients of hyper and with clients that misbehave.

mod early;
mod hostile;
mod limits;
mod origin;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::origin::{Origin, Script, pattern};
use super::*;
use crate::config::{Forwarded, Trace};
use crate::edge::service::{Policy, Provenance, Rules};
use crate::edge::session_keys::SharedSessionKeys;
use crate::edge::tls::testing::{Client, ClientStream, identity_and_client, is_resumed, server};
use crate::edge::tls::{FleetTicketer, Identity};
use crate::fleet::Keyring;
use crate::request::{Body, Protocol, SharedHandler};
use crate::telemetry::{AccessLog, Transport};

/// One edge on a port of its own.
struct Edge {
    address: SocketAddr,
    metrics: Metrics,
    phase: Arc<watch::Sender<Phase>>,
    tasks: JoinSet<usize>,
    origin: Origin,
}

/// What a test changes before the edge starts.
struct Setup {
    identity: Identity,
    limits: Limits,
    timeouts: Timeouts,
    grace: Duration,
    tls: ServerTls,
}

impl Setup {
    fn new(protocols: &[Protocol]) -> (Self, Client) {
        let (identity, client) = identity_and_client(protocols);
        let setup = Self {
            tls: server(&identity, &tickets(1)),
            identity,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            grace: LONG,
        };
        (setup, client)
    }

    async fn start(self) -> Edge {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let origin = Origin::default();
        let rules = Rules::new(&self.limits, &self.timeouts, Some(alt_svc(address.port())));
        let policy = Policy {
            provenance: Provenance::new(&Forwarded::default(), &Trace::default()),
            handler: SharedHandler::new(origin.clone()),
            rules,
            access: AccessLog::Off,
        };
        let service = Service::new(policy, metrics.clone());
        let edge = TcpEdge::new(TcpParts {
            tls: self.tls,
            service: Arc::new(service),
            node: NodeId::new(7).unwrap(),
            limits: self.limits,
            timeouts: self.timeouts,
            metrics: metrics.clone(),
        });
        let phase = Arc::new(watch::Sender::new(Phase::Ready));
        let mut tasks = JoinSet::new();
        let (steering, grace, course) = (Arc::clone(&phase), self.grace, Course::of(&phase));
        tasks.spawn(async move {
            let expire = async {
                course.reached(Phase::Ending).await;
                sleep(grace).await;
                steering.send_replace(Phase::Over);
                std::future::pending().await
            };
            tokio::select! {
                left = edge.serve(listener, Reading::on(), course.clone()) => left,
                left = expire => left,
            }
        });
        Edge {
            address,
            metrics,
            phase,
            tasks,
            origin,
        }
    }
}

impl Edge {
    async fn ended(mut self) {
        soon(self.tasks.join_next()).await.unwrap().unwrap();
    }

    fn refused(&self, reason: &'static str) -> u64 {
        let refused = &self.metrics.connections_refused;
        refused.get_or_create(&Reason { reason }).get()
    }

    fn failed(&self, reason: &'static str) -> u64 {
        let failed = &self.metrics.requests_failed;
        failed.get_or_create(&Reason { reason }).get()
    }

    fn open(&self) -> i64 {
        let connections = &self.metrics.connections;
        connections.get_or_create(&Transport::TCP).get()
    }
}

/// A client's connection that speaks either protocol.
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    async fn connect(client: &Client, address: SocketAddr, tasks: &mut JoinSet<()>) -> Self {
        Self::over(soon(client.connect(address)).await.unwrap(), tasks).await
    }

    async fn over(stream: ClientStream, tasks: &mut JoinSet<()>) -> Self {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        if is_http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            tasks.spawn(async move { drop(driver.await) });
            Self::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(stream).await.unwrap();
            tasks.spawn(async move { drop(driver.await) });
            Self::Http1(sender)
        }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                soon(sender.ready()).await?;
                soon(sender.send_request(request)).await
            }
            Self::Http2(sender) => {
                soon(sender.ready()).await?;
                soon(sender.send_request(request)).await
            }
        }
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.send(request("GET", path, Body::empty())).await
    }

    async fn closed(&mut self) {
        let closed = async {
            loop {
                let open = match self {
                    Self::Http1(sender) => sender.ready().await.is_ok(),
                    Self::Http2(sender) => sender.ready().await.is_ok(),
                };
                if !open {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(closed).await;
    }
}

fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .header("host", "localhost")
        .body(body)
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Fails a test that hangs.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LONG, future).await.expect("it ends in time")
}

/// Waits until a claim about counters holds.
async fn until(claim: impl Fn() -> bool) {
    let holds = async {
        while !claim() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    soon(holds).await;
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(250);
const BOTH: [&[Protocol]; 2] = [&[Protocol::Http2], &[Protocol::Http1]];

#[tokio::test]
async fn requests_are_answered_over_both_protocols() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let response = sender.get("/facts").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let alt_svc = format!("h3=\":{}\"; ma=86400", edge.address.port());
        assert_eq!(response.headers()["alt-svc"], alt_svc);
        let facts = text(response).await;
        let expected = format!("{} 127.0.0.1 {} node 7", protocols[0], edge.address);
        assert_eq!(facts, expected);
        let body = pattern(300_000);
        let upload = request("POST", "/echo", Body::full(body.clone()));
        let response = sender.send(upload).await.unwrap();
        let echoed = soon(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(echoed, body);
        assert_eq!(edge.open(), 1);
    }
}

#[tokio::test]
async fn h2_is_preferred_and_http1_serves_clients_without_alpn() {
    let (setup, both) = Setup::new(&[Protocol::Http1, Protocol::Http2]);
    let without = Client::new(&setup.identity, &[]);
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    for (client, version) in [(both, Version::HTTP_2), (without, Version::HTTP_11)] {
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        assert_eq!(sender.get("/facts").await.unwrap().version(), version);
    }
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let (setup, client) = Setup::new(&[Protocol::Http3]);
    let edge = setup.start().await;
    let error = soon(client.connect(edge.address)).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    until(|| edge.refused("handshake_failed") == 1).await;
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("checksum"),
            HeaderValue::from_static("42"),
        )]);
        let body = Script::new([
            Ok(Frame::data(Bytes::from("body"))),
            Ok(Frame::trailers(trailers.clone())),
        ]);
        let mut request = request("POST", "/echo", Body::new(body));
        let fields = request.headers_mut();
        fields.insert("te", HeaderValue::from_static("trailers"));
        fields.insert("trailer", HeaderValue::from_static("checksum"));
        let response = sender.send(request).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers), "{protocols:?}");
    }
}

/// Tickets under the key of an epoch, which open those of its neighbours too.
fn tickets(epoch: u8) -> FleetTicketer {
    let keys = SharedSessionKeys::new(&Keyring::testing(epoch));
    FleetTicketer::new(keys)
}

#[tokio::test]
async fn a_session_resumes_on_another_node_of_the_fleet() {
    let (identity, client) = identity_and_client(&[Protocol::Http2]);
    let node = |epoch: u8| {
        let (mut setup, _) = Setup::new(&[]);
        setup.tls = server(&identity, &tickets(epoch));
        setup.start()
    };
    let (first, second, stranger) = (node(5).await, node(6).await, node(9).await);
    let mut tasks = JoinSet::new();
    for (edge, resumed) in [(&first, false), (&second, true), (&stranger, false)] {
        let stream = soon(client.connect(edge.address)).await.unwrap();
        assert_eq!(is_resumed(&stream), resumed);
        let mut sender = Sender::over(stream, &mut tasks).await;
        assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_broken_response_is_never_ended_cleanly() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let outcome = match sender.get("/broken").await {
            Ok(response) => soon(response.into_body().collect()).await.map(drop),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        if protocols[0] == Protocol::Http2 {
            assert_eq!(reset_code(&error), Some(h2::Reason::INTERNAL_ERROR));
        }
    }
}

#[tokio::test]
async fn a_reset_is_no_response() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let error = sender.get("/reset").await.unwrap_err();
        if protocols[0] == Protocol::Http2 {
            assert_eq!(reset_code(&error), Some(h2::Reason::CANCEL));
            assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_client_that_cancels_drops_its_request() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        tokio::select! {
            _ = sender.get("/hold") => panic!("the request is held"),
            () = until(|| edge.origin.held() == 1) => {}
        }
        drop(sender);
        until(|| edge.origin.held() == 0).await;
    }
}

#[tokio::test]
async fn shutdown_finishes_running_requests_and_takes_no_new_ones() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut idle = Sender::connect(&client, edge.address, &mut tasks).await;
        assert_eq!(idle.get("/facts").await.unwrap().status(), StatusCode::OK);
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let (origin, phase) = (edge.origin.clone(), Arc::clone(&edge.phase));
        let order = async {
            until(|| origin.held() == 1).await;
            phase.send_replace(Phase::Ending);
            idle.closed().await;
            let refused = async { while TcpStream::connect(edge.address).await.is_ok() {} };
            soon(refused).await;
            origin.release();
        };
        let (response, ()) = tokio::join!(sender.get("/hold"), order);
        assert_eq!(text(response.unwrap()).await, "held");
        sender.closed().await;
        edge.ended().await;
    }
}

#[tokio::test]
async fn shutdown_cuts_what_outlasts_the_grace_period() {
    for protocols in BOTH {
        let (mut setup, client) = Setup::new(protocols);
        setup.grace = SHORT;
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let (origin, phase) = (edge.origin.clone(), Arc::clone(&edge.phase));
        let order = async {
            until(|| origin.held() == 1).await;
            phase.send_replace(Phase::Ending);
        };
        let (response, ()) = tokio::join!(sender.get("/hold"), order);
        response.unwrap_err();
        edge.ended().await;
        until(|| origin.held() == 0).await;
    }
}

#[tokio::test]
async fn a_draining_edge_answers_everybody_once_more_and_tells_them_to_go() {
    for protocols in BOTH {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut before = Sender::connect(&client, edge.address, &mut tasks).await;
        edge.phase.send_replace(Phase::Draining);
        let mut after = Sender::connect(&client, edge.address, &mut tasks).await;
        for sender in [&mut before, &mut after] {
            assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
            sender.closed().await;
        }
        edge.phase.send_replace(Phase::Ready);
        let mut later = Sender::connect(&client, edge.address, &mut tasks).await;
        for _ in 0..2 {
            assert_eq!(later.get("/facts").await.unwrap().status(), StatusCode::OK);
        }
        edge.phase.send_replace(Phase::Ending);
        edge.ended().await;
    }
}

fn reset_code(error: &hyper::Error) -> Option<h2::Reason> {
    std::error::Error::source(error)?
        .downcast_ref::<h2::Error>()?
        .reason()
}
