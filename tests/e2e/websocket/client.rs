//! Clients that ask for a tunnel over each version of HTTP, none of which is the gateway's.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use quinn::VarInt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};
use wayhold::client::{Trust, tls_config};

use crate::raw::{CONTROL, DATA, HEADERS, Raw, frame, frame_status, head};
use crate::stage::{Directory, PATIENCE};
use crate::tunnels::Frames;

/// The versions that a client can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
    Http3,
}

impl Over {
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];
}

/// A tunnel, with the connection that it needs.
pub(crate) enum Tunnel {
    Http1(Box<TlsStream<TcpStream>>),
    Http2(h2::SendStream<Bytes>, h2::RecvStream, JoinSet<()>),
    Http3(quinn::SendStream, Frames, Raw),
}

/// How what came through a tunnel ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Last {
    End(Vec<u8>),
    Reset,
}

impl Tunnel {
    /// Asks for a WebSocket; gives the status where none is opened.
    pub(crate) async fn open(
        over: Over,
        directory: &Directory,
        address: SocketAddr,
    ) -> Result<Self, u16> {
        let opening = async {
            match over {
                Over::Http1 => Self::open_http1(directory, address).await,
                Over::Http2 => Self::open_http2(directory, address).await,
                Over::Http3 => Self::open_http3(directory, address).await,
            }
        };
        timeout(PATIENCE, opening).await.unwrap()
    }

    async fn open_http1(directory: &Directory, address: SocketAddr) -> Result<Self, u16> {
        let request = format!("GET /chat HTTP/1.1\r\n{HANDSHAKE}\r\n");
        let (read, stream) = ask_http1(directory, address, &request).await;
        if !read.starts_with("http/1.1 101 ") {
            return Err(status(&read).parse().unwrap());
        }
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";
        for line in [accept, "connection: upgrade\r\n", "upgrade: websocket\r\n"] {
            assert!(read.contains(line), "{read}");
        }
        Ok(Self::Http1(Box::new(stream)))
    }

    async fn open_http2(directory: &Directory, address: SocketAddr) -> Result<Self, u16> {
        let stream = tls(directory, address, b"h2").await;
        let (mut sender, mut connection) = h2::client::handshake(stream).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        pings.ping(h2::Ping::opaque()).await.unwrap();
        assert!(sender.is_extended_connect_protocol_enabled());
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://localhost/chat")
            .header("sec-websocket-version", "13")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .body(());
        let (response, send) = sender.send_request(request.unwrap(), false).unwrap();
        let response = response.await.unwrap();
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        Ok(Self::Http2(send, response.into_body(), tasks))
    }

    async fn open_http3(directory: &Directory, address: SocketAddr) -> Result<Self, u16> {
        let raw = Raw::connect(directory, address).await;
        raw.one_way(&CONTROL).await;
        let fields = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
        let (send, receive) = raw.begin(&head("CONNECT", "/chat", &fields)).await;
        let mut frames = Frames::new(receive);
        let (kind, section) = frames.next().await;
        assert_eq!(kind, HEADERS);
        match frame_status(&frame(HEADERS, &section)) {
            200 => Ok(Self::Http3(send, frames, raw)),
            status => Err(status),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(stream) => {
                stream.write_all(bytes).await.unwrap();
                stream.flush().await.unwrap();
            }
            Self::Http2(send, ..) => send_http2(send, bytes).await.unwrap(),
            Self::Http3(send, ..) => send.write_all(&frame(DATA, bytes)).await.unwrap(),
        }
    }

    /// Ends the direction to the gateway.
    pub(crate) async fn finish(&mut self) {
        match self {
            Self::Http1(stream) => stream.shutdown().await.unwrap(),
            Self::Http2(send, ..) => send.send_data(Bytes::new(), true).unwrap(),
            Self::Http3(send, ..) => send.finish().unwrap(),
        }
    }

