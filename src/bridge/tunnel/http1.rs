//! Tunnels to backends of HTTP/1.1, which switch a connection to another protocol (RFC 9110, section 7.8).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::carry::{self, Broke, Side, Sink, Source};
use super::{Answer, refused};
use crate::bridge::dial::{Half, Stream};
use crate::bridge::error;
use crate::bridge::upstream::{BUFFER, Upstream};
use crate::request::{BodyError, ConnectProtocol, RequestError, fields, websocket};

/// Asks a backend for a WebSocket on this connection, which is for nothing else.
///
/// # Errors
/// Beside those of every request: [`RequestError::NoTunnel`] for a 2xx status, which would tell the client
/// that there is a tunnel, and [`RequestError::UpstreamMalformed`] for a switch that is not to a WebSocket
/// or whose answer to the key is wrong (RFC 6455, section 4.1).
pub(super) async fn open(
    upstream: &Upstream,
    stream: Stream,
    mut parts: request::Parts,
    side: Side,
) -> Result<Answer, RequestError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| RequestError::Internal)?;
    let key = websocket::key(random);
    let accept = websocket::accept(key.as_bytes());
    ask(&mut parts, key)?;
    let (mut sender, connection) = Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error::classify(&error))?;
    side.tasks.spawn(connection.with_upgrades());
    let request = Request::from_parts(parts, Empty::<Bytes>::new());
    let response = timeout(upstream.first_byte, sender.send_request(request))
        .await
        .map_err(|_elapsed| RequestError::UpstreamTimeout)?
        .map_err(|error| error::classify(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if response.status().is_success() {
            return Err(RequestError::NoTunnel);
        }
        let (head, body) = response.into_parts();
        let body = body.map_err(|_broken| BodyError::UpstreamGone);
        return Ok((head, refused(body, side.place)));
    }
    check_switch(&response, &accept)?;
    switched(response, side).await
}

/// Turns an extended CONNECT into a request for a switch.
fn ask(parts: &mut request::Parts, key: HeaderValue) -> Result<(), RequestError> {
    parts.method = Method::GET;
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path
        .map(Uri::from)
        .ok_or(RequestError::Malformed("no path"))?;
    let fields = &mut parts.headers;
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(
        header::UPGRADE,
        HeaderValue::from_static(ConnectProtocol::WEBSOCKET),
    );
    fields.insert(header::SEC_WEBSOCKET_KEY, key);
    fields
        .entry(header::SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
    Ok(())
}

fn check_switch(response: &Response<Incoming>, accept: &HeaderValue) -> Result<(), RequestError> {
    let fields = response.headers();
    let mut protocols = fields.get_all(header::UPGRADE).iter();
    let mut accepts = fields.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    let websocket = |name: &HeaderValue| {
        name.as_bytes()
            .eq_ignore_ascii_case(ConnectProtocol::WEBSOCKET.as_bytes())
    };
    if protocols.next().is_some_and(websocket)
        && protocols.next().is_none()
        && accepts.next() == Some(accept)
        && accepts.next().is_none()
        && fields::nominates(fields, "upgrade")
    {
        return Ok(());
    }
    Err(RequestError::UpstreamMalformed)
}

async fn switched(response: Response<Incoming>, side: Side) -> Result<Answer, RequestError> {
    let (mut head, body) = response.into_parts();
    head.status = StatusCode::OK;
    head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    let upgraded = hyper::upgrade::on(Response::from_parts(head.clone(), body))
        .await
        .map_err(|error| error::classify(&error))?;
    // It is what the connection was made of.
    let parts = upgraded
        .downcast::<TokioIo<Stream>>()
        .map_err(|_other| RequestError::Internal)?;
    let stream = Half::of(parts.io.into_inner());
    let source = Reading {
        already: parts.read_buf,
        stream: stream.clone(),
        piece: BytesMut::new(),
    };
    Ok((head, carry::start(source, stream, side)))
}

struct Reading {
    /// What came with the response.
    already: Bytes,
    stream: Half,
    piece: BytesMut,
}

impl Source for Reading {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broke>>> {
        if !self.already.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.already))));
        }
        self.piece.resize(PIECE, 0);
        let mut buffer = ReadBuf::new(&mut self.piece);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        let length = buffer.filled().len();
        Poll::Ready(match read {
            Err(_broken) => Some(Err(Broke)),
            Ok(()) if length == 0 => None,
            Ok(()) => Some(Ok(self.piece.split_to(length).freeze())),
        })
    }
}

impl Sink for Half {
    async fn send(&mut self, piece: Bytes) -> Result<(), Broke> {
        broke(self.write_all(&piece).await)?;
        broke(self.flush().await)
    }

    async fn finish(&mut self) -> Result<(), Broke> {
        broke(self.shutdown().await)
    }

    /// Without a linger time the connection is reset when the other half is dropped, as it is then.
    fn abort(self) {
        self.reset_on_close();
    }
}

fn broke(result: io::Result<()>) -> Result<(), Broke> {
    result.map_err(|_error| Broke)
}

/// How much is read, and held, at once.
const PIECE: usize = 16 << 10;
