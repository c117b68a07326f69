use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use crate::connect_udp::{Capsule, CapsuleReader, put_datagram};
use crate::request::{Body, BodyError, Datagrams, SendDatagramError};

/// The client's side of a tunnel: HTTP datagrams, by capsules in its data stream or in QUIC DATAGRAM frames.
#[derive(Debug)]
pub(super) struct ClientSide {
    stream: Body,
    held: Bytes,
    capsules: CapsuleReader,
    frames: Option<Datagrams>,
}

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Datagram(Bytes),
    /// Nothing for the target, for this reason.
    Dropped(&'static str),
    /// The end of its data stream.
    End,
}

/// What became of a datagram to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    /// This has to go into the data stream.
    Capsule(Bytes),
    Dropped(&'static str),
    Gone,
}

impl ClientSide {
    /// Takes datagrams of at most so many bytes.
    pub(super) fn new(stream: Body, frames: Option<Datagrams>, limit: usize) -> Self {
        Self {
            stream,
            held: Bytes::new(),
            capsules: CapsuleReader::new(limit),
            frames,
        }
    }

    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, BodyError>> {
        if let Some(frames) = &self.frames
            && let Poll::Ready(datagram) = frames.poll_receive(cx)
        {
            return Poll::Ready(Ok(Received::Datagram(datagram)));
        }
        loop {
            let capsule = self.capsules.next(&mut self.held);
            match capsule.map_err(|_malformed| BodyError::Malformed)? {
                Some(Capsule::Datagram(datagram)) => {
                    return Poll::Ready(Ok(Received::Datagram(datagram)));
                }
                Some(Capsule::TooLong) => return Poll::Ready(Ok(Received::Dropped(TOO_LONG))),
                Some(Capsule::Unknown) => return Poll::Ready(Ok(Received::Dropped("capsule"))),
                None => {}
            }
            let Some(frame) = ready!(Pin::new(&mut self.stream).poll_frame(cx)) else {
                let end = self.capsules.finish().map(|()| Received::End);
                return Poll::Ready(end.map_err(|_malformed| BodyError::Malformed));
            };
            // A tunnel has no trailers, and its transport has refused them.
            self.held = frame?.into_data().unwrap_or_default();
        }
    }

    /// Sends a datagram in a frame where the client takes them, and else in a capsule.
    pub(super) fn send(&self, datagram: &[u8]) -> Sent {
        let sent = self
            .frames
            .as_ref()
            .map_or(Err(SendDatagramError::Unsupported), |frames| {
                frames.send(datagram)
            });
        match sent {
            Ok(()) => Sent::Whole,
            Err(SendDatagramError::Unsupported) => {
                let mut capsule = BytesMut::with_capacity(CAPSULE_HEADER + datagram.len());
                put_datagram(&mut capsule, datagram.len());
                capsule.extend_from_slice(datagram);
                Sent::Capsule(capsule.freeze())
            }
            Err(SendDatagramError::TooLarge) => Sent::Dropped("client_path"),
            Err(SendDatagramError::Full) => Sent::Dropped("client_queue"),
            Err(SendDatagramError::Gone) => Sent::Gone,
        }
    }
}

/// Larger than is passed on.
pub(super) const TOO_LONG: &str = "too_long";
/// A type of one byte and the length of at most 65528 bytes.
const CAPSULE_HEADER: usize = 5;
