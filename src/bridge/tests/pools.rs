//! What becomes of requests when backends of a pool fail, are full, or are wanted again.

use http::header;

use super::*;
use crate::config::{Pool, Probe};

/// A bridge with one pool, which leads to these backends.
pub(super) fn pooled(
    to: Vec<config::Upstream>,
    change: impl FnOnce(&mut Pool),
) -> (Arc<Bridge>, Metrics) {
    let mut pool = Pool::new("app", to);
    change(&mut pool);
    let mut route = config::Route::new(Vec::new());
    route.pool = Some("app".to_owned());
    let config = Config {
        route: vec![route],
        pool: vec![pool],
        ..Config::default()
    };
    let metrics = Metrics::default();
    (
        Arc::new(Bridge::new(&config, &metrics).unwrap().started()),
        metrics,
    )
}

/// Where nobody listens.
async fn nobody() -> config::Upstream {
    Backend::bind().await.upstream(UpstreamProtocol::Http1)
}

fn http1(backend: &Backend) -> config::Upstream {
    backend.upstream(UpstreamProtocol::Http1)
}

/// Tries each in the order in which they are given.
fn in_order(pool: &mut Pool) {
    pool.choice = crate::balance::Choice::RoundRobin;
}

fn retried(metrics: &Metrics, reason: &'static str) -> u64 {
    let label = PoolReason {
        pool: "app".to_owned(),
        reason,
    };
    metrics.pools.retries.get_or_create(&label).get()
}

async fn answer(peer: &mut Peer, status: &str) {
    peer.say(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
        .await;
}

#[tokio::test]
async fn what_could_not_be_sent_goes_to_another_backend_whatever_its_method() {
    let live = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![nobody().await, http1(&live)], in_order);
    let call = Call::start(&bridge, request("POST", Body::full("pay")));
    let mut peer = live.accept().await;
    assert!(peer.hear("pay").await.starts_with("POST "));
    answer(&mut peer, "200 OK").await;
    assert_eq!(call.answer().await.unwrap().status(), StatusCode::OK);
    assert_eq!(retried(&metrics, "connect"), 1);
}

#[tokio::test]
async fn what_was_sent_and_is_not_idempotent_is_never_sent_again() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let (bridge, metrics) = pooled(vec![http1(&first), http1(&second)], in_order);
    let call = Call::start(&bridge, request("POST", Body::full("pay")));
    let mut peer = first.accept().await;
    peer.hear("pay").await;
    drop(peer);
    assert_eq!(
        call.answer().await.map(drop),
        Err(RequestError::UpstreamBroken)
    );
    assert_eq!(retried(&metrics, "broken"), 0);
    tokio::task::yield_now().await;
    let nobody = timeout(Duration::from_millis(50), second.0.accept()).await;
    assert!(nobody.is_err(), "the second backend got it");
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again_with_the_body_it_had() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let keyed = |method: &str, key: Option<&'static str>| {
        let mut request = request(method, Body::full("same"));
        if let Some(key) = key {
            request
                .headers_mut()
                .insert("idempotency-key", HeaderValue::from_static(key));
        }
        request
    };
    for (method, key) in [("PUT", None), ("POST", Some("1"))] {
        let (bridge, metrics) = pooled(vec![http1(&first), http1(&second)], in_order);
        let call = Call::start(&bridge, keyed(method, key));
        let mut peer = first.accept().await;
        peer.hear("same").await;
        drop(peer);
        let mut peer = second.accept().await;
        peer.hear("same").await;
        answer(&mut peer, "204 No Content").await;
        let response = call.answer().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{method}");
        assert_eq!(retried(&metrics, "broken"), 1, "{method}");
    }
}

#[tokio::test]
async fn a_body_larger_than_is_kept_is_sent_once() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let (bridge, _) = pooled(vec![http1(&first), http1(&second)], |pool| {
        in_order(pool);
        pool.retry.body_bytes = 3;
    });
    let call = Call::start(&bridge, request("PUT", Body::full("four")));
    let mut peer = first.accept().await;
    peer.hear("four").await;
    drop(peer);
    assert_eq!(
        call.answer().await.map(drop),
        Err(RequestError::UpstreamBroken)
    );
}

#[tokio::test]
async fn a_backend_that_says_it_is_unable_makes_way_for_another() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let (bridge, metrics) = pooled(vec![http1(&first), http1(&second)], in_order);
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = first.accept().await;
    peer.hear("\r\n\r\n").await;
    answer(&mut peer, "503 Service Unavailable").await;
    let mut peer = second.accept().await;
    peer.hear("\r\n\r\n").await;
    answer(&mut peer, "200 OK").await;
    assert_eq!(call.answer().await.unwrap().status(), StatusCode::OK);
    assert_eq!(retried(&metrics, "unavailable"), 1);
}

