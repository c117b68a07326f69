//! Claims about what is said ahead of a response: informational responses, and what clients expect.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wayhold::client::{Patience, TcpClient, Trust, tls_config};
use wayhold::request::{Body, ClientFacts, Handler, Informational, NotInformed, RequestError};
use wayhold::telemetry::Informed;

use crate::raw::{CONTROL, DATA, Raw, frame, head};
use crate::reading::{Reading, Rest};
use crate::scripted::{Line, Scripted};
use crate::stage::{Solo, until};
use crate::transfer::get;

const H3_NO_ERROR: u64 = 0x100;

/// Says things ahead of its responses, and reads what it is sent, as the path says.
#[derive(Clone, Debug)]
struct Informer {
    /// A permit lets a response to `/hints` go.
    gate: Arc<Semaphore>,
    last: Arc<Mutex<Informational>>,
}

impl Informer {
    fn new() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            last: Arc::default(),
        }
    }
}

impl Handler for Informer {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        *self.last.lock().unwrap() = client.informational.clone();
        let hint = || client.informational.send(StatusCode::EARLY_HINTS, link());
        match request.uri().path() {
            "/hints" => {
                hint().unwrap();
                hint().unwrap();
                self.gate.acquire().await.unwrap().forget();
            }
            "/many" => {
                let sent: Vec<_> = (0..20).map(|_| hint().is_ok()).collect();
                assert_eq!(sent.iter().filter(|sent| **sent).count(), 16);
            }
            "/read" => {
                let content = request.into_body().collect().await?.to_bytes();
                return Ok(Response::new(Body::full(content)));
            }
            "/hint" => assert_eq!(hint(), Err(NotInformed::Unsupported)),
            _ => {}
        }
        Ok(Response::new(Body::full("done")))
    }
}

fn link() -> HeaderMap {
    let value = HeaderValue::from_static("</style.css>; rel=preload; as=style");
    HeaderMap::from_iter([
        (http::header::LINK, value),
        (http::header::CONNECTION, HeaderValue::from_static("close")),
    ])
}

fn informed(solo: &Solo, outcome: Informed) -> u64 {
    let informational = &solo.node.metrics.informational;
    informational.get_or_create(&outcome).get()
}

async fn raw(solo: &Solo) -> Raw {
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    raw
}

fn done() -> Rest {
    Rest {
        content: b"done".to_vec(),
        trailers: vec![],
    }
}

#[tokio::test]
async fn what_a_handler_says_ahead_comes_before_its_response_is_there() {
    let informer = Informer::new();
    let solo = Solo::start("", informer.clone()).await;
    let raw = raw(&solo).await;
    let mut reading = Reading::new(raw.send(&head("GET", "/hints", &[])).await);
    let mut hint = link();
    hint.remove("connection");
    assert_eq!(reading.head().await, (103, hint.clone()));
    assert_eq!(reading.head().await, (103, hint));
    informer.gate.add_permits(1);
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
    assert_eq!(informed(&solo, Informed::SENT), 2);

    let late = informer.last.lock().unwrap().clone();
    let late = late.send(StatusCode::EARLY_HINTS, link());
    assert_eq!(late, Err(NotInformed::Late));
    assert_eq!(informed(&solo, Informed::LATE), 1);
}

#[tokio::test]
async fn what_a_handler_says_beyond_its_bound_is_dropped_and_the_response_comes() {
    let solo = Solo::start("", Informer::new()).await;
    let raw = raw(&solo).await;
    let mut reading = Reading::new(raw.send(&head("GET", "/many", &[])).await);
    for _ in 0..16 {
        assert_eq!(reading.head().await.0, 103);
    }
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
    assert_eq!(informed(&solo, Informed::SENT), 16);
    assert_eq!(informed(&solo, Informed::EXCESS), 4);
}

