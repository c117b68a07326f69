//! Tunnels to backends of HTTP/2 by extended CONNECT (RFC 8441).
//!
//! Each has a connection of its own, as over HTTP/1.1: it may last for days, and must not hold up the
//! connection of ordinary requests when the backend closes that. hyper would not tell whether a backend
//! offers extended CONNECT, and takes a tunnel that broke off for one that ended; so this is h2 itself.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Ping, Reason, RecvStream, SendStream};
use http::{Request, request};
use http_body::Frame;
use tokio::time::timeout;

use super::carry::{self, Broke, Side, Sink, Source};
use super::{Answer, refused};
use crate::bridge::dial::Stream;
use crate::bridge::http2::{HEADER_BYTES, STREAM_WINDOW};
use crate::bridge::upstream::Upstream;
use crate::request::{BodyError, ConnectProtocol, RequestError};

/// Asks a backend for a WebSocket on this connection, which is for nothing else.
///
/// # Errors
/// Beside those of every request: [`RequestError::NoTunnel`] if the backend does not offer extended
/// CONNECT in its SETTINGS.
pub(super) async fn open(
    upstream: &Upstream,
    stream: Stream,
    mut parts: request::Parts,
    side: Side,
) -> Result<Answer, RequestError> {
    let (mut sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_BYTES)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|_error| RequestError::UpstreamBroken)?;
    let pings = connection.ping_pong();
    side.tasks.spawn(connection);
    // The answer to a ping comes behind the backend's SETTINGS (RFC 9113, section 3.4).
    let mut pings = pings.ok_or(RequestError::Internal)?;
    timeout(upstream.connect, pings.ping(Ping::opaque()))
        .await
        .map_err(|_elapsed| RequestError::UpstreamTimeout)?
        .map_err(|_error| RequestError::UpstreamBroken)?;
    if !sender.is_extended_connect_protocol_enabled() {
        return Err(RequestError::NoTunnel);
    }
    parts
        .extensions
        .insert(Protocol::from_static(ConnectProtocol::WEBSOCKET));
    let request = Request::from_parts(parts, ());
    let (response, mut send) = sender
        .send_request(request, false)
        .map_err(|_error| RequestError::UpstreamBroken)?;
    let response = timeout(upstream.first_byte, response)
        .await
        .map_err(|_elapsed| RequestError::UpstreamTimeout)?
        .map_err(|_error| RequestError::UpstreamBroken)?;
    let (head, receive) = response.into_parts();
    if head.status.is_success() {
        return Ok((head, carry::start(receive, send, side)));
    }
    // Fails only when the backend has ended the stream, which reading tells as well.
    drop(send.send_data(Bytes::new(), true));
    Ok((head, refused(Refusal(receive), side.place)))
}

impl Source for RecvStream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broke>>> {
        poll_piece(self, cx)
    }
}

fn poll_piece(stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broke>>> {
    let piece = ready!(stream.poll_data(cx));
    Poll::Ready(piece.map(|piece| {
        let piece = piece.map_err(|_error| Broke)?;
        // What is taken makes room; fails only when the stream has ended.
        drop(stream.flow_control().release_capacity(piece.len()));
        Ok(piece)
    }))
}

impl Sink for SendStream<Bytes> {
    async fn send(&mut self, mut piece: Bytes) -> Result<(), Broke> {
        while !piece.is_empty() {
            self.reserve_capacity(piece.len());
            let room = poll_fn(|cx| self.poll_capacity(cx)).await;
            let room = room.ok_or(Broke)?.map_err(|_error| Broke)?;
            let part = piece.split_to(room.min(piece.len()));
            self.send_data(part, false).map_err(|_error| Broke)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Broke> {
        self.send_data(Bytes::new(), true).map_err(|_error| Broke)
    }

    fn abort(mut self) {
        self.send_reset(Reason::CANCEL);
    }
}

/// The body of a response that opens no tunnel.
struct Refusal(RecvStream);

impl http_body::Body for Refusal {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let broke = |_broken| BodyError::UpstreamGone;
        if let Some(piece) = ready!(poll_piece(&mut self.0, cx)) {
            return Poll::Ready(Some(piece.map(Frame::data).map_err(|Broke| broke(()))));
        }
        let trailers = ready!(self.0.poll_trailers(cx)).map_err(|_error| broke(()));
        Poll::Ready(
            trailers
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        )
    }
}

/// Bytes that wait for the backend.
const SEND_BUFFER: usize = 64 << 10;
