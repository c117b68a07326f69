use http::Version;
use http::uri::{PathAndQuery, Uri};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::bridge::Bridge;
use crate::config::{Config, Route, Upstream, UpstreamProtocol};
use crate::request::Protocol::{Http1, Http2, Http3};

type Row = (&'static str, Protocol, u16, Request<Body>);

/// A row of a GET that only its fields make hostile.
fn fields(name: &'static str, protocol: Protocol, fields: &[(&str, &str)]) -> Row {
    let target = if protocol == Http1 {
        "/"
    } else {
        "https://gw.test/"
    };
    let mut request = request("GET", target, fields, Body::empty());
    if protocol == Http1 && name != "no host" {
        request
            .headers_mut()
            .append("host", HeaderValue::from_static("gw.test"));
    }
    (name, protocol, 400, request)
}

fn authority(name: &'static str, authority: &str) -> Row {
    let target = format!("https://{authority}/");
    (
        name,
        Http3,
        400,
        request("GET", &target, &[], Body::empty()),
    )
}

fn path(name: &'static str, path: &str) -> Row {
    let uri = Uri::builder()
        .scheme("https")
        .authority("gw.test")
        .path_and_query(PathAndQuery::try_from(path).unwrap());
    let mut request = get(&[]);
    *request.uri_mut() = uri.build().unwrap();
    (name, Http3, 400, request)
}

fn method(name: &'static str, status: u16, method: &str) -> Row {
    let request = request(method, "https://gw.test/", &[], Body::empty());
    (name, Http3, status, request)
}

fn connection_fields() -> Vec<Row> {
    vec![
        fields("connection in h3", Http3, &[("connection", "close")]),
        fields("connection in h2", Http2, &[("connection", "close")]),
        fields("proxy-connection", Http3, &[("proxy-connection", "close")]),
        fields("keep-alive", Http3, &[("keep-alive", "timeout=1")]),
        fields(
            "transfer-encoding",
            Http3,
            &[("transfer-encoding", "chunked")],
        ),
        fields("upgrade in h3", Http3, &[("upgrade", "websocket")]),
        fields("te not trailers", Http3, &[("te", "gzip")]),
        fields("te listed", Http3, &[("te", "trailers, gzip")]),
        fields("two te", Http2, &[("te", "trailers"), ("te", "gzip")]),
    ]
}

fn lengths() -> Vec<Row> {
    let two_lengths = [("content-length", "0"), ("content-length", "0")];
    vec![
        fields("equal lengths", Http3, &two_lengths),
        fields("equal lengths over http/1.1", Http1, &two_lengths),
        fields(
            "different lengths",
            Http3,
            &[("content-length", "0"), ("content-length", "5")],
        ),
        fields("signed length", Http3, &[("content-length", "+0")]),
        fields("negative length", Http3, &[("content-length", "-1")]),
        fields("listed length", Http3, &[("content-length", "0, 0")]),
        fields("hexadecimal length", Http3, &[("content-length", "0x0")]),
        fields("empty length", Http3, &[("content-length", "")]),
        fields(
            "huge length",
            Http3,
            &[("content-length", "18446744073709551616")],
        ),
        fields(
            "length of an ended request",
            Http3,
            &[("content-length", "5")],
        ),
        fields(
            "length beside chunked",
            Http1,
            &[("content-length", "0"), ("transfer-encoding", "chunked")],
        ),
        fields(
            "coding before chunked",
            Http1,
            &[("transfer-encoding", "gzip, chunked")],
        ),
        fields(
            "unknown coding",
            Http1,
            &[("transfer-encoding", "xchunked")],
        ),
        fields(
            "two codings",
            Http1,
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "identity"),
            ],
        ),
        fields("space before a length", Http3, &[("content-length", " 0")]),
    ]
}

fn hosts_and_spaces() -> Vec<Row> {
    vec![
        fields("other host", Http3, &[("host", "evil.test")]),
        fields("host with a port", Http3, &[("host", "gw.test:443")]),
        fields(
            "two hosts",
            Http3,
            &[("host", "gw.test"), ("host", "gw.test")],
        ),
        fields("two hosts over http/1.1", Http1, &[("host", "gw.test")]),
        fields("no host", Http1, &[]),
        fields("space before a value", Http3, &[("x", " a")]),
        fields("space behind a value", Http3, &[("x", "a ")]),
        fields("tab behind a value", Http2, &[("x", "a\t")]),
    ]
}

fn authorities() -> Vec<Row> {
    vec![
        authority("userinfo", "user@gw.test"),
        authority("userinfo with a password", "user:password@gw.test"),
        authority("port too large", "gw.test:65536"),
        authority("port zero", "gw.test:0"),
        authority("listed authority", "gw.test,evil.test"),
    ]
}

fn paths() -> Vec<Row> {
    vec![
        path("asterisk for GET", "*"),
        path("dot segments", "/a/../admin"),
        path("dot segment at the end", "/a/.."),
        path("escaped dot segments", "/a/%2e%2E/admin"),
        path("dot segments behind escaped slashes", "/a%2f..%2fadmin"),
        path("backslash", "/a\\..\\admin"),
        path("escaped NUL", "/a%00"),
        path("letters beyond ASCII", "/\u{e9}"),
        path("letters beyond ASCII in the query", "/?\u{e9}"),
    ]
}

