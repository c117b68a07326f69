//! Backends that speak WebSocket, and are not the gateway's.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::client::{piece_http2, send_http2};
use crate::stage::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

impl Speaks {
    pub(crate) const ALL: [Self; 2] = [Self::Http1, Self::Http2];
}

/// A backend whose connections a test takes one by one, or that sends back every message.
pub(crate) struct Backend {
    pub(crate) speaks: Speaks,
    listener: Option<TcpListener>,
    address: SocketAddr,
    echoing: JoinSet<()>,
}

/// A request for a tunnel that a backend has not answered.
pub(crate) enum Asked {
    Http1(TcpStream, String),
    Http2(
        Box<http::Request<h2::RecvStream>>,
        h2::server::SendResponse<Bytes>,
        JoinSet<()>,
    ),
}

/// A backend's end of a tunnel.
pub(crate) enum End {
    Http1(TcpStream),
    Http2(h2::SendStream<Bytes>, h2::RecvStream, JoinSet<()>),
}

impl Backend {
    pub(crate) async fn bind(speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            speaks,
            address: listener.local_addr().unwrap(),
            listener: Some(listener),
            echoing: JoinSet::new(),
        }
    }

    /// Sends back every message.
    pub(crate) async fn echoing(speaks: Speaks) -> Self {
        let mut backend = Self::bind(speaks).await;
        let listener = backend.listener.take().unwrap();
        backend.echoing.spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.spawn(async move {
                    match speaks {
                        Speaks::Http1 => echo(accept_async(stream).await.unwrap()).await,
                        Speaks::Http2 => {
                            let asked = ask_http2(stream, Offers::Tunnels).await;
                            let mut tasks = JoinSet::new();
                            let stream = asked.open().await.into_stream(&mut tasks);
                            echo(
                                WebSocketStream::from_raw_socket(stream, Role::Server, None).await,
                            )
                            .await;
                            tasks.join_all().await;
                        }
                    }
                });
            }
        });
        backend
    }

    /// A configuration that routes everything here.
    pub(crate) fn route(&self) -> String {
        let scheme = match self.speaks {
            Speaks::Http1 => "http",
            Speaks::Http2 => "h2",
        };
        format!("[[route]]\nto = [\"{scheme}://{}\"]\n", self.address)
    }

    /// Takes the next connection.
    pub(crate) async fn connection(&self) -> TcpStream {
        let accepting = self.listener.as_ref().unwrap().accept();
        timeout(PATIENCE, accepting).await.unwrap().unwrap().0
    }

    /// Takes the next request for a tunnel.
    pub(crate) async fn asked(&self) -> Asked {
        let stream = self.connection().await;
        match self.speaks {
            Speaks::Http1 => ask_http1(stream).await,
            Speaks::Http2 => ask_http2(stream, Offers::Tunnels).await,
        }
    }
}

async fn ask_http1(mut stream: TcpStream) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
    Asked::Http1(stream, head)
}

/// Whether a backend offers extended CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offers {
    Tunnels,
    Nothing,
}

/// Serves a connection up to its first request.
pub(crate) async fn ask_http2(stream: TcpStream, offers: Offers) -> Asked {
    let mut builder = h2::server::Builder::new();
    if offers == Offers::Tunnels {
        builder.enable_connect_protocol();
    }
    let mut connection = builder.handshake(stream).await.unwrap();
    let (request, respond) = connection.accept().await.unwrap().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!(*request.method(), Method::CONNECT);
    assert_eq!(request.uri(), "http://localhost/chat");
    let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert!(!request.headers().contains_key("sec-websocket-key"));
    Asked::Http2(Box::new(request), respond, tasks)
}

