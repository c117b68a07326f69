//! Tunnels over TCP: what an upgraded HTTP/1.1 connection (RFC 9110, section 7.8) or a stream of extended
//! CONNECT (RFC 8441) carries, as the two bodies of a request.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::activity::Busy;
use super::exchange::PROGRESS;
use super::http2::StreamTasks;
use crate::request::{Body, BodyError, ConnectProtocol, fields, websocket};

/// The gateway's end of what a client sends through a tunnel.
pub(super) type Sender = mpsc::Sender<Piece>;

/// What a client sends.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// It ends its direction; a [`Sender`] that is dropped before broke off.
    End,
}

/// A tunnel that a response opened.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// What goes to the client.
    pub(super) body: Body,
    /// Where what comes from the client goes.
    pub(super) sender: Sender,
    /// Held until the tunnel ends.
    pub(super) busy: Busy,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both directions ended by themselves.
    Whole,
    /// One broke off, and the other with it.
    Broken,
}

/// Who carries the tunnels of a connection.
#[derive(Clone, Debug)]
pub(super) enum Tunnels {
    /// Who has the connection, which becomes the tunnel.
    Connection(Arc<Mutex<Option<Tunnel>>>),
    /// Tasks beside those of other streams.
    Streams(StreamTasks),
}

/// A request for a tunnel that became an extended CONNECT.
#[derive(Debug)]
pub(super) enum Asked {
    /// For a switch of protocols.
    Upgrade(Upgrade),
    /// For a stream.
    Stream(OnUpgrade),
}

/// What HTTP/1.1 says about a switch of protocols.
#[derive(Debug)]
pub(super) struct Upgrade {
    protocol: ConnectProtocol,
    accept: Option<HeaderValue>,
}

/// The bytes that a client sends through a tunnel.
#[derive(Debug)]
struct FromClient {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// A body of what is sent.
pub(super) fn channel() -> (Sender, Body) {
    let (sender, pieces) = mpsc::channel(1);
    let body = FromClient {
        pieces,
        ended: false,
    };
    (sender, Body::new(body))
}

impl http_body::Body for FromClient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        self.ended = !matches!(piece, Some(Piece::Data(_)));
        Poll::Ready(match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::End) => None,
            None => Some(Err(BodyError::ClientGone)),
        })
    }
}

impl Tunnels {
    /// Takes a tunnel that a response opens, in the scope of [`PROGRESS`], and makes the response say so.
    pub(super) fn open(&self, asked: Asked, response: &mut Response<Body>, tunnel: Tunnel) {
        match (self, asked) {
            (Self::Connection(slot), Asked::Upgrade(upgrade)) => {
                upgrade.confirm(response);
                *slot.lock().expect("no holder panics") = Some(tunnel);
            }
            (Self::Streams(tasks), Asked::Stream(stream)) => {
                tasks.carry(
                    stream,
                    PROGRESS.with(|progress| progress.open_tunnel()),
                    tunnel,
                );
            }
            (Self::Connection(_), Asked::Stream(_)) | (Self::Streams(_), Asked::Upgrade(_)) => {
                unreachable!("a connection has one version")
            }
        }
    }

    /// The tunnel that the connection has become, if it has.
    pub(super) fn take(&self) -> Option<Tunnel> {
        match self {
            Self::Connection(slot) => slot.lock().expect("no holder panics").take(),
            Self::Streams(_) => None,
        }
    }
}

impl Asked {
    /// Turns a request for a tunnel into an extended CONNECT; what is none stays as it is.
    pub(super) fn take(request: &mut Request<Incoming>) -> Option<Self> {
        if request.version() != Version::HTTP_2 {
            return Upgrade::take(request).map(Self::Upgrade);
        }
        let protocol = request.extensions_mut().remove::<Protocol>()?;
        let protocol = ConnectProtocol::new(protocol.as_str().as_bytes())?;
        request.extensions_mut().insert(protocol);
        Some(Self::Stream(hyper::upgrade::on(request)))
    }
}

