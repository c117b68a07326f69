//! Who passes to a route: rates, sizes, and fields that only the gateway writes.

use std::net::SocketAddr;

use super::*;
use crate::config::{ClaimTo, Gate, Jwt, JwtKeys, Rate};
use crate::telemetry::{RateLabel, RouteLabel};

/// So few that none comes back while a test runs.
#[expect(clippy::unnecessary_wraps, reason = "a route may have no rate")]
fn hourly(requests: u32) -> Option<Rate> {
    Some(Rate {
        requests,
        per: Duration::from_hours(1),
    })
}

/// A configuration with one route to a backend, or to nobody.
fn config(backend: Option<&Backend>, change: impl FnOnce(&mut Gate)) -> Config {
    let to = match backend {
        Some(backend) => backend.upstream(UpstreamProtocol::Http1),
        None => "http://127.0.0.1:1".parse().unwrap(),
    };
    let mut route = config::Route::new(vec![to]);
    change(&mut route.gate);
    Config {
        route: vec![route],
        ..Config::default()
    }
}

fn client_at(address: &str) -> ClientFacts {
    let address = SocketAddr::new(address.parse().unwrap(), 5000);
    ClientFacts::new(Arc::default(), address, address)
}

/// Whether a request was refused for its rate, and if so for how long. Others fail at the backend.
async fn limited(bridge: &Bridge, address: &str) -> Option<Duration> {
    match bridge
        .handle(request("GET", Body::empty()), client_at(address))
        .await
    {
        Err(RequestError::RateLimited { after }) => Some(after),
        other => {
            assert_eq!(other.map(drop), Err(RequestError::UpstreamConnect));
            None
        }
    }
}

fn count(metrics: &Metrics, limit: &'static str) -> u64 {
    let route = "*/".to_owned();
    let label = RateLabel { route, limit };
    metrics.gate.rate_limited.get_or_create(&label).get()
}

fn no_retries(config: &mut Config) {
    let mut pool = config::Pool::new("app", std::mem::take(&mut config.route[0].to));
    pool.retry.attempts = 0;
    pool.health.failures = 0;
    pool.failure_gap = 0;
    config.pool = vec![pool];
    config.route[0].pool = Some("app".to_owned());
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_and_others_are_not_held_up() {
    let mut config = config(None, |gate| {
        gate.client_rate = hourly(2);
        gate.client_burst = Some(3);
    });
    no_retries(&mut config);
    let metrics = Metrics::default();
    let bridge = Bridge::new(&config, &metrics).unwrap();
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.255"] {
        assert_eq!(limited(&bridge, address).await, None);
    }
    let after = limited(&bridge, "192.0.2.9").await.unwrap();
    assert!(after > Duration::ZERO && after <= Duration::from_mins(30));
    let error = RequestError::RateLimited { after };
    assert_eq!(error.status().as_u16(), 429);
    let seconds = error.retry_after().unwrap();
    assert!(Duration::from_secs(seconds) >= after && seconds <= 1800);
    assert_eq!(error.proxy_error(), Some("http_request_denied"));
    assert_eq!(limited(&bridge, "192.0.3.1").await, None, "another client");
    assert_eq!(limited(&bridge, "2001:db8::1").await, None);
    assert_eq!(
        (count(&metrics, "client"), count(&metrics, "route")),
        (1, 0)
    );
    let label = RouteLabel {
        route: "*/".to_owned(),
    };
    assert_eq!(metrics.gate.rate_clients.get_or_create(&label).get(), 3);
    drop(bridge);
    assert_eq!(metrics.gate.rate_clients.get_or_create(&label).get(), 0);
}

#[tokio::test]
async fn a_route_beyond_its_rate_refuses_every_client() {
    let mut config = config(None, |gate| gate.rate = hourly(2));
    no_retries(&mut config);
    let metrics = Metrics::default();
    let bridge = Bridge::new(&config, &metrics).unwrap();
    assert_eq!(limited(&bridge, "192.0.2.1").await, None);
    assert_eq!(limited(&bridge, "198.51.100.1").await, None);
    assert!(limited(&bridge, "203.0.113.1").await.is_some());
    assert_eq!(
        (count(&metrics, "client"), count(&metrics, "route")),
        (0, 1)
    );
}