#[tokio::test]
async fn without_a_budget_the_answer_is_the_first_one() {
    let first = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![http1(&first), nobody().await], |pool| {
        in_order(pool);
        pool.retry.budget.percent = 0;
        pool.retry.budget.per_second = 0;
    });
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = first.accept().await;
    peer.hear("\r\n\r\n").await;
    answer(&mut peer, "503 Service Unavailable").await;
    let response = call.answer().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retried(&metrics, "no_budget"), 1);
}

#[tokio::test]
async fn a_backend_that_fails_again_and_again_is_left_alone() {
    let live = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![nobody().await, http1(&live)], |pool| {
        in_order(pool);
        pool.health.failures = 2;
        pool.health.ejection = Duration::from_secs(60);
        pool.health.ejection_max = Duration::from_secs(60);
    });
    let mut peer = None;
    for _ in 0..8 {
        let call = Call::start(&bridge, request("GET", Body::empty()));
        if peer.is_none() {
            peer = Some(live.accept().await);
        }
        let peer = peer.as_mut().unwrap();
        peer.hear("\r\n\r\n").await;
        answer(peer, "200 OK").await;
        assert_eq!(call.answer().await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(retried(&metrics, "connect"), 2);
    let label = PoolReason {
        pool: "app".to_owned(),
        reason: "failures",
    };
    assert_eq!(metrics.pools.ejections.get_or_create(&label).get(), 1);
    let label = PoolLabel {
        pool: "app".to_owned(),
    };
    assert_eq!(metrics.pools.fit.get_or_create(&label).get(), 1);
}

#[tokio::test]
async fn a_request_waits_for_a_place_and_gets_it_when_one_is_free() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![http1(&backend)], |pool| {
        pool.requests = Some(1);
        pool.queue.burst = Duration::from_secs(20);
    });
    let one = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    let two = Call::start(&bridge, request("GET", Body::empty()));
    let label = PoolLabel {
        pool: "app".to_owned(),
    };
    let waiting = || metrics.pools.waiting.get_or_create(&label).get();
    while waiting() == 0 {
        tokio::task::yield_now().await;
    }
    answer(&mut peer, "200 OK").await;
    drop(one.answer().await.unwrap());
    peer.hear("\r\n\r\n").await;
    answer(&mut peer, "204 No Content").await;
    assert_eq!(two.answer().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(waiting(), 0);
}

#[tokio::test]
async fn a_cookie_leads_a_client_back_to_its_backend() {
    let (first, second) = (Backend::bind().await, Backend::bind().await);
    let (bridge, _) = pooled(vec![http1(&first), http1(&second)], |pool| {
        in_order(pool);
        pool.sticky_cookie = Some("home".to_owned());
    });
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = first.accept().await;
    peer.hear("\r\n\r\n").await;
    answer(&mut peer, "200 OK").await;
    let response = call.answer().await.unwrap();
    let set = response.headers()[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        set.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax"),
        "{set}"
    );
    drop(response);
    let cookie = set.split(';').next().unwrap();
    for _ in 0..3 {
        let mut again = request("GET", Body::empty());
        again
            .headers_mut()
            .insert(header::COOKIE, cookie.parse().unwrap());
        let call = Call::start(&bridge, again);
        peer.hear("\r\n\r\n").await;
        answer(&mut peer, "200 OK").await;
        let response = call.answer().await.unwrap();
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
async fn a_backend_that_fails_its_probes_gets_nothing_until_they_succeed() {
    let (probed, other) = (Backend::bind().await, Backend::bind().await);
    let (bridge, _) = pooled(vec![http1(&probed), http1(&other)], |pool| {
        in_order(pool);
        pool.probe = Probe::Path("/health?deep".to_owned());
        pool.probe_interval = Duration::from_millis(10);
        pool.health.fall = 2;
        pool.health.rise = 2;
    });
    let state = |bridge: &Bridge| bridge.backends()[0].unfit;
    let probe = async |backend: &Backend, status: &str| {
        let mut peer = backend.accept().await;
        let asked = peer.hear("\r\n\r\n").await;
        assert!(
            asked.starts_with("GET /health?deep HTTP/1.1\r\n"),
            "{asked}"
        );
        answer(&mut peer, status).await;
    };
    // Its peer is left without an answer, and fails too in the end.
    while state(&bridge).is_none() {
        probe(&probed, "500 Internal Server Error").await;
    }
    assert_eq!(state(&bridge), Some("probe"));
    while state(&bridge).is_some() {
        probe(&probed, "302 Found").await;
    }
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_refused() {
    let mut route = config::Route::new(Vec::new());
    route.pool = Some("app".to_owned());
    let config = Config {
        route: vec![route],
        ..Config::default()
    };
    let refused = Bridge::new(&config, &Metrics::default()).map(drop);
    assert_eq!(refused, Err(BridgeError::UnknownPool(0)));
}
