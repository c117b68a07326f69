use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tracing::field::{Field, Visit};

use super::*;
use crate::request::{AnsweredBy, Handler, Protocol};
use crate::telemetry::{Answered, Reason};

mod hostile;
mod streams;
mod tunnel;

/// Answers with whatever the closure makes of the request.
struct Answers<F>(F);

impl<F, R> Handler for Answers<F>
where
    F: Fn(Request<Body>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, RequestError>> + Send,
{
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        (self.0)(request).await
    }
}

/// A body of these pieces; `None` is a pause without end.
struct Script(VecDeque<Option<Piece>>);

type Piece = Result<Frame<Bytes>, BodyError>;

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Some(piece)) => Poll::Ready(Some(piece)),
            Some(None) => {
                self.0.push_front(None);
                Poll::Pending
            }
        }
    }
}

fn script(pieces: impl IntoIterator<Item = Option<Piece>>) -> Body {
    Body::new(Script(pieces.into_iter().collect()))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of a table of pieces")]
fn data(text: &'static str) -> Option<Piece> {
    Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of a table of pieces")]
fn trailer(name: &'static str) -> Option<Piece> {
    let mut map = HeaderMap::new();
    map.insert(name, HeaderValue::from_static("1"));
    Some(Ok(Frame::trailers(map)))
}

const PAUSE: Option<Piece> = None;

fn service<F, R>(limits: &Limits, answer: F) -> Service
where
    F: Fn(Request<Body>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, RequestError>> + Send,
{
    let alt_svc = HeaderValue::from_static("h3=\":443\"");
    let policy = Policy {
        handler: SharedHandler::new(Answers(answer)),
        rules: Rules::new(limits, &Timeouts::default(), Some(alt_svc)),
        access: AccessLog::On,
    };
    Service::new(policy, Metrics::default())
}

/// A service whose handler reads the whole request and answers with its length.
fn reader(limits: &Limits) -> Service {
    service(limits, async |request| {
        let body = request.into_body().collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let mut response = Response::new(Body::full(body.to_bytes()));
        *response.headers_mut() = trailers;
        Ok(response)
    })
}

fn client(protocol: Protocol) -> ClientFacts {
    let address = "192.0.2.7:5000".parse().unwrap();
    ClientFacts {
        protocol,
        ..ClientFacts::new(Arc::default(), address, address)
    }
}

fn request(method: &str, target: &str, fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for &(name, value) in fields {
        request = request.header(name, value);
    }
    request.body(body).expect(target)
}

fn get(fields: &[(&str, &str)]) -> Request<Body> {
    request("GET", "https://gw.test/", fields, Body::empty())
}

async fn respond(service: &Service, request: Request<Body>) -> Response<Body> {
    respond_over(service, request, Protocol::Http3).await
}

async fn respond_over(
    service: &Service,
    request: Request<Body>,
    protocol: Protocol,
) -> Response<Body> {
    match service.respond(request, client(protocol)).await {
        Reply::Response(response, _) => response,
        Reply::Reset(code) => panic!("reset {code:?}"),
    }
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn failures(service: &Service, reason: &'static str) -> u64 {
    let failed = &service.telemetry.metrics.requests_failed;
    failed.get_or_create(&Reason { reason }).get()
}

#[tokio::test]
async fn section_limits_hold_at_their_edge() {
    let limits = Limits {
        header_fields: 3,
        header_bytes: 400,
        ..Limits::default()
    };
    let service = reader(&limits);
    let status = async |fields: &[_]| respond(&service, get(fields)).await.status();
    assert_eq!(
        status(&[("a", ""), ("b", ""), ("c", "")]).await,
        StatusCode::OK
    );
    assert_eq!(
        status(&[("a", ""), ("a", ""), ("a", ""), ("a", "")]).await,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    // Pseudo-fields: 4 x 32, their names 7 + 7 + 10 + 5, their values 3 + 5 + 7 + 1.
    let room = 400 - (4 * 32 + 29 + 16) - (1 + 32);
    let (fits, longer) = ("v".repeat(room), "v".repeat(room + 1));
    assert_eq!(status(&[("a", &fits)]).await, StatusCode::OK);
    assert_eq!(
        status(&[("a", &longer)]).await,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
}

#[tokio::test(start_paused = true)]
async fn request_bodies_are_held_to_length_limit_and_pace() {
    let limits = Limits {
        body_bytes: 5,
        ..Limits::default()
    };
    let service = reader(&limits);
    let rows: Vec<(&str, Option<&str>, Vec<_>, u16)> = vec![
        ("whole", Some("3"), vec![data("abc")], 200),
        (
            "in pieces",
            Some("3"),
            vec![data("a"), data(""), data("bc")],
            200,
        ),
        ("nothing declared", None, vec![data("abc")], 200),
        (
            "with trailers",
            Some("3"),
            vec![data("abc"), trailer("x-sum")],
            200,
        ),
        ("short", Some("3"), vec![data("ab")], 400),
        ("nothing", Some("3"), vec![], 400),
        (
            "short before trailers",
            Some("3"),
            vec![data("ab"), trailer("x-sum")],
            400,
        ),
        ("long", Some("3"), vec![data("abc"), data("d")], 400),
        ("not empty", Some("0"), vec![data("a")], 400),
        ("at the limit", None, vec![data("abc"), data("de")], 200),
        ("over the limit", None, vec![data("abc"), data("def")], 413),
        ("declared over the limit", Some("6"), vec![PAUSE], 413),
        ("stalled", Some("3"), vec![data("a"), PAUSE], 408),
        (
            "broken framing",
            None,
            vec![data("a"), Some(Err(BodyError::Malformed))],
            400,
        ),
        (
            "length in trailers",
            None,
            vec![trailer("content-length")],
            400,
        ),
        (
            "coding in trailers",
            None,
            vec![trailer("transfer-encoding")],
            400,
        ),
        ("host in trailers", None, vec![trailer("host")], 400),
    ];
    for (name, declared, pieces, status) in rows {
        let mut request = request("POST", "https://gw.test/", &[], script(pieces));
        if let Some(declared) = declared {
            let value = HeaderValue::from_static(declared);
            request.headers_mut().insert("content-length", value);
        }
        let response = respond(&service, request).await;
        assert_eq!(response.status(), status, "{name}");
    }
}

#[tokio::test]
async fn misplaced_trailers_are_dropped() {
    let body = script([trailer("authorization")]);
    let service = reader(&Limits::default());
    let response = respond(&service, request("POST", "https://gw.test/", &[], body)).await;
    assert!(!response.headers().contains_key("authorization"));
}

#[tokio::test]
async fn a_client_that_breaks_off_gets_a_reset() {
    let body = script([data("a"), Some(Err(BodyError::ClientGone))]);
    let service = reader(&Limits::default());
    let request = request("POST", "https://gw.test/", &[], body);
    let reply = service.respond(request, client(Protocol::Http3)).await;
    assert!(
        matches!(reply, Reply::Reset(ResetCode::Cancelled)),
        "{reply:?}"
    );
    assert_eq!(failures(&service, "client_gone"), 1);
}

/// What is left of this answer of a handler.
async fn answered(method: &Method, response: Response<Body>) -> (Response<Body>, Service) {
    let response = Mutex::new(Some(response));
    let service = service(&Limits::default(), move |_request| {
        let response = response.lock().unwrap().take().unwrap();
        async { Ok(response) }
    });
    let asked = request(method.as_str(), "https://gw.test/", &[], Body::empty());
    (respond(&service, asked).await, service)
}

#[tokio::test]
async fn trailers_end_a_response_whose_transport_asks_no_further() {
    let pieces = || script([data("a"), trailer("x-last"), trailer("x-second")]);
    let service = service(&Limits::default(), move |_request| async move {
        Ok(Response::new(pieces()))
    });
    for (fields, wants) in [(&[][..], false), (&[("te", "trailers")], true)] {
        let mut response = respond(&service, get(fields)).await;
        let body = response.body_mut();
        assert!(next(body).await.unwrap().unwrap().is_data());
        let last = next(body).await.map(|frame| frame.unwrap().is_trailers());
        assert_eq!(last, wants.then_some(true));
        if wants {
            assert!(body.is_end_stream());
            assert!(next(body).await.is_none());
        }
    }
    assert_eq!(failures(&service, "client_gone"), 0);
}

fn declaring(length: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let value = HeaderValue::from_static(length);
    response.headers_mut().insert("content-length", value);
    response
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_whole_never_ends_cleanly() {
    let rows: Vec<(&str, Vec<_>, BodyError)> = vec![
        ("short", vec![data("ab")], BodyError::LengthMismatch),
        (
            "short before trailers",
            vec![data("ab"), trailer("x")],
            BodyError::LengthMismatch,
        ),
        ("long", vec![data("abcd")], BodyError::LengthMismatch),
        ("stalled", vec![data("ab"), PAUSE], BodyError::TimedOut),
        (
            "broken",
            vec![data("ab"), Some(Err(BodyError::UpstreamGone))],
            BodyError::UpstreamGone,
        ),
    ];
    for (name, pieces, error) in rows {
        let response = declaring("3", script(pieces));
        let (response, service) = answered(&Method::GET, response).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let end = response.into_body().collect().await.map(drop);
        assert_eq!(end, Err(error), "{name}");
        let reason = RequestError::Body(error).reason();
        assert_eq!(failures(&service, reason), 1, "{name}");
    }
}

/// A body of single bytes, one each time its timer ends.
struct Slow {
    left: u32,
    pause: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.timer.as_mut().poll(cx));
        self.left -= 1;
        self.timer = Box::pin(tokio::time::sleep(self.pause));
        Poll::Ready(data("x"))
    }
}

/// Reads another body to its end before it ends, empty.
struct Swallow(Body);

impl http_body::Body for Swallow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while let Some(frame) = ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            frame?;
        }
        Poll::Ready(None)
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_keeps_a_silent_response_alive() {
    let early = service(&Limits::default(), async |request| {
        Ok(Response::new(Body::new(Swallow(request.into_body()))))
    });
    let pause = Timeouts::default().body_idle * 2 / 3;
    let body = Body::new(Slow {
        left: 10,
        pause,
        timer: Box::pin(tokio::time::sleep(pause)),
    });
    let response = respond(&early, request("POST", "https://gw.test/", &[], body)).await;
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(failures(&early, "body_timeout"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_held_to_its_rate_until_its_response_begins() {
    let none = Limits {
        body_rate: 0,
        ..Limits::default()
    };
    let trickle = Timeouts::default().body_idle * 2 / 3;
    let steady = Duration::from_secs(1) / Limits::default().body_rate * 9 / 10;
    for (limits, pause, left, status) in [
        (Limits::default(), trickle, 100, StatusCode::REQUEST_TIMEOUT),
        (Limits::default(), steady, 5000, StatusCode::OK),
        (none, trickle, 100, StatusCode::OK),
    ] {
        let service = reader(&limits);
        let body = Body::new(Slow {
            left,
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
        });
        let response = respond(&service, request("POST", "https://gw.test/", &[], body)).await;
        assert_eq!(response.status(), status, "a byte each {pause:?}");
        drop(response);
        let slow = u64::from(status == StatusCode::REQUEST_TIMEOUT);
        assert_eq!(failures(&service, "body_too_slow"), slow);
    }
}

#[tokio::test]
async fn responses_lose_what_must_not_go_out() {
    let mut response = declaring("3", Body::full("abc"));
    for name in [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "x-nominated",
    ] {
        let value = HeaderValue::from_static("x-nominated");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    *response.version_mut() = Version::HTTP_3;
    let (response, _) = answered(&Method::GET, response).await;
    assert_eq!(
        response.version(),
        Version::HTTP_11,
        "hyper panics at any other"
    );
    let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date"]);
}

#[tokio::test]
async fn responses_without_content_get_none() {
    for (method, status, length) in [
        (Method::HEAD, 200, Some("3")),
        (Method::GET, 304, Some("3")),
        (Method::GET, 204, None),
    ] {
        let mut response = declaring("3", Body::full("abc"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let (response, service) = answered(&method, response).await;
        let left = response.headers().get("content-length");
        assert_eq!(
            left.map(|value| value.to_str().unwrap()),
            length,
            "{status}"
        );
        assert!(response.body().is_end_stream(), "{status}");
        drop(response);
        assert_eq!(failures(&service, "client_gone"), 0, "{status}");
    }
}

#[tokio::test]
async fn responses_that_no_client_could_read_are_internal_errors() {
    let mut interim = Response::new(Body::empty());
    *interim.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for response in [interim, declaring("3, 3", Body::full("abc"))] {
        let (response, _) = answered(&Method::GET, response).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn only_responses_over_tcp_tell_of_http3_and_only_hyper_dates_them() {
    let service = reader(&Limits::default());
    for (protocol, alt_svc) in [
        (Protocol::Http1, true),
        (Protocol::Http2, true),
        (Protocol::Http3, false),
    ] {
        let response = respond_over(&service, get(&[]), protocol).await;
        let has = |name| response.headers().contains_key(name);
        assert_eq!(has("alt-svc"), alt_svc, "{protocol}");
        assert_eq!(has("date"), !alt_svc, "{protocol}");
    }
}

#[tokio::test]
async fn a_panic_of_the_handler_fails_one_request_and_is_counted_and_logged() {
    let lines = Lines::default();
    let _default = tracing::subscriber::set_default(lines.clone());
    let calls = service(&Limits::default(), |request| {
        assert_ne!(request.uri().path(), "/call");
        async move {
            assert_ne!(request.uri().path(), "/poll");
            Ok(Response::new(Body::new(Panics)))
        }
    });
    for path in ["/call", "/poll"] {
        let target = format!("https://gw.test{path}");
        let response = respond(&calls, request("GET", &target, &[], Body::empty())).await;
        assert_eq!(
            response.status(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "{path}"
        );
        assert!(next(&mut response.into_body()).await.is_some());
    }
    let body = respond(&calls, get(&[])).await.into_body();
    assert_eq!(body.collect().await.map(drop), Err(BodyError::Internal));
    assert_eq!(calls.telemetry.metrics.panics.get(), 3);
    let lines = lines.0.lock().unwrap();
    let told = |line: &&String| line.contains("a handler panicked");
    assert_eq!(lines.iter().filter(told).count(), 3);
    assert_eq!(failures(&calls, "internal"), 3);
}

struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        panic!("the handler's body")
    }
}

/// Keeps the fields of every access event and every error.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "access" || *metadata.level() == tracing::Level::ERROR
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        use std::fmt::Write as _;
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_leaves_one_record() {
    let lines = Lines::default();
    let _default = tracing::subscriber::set_default(lines.clone());
    let service = service(&Limits::default(), async |request| {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let body = request.into_body().collect().await?.to_bytes();
        let mut response = Response::new(script([Some(Ok(Frame::data(body))), data("more")]));
        let by = AnsweredBy("10.0.0.1:80".into());
        response.extensions_mut().insert(by);
        Ok(response)
    });
    let asked = || request("POST", "https://gw.test/a?secret", &[], Body::full("abc"));
    let take = || std::mem::take(&mut *lines.0.lock().unwrap());

    let client = client(Protocol::Http3);
    client.path.count_change();
    let Reply::Response(response, _) = service.respond(asked(), client).await else {
        panic!("reset");
    };
    assert!(response.extensions().get::<AnsweredBy>().is_none());
    assert!(take().is_empty(), "not before the end");
    tokio::time::advance(Duration::from_millis(3)).await;
    response.into_body().collect().await.unwrap();
    assert_eq!(
        take(),
        [
            "method=\"POST\" host=\"gw.test\" path=\"/a\" protocol=\"h3\" status=200 \
          request_bytes=3 response_bytes=7 client=192.0.2.7:5000 path_changes=1 \
          upstream=\"10.0.0.1:80\" first_byte_us=2000 total_us=5000 "
        ]
    );

    let mut body = respond(&service, asked()).await.into_body();
    next(&mut body).await.unwrap().unwrap();
    drop(body);
    let line = take().remove(0);
    assert!(
        line.contains("response_bytes=3 ") && line.ends_with("failure=\"client_gone\" "),
        "{line}"
    );

    let cancelled = service.respond(asked(), tests::client(Protocol::Http3));
    assert!(
        tokio::time::timeout(Duration::from_millis(1), cancelled)
            .await
            .is_err()
    );
    let line = take().remove(0);
    assert!(
        !line.contains("status") && line.ends_with("failure=\"client_gone\" "),
        "{line}"
    );

    drop(respond(&service, get(&[("te", "gzip")])).await);
    let line = take().remove(0);
    assert!(
        line.contains("status=400 ") && line.ends_with("failure=\"malformed\" "),
        "{line}"
    );
    let answered = |status| Answered {
        protocol: "h3",
        status,
    };
    let requests = &service.telemetry.metrics.requests;
    assert_eq!(requests.get_or_create(&answered("2xx")).get(), 2);
    assert_eq!(requests.get_or_create(&answered("4xx")).get(), 1);
}

#[tokio::test]
async fn a_failed_call_of_grpc_gets_its_status_in_one_header_section() {
    let service = service(&Limits::default(), async |_request| {
        Err(RequestError::NoBackend)
    });
    let fields = [("content-type", "application/grpc"), ("host", "gw.test")];
    let call = || request("POST", "https://gw.test/a.B/C", &fields, Body::empty());
    for protocol in [Protocol::Http2, Protocol::Http3] {
        let response = respond_over(&service, call(), protocol).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(
            response.headers()["proxy-status"],
            "wayhold; error=destination_unavailable"
        );
        assert!(response.body().is_end_stream());
    }
    let response = respond_over(&service, call(), Protocol::Http1).await;
    assert_eq!(response.status(), 503);
    drop(response);
    let failed = &service.telemetry.metrics.requests_failed;
    let reason = Reason {
        reason: "no_backend",
    };
    assert_eq!(failed.get_or_create(&reason).get(), 3);
}