impl Upgrade {
    /// Turns a request that asks for another protocol into an extended CONNECT. One that asks for it in
    /// a way of which nothing comes, or that has content, stays as it is, and the service refuses it.
    fn take(request: &mut Request<Incoming>) -> Option<Self> {
        let upgrade = Self::asked_for(request)?;
        *request.method_mut() = Method::CONNECT;
        fields::remove_hop_by_hop(request.headers_mut());
        request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
        request.extensions_mut().insert(upgrade.protocol.clone());
        Some(upgrade)
    }

    fn asked_for(request: &Request<Incoming>) -> Option<Self> {
        let fields = request.headers();
        let mut names = fields.get_all(header::UPGRADE).iter();
        let protocol = ConnectProtocol::new(names.next()?.as_bytes())?;
        let plain = names.next().is_none()
            && *request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream()
            && !fields.contains_key(header::CONTENT_LENGTH)
            && !fields.contains_key(header::TRANSFER_ENCODING)
            && fields::nominates(fields, "upgrade");
        if !plain {
            return None;
        }
        let accept = if protocol.as_str() == ConnectProtocol::WEBSOCKET {
            Some(accept(fields)?)
        } else {
            None
        };
        Some(Self { protocol, accept })
    }

    /// Turns the response that opens the tunnel into the one that HTTP/1.1 has for that.
    fn confirm<B>(self, response: &mut Response<B>) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(protocol) = HeaderValue::from_str(self.protocol.as_str()) {
            fields.insert(header::UPGRADE, protocol);
        }
        if let Some(accept) = self.accept {
            fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}

/// What proves that the gateway has read the client's key (RFC 6455, section 4.2.2).
fn accept(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut keys = fields.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next()?;
    (keys.next().is_none() && websocket::is_key(key.as_bytes()))
        .then(|| websocket::accept(key.as_bytes()))
}

/// Carries bytes both ways until both directions have ended or one has broken off. `already` was read
/// from it. The client may take `idle` to make room for a piece.
pub(super) async fn carry(
    stream: impl AsyncRead + AsyncWrite,
    already: Bytes,
    tunnel: Tunnel,
    idle: Duration,
) -> Ended {
    let (read, write) = tokio::io::split(stream);
    let Tunnel {
        body,
        sender,
        busy: _busy,
    } = tunnel;
    let both = async { tokio::try_join!(up(read, already, sender), down(body, write, idle)) };
    match both.await {
        Ok(_) => Ended::Whole,
        Err(Broken) => Ended::Broken,
    }
}

/// A direction broke off.
#[derive(Debug)]
struct Broken;

/// From the client. Nothing is read before there is room for it.
async fn up(
    mut read: impl AsyncRead + Unpin,
    already: Bytes,
    sender: Sender,
) -> Result<(), Broken> {
    if !already.is_empty() && sender.send(Piece::Data(already)).await.is_err() {
        return Ok(());
    }
    let mut piece = BytesMut::new();
    loop {
        let Ok(room) = sender.reserve().await else {
            // Nobody wants more of it.
            return Ok(());
        };
        piece.reserve(PIECE);
        let read = tokio::select! {
            read = read.read_buf(&mut piece) => read,
            () = sender.closed() => return Ok(()),
        };
        match read {
            Ok(0) => {
                room.send(Piece::End);
                return Ok(());
            }
            Err(_) => return Err(Broken),
            Ok(_) => room.send(Piece::Data(piece.split().freeze())),
        }
    }
}

/// To the client.
async fn down(
    mut body: Body,
    mut write: impl AsyncWrite + Unpin,
    idle: Duration,
) -> Result<(), Broken> {
    // What was said before the tunnel opened.
    in_time(idle, write.flush()).await?;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data = frame.ok().and_then(|frame| frame.into_data().ok());
        for piece in data.ok_or(Broken)?.chunks(PIECE) {
            in_time(idle, write.write_all(piece)).await?;
        }
        in_time(idle, write.flush()).await?;
    }
    in_time(idle, write.shutdown()).await
}

async fn in_time(
    idle: Duration,
    writing: impl Future<Output = io::Result<()>>,
) -> Result<(), Broken> {
    match timeout(idle, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Broken),
    }
}

/// How much is read, and held, of each direction at once.
const PIECE: usize = 16 << 10;