    /// Breaks off.
    pub(crate) fn reset(&mut self) {
        match self {
            Self::Http1(stream) => {
                stream.get_ref().0.set_zero_linger().unwrap();
            }
            Self::Http2(send, ..) => send.send_reset(h2::Reason::CANCEL),
            Self::Http3(send, ..) => send.reset(VarInt::from_u32(0x10c)).unwrap(),
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

    /// Receives to the end.
    pub(crate) async fn last(&mut self) -> Last {
        let mut got = Vec::new();
        loop {
            match timeout(PATIENCE, self.piece()).await.unwrap() {
                Err(()) => return Last::Reset,
                Ok(None) => return Last::End(got),
                Ok(Some(piece)) => got.extend(piece),
            }
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
            Self::Http3(_, frames, _) => frames.piece().await,
        }
    }

    /// The same as a stream of bytes; a reset looks like an end.
    fn into_stream(self, tasks: &mut JoinSet<()>) -> DuplexStream {
        let (near, far) = duplex(1 << 16);
        let (mut from_near, mut to_near) = split(far);
        match self {
            Self::Http1(stream) => {
                tasks.spawn(async move {
                    let (mut from, mut to) = split(stream);
                    let down = async {
                        drop(tokio::io::copy(&mut from, &mut to_near).await);
                        drop(to_near.shutdown().await);
                    };
                    let up = async {
                        drop(tokio::io::copy(&mut from_near, &mut to).await);
                        drop(to.shutdown().await);
                    };
                    tokio::join!(down, up);
                });
            }
            Self::Http2(mut send, mut receive, connection) => {
                tasks.spawn(async move {
                    let down = async {
                        while let Ok(Some(piece)) = piece_http2(&mut receive).await {
                            to_near.write_all(&piece).await.unwrap();
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
                    // The end of the connection would overtake that of the tunnel.
                    std::future::pending::<()>().await;
                    drop((send, receive, connection));
                });
            }
            Self::Http3(mut send, mut frames, raw) => {
                tasks.spawn(async move {
                    let _raw = raw;
                    let down = async {
                        while let Ok(Some(piece)) = frames.piece().await {
                            to_near.write_all(&piece).await.unwrap();
                        }
                        drop(to_near.shutdown().await);
                    };
                    let up = async {
                        let mut piece = vec![0; 1 << 14];
                        while let Ok(read @ 1..) = from_near.read(&mut piece).await {
                            send.write_all(&frame(DATA, &piece[..read])).await.unwrap();
                        }
                        send.finish().unwrap();
                    };
                    tokio::join!(down, up);
                    // The end of the connection would overtake that of the tunnel.
                    std::future::pending::<()>().await;
                });
            }
        }
        near
    }

    /// Speaks the WebSocket protocol through it.
    pub(crate) async fn websocket(self, tasks: &mut JoinSet<()>) -> WebSocketStream<DuplexStream> {
        let stream = self.into_stream(tasks);
        WebSocketStream::from_raw_socket(stream, Role::Client, None).await
    }
}

/// Sends a request and gives the head of the response, in lower case.
pub(crate) async fn ask_http1(
    directory: &Directory,
    address: SocketAddr,
    request: &str,
) -> (String, TlsStream<TcpStream>) {
    let mut stream = tls(directory, address, b"http/1.1").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(read).unwrap().to_lowercase(), stream)
}

/// The fields of a handshake.
pub(crate) const HANDSHAKE: &str = "Host: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The status in the head of a response.
pub(crate) fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Has a library of its own do the handshake of HTTP/1.1.
pub(crate) async fn handshake(
    directory: &Directory,
    address: SocketAddr,
) -> WebSocketStream<TlsStream<TcpStream>> {
    let stream = tls(directory, address, b"http/1.1").await;
    let request = "ws://localhost/chat".into_client_request().unwrap();
    client_async(request, stream).await.unwrap().0
}

pub(crate) async fn send_http2(
    send: &mut h2::SendStream<Bytes>,
    mut bytes: &[u8],
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
        let Some(room) = room.transpose()? else {
            return Ok(());
        };
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        send.send_data(Bytes::copy_from_slice(now), false)?;
        bytes = later;
    }
    Ok(())
}

pub(crate) async fn piece_http2(receive: &mut h2::RecvStream) -> Result<Option<Vec<u8>>, ()> {
    while let Some(piece) = receive.data().await {
        let piece = piece.map_err(drop)?;
        drop(receive.flow_control().release_capacity(piece.len()));
        if !piece.is_empty() {
            return Ok(Some(piece.to_vec()));
        }
    }
    Ok(None)
}

async fn tls(directory: &Directory, address: SocketAddr, protocol: &[u8]) -> TlsStream<TcpStream> {
    let trust = Trust::File(directory.file("tls.pem"));
    let mut config = Arc::unwrap_or_clone(tls_config(&trust).unwrap());
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}