#[tokio::test]
async fn over_tcp_a_handler_learns_that_it_cannot_say_anything_ahead() {
    let solo = Solo::start("", Informer::new()).await;
    let trust = Trust::File(solo.directory.file("tls.pem"));
    let tls = tls_config(&trust).unwrap();
    let target = crate::stage::target(solo.node.address);
    let http2 = TcpClient::connect(&target, &tls, Patience::default())
        .await
        .unwrap();
    let response = http2.send(get("/hint")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let mut http1 = http1(&solo).await;
    http1
        .say("GET /hint HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let response = http1.hear("done").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert_eq!(informed(&solo, Informed::UNSUPPORTED), 2);
}

#[tokio::test]
async fn what_a_backend_says_ahead_reaches_the_client_before_its_response_is_there() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    let mut reading = Reading::new(raw.send(&head("GET", "/", &[])).await);
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    line.say(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\
         connection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nalt-svc: h2=\":1\"\r\n\r\n",
    )
    .await;
    let (status, fields) = reading.head().await;
    assert_eq!((status, fields.len()), (103, 1), "{fields:?}");
    assert_eq!(fields["link"], "</a>");
    line.say("HTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n")
        .await;
    assert_eq!(reading.head().await.1["link"], "</b>");
    // The last one comes in one piece with the response.
    line.say(
        "HTTP/1.1 199 Whatever\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\nlink: </c>\r\n\r\ndone",
    )
    .await;
    assert_eq!(reading.head().await, (199, HeaderMap::new()));
    let (status, fields) = reading.head().await;
    assert_eq!(
        (status, &fields["link"]),
        (200, &HeaderValue::from_static("</c>"))
    );
    assert_eq!(reading.rest().await, done());
    assert_eq!(informed(&solo, Informed::SENT), 3);
}

#[tokio::test]
async fn a_backend_that_says_too_much_ahead_is_passed_on_within_bounds() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    let mut reading = Reading::new(raw.send(&head("GET", "/", &[])).await);
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    let large = format!("HTTP/1.1 103 x\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    line.say(&large).await;
    for _ in 0..1000 {
        line.say("HTTP/1.1 102 Processing\r\n\r\n").await;
    }
    line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;
    for _ in 0..16 {
        assert_eq!(reading.head().await.0, 102);
    }
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
    assert_eq!(informed(&solo, Informed::EXCESS), 985);
}

#[tokio::test]
async fn a_client_that_expects_a_word_gets_it_when_its_content_is_wanted() {
    let solo = Solo::start("", Informer::new()).await;
    let raw = raw(&solo).await;
    let (mut send, receive) = raw.begin(&post("/read")).await;
    let mut reading = Reading::new(receive);
    assert_eq!(reading.head().await, (100, HeaderMap::new()));
    send.write_all(&frame(DATA, b"done")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
}

#[tokio::test]
async fn a_client_whose_content_nobody_wants_is_answered_without_it() {
    let solo = Solo::start("", Informer::new()).await;
    let raw = raw(&solo).await;
    let (send, receive) = raw.begin(&post("/")).await;
    let mut reading = Reading::new(receive);
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
    let stopped = send.stopped().await.unwrap().unwrap();
    assert_eq!(stopped.into_inner(), H3_NO_ERROR);
}

#[tokio::test]
async fn a_request_that_no_backend_gets_is_answered_without_its_content() {
    let backend = Scripted::bind().await;
    let route = backend
        .route()
        .replace("[[route]]", "[[route]]\npath = \"/here\"");
    let solo = Solo::routing(&route).await;
    let raw = raw(&solo).await;
    let (_send, receive) = raw.begin(&post("/elsewhere")).await;
    assert_eq!(Reading::new(receive).head().await.0, 404);
}

#[tokio::test]
async fn an_expectation_is_met_by_the_gateway_and_not_sent_to_the_backend() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    let (mut send, receive) = raw.begin(&post("/")).await;
    let mut reading = Reading::new(receive);
    let mut line = backend.accept().await;
    let seen = line.hear("\r\n\r\n").await;
    assert!(!seen.contains("expect"), "{seen}");
    assert_eq!(reading.head().await.0, 100);
    send.write_all(&frame(DATA, b"content")).await.unwrap();
    send.finish().unwrap();
    line.hear("content").await;
    line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;
    assert_eq!(reading.head().await.0, 200);
    assert_eq!(reading.rest().await, done());
}

#[tokio::test]
async fn over_http1_a_client_gets_its_word_or_its_answer() {
    let solo = Solo::start("", Informer::new()).await;
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
             content-length: 4\r\n\r\n"
        )
    };
    let mut wanted = http1(&solo).await;
    wanted.say(&request("/read")).await;
    let word = wanted.hear("\r\n\r\n").await;
    assert_eq!(word, "HTTP/1.1 100 Continue\r\n\r\n");
    wanted.say("done").await;
    let response = wanted.hear("done").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");

    let mut unwanted = http1(&solo).await;
    unwanted.say(&request("/")).await;
    let response = unwanted.hear("done").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

#[tokio::test]
async fn what_a_client_gives_up_ahead_of_its_response_ends_the_handler() {
    let informer = Informer::new();
    let solo = Solo::start("", informer.clone()).await;
    let raw = raw(&solo).await;
    let mut response = raw.send(&head("GET", "/hints", &[])).await;
    response.read_chunk(1000, true).await.unwrap().unwrap();
    response.stop(0x10c_u32.into()).unwrap();
    until(|| solo.node.failed("client_gone") == 1).await;
    let late = informer.last.lock().unwrap().clone();
    let late = late.send(StatusCode::EARLY_HINTS, link());
    assert_eq!(late, Err(NotInformed::Late));
}

/// The head of a request whose client waits before it sends its content.
fn post(path: &str) -> Vec<u8> {
    head("POST", path, &[("expect", "100-continue")])
}

async fn http1(solo: &Solo) -> Line<TlsStream<TcpStream>> {
    let trust = Trust::File(solo.directory.file("tls.pem"));
    let mut tls = Arc::unwrap_or_clone(tls_config(&trust).unwrap());
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(solo.node.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(tls)).connect(name, stream);
    Line::new(connecting.await.unwrap())
}
