//! What routes do to messages, and what they answer themselves.

use http::HeaderName;

use super::*;
use crate::config::{Setting, Sources};
use crate::request::{Account, ConnectProtocol, Traced, trace};

/// The bridge of one route at `/api` with these keys, whose backend is given.
fn route(backend: Option<&Backend>, keys: &[(&str, &str)]) -> Arc<Bridge> {
    let to = backend.map(|backend| format!("http://{}", backend.0.local_addr().unwrap()));
    let set = |name: &str, value: &str| Setting::flag("--set", &format!("route.0.{name}"), value);
    let mut settings: Vec<_> = keys.iter().map(|(name, value)| set(name, value)).collect();
    settings.extend(to.map(|to| set("to", &to)));
    settings.push(set("path", "/api"));
    let sources = Sources {
        settings,
        ..Sources::default()
    };
    let config: Config = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(Bridge::new(&config, &Metrics::default()).unwrap())
}

fn asking(target: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(format!("https://gw.test{target}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// A client for whom a trusted proxy asks.
fn named() -> ClientFacts {
    let mut fields = HeaderMap::new();
    fields.insert(trace::TRACEPARENT, TRACE.parse().unwrap());
    let mut account = Account::default();
    account.origin = Some("2001:db8::7".parse().unwrap());
    account.host = Some("www.example".parse().unwrap());
    let name = HeaderName::from_static("x-request-id");
    account.request_id = Some((name, HeaderValue::from_static("id-1")));
    account.trace = Traced::Passed(trace::trace_id(&fields).unwrap());
    let mut client = client();
    client.account = account.into();
    client
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The head that the backend sees, and the response to `answer`.
async fn passed(
    keys: &[(&str, &str)],
    request: Request<Body>,
    answer: &str,
) -> (String, Response<Body>) {
    let backend = Backend::bind().await;
    let bridge = route(Some(&backend), keys);
    let call = Call::start_as(named(), &bridge, request);
    let mut peer = backend.accept().await;
    let head = peer.hear("\r\n\r\n").await;
    peer.say(answer).await;
    (head, call.answer().await.unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nserver: old\r\nvary: a\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn the_word_of_a_trusted_proxy_reaches_the_backend_in_one_form() {
    let asked = [
        ("x-request-id", "forged"),
        ("x_request_id", "forged"),
        ("traceparent", TRACE),
        ("tracestate", "a=1,a=2"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-port", "1"),
    ];
    let (head, _) = passed(&[], asking("/api", &asked), OK).await;
    for line in [
        "forwarded: for=\"[2001:db8::7]\";host=\"www.example\";proto=https\r\n",
        "x-forwarded-for: 2001:db8::7\r\n",
        "x-forwarded-host: www.example\r\n",
        "x-request-id: id-1\r\n",
        "host: gw.test\r\n",
        TRACE,
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    for gone in ["forged", "6.6.6.6", "tracestate", "x-forwarded-port"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[tokio::test]
async fn fields_are_removed_set_and_added_in_this_order() {
    let keys = [
        ("request_remove", "x-debug,x-env"),
        (
            "request_set",
            "[\"x-env: prod\", \"x-real-ip: {client}\", \"x-who: {request_id} {node} {protocol}\"]",
        ),
        ("request_add", "x-list: {host}{path}"),
        ("response_remove", "server"),
        (
            "response_set",
            "[\"x-frame-options: DENY\", \"x-id: {request_id}\"]",
        ),
        ("response_add", "vary: b"),
    ];
    let asked = [
        ("x-debug", "1"),
        ("x_debug", "1"),
        ("x-env", "forged"),
        ("x_env", "forged"),
        ("x-list", "first"),
        ("x-real-ip", "6.6.6.6"),
        ("connection", "x-env, x-who"),
    ];
    let (head, response) = passed(&keys, asking("/api/a%20b?q=1", &asked), OK).await;
    for line in [
        "\r\nx-env: prod\r\n",
        "\r\nx-real-ip: 2001:db8::7\r\n",
        "\r\nx-who: id-1 0 h3\r\n",
        "\r\nx-list: first\r\nx-list: gw.test/api/a%20b\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(
        !head.contains("debug") && !head.contains("forged"),
        "{head}"
    );
    let fields = response.headers();
    assert!(!fields.contains_key("server"));
    assert_eq!(fields["x-frame-options"], "DENY");
    assert_eq!(fields["x-id"], "id-1");
    let vary: Vec<_> = fields.get_all("vary").iter().collect();
    assert_eq!(vary, ["a", "b"]);
}

#[tokio::test]
async fn a_rewritten_path_stays_one_and_keeps_its_query() {
    for (to, asked, sent) in [
        ("/", "/api", "/"),
        ("/", "/api/", "/"),
        ("/", "/api/x?q=/api", "/x?q=/api"),
        ("/", "/api//evil.example/x", "/evil.example/x"),
        ("/", "/api////", "/"),
        ("/", "/api?q", "/?q"),
        ("/v2", "/api", "/v2"),
        ("/v2", "/api/", "/v2/"),
        ("/v2/", "/api/x//y", "/v2/x//y"),
        ("/v2", "/api//x", "/v2/x"),
        ("/v2", "/api?q=1", "/v2?q=1"),
        ("/v2", "/api/%2e/x", "/v2/%2e/x"),
    ] {
        let keys = [("rewrite_prefix", to), ("rewrite_host", "app.internal:81")];
        let (head, _) = passed(&keys, asking(asked, &[]), OK).await;
        let begin = format!("GET {sent} HTTP/1.1\r\n");
        assert!(head.starts_with(&begin), "{asked} by {to}: {head}");
        assert!(head.contains("\r\nhost: app.internal:81\r\n"), "{head}");
        assert!(
            head.contains("\r\nx-forwarded-host: www.example\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_redirect_takes_path_and_query_and_nobody_elsewhere() {
    for (to, asked, location) in [
        (
            "https://www.example.org{path}{query}",
            "/api/a%0d%0ab?x=1&y=//z",
            "https://www.example.org/api/a%0d%0ab?x=1&y=//z",
        ),
        ("https://{host}:8443{rest}", "/api", "https://gw.test:8443"),
        (
            "/new{rest}{query}",
            "/api//evil.example",
            "/new//evil.example",
        ),
        ("/new{rest}{query}", "/api?", "/new?"),
        (
            "https://www.example.org{rest}",
            "/api//evil.example/..;",
            "https://www.example.org//evil.example/..;",
        ),
    ] {
        let bridge = route(None, &[("redirect", to), ("redirect_status", "302")]);
        let call = Call::start_as(named(), &bridge, asking(asked, &[]));
        let response = call.answer().await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND);
        assert_eq!(response.headers()["location"], location);
        assert_eq!(response.headers()["content-length"], "0");
    }
}

#[tokio::test]
async fn a_fixed_response_is_dressed_and_opens_no_tunnel() {
    let keys = [
        ("respond", "200"),
        ("respond_body", "<p>hello"),
        ("respond_type", "text/html"),
        ("response_set", "cache-control: no-store"),
        ("server_timing", "true"),
    ];
    let bridge = route(None, &keys);
    let mut client = named();
    client.early_data = true;
    client.path.count_change();
    let call = Call::start_as(client, &bridge, asking("/api/x", &[]));
    let response = call.answer().await.unwrap();
    let fields = response.headers();
    assert_eq!(fields["content-type"], "text/html");
    assert_eq!(fields["content-length"], "8");
    assert_eq!(fields["cache-control"], "no-store");
    assert_eq!(
        fields["server-timing"],
        "handshake;desc=early, path-changes;desc=\"1\", node;desc=\"0\""
    );
    let mut tunnel = asking("/api/x", &[]);
    *tunnel.method_mut() = Method::CONNECT;
    tunnel
        .extensions_mut()
        .insert(ConnectProtocol::new(b"websocket").unwrap());
    let refused = Call::start(&bridge, tunnel).answer().await.map(drop);
    assert_eq!(refused, Err(RequestError::NotImplemented));
}

#[tokio::test]
async fn a_request_is_called_by_one_name_in_whatever_spelling() {
    for own in ["x-request-id", "x_request_id"] {
        let backend = Backend::bind().await;
        let bridge = bridge(&backend, UpstreamProtocol::Http1);
        let mut account = Account::default();
        let name = HeaderName::from_bytes(own.as_bytes()).unwrap();
        account.request_id = Some((name, HeaderValue::from_static("id-1")));
        let mut client = client();
        client.account = account.into();
        let asked = [("x-request-id", "forged"), ("x_request_id", "forged")];
        let _call = Call::start_as(client, &bridge, asking("/", &asked));
        let head = backend.accept().await.hear("\r\n\r\n").await;
        assert!(head.contains(&format!("\r\n{own}: id-1\r\n")), "{head}");
        assert!(!head.contains("forged"), "{head}");
    }
}
