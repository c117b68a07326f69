//! Claims about backends that die and come back while requests go on, through a whole gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wayhold::telemetry::{PoolLabel, PoolReason};

use crate::raw::{CONTROL, Raw, head, status};
use crate::stage::{Solo, until};

/// A backend over HTTP/1.1 that answers everything, until it is killed.
struct Backend {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Backend {
    async fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&served);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&counted)));
            }
        });
        Self {
            address,
            served,
            tasks,
        }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends it with all its connections, as the end of its process would.
    async fn kill(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

async fn answer(mut stream: TcpStream, served: Arc<AtomicU64>) {
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
        if heard.ends_with(b"\r\n\r\n") {
            heard.clear();
            served.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            drop(stream.write_all(answer).await);
        }
    }
}

/// Asks again and again until told to stop; gives how many answers were none of 200, and of how many.
async fn load(raw: Arc<Raw>, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut failed, mut all) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let asked = raw.send(&head("GET", "/", &[])).await;
        all += 1;
        failed += u64::from(status(asked).await != 200);
    }
    (failed, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_backends_that_dies_under_load_costs_no_request_and_comes_back() {
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(Backend::start("127.0.0.1:0").await);
    }
    let to: Vec<_> = backends
        .iter()
        .map(|backend| format!("\"http://{}\"", backend.address))
        .collect();
    let routes = format!(
        "[[pool]]\nname = \"app\"\nto = [{}]\n[[route]]\npool = \"app\"\n",
        to.join(", ")
    );
    let solo = Solo::routing(&routes).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let (raw, stop) = (Arc::new(raw), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(load(Arc::clone(&raw), Arc::clone(&stop)));
    }
    until(|| backends.iter().all(|backend| backend.served() > 10)).await;

    let address = backends.remove(0).kill().await;
    let pools = &solo.node.metrics.pools;
    let pool = || PoolLabel { pool: "app".into() };
    let fit = || pools.fit.get_or_create(&pool()).get();
    until(|| fit() == 2).await;
    let before = backends[0].served();
    until(|| backends[0].served() > before + 100).await;

    let again = Backend::start(&address.to_string()).await;
    until(|| fit() == 3 && again.served() > 0).await;

    stop.store(true, Ordering::Relaxed);
    let counts = clients.join_all().await;
    let (failed, all) = counts
        .into_iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(failed, 0, "of {all}");
    let ejections = PoolReason {
        pool: "app".into(),
        reason: "failures",
    };
    assert_eq!(pools.ejections.get_or_create(&ejections).get(), 1);
    let shown = solo.node.handle.status().unwrap();
    let states = shown["backends"].as_array().unwrap();
    assert!(
        states.iter().all(|backend| backend["state"] == "fit"),
        "{shown}"
    );
}
