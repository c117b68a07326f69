//! Bridges that follow each other: what is the same, what ends, and what is left behind.

use tokio::net::UdpSocket;
use tokio::runtime::Handle;

use super::*;
use crate::config::{Jwt, JwtKeys, Probe};

/// Routes for these hosts, each with a backend that nobody is.
fn hosts(names: &[&str]) -> Config {
    let route = |name: &&str| {
        let mut route = config::Route::new(vec!["http://127.0.0.1:1".parse().unwrap()]);
        route.host = Some((*name).to_owned());
        route
    };
    Config {
        route: names.iter().map(route).collect(),
        ..Config::default()
    }
}

fn fit(metrics: &Metrics, pool: &str) -> Option<i64> {
    let pool = pool.to_owned();
    let gauge = metrics.pools.fit.get(&PoolLabel { pool })?;
    Some(gauge.get())
}

async fn fail(bridge: &Bridge, host: &str) {
    let request = Request::builder().uri(format!("https://{host}/"));
    let outcome = ask(bridge, request.body(Body::empty()).unwrap()).await;
    assert!(outcome.is_err());
}

#[tokio::test]
async fn a_pool_counts_fit_backends_while_it_is_one_and_a_retired_one_of_its_name_does_not() {
    let metrics = Metrics::default();
    let (first, takeover) = Bridge::first(&hosts(&["a.test", "b.test"]), &metrics).unwrap();
    takeover.apply();
    assert_eq!(
        (fit(&metrics, "route.0"), fit(&metrics, "route.1")),
        (Some(1), Some(1))
    );
    // Another route is the first now, and the second bridge never gets any request.
    let (second, takeover) = first.renewed(&hosts(&["c.test"]), &metrics).unwrap();
    assert_eq!(fit(&metrics, "route.1"), Some(1), "until it takes over");
    takeover.apply();
    let (third, takeover) = second.renewed(&hosts(&["b.test"]), &metrics).unwrap();
    takeover.apply();
    assert_eq!(
        (fit(&metrics, "route.0"), fit(&metrics, "route.1")),
        (Some(1), None)
    );
    // Requests that began with the first bridge end, and tell of its backends.
    for _ in 0..8 {
        fail(&first, "a.test").await;
        fail(&first, "b.test").await;
    }
    assert_eq!(
        (fit(&metrics, "route.0"), fit(&metrics, "route.1")),
        (Some(1), None)
    );
    third.given_up().apply();
    fail(&third, "b.test").await;
    assert_eq!(fit(&metrics, "route.0"), None);
}

#[tokio::test]
async fn a_reload_that_is_given_up_leaves_no_pool_behind() {
    let metrics = Metrics::default();
    let (first, takeover) = Bridge::first(&hosts(&["a.test"]), &metrics).unwrap();
    takeover.apply();
    let bad = hosts(&["a.test", "b.test"]);
    drop(first.renewed(&bad, &metrics).unwrap());
    assert_eq!(
        (fit(&metrics, "route.0"), fit(&metrics, "route.1")),
        (Some(1), None)
    );
}

#[tokio::test]
async fn nothing_runs_on_when_bridges_have_been_replaced_and_given_up() {
    // Neither names nor keys are ever answered for.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (keys, _queued) = unreachable().await;
    let url = format!("https://{}/keys", keys.0.local_addr().unwrap());
    let metrics = Metrics::default();
    let config = |name: &str| {
        let mut config = hosts(&[]);
        config.dns.servers = vec![silent.local_addr().unwrap()];
        let to = ["http://app.test:80", "http://127.0.0.1:1"]
            .map(|to| to.parse::<config::Upstream>().unwrap());
        let mut pool = config::Pool::new(name, to);
        pool.probe = Probe::Tcp;
        pool.probe_interval = Duration::from_millis(1);
        config.pool = vec![pool];
        let from = JwtKeys {
            url: Some(url.clone()),
            ..JwtKeys::default()
        };
        let mut jwt = Jwt::new(name, "https://login.test/", from);
        jwt.algorithms = vec![config::JwtAlgorithm::Es256];
        config.jwt = vec![jwt];
        config
    };
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (mut bridge, takeover) = Bridge::first(&config("a"), &metrics).unwrap();
    takeover.apply();
    for name in ["a", "b", "a", "a", "c"] {
        let (next, takeover) = bridge.renewed(&config(name), &metrics).unwrap();
        takeover.apply();
        bridge = next;
        tokio::task::yield_now().await;
    }
    assert!(tasks() > before);
    bridge.given_up().apply();
    drop(bridge);
    let ended = async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(ended).await;
    for pool in ["a", "b", "c"] {
        assert_eq!(fit(&metrics, pool), None, "{pool}");
    }
}
