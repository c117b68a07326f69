use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use super::shared::Shared;
use super::var_int;
use crate::edge::quic::transport::{ReadError, RecvStream, SendStream, WriteError};
use crate::http3::{OneWay, Step, Violation};

/// Why the streams of one direction need no more tending.
pub(super) enum Tended {
    /// The client broke a rule, for which the connection is to be closed.
    Broken(Violation),
    /// The connection ended.
    Lost,
}

/// Reads the client's streams of one direction, of which QUIC allows it few at once, until the connection
/// ends. `stopped` resolves when the client no longer reads the gateway's control stream.
pub(super) async fn tend(shared: &Shared, stopped: impl Future) -> Tended {
    let mut streams: Vec<(RecvStream, OneWay)> = Vec::new();
    let mut stopped = pin!(stopped);
    loop {
        tokio::select! {
            accepted = shared.connection().accept_uni() => match accepted {
                Ok(stream) => streams.push((stream, OneWay::default())),
                Err(_) => return Tended::Lost,
            },
            violation = poll_fn(|cx| poll_streams(shared, &mut streams, cx)) => {
                return Tended::Broken(violation);
            }
            _ = &mut stopped => {
                return match shared.connection().close_reason() {
                    Some(_) => Tended::Lost,
                    None => Tended::Broken(Violation::ClosedCriticalStream),
                };
            }
        }
    }
}

/// Tells the client's encoder what has come, until the connection ends. What waits for a client that leaves
/// no room for it is bounded by the engine.
pub(super) async fn answer(shared: &Shared) -> Tended {
    let answering = async {
        let mut decoder = shared.open_decoder().await?;
        let mut stopped = pin!(decoder.stopped());
        loop {
            tokio::select! {
                written = write_answers(shared, &mut decoder) => written?,
                _ = &mut stopped => return Ok(()),
            }
        }
    };
    let ended: Result<(), WriteError> = answering.await;
    match (ended, shared.connection().close_reason()) {
        (_, Some(_)) | (Err(WriteError::ConnectionLost(_)), None) => Tended::Lost,
        (_, None) => Tended::Broken(Violation::ClosedCriticalStream),
    }
}

async fn write_answers(shared: &Shared, decoder: &mut SendStream) -> Result<(), WriteError> {
    let answers = shared.answers().await;
    decoder.write_chunk(answers).await
}

/// Reads all of them, and forgets those that have ended or mean nothing.
fn poll_streams(
    shared: &Shared,
    streams: &mut Vec<(RecvStream, OneWay)>,
    cx: &mut Context<'_>,
) -> Poll<Violation> {
    let mut broken = None;
    streams.retain_mut(
        |(receive, stream)| match poll_stream(shared, receive, stream, cx) {
            Ok(Poll::Pending) => true,
            Ok(Poll::Ready(())) => false,
            Err(violation) => {
                broken.get_or_insert(violation);
                false
            }
        },
    );
    broken.map_or(Poll::Pending, Poll::Ready)
}

/// Reads one as far as it goes; ready when it is over.
fn poll_stream(
    shared: &Shared,
    receive: &mut RecvStream,
    stream: &mut OneWay,
    cx: &mut Context<'_>,
) -> Result<Poll<()>, Violation> {
    loop {
        // Dropping the future of a pending read loses nothing.
        let Poll::Ready(chunk) = pin!(receive.read_chunk(READ_SIZE, true)).poll(cx) else {
            return Ok(Poll::Pending);
        };
        match chunk {
            Ok(Some(chunk)) => {
                if let Step::Stop(code) = shared.receive(stream, chunk.bytes)? {
                    // Fails only when the stream has ended already.
                    drop(receive.stop(var_int(code)));
                    return Ok(Poll::Ready(()));
                }
            }
            Ok(None) | Err(ReadError::Reset(_)) => {
                shared.one_way_ended(stream)?;
                return Ok(Poll::Ready(()));
            }
            Err(_) => return Ok(Poll::Ready(())),
        }
    }
}

/// How much is taken off a stream at once.
const READ_SIZE: usize = 4 << 10;
