//! A backend over HTTP/1.1 whose every byte a test says and hears.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::stage::PATIENCE;

pub(crate) struct Scripted(TcpListener);

/// One connection from the gateway, or to it.
pub(crate) struct Line<S = TcpStream> {
    stream: S,
    heard: Vec<u8>,
}

impl Scripted {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The configuration that leads everything here.
    pub(crate) fn route(&self) -> String {
        format!("[[route]]\nto = [\"http://{}\"]\n", self.address())
    }

    pub(crate) async fn accept(&self) -> Line {
        let accepted = timeout(PATIENCE, self.0.accept()).await;
        Line::new(accepted.unwrap().unwrap().0)
    }
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Line<S> {
    pub(crate) fn new(stream: S) -> Self {
        let heard = Vec::new();
        Self { stream, heard }
    }

    /// Reads up to and including `end`, and returns all of that.
    pub(crate) async fn hear(&mut self, end: &str) -> String {
        loop {
            let found = self
                .heard
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(place) = found {
                let rest = self.heard.split_off(place + end.len());
                let heard = std::mem::replace(&mut self.heard, rest);
                return String::from_utf8(heard).unwrap();
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await;
            let read = read
                .unwrap_or_else(|_| panic!("in vain for {end:?}"))
                .unwrap();
            let so_far = String::from_utf8_lossy(&self.heard);
            assert_ne!(read, 0, "closed after {so_far:?}");
        }
    }

    /// Waits until the other side has closed, and drops what it says until then.
    pub(crate) async fn until_closed(&mut self) {
        let closed = async {
            while self
                .stream
                .read_buf(&mut self.heard)
                .await
                .is_ok_and(|read| read > 0)
            {}
        };
        timeout(PATIENCE, closed).await.unwrap();
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }
}