fn methods() -> Vec<Row> {
    vec![
        method("lower-case get", 400, "get"),
        method("mixed-case Post", 400, "Post"),
        method("lower-case connect", 400, "connect"),
        method("reserved PRI", 400, "PRI"),
        method("TRACE", 501, "TRACE"),
        (
            "CONNECT",
            Http3,
            501,
            request("CONNECT", "gw.test:443", &[], Body::empty()),
        ),
        (
            "OPTIONS of the gateway itself",
            Http1,
            501,
            request("OPTIONS", "*", &[("host", "gw.test")], Body::empty()),
        ),
        (
            "upgrade",
            Http1,
            501,
            request(
                "GET",
                "/",
                &[("host", "gw.test"), ("upgrade", "h2c")],
                Body::empty(),
            ),
        ),
        (
            "unknown expectation",
            Http3,
            417,
            get(&[("expect", "200-ok")]),
        ),
    ]
}

fn http1_targets() -> Vec<Row> {
    let http1 = |name, version, target, fields: &[_]| {
        let mut request = request("GET", target, fields, Body::empty());
        *request.version_mut() = version;
        (name, Http1, 400, request)
    };
    let chunked = [("host", "gw.test"), ("transfer-encoding", "chunked")];
    vec![
        http1(
            "other host in an absolute target",
            Version::HTTP_11,
            "https://evil.test/",
            &[("host", "gw.test")],
        ),
        http1(
            "cleartext scheme",
            Version::HTTP_11,
            "http://gw.test/",
            &[("host", "gw.test")],
        ),
        http1(
            "target without a path",
            Version::HTTP_11,
            "gw.test:443",
            &[("host", "gw.test:443")],
        ),
        http1("chunked in HTTP/1.0", Version::HTTP_10, "/", &chunked),
        http1("empty host", Version::HTTP_11, "/", &[("host", "")]),
        http1(
            "host with a path",
            Version::HTTP_11,
            "/",
            &[("host", "gw.test/x")],
        ),
        http1(
            "host with a space",
            Version::HTTP_11,
            "/",
            &[("host", "gw.test evil.test")],
        ),
        http1(
            "host with an empty port",
            Version::HTTP_11,
            "/",
            &[("host", "gw.test:")],
        ),
    ]
}

fn rows() -> impl Iterator<Item = Row> {
    [
        connection_fields(),
        lengths(),
        hosts_and_spaces(),
        authorities(),
        paths(),
        methods(),
        http1_targets(),
    ]
    .into_iter()
    .flatten()
}

#[tokio::test]
async fn hostile_requests_are_refused_before_a_backend_hears_of_them() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = Route::new(vec![Upstream {
            protocol,
            authority: backend.local_addr().unwrap().to_string(),
        }]);
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        let config = Config {
            route: vec![route],
            ..Config::default()
        };
        let bridge = Bridge::new(&config, &Metrics::default()).unwrap();
        let policy = Policy {
            handler: SharedHandler::new(bridge),
            rules: Rules::new(&limits, &timeouts, None),
            provenance: Provenance::new(&Forwarded::default(), &Trace::default()),
            access: AccessLog::Off,
        };
        let service = Service::new(policy, Metrics::default());
        for (name, protocol, status, request) in rows() {
            let respond = respond_over(&service, request, protocol);
            let limit = Duration::from_secs(5);
            let response = tokio::time::timeout(limit, respond).await.expect(name);
            assert_eq!(response.status(), status, "{name}");
        }
        // The next request is the first that the backend hears of.
        let fine = service.respond(get(&[]), client(Http3));
        let mut heard = [0; 3];
        let hear = async {
            let (mut stream, _) = backend.accept().await.unwrap();
            stream.read_exact(&mut heard).await.unwrap();
        };
        tokio::select! {
            reply = fine => panic!("{reply:?}"),
            () = hear => (),
        }
        assert!([*b"GET", *b"PRI"].contains(&heard));
        let none = tokio::time::timeout(Duration::from_millis(20), backend.accept());
        assert!(none.await.is_err(), "one connection");
    }
}

#[tokio::test]
async fn odd_but_legal_requests_pass() {
    let service = service(&Limits::default(), async |request| {
        assert_eq!(request.uri().scheme_str(), Some("https"));
        assert!(request.uri().authority().is_some());
        Ok(Response::new(Body::empty()))
    });
    let plain = |fields: &[_]| get(fields);
    let target = |target| request("GET", target, &[], Body::empty());
    let http1 = |target, fields: &[_]| request("GET", target, fields, Body::empty());
    for (protocol, request) in [
        (Http3, plain(&[("te", "trailers")])),
        (Http3, plain(&[("host", "GW.test")])),
        (Http3, plain(&[("content-length", "0")])),
        (Http3, plain(&[("x", ""), ("x", "a\tb"), ("y", "\u{e9}")])),
        (Http2, plain(&[("cookie", "a=1"), ("cookie", "b=2")])),
        (Http3, plain(&[("expect", "100-Continue")])),
        (
            Http3,
            request("BREW", "https://gw.test/pot", &[], Body::empty()),
        ),
        (Http3, target("https://[2001:db8::1]:8443/a?b=\\|{}")),
        (
            Http3,
            target("https://gw.test//a/..b/.well-known/%2f?../.."),
        ),
        (
            Http2,
            request("GET", "/", &[("host", "gw.test")], Body::empty()),
        ),
        (
            Http1,
            http1(
                "/",
                &[
                    ("host", "gw.test:443"),
                    ("connection", "keep-alive, te"),
                    ("te", "gzip"),
                ],
            ),
        ),
        (Http1, http1("https://gw.test/", &[("host", "gw.test")])),
        (
            Http1,
            http1(
                "/",
                &[("host", "gw.test"), ("transfer-encoding", "Chunked")],
            ),
        ),
    ] {
        let named = format!("{request:?}");
        let response = respond_over(&service, request, protocol).await;
        assert_eq!(response.status(), StatusCode::OK, "{named}");
    }
}
