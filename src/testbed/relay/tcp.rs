use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::delay::until;
use crate::testbed::now;

/// Where new connections lead, and what cuts the old ones.
#[derive(Debug)]
pub(super) struct Route(Mutex<Path>);

#[derive(Clone, Debug)]
struct Path {
    node: SocketAddr,
    source: Ipv4Addr,
    cut: CancellationToken,
}

impl Route {
    pub(super) fn new(node: SocketAddr) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Path {
            node,
            source: Ipv4Addr::LOCALHOST,
            cut: CancellationToken::new(),
        })))
    }

    pub(super) fn lead_to(&self, node: SocketAddr) {
        self.change(|path| path.node = node);
    }

    pub(super) fn come_from(&self, source: Ipv4Addr) {
        self.change(|path| path.source = source);
    }

    /// Resets every connection that is open or being made.
    pub(super) fn cut(&self) {
        self.change(|path| std::mem::take(&mut path.cut).cancel());
    }

    fn current(&self) -> Path {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Path)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Accepts connections until dropped, which resets them all.
#[expect(clippy::infinite_loop, reason = "it ends with its task")]
pub(super) async fn accept(listener: TcpListener, route: Arc<Route>, delay: Duration) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((client, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(carry(client, route.current(), delay));
            }
            Ok(_) => {}
            // Out of descriptors, most likely: wait for some to be free.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Carries one connection until both sides have ended it, one has broken it, or it is cut.
async fn carry(mut client: TcpStream, path: Path, delay: Duration) {
    if client.set_nodelay(true).is_err() || client.set_zero_linger().is_err() {
        return;
    }
    let connected = tokio::select! {
        () = path.cut.cancelled() => return,
        connected = connect(&path, delay) => connected,
    };
    let Ok(mut node) = connected else { return };
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_node, to_node) = node.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_node, delay),
                pump(from_node, to_client, delay)
            )
        };
        tokio::select! {
            () = path.cut.cancelled() => false,
            ended = both => ended.is_ok(),
        }
    };
    // Both sockets were made to reset on close; only a connection that ended cleanly may not.
    if ended {
        for stream in [&client, &node] {
            drop(socket2::SockRef::from(stream).set_linger(None));
        }
    }
}

/// The round trip that TCP's handshake takes before the first byte can follow it.
async fn connect(path: &Path, delay: Duration) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((path.source, 0).into())?;
    let (connected, ()) = tokio::join!(
        tokio::time::timeout(CONNECT_LIMIT, socket.connect(path.node)),
        tokio::time::sleep(delay * 2)
    );
    let stream = connected??;
    stream.set_nodelay(true)?;
    stream.set_zero_linger()?;
    Ok(stream)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let (line, mut arrivals) = mpsc::channel::<(Instant, Bytes)>(MAX_HELD);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            if line
                .send((now() + delay, buffer.split().freeze()))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = arrivals.recv().await {
            until(Some(due)).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

const MAX_CONNECTIONS: usize = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const CHUNK: usize = 32 << 10;
/// Chunks on the way in one direction: 2 MiB.
const MAX_HELD: usize = 64;