#[tokio::test]
async fn tunnels_of_both_kinds_count_as_requests() {
    let rules = vec!["192.0.2.1:53".parse().unwrap()];
    let mut udp = config::Route::connect_udp(crate::connect_udp::AllowList::new(rules));
    udp.gate.client_rate = hourly(1);
    let mut config = config(None, |gate| gate.client_rate = hourly(1));
    no_retries(&mut config);
    config.route.push(udp);
    let bridge = Bridge::new(&config, &Metrics::default()).unwrap();
    for (path, protocol) in [
        ("/chat", "websocket"),
        ("/.well-known/masque/udp/192.0.2.9/53/", "connect-udp"),
    ] {
        let asked = || {
            let mut request = Request::connect(format!("https://gw.test{path}"))
                .body(Body::empty())
                .unwrap();
            let protocol = crate::request::ConnectProtocol::new(protocol.as_bytes()).unwrap();
            request.extensions_mut().insert(protocol);
            bridge.handle(request, client())
        };
        let first = asked().await.map(drop);
        assert!(
            !matches!(first, Err(RequestError::RateLimited { .. })),
            "{first:?}"
        );
        let second = asked().await.map(drop);
        assert!(
            matches!(second, Err(RequestError::RateLimited { .. })),
            "{second:?}"
        );
    }
}

#[tokio::test]
async fn what_is_spent_stays_spent_over_a_reload_while_the_limit_is_the_same() {
    let mut config = config(None, |gate| {
        gate.client_rate = hourly(1);
        gate.rate = hourly(1000);
    });
    no_retries(&mut config);
    let metrics = Metrics::default();
    let first = Bridge::new(&config, &metrics).unwrap();
    assert_eq!(limited(&first, "192.0.2.1").await, None);
    config.timeouts.first_byte = Duration::from_secs(7);
    config.route.insert(0, {
        let mut other = config.route[0].clone();
        other.path = "/other".to_owned();
        other
    });
    let (second_one, takeover) = first.renewed(&config, &metrics).unwrap();
    takeover.apply();
    drop(first);
    assert!(limited(&second_one, "192.0.2.1").await.is_some());
    config.route[1].gate.client_rate = hourly(2);
    let (third, takeover) = second_one.renewed(&config, &metrics).unwrap();
    takeover.apply();
    assert_eq!(limited(&third, "192.0.2.1").await, None, "another limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_get_just_what_the_limit_allows() {
    let mut config = config(None, |gate| {
        gate.client_rate = hourly(50);
        gate.rate = hourly(120);
    });
    no_retries(&mut config);
    let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let bridge = Arc::clone(&bridge);
        tasks.spawn(async move {
            let address = format!("10.0.{}.1", task % 4);
            let mut passed = 0;
            for _ in 0..50 {
                passed += usize::from(limited(&bridge, &address).await.is_none());
            }
            passed
        });
    }
    let passed: usize = within(tasks.join_all()).await.into_iter().sum();
    assert_eq!(passed, 120, "of 4 clients with 50 each");
}

#[tokio::test]
async fn a_response_known_to_be_too_large_is_a_bad_gateway_and_an_unknown_one_breaks_off() {
    let backend = Backend::bind().await;
    let config = config(Some(&backend), |gate| gate.response_bytes = 10);
    let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n")
        .await;
    let error = call.answer().await.unwrap_err();
    assert_eq!(error, RequestError::ResponseTooLarge);
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(error.proxy_error(), Some("http_response_body_size"));
    assert_eq!(peer.hear_end().await, b"", "the backend is told");

    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n")
        .await;
    let mut body = call.answer().await.unwrap().into_body();
    let first = next(&mut body).await.unwrap().unwrap();
    assert_eq!(first.data_ref().unwrap(), "0123456789");
    peer.say("1\r\nx\r\n").await;
    assert_eq!(
        next(&mut body).await.unwrap().map(drop),
        Err(BodyError::ResponseTooLarge)
    );
    assert!(next(&mut body).await.is_none());
    assert_eq!(peer.hear_end().await, b"");
}

