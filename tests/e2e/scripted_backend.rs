//! A backend over HTTP/1.1 that does what a test tells it to, and knows what it was asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What it does with a request that it has read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    /// It says that it is unable.
    Unavailable,
    /// It does not answer until it is told to.
    Hangs,
    /// It resets the connection in place of an answer.
    Resets,
    /// It resets the connection within the body of its answer.
    ResetsWithin,
    /// Its answer begins and never ends.
    Drips,
}

/// A running backend.
pub(crate) struct ScriptedBackend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    manner: Mutex<Manner>,
    /// Method and path of each request that it has read whole.
    executed: Mutex<Vec<String>>,
    connections: AtomicU64,
    /// Connections that have ended.
    ended: AtomicU64,
    /// Told to those that hang.
    resumed: Notify,
}

impl ScriptedBackend {
    pub(crate) async fn start(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            executed: Mutex::default(),
            connections: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            resumed: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let its = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                its.connections.fetch_add(1, Ordering::Relaxed);
                let its = Arc::clone(&its);
                connections.spawn(async move {
                    serve(stream, &its).await;
                    its.ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            shared,
            tasks,
        }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// What it has been asked for so far.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.shared.executed.lock().unwrap().clone()
    }

    /// How often it was.
    pub(crate) fn count(&self) -> usize {
        self.shared.executed.lock().unwrap().len()
    }

    /// Connections that it has taken so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections that it has now.
    pub(crate) fn open(&self) -> u64 {
        self.connections() - self.shared.ended.load(Ordering::Relaxed)
    }

    /// Lets those that hang answer.
    pub(crate) fn resume(&self) {
        self.shared.resumed.notify_waiters();
    }

    /// Ends it with all its connections, as the end of its process would; gives where it was.
    pub(crate) async fn kill(&mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut heard = Vec::new();
    while let Some(request) = read(&mut stream, &mut heard).await {
        let resumed = shared.resumed.notified();
        shared.executed.lock().unwrap().push(request);
        let mut manner = *shared.manner.lock().unwrap();
        if manner == Manner::Hangs {
            resumed.await;
            manner = *shared.manner.lock().unwrap();
        }
        let answer: &[u8] = match manner {
            Manner::Answers => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            Manner::Unavailable => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Manner::Hangs => return std::future::pending().await,
            Manner::Resets => return reset(&stream),
            Manner::ResetsWithin | Manner::Drips => {
                b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nh"
            }
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        match manner {
            Manner::Drips => return std::future::pending().await,
            Manner::ResetsWithin => return,
            _ => {}
        }
    }
}

/// The connection ends with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
}

/// Reads a request whole; gives its method and path.
async fn read(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&heard[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if heard.len() >= whole {
                let line = String::from_utf8_lossy(&heard[..end]).into_owned();
                heard.drain(..whole);
                return line.rsplit_once(" HTTP/1.1").map(|_| {
                    let first = line.lines().next().unwrap_or_default();
                    first.trim_end_matches(" HTTP/1.1").to_owned()
                });
            }
        }
        if stream.read_buf(heard).await.ok()? == 0 {
            return None;
        }
    }
}
