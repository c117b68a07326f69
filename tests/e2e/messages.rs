//! Claims about parts of messages between clients over HTTP/3 and backends of both kinds.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{SendResponse, handshake};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::raw::{CONTROL, DATA, Raw, frame, head, trailers};
use crate::reading::{Reading, Rest};
use crate::scripted::Scripted;
use crate::stage::{PATIENCE, Solo};

/// A backend over HTTP/2 that answers as the path says, and tells the trailers that it got.
struct Http2Backend {
    address: SocketAddr,
    trailers: mpsc::UnboundedReceiver<HeaderMap>,
    _tasks: JoinSet<()>,
}

impl Http2Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, trailers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = handshake(stream).await.unwrap();
            let mut answers = JoinSet::new();
            while let Some(Ok((request, respond))) = connection.accept().await {
                answers.spawn(answer(request, respond, seen.clone()));
            }
        });
        Self {
            address,
            trailers,
            _tasks: tasks,
        }
    }

    fn route(&self) -> String {
        format!("[[route]]\nto = [\"h2://{}\"]\n", self.address)
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: mpsc::UnboundedSender<HeaderMap>,
) {
    let (status, length) = match request.uri().path() {
        "/none" => (StatusCode::NO_CONTENT, None),
        "/unchanged" => (StatusCode::NOT_MODIFIED, Some("10")),
        "/head" => (StatusCode::OK, Some("10")),
        _ => (StatusCode::OK, None),
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    if let Some(length) = length {
        let length = HeaderValue::from_static(length);
        response.headers_mut().insert("content-length", length);
    }
    if request.uri().path() != "/trailers" {
        respond.send_response(response, true).unwrap();
        return;
    }
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    seen.send(body.trailers().await.unwrap().unwrap_or_default())
        .unwrap();
    let mut hint = Response::new(());
    *hint.status_mut() = StatusCode::EARLY_HINTS;
    respond.send_informational(hint).unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data("answer".into(), false).unwrap();
    stream.send_trailers(last("down")).unwrap();
}

fn last(value: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-last", HeaderValue::from_static(value));
    trailers
}

async fn raw(solo: &Solo) -> Raw {
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    raw
}

/// Sends a request with trailers, of which `content-type` means nothing there. To HTTP/1.1, hyper writes those
/// that a field announced.
async fn send_with_trailers(raw: &Raw) -> Reading {
    let request = [
        head(
            "POST",
            "/trailers",
            &[("te", "trailers"), ("trailer", "x-last")],
        ),
        frame(DATA, b"content"),
        trailers(&[("x-last", "up"), ("content-type", "text/plain")]),
    ];
    Reading::new(raw.send(&request.concat()).await)
}

#[tokio::test]
async fn trailers_of_a_response_go_to_clients_that_want_them_and_end_it_for_all() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    let mut line = None;
    for (wants, trailers) in [
        (&[][..], vec![]),
        (&[("te", "trailers")], vec![last("down")]),
    ] {
        let mut reading = Reading::new(raw.send(&head("GET", "/", wants)).await);
        let line = match &mut line {
            Some(line) => line,
            none => none.insert(backend.accept().await),
        };
        line.hear("\r\n\r\n").await;
        line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nanswer\r\n")
            .await;
        assert_eq!(reading.head().await.0, 200);
        line.say("0\r\nx-last: down\r\n\r\n").await;
        let content = b"answer".to_vec();
        assert_eq!(reading.rest().await, Rest { content, trailers });
    }
    assert_eq!(solo.node.failed("client_gone"), 0);
}

/// What the client gets from either backend.
async fn expect_trailers(mut reading: Reading) {
    assert_eq!(reading.head().await.0, 200);
    let rest = Rest {
        content: b"answer".to_vec(),
        trailers: vec![last("down")],
    };
    assert_eq!(reading.rest().await, rest);
}

#[tokio::test]
async fn trailers_pass_both_ways_between_http3_and_http1() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    let reading = send_with_trailers(&raw).await;
    let mut line = backend.accept().await;
    let seen = line.hear("\r\n\r\n").await;
    assert!(seen.contains("\r\nte: trailers\r\n"), "{seen}");
    assert!(
        seen.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{seen}"
    );
    let content = line.hear("\r\n\r\n").await;
    assert_eq!(content, "7\r\ncontent\r\n0\r\nx-last: up\r\n\r\n");
    line.say(
        "HTTP/1.1 200 OK\r\ntrailer: x-last\r\ntransfer-encoding: chunked\r\n\r\n\
         6\r\nanswer\r\n0\r\nx-last: down\r\n\r\n",
    )
    .await;
    expect_trailers(reading).await;
}

#[tokio::test]
async fn trailers_pass_both_ways_between_http3_and_http2() {
    let mut backend = Http2Backend::start().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = raw(&solo).await;
    expect_trailers(send_with_trailers(&raw).await).await;
    let seen = timeout(PATIENCE, backend.trailers.recv()).await.unwrap();
    assert_eq!(seen, Some(last("up")));
}

/// Method, path, what an HTTP/1.1 backend says, and what the client gets: a status and a length.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    u16,
    Option<&'static str>,
);

const WITHOUT_CONTENT: [Case; 3] = [
    (
        "HEAD",
        "/head",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
        200,
        Some("10"),
    ),
    ("GET", "/none", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
    (
        "GET",
        "/unchanged",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
        304,
        Some("10"),
    ),
];

async fn expect_nothing(mut reading: Reading, (.., status, length): Case) {
    let (seen, fields) = reading.head().await;
    assert_eq!(seen, status);
    let seen = fields.get("content-length");
    assert_eq!(seen.map(HeaderValue::as_bytes), length.map(str::as_bytes));
    assert_eq!(reading.rest().await, Rest::default(), "{status}");
}

#[tokio::test]
async fn responses_without_content_keep_their_length_and_end() {
    let (http1, http2) = (Scripted::bind().await, Http2Backend::start().await);
    let before_http1 = Solo::routing(&http1.route()).await;
    let client = raw(&before_http1).await;
    let mut line = None;
    for case in WITHOUT_CONTENT {
        let reading = Reading::new(client.send(&head(case.0, case.1, &[])).await);
        // The connection is kept, or a response would have been taken for one with content.
        let line = match &mut line {
            Some(line) => line,
            none => none.insert(http1.accept().await),
        };
        let seen = line.hear("\r\n\r\n").await;
        assert!(
            seen.starts_with(&format!("{} {} ", case.0, case.1)),
            "{seen}"
        );
        line.say(case.2).await;
        expect_nothing(reading, case).await;
    }

    let before_http2 = Solo::routing(&http2.route()).await;
    let client = raw(&before_http2).await;
    for case in WITHOUT_CONTENT {
        let reading = Reading::new(client.send(&head(case.0, case.1, &[])).await);
        expect_nothing(reading, case).await;
    }
}

#[tokio::test]
async fn a_length_on_a_response_that_cannot_have_one_is_dropped() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let client = raw(&solo).await;
    let reading = Reading::new(client.send(&head("GET", "/none", &[])).await);
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    let answer = "HTTP/1.1 204 No Content\r\ncontent-length: 10\r\n\r\n";
    line.say(answer).await;
    expect_nothing(reading, ("GET", "/none", answer, 204, None)).await;
}