#[tokio::test]
async fn a_response_without_content_may_tell_of_more_than_the_limit() {
    let backend = Backend::bind().await;
    let config = config(Some(&backend), |gate| gate.response_bytes = 10);
    let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
    for (method, status) in [
        ("HEAD", "200 OK"),
        ("GET", "304 Not Modified"),
        ("GET", "200 OK"),
    ] {
        let length = if (method, status) == ("GET", "200 OK") {
            10
        } else {
            11
        };
        let call = Call::start(&bridge, request(method, Body::empty()));
        let mut peer = backend.accept().await;
        peer.hear("\r\n\r\n").await;
        let body = if length == 10 { "0123456789" } else { "" };
        peer.say(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
        let response = call.answer().await.unwrap();
        assert_eq!(text(response).await, body);
    }
}

#[tokio::test]
async fn what_only_the_gateway_says_no_client_says_on_any_route() {
    let backend = Backend::bind().await;
    let mut config = config(Some(&backend), |_| {});
    let directory = tempfile::tempdir().unwrap();
    let jwks = directory.path().join("jwks.json");
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    std::fs::write(&jwks, key).unwrap();
    let keys = JwtKeys {
        file: Some(jwks),
        ..JwtKeys::default()
    };
    let mut jwt = Jwt::new("login", "https://login.test/", keys);
    jwt.algorithms = vec![config::JwtAlgorithm::EdDsa];
    jwt.claims_to = vec![ClaimTo {
        claim: "sub".to_owned(),
        field: "x-the-user".to_owned(),
    }];
    config.jwt = vec![jwt];
    let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
    let (sender, body) = pieces();
    let mut request = request("POST", body);
    for name in ["x-the-user", "X_The-User", "x_the_user", "x-the-users"] {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_static("root"));
    }
    request
        .headers_mut()
        .append("te", HeaderValue::from_static("trailers"));
    request
        .headers_mut()
        .append("trailer", HeaderValue::from_static("x-the-user, x-sum"));
    let call = Call::start(&bridge, request);
    let mut peer = backend.accept().await;
    let head = peer.hear("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("x-the-users: root"));
    assert!(
        !head.contains("x-the-user:") && !head.contains('_'),
        "{head}"
    );
    sender.send(data("a")).await.unwrap();
    let mut trailing = trailers("x-the-user", "root");
    trailing.insert("x-sum", HeaderValue::from_static("1"));
    sender.send(Ok(Frame::trailers(trailing))).await.unwrap();
    drop(sender);
    let rest = peer.hear("0\r\n").await + &peer.hear("\r\n\r\n").await;
    assert!(
        rest.contains("x-sum: 1") && !rest.contains("x-the-user"),
        "{rest}"
    );
    peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(
        call.answer().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
}

const SECRET: [u8; 32] = [b's'; 32];

/// Tokens of which one claim goes to the backend, and one of them.
fn tokens(directory: &std::path::Path) -> (Jwt, String) {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as base64;
    use std::os::unix::fs::PermissionsExt as _;
    let secret = directory.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let keys = JwtKeys {
        secret_file: Some(secret),
        ..JwtKeys::default()
    };
    let mut jwt = Jwt::new("login", "https://login.test/", keys);
    jwt.audience = vec!["api".to_owned()];
    jwt.algorithms = vec![config::JwtAlgorithm::Hs256];
    jwt.claims_to = vec![ClaimTo {
        claim: "sub".to_owned(),
        field: "x-the-user".to_owned(),
    }];
    let claims = r#"{"iss":"https://login.test/","aud":"api","sub":"ann","exp":99999999999}"#;
    let message = format!(
        "{}.{}",
        base64.encode(r#"{"alg":"HS256"}"#),
        base64.encode(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let signature = base64.encode(hmac::sign(&key, message.as_bytes()));
    (jwt, format!("Bearer {message}.{signature}"))
}

#[tokio::test]
async fn nobody_takes_away_what_a_token_says_by_naming_its_field_in_connection() {
    let backend = Backend::bind().await;
    let directory = tempfile::tempdir().unwrap();
    let (jwt, token) = tokens(directory.path());
    let mut config = config(Some(&backend), |gate| gate.jwt = Some("login".to_owned()));
    config.jwt = vec![jwt];
    let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
    for websocket in [false, true] {
        let mut request = if websocket {
            tunnel::asking(&[], pieces().1)
        } else {
            request("GET", Body::empty())
        };
        for (name, value) in [
            ("connection", "close, X-The-User"),
            ("connection", "x_the_user , x-own"),
            ("authorization", &token),
            ("x-the-user", "root"),
            ("x-own", "1"),
        ] {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let _call = Call::start(&bridge, request);
        let mut peer = backend.accept().await;
        let head = peer.hear("\r\n\r\n").await;
        assert!(head.contains("\r\nx-the-user: ann\r\n"), "{head}");
        assert!(!head.contains("root") && !head.contains("x-own"), "{head}");
    }
    let mut without = request("GET", Body::empty());
    without
        .headers_mut()
        .insert("authorization", token.parse().unwrap());
    without
        .headers_mut()
        .insert("connection", HeaderValue::from_static("authorization"));
    let refused = ask(&bridge, without).await.map(drop);
    assert_eq!(
        refused,
        Err(RequestError::TokenMissing),
        "it stays on the connection"
    );
}

/// Backends decode, join and cut paths before they look at them, each in its own way.
#[tokio::test]
async fn a_path_that_a_backend_could_take_for_another_route_passes_no_gate() {
    let mut config = config(None, |_| {});
    no_retries(&mut config);
    for path in ["/api", "/a%20b"] {
        let mut closed = config.route[0].clone();
        closed.path = path.to_owned();
        closed.gate.body_bytes = Some(1);
        config.route.push(closed);
    }
    let bridge = Bridge::new(&config, &Metrics::default()).unwrap();
    let asked = async |path: &str| {
        let request = Request::builder().uri(format!("https://gw.test{path}"));
        let request = request.body(Body::empty()).unwrap();
        (
            bridge.body_bytes(&request),
            ask(&bridge, request).await.map(drop),
        )
    };
    for path in [
        "/%61pi",
        "/%61pi/x",
        "/api%2Fx",
        "/api%2fx?y",
        "//api/x",
        "/%2fapi",
        "/%5Capi/x",
        "/api%5cx",
        "/api;v=1/x",
        "/;x/api",
        "/.;/api",
        "/other/..;/api",
        "/other/%2e%2e;x/api",
        "/api/..;/other",
        "/a%20b;/x",
    ] {
        let (_, outcome) = asked(path).await;
        assert!(
            matches!(outcome, Err(RequestError::Malformed(_))),
            "{path}: {outcome:?}"
        );
    }
    for (path, limit) in [
        ("/", None),
        ("/apix", None),
        ("/x//y", None),
        ("/x;y=z/api", None),
        ("/x/%61pi", None),
        ("/API", None),
        ("/api", Some(1)),
        ("/api/", Some(1)),
        ("/api//x", Some(1)),
        ("/api/x;y/%2f", Some(1)),
        ("/api/a%20b", Some(1)),
        ("/a%20b/x", Some(1)),
    ] {
        let (bytes, outcome) = asked(path).await;
        assert_eq!(outcome, Err(RequestError::UpstreamConnect), "{path}");
        assert_eq!(bytes, limit, "{path}");
    }
}

#[tokio::test]
async fn no_trailer_says_who_the_client_is() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let (sender, body) = pieces();
    let mut request = request("POST", body);
    request
        .headers_mut()
        .append("te", HeaderValue::from_static("trailers"));
    let names = [
        "x-forwarded-for",
        "x_forwarded_host",
        "x-real-ip",
        "client-cert",
        "client_cert",
        "client-cert-chain",
        "proxy",
    ];
    // HTTP/1.1 has only those that are announced.
    let announced = format!("x-sum, {}", names.join(", "));
    request
        .headers_mut()
        .append("trailer", announced.parse().unwrap());
    let _call = Call::start(&bridge, request);
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    let mut trailing = trailers("x-sum", "1");
    for name in names {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        trailing.insert(name, HeaderValue::from_static("root"));
    }
    sender.send(data("a")).await.unwrap();
    sender.send(Ok(Frame::trailers(trailing))).await.unwrap();
    drop(sender);
    let rest = peer.hear("0\r\n").await + &peer.hear("\r\n\r\n").await;
    assert!(
        rest.contains("x-sum: 1") && !rest.contains("root"),
        "{rest}"
    );
}
