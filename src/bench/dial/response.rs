use std::time::{Duration, Instant};

use quinn::{Connection, RecvStream};
use tokio::task::yield_now;

use super::observed::Observed;
use super::{DialError, http, within};
use crate::bench::clock::now;

use crate::bench::trace::Marks;

/// The beginning of a response, and the confirmation of the handshake where there was one.
pub(super) struct First {
    byte: Instant,
    confirmed: Option<Instant>,
}

impl First {
    pub(super) fn marks(
        &self,
        start: Instant,
        ready: Option<Instant>,
        handshake: Option<Instant>,
    ) -> Marks {
        Marks {
            start,
            connect: None,
            ready,
            handshake,
            confirmed: self.confirmed,
            first_byte: Some(self.byte),
        }
    }
}

/// Waits for the first byte of a response and for the confirmation, whichever comes first.
pub(super) async fn first_byte(
    mut response: RecvStream,
    connection: &Connection,
    socket: &Observed,
) -> Result<First, DialError> {
    let confirmation = confirmation(connection, socket);
    tokio::pin!(confirmation);
    let mut confirmed = None;
    let (byte, beginning) = {
        let reading = async {
            let chunk = response.read_chunk(BEGINNING, true).await;
            (now(), chunk)
        };
        tokio::pin!(reading);
        loop {
            tokio::select! {
                biased;
                at = &mut confirmation, if confirmed.is_none() => confirmed = Some(at),
                read = &mut reading => break read,
            }
        }
    };
    let chunk = beginning
        .map_err(DialError::stream)?
        .ok_or(DialError::Ended)?;
    if !http::is_http3_success(&chunk.bytes) {
        return Err(DialError::Response);
    }
    if confirmed.is_none() {
        confirmed = within(CONFIRMATION_LIMIT, "the confirmation", confirmation)
            .await
            .ok();
    }
    // A response that is read to its end is not refused.
    let rest = async { while let Ok(Some(_)) = response.read_chunk(usize::MAX, true).await {} };
    within(super::CLOSE_LIMIT, "the rest of the response", rest).await?;
    Ok(First { byte, confirmed })
}

/// Waits for `HANDSHAKE_DONE` (RFC 9000, section 19.20), of which quinn tells nobody.
async fn confirmation(connection: &Connection, socket: &Observed) -> Instant {
    loop {
        // What a datagram holds is known once the tasks that it woke have run.
        for _task in 0..TASKS {
            if connection.stats().frame_rx.handshake_done > 0 {
                return now();
            }
            yield_now().await;
        }
        socket.received().await;
    }
}

/// Enough of a response to tell whether it is one of success.
const BEGINNING: usize = 64;
/// The endpoint's task wakes the connection's, which may wake another once more.
const TASKS: u32 = 4;
/// How long after a response the confirmation may come; one that is lost comes later than others.
const CONFIRMATION_LIMIT: Duration = Duration::from_secs(3);
