//! What a client sees of each way in which backends fail, and how often the backends were asked. The client
//! speaks HTTP/3 to a whole gateway.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{HeaderName, HeaderValue, Method, Request};
use tokio::task::JoinSet;
use wayhold::client::Http3Client;
use wayhold::request::Body;
use wayhold::telemetry::{PoolLabel, PoolReason};

use crate::scripted_backend::{Manner, ScriptedBackend};
use crate::stage::{Node, Solo, target, until};
use crate::transfer::{connect, request};

/// A request of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Get,
    Post,
    /// A POST whose client says that it may be repeated.
    Keyed,
}

impl Ask {
    fn request(self, path: &str) -> Request<Body> {
        let method = match self {
            Self::Get => Method::GET,
            Self::Post | Self::Keyed => Method::POST,
        };
        let body = match self {
            Self::Get => Body::empty(),
            Self::Post | Self::Keyed => Body::full("order"),
        };
        let mut request = request(method, path, body);
        if self == Self::Keyed {
            let key = HeaderName::from_static("idempotency-key");
            let value = HeaderValue::from_static("7");
            request.headers_mut().insert(key, value);
        }
        request
    }
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Answer(u16),
    /// A status of the gateway with this error in `Proxy-Status`.
    Error(u16, &'static str),
    /// The stream was reset, in whole or in part of a response.
    Reset,
}

use Ask::{Get, Keyed, Post};
use Seen::{Answer, Error, Reset};

/// What the first backend does, what is asked, what is seen, and how often both backends were asked.
type Row = (Option<Manner>, Ask, Seen, [usize; 2]);

/// The other backend is well. None is where nobody listens.
const ROWS: [Row; 18] = [
    (None, Get, Answer(200), [0, 1]),
    (None, Post, Answer(200), [0, 1]),
    (None, Keyed, Answer(200), [0, 1]),
    (Some(Manner::Unavailable), Get, Answer(200), [1, 1]),
    (Some(Manner::Unavailable), Post, Answer(503), [1, 0]),
    (Some(Manner::Unavailable), Keyed, Answer(200), [1, 1]),
    (Some(Manner::Resets), Get, Answer(200), [1, 1]),
    (
        Some(Manner::Resets),
        Post,
        Error(502, "connection_terminated"),
        [1, 0],
    ),
    (Some(Manner::Resets), Keyed, Answer(200), [1, 1]),
    (Some(Manner::Hangs), Get, Answer(200), [1, 1]),
    (
        Some(Manner::Hangs),
        Post,
        Error(504, "http_response_timeout"),
        [1, 0],
    ),
    (Some(Manner::Hangs), Keyed, Answer(200), [1, 1]),
    (Some(Manner::ResetsWithin), Get, Reset, [1, 0]),
    (Some(Manner::ResetsWithin), Post, Reset, [1, 0]),
    (Some(Manner::ResetsWithin), Keyed, Reset, [1, 0]),
    (Some(Manner::Drips), Get, Reset, [1, 0]),
    (Some(Manner::Drips), Post, Reset, [1, 0]),
    (Some(Manner::Drips), Keyed, Reset, [1, 0]),
];

async fn pooled(backends: &[&ScriptedBackend], more: &str) -> Solo {
    let to: Vec<_> = backends
        .iter()
        .map(|backend| format!("\"http://{}\"", backend.address))
        .collect();
    Solo::routing(&format!(
        "[[pool]]\nname = \"app\"\nchoice = \"round_robin\"\n{more}\nto = [{}]\n\
         [[route]]\npool = \"app\"\n",
        to.join(", ")
    ))
    .await
}

async fn ask(client: &Http3Client, request: Request<Body>) -> Seen {
    // A reset that follows at once overtakes the header section.
    let Ok(mut response) = client.send(request).await else {
        return Reset;
    };
    let status = response.status().as_u16();
    let error = response.headers().get("proxy-status").map(|value| {
        let text = value.to_str().unwrap();
        let name = text.strip_prefix("wayhold; error=").unwrap();
        ERRORS
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or("another")
    });
    if status == 503 && error.is_some() {
        assert!(response.headers().contains_key("retry-after"));
    }
    if response.body_mut().collect(1 << 16).await.is_err() {
        return Reset;
    }
    error.map_or(Answer(status), |error| Error(status, error))
}

const ERRORS: [&str; 4] = [
    "connection_terminated",
    "http_response_timeout",
    "destination_unavailable",
    "connection_refused",
];

fn fit(node: &Node) -> i64 {
    let pool = PoolLabel { pool: "app".into() };
    node.metrics.pools.fit.get_or_create(&pool).get()
}

fn retried(node: &Node, reason: &'static str) -> u64 {
    let label = PoolReason {
        pool: "app".into(),
        reason,
    };
    node.metrics.pools.retries.get_or_create(&label).get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_shows_as_the_table_says_and_nothing_that_is_not_idempotent_runs_twice() {
    for (manner, asked, seen, executed) in ROWS {
        let mut first =
            ScriptedBackend::start("127.0.0.1:0", manner.unwrap_or(Manner::Answers)).await;
        let second = ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await;
        if manner.is_none() {
            first.kill().await;
        }
        let solo = pooled(
            &[&first, &second],
            "try_timeout = \"300ms\"\ntotal = \"3s\"",
        )
        .await;
        let client = connect(&solo.directory, &target(solo.node.address)).await;
        let row = format!("{manner:?} {asked:?}");
        assert_eq!(ask(&client, asked.request("/")).await, seen, "{row}");
        assert_eq!([first.count(), second.count()], executed, "{row}");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_deadline_for_everything_that_is_tried() {
    let hanging = ScriptedBackend::start("127.0.0.1:0", Manner::Hangs).await;
    let other = ScriptedBackend::start("127.0.0.1:0", Manner::Hangs).await;
    let solo = pooled(
        &[&hanging, &other],
        "try_timeout = \"200ms\"\ntotal = \"300ms\"",
    )
    .await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    let seen = ask(&client, Get.request("/")).await;
    assert_eq!(seen, Error(504, "http_response_timeout"));
    assert_eq!([hanging.count(), other.count()], [1, 1]);
    assert_eq!(solo.node.failed("deadline"), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_backend_down_clients_hear_when_to_come_again() {
    let mut backends = Vec::new();
    for _ in 0..2 {
        let mut backend = ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await;
        backend.kill().await;
        backends.push(backend);
    }
    let more = "failures = 1\nejection = \"1h\"\nejection_max = \"1h\"\npanic_percent = 0\n\
                retries = 0";
    let solo = pooled(&[&backends[0], &backends[1]], more).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    for _ in 0..2 {
        let seen = ask(&client, Get.request("/")).await;
        assert_eq!(seen, Error(502, "connection_refused"));
    }
    for asked in [Get, Post] {
        let seen = ask(&client, asked.request("/")).await;
        assert_eq!(seen, Error(503, "destination_unavailable"));
    }
    assert_eq!(fit(&solo.node), 0);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_end_with_their_budget_and_nothing_is_asked_for_more_often() {
    let backend = ScriptedBackend::start("127.0.0.1:0", Manner::Unavailable).await;
    let more = "failures = 0\nretries = 1\nretry_percent = 0\nretry_per_second = 1";
    let solo = pooled(&[&backend], more).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    for _ in 0..30 {
        assert_eq!(ask(&client, Get.request("/")).await, Answer(503));
    }
    let (granted, refused) = (
        retried(&solo.node, "unavailable"),
        retried(&solo.node, "no_budget"),
    );
    assert_eq!(granted + refused, 30);
    assert!(granted >= 10, "ten in any ten seconds: {granted}");
    let executed = u64::try_from(backend.count()).unwrap();
    assert_eq!(executed, 30 + granted);
    client.close().await;
}

/// Sends requests of one kind, each for a path of its own, until told to stop; gives what was seen how
/// often.
async fn load(
    client: Arc<Http3Client>,
    asked: Ask,
    (stop, number): (Arc<AtomicBool>, Arc<AtomicU64>),
) -> HashMap<String, u64> {
    let mut seen = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/{}", number.fetch_add(1, Ordering::Relaxed));
        let one = ask(&client, asked.request(&path)).await;
        *seen.entry(format!("{one:?}")).or_default() += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_flaps_costs_no_idempotent_request_and_runs_no_other_twice() {
    let mut flapping = ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await;
    let steady = ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await;
    let more = "ejection = \"20ms\"\nejection_max = \"40ms\"\nslow_start = \"0s\"\n\
                retry_percent = 100";
    let solo = pooled(&[&flapping, &steady], more).await;
    let client = Arc::new(connect(&solo.directory, &target(solo.node.address)).await);
    let (stop, number) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (mut gets, mut posts) = (JoinSet::new(), JoinSet::new());
    for _ in 0..2 {
        let terms = || (Arc::clone(&stop), Arc::clone(&number));
        gets.spawn(load(Arc::clone(&client), Get, terms()));
        posts.spawn(load(Arc::clone(&client), Post, terms()));
    }
    let mut executed = Vec::new();
    for _ in 0..10 {
        until(|| flapping.count() > 10).await;
        let address = flapping.kill().await;
        executed.extend(flapping.executed());
        let before = steady.count();
        until(|| steady.count() > before + 10).await;
        flapping = ScriptedBackend::start(&address.to_string(), Manner::Answers).await;
    }
    flapping.behave(Manner::Resets);
    let before = steady.count();
    until(|| steady.count() > before + 50).await;
    stop.store(true, Ordering::Relaxed);
    for seen in gets.join_all().await {
        let kinds: Vec<_> = seen.keys().collect();
        assert_eq!(kinds, ["Answer(200)"]);
    }
    let posted = posts.join_all().await;
    let fine = ["Answer(200)", "Error(502, \"connection_terminated\")"];
    let kinds = posted.iter().flat_map(HashMap::keys);
    assert!(
        kinds.clone().all(|kind| fine.contains(&kind.as_str())),
        "{posted:?}"
    );
    executed.extend(flapping.executed());
    executed.extend(steady.executed());
    let mut times: HashMap<&str, u64> = HashMap::new();
    for post in executed.iter().filter(|one| one.starts_with("POST")) {
        *times.entry(post).or_default() += 1;
    }
    assert!(times.len() > 20, "{}", times.len());
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}