impl Asked {
    /// Opens the tunnel.
    pub(crate) async fn open(self) -> End {
        match self {
            Self::Http1(mut stream, head) => {
                for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n"] {
                    assert!(head.to_lowercase().contains(line), "{head}");
                }
                let head = switch(&derive_accept_key(key(&head).as_bytes()));
                stream.write_all(head.as_bytes()).await.unwrap();
                End::Http1(stream)
            }
            Self::Http2(request, mut respond, tasks) => {
                let send = respond.send_response(Response::new(()), false).unwrap();
                End::Http2(send, request.into_body(), tasks)
            }
        }
    }

    /// Answers with this status and `body`.
    pub(crate) async fn refuse(self, status: u16) {
        match self {
            Self::Http1(mut stream, _) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbody");
                stream.write_all(head.as_bytes()).await.unwrap();
                // Until the gateway has it.
                drop(timeout(PATIENCE, stream.read_u8()).await);
            }
            Self::Http2(_, mut respond, mut tasks) => {
                let response = Response::builder().status(status).body(()).unwrap();
                let mut send = respond.send_response(response, false).unwrap();
                send.send_data(Bytes::from_static(b"body"), true).unwrap();
                drop(timeout(PATIENCE, tasks.join_next()).await);
            }
        }
    }

    /// Switches with this answer to the key, over HTTP/1.1.
    pub(crate) async fn switch_wrongly(self, head: &str) {
        let Self::Http1(mut stream, _) = self else {
            panic!("HTTP/2 has no switch");
        };
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(timeout(PATIENCE, stream.read_u8()).await);
    }
}

/// A response that switches with this answer to the key.
pub(crate) fn switch(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// The client's key.
fn key(head: &str) -> String {
    let (_, rest) = head.split_once("sec-websocket-key: ").unwrap();
    rest.split_once("\r\n").unwrap().0.to_owned()
}

impl End {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(stream) => stream.write_all(bytes).await.unwrap(),
            Self::Http2(send, ..) => send_http2(send, bytes).await.unwrap(),
        }
    }

    pub(crate) async fn finish(&mut self) {
        match self {
            Self::Http1(stream) => stream.shutdown().await.unwrap(),
            Self::Http2(send, ..) => send.send_data(Bytes::new(), true).unwrap(),
        }
    }

    /// Breaks off.
    pub(crate) fn reset(self) {
        match self {
            Self::Http1(stream) => stream.set_zero_linger().unwrap(),
            Self::Http2(mut send, _, mut tasks) => {
                send.send_reset(h2::Reason::INTERNAL_ERROR);
                tasks.detach_all();
            }
        }
    }

    /// Receives so many bytes.
    pub(crate) async fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < count {
            let piece = timeout(PATIENCE, self.piece()).await.unwrap();
            got.extend(piece.unwrap().expect("the tunnel ended"));
        }
        got
    }

    /// Whether the tunnel ends rather than breaks off, after nothing more.
    pub(crate) async fn ends(&mut self) -> bool {
        let last = timeout(PATIENCE, self.piece()).await.unwrap();
        match last {
            Ok(None) => true,
            Ok(Some(piece)) => panic!("{} bytes more", piece.len()),
            Err(()) => false,
        }
    }

    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ()> {
        match self {
            Self::Http1(stream) => {
                let mut piece = vec![0; 1 << 14];
                let read = stream.read(&mut piece).await.map_err(drop)?;
                piece.truncate(read);
                Ok((read > 0).then_some(piece))
            }
            Self::Http2(_, receive, _) => piece_http2(receive).await,
        }
    }

    fn into_stream(self, tasks: &mut JoinSet<()>) -> DuplexStream {
        let Self::Http2(mut send, mut receive, connection) = self else {
            panic!("HTTP/1.1 has a stream");
        };
        let (near, far) = duplex(1 << 16);
        let (mut from_near, mut to_near) = split(far);
        tasks.spawn(async move {
            let _connection = connection;
            let down = async {
                while let Ok(Some(piece)) = piece_http2(&mut receive).await {
                    if to_near.write_all(&piece).await.is_err() {
                        return;
                    }
                }
                drop(to_near.shutdown().await);
            };
            let up = async {
                let mut piece = vec![0; 1 << 14];
                while let Ok(read @ 1..) = from_near.read(&mut piece).await {
                    send_http2(&mut send, &piece[..read]).await.unwrap();
                }
                drop(send.send_data(Bytes::new(), true));
            };
            tokio::join!(down, up);
        });
        near
    }
}

/// Sends back every message until the other side closes.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() && socket.send(message).await.is_err() {
            return;
        }
    }
}
