use std::pin::pin;
use std::task::{Context, Poll, Waker};

use quinn::Connection;

/// Adds two datagrams' worth of padding to what an HTTP/3 connection sends next, where it may open a
/// stream.
///
/// Until a new address of a client is proven, it gets at most three times what came from it, and the
/// proof takes 1200 bytes of that (RFC 9000, sections 8.2.1 and 9.3). So a small request after a move is
/// answered one round trip late, unless something makes it larger. This does: a stream of a reserved
/// type, which the other side ignores (RFC 9114, section 6.2.3). One datagram would do, but some nodes
/// look for the MTU of the new path first, which takes as much as the proof does.
///
/// To be called at once after [`Endpoint::rebind`](quinn::Endpoint::rebind), before anything is awaited,
/// so that the padding leaves with the first packet from the new address. A client cannot know that a NAT
/// on the way gave it another port, so there a small request takes the round trip more.
pub fn pad_after_move(connection: &Connection) {
    let Some(Ok(mut stream)) = now_or_never(connection.open_uni()) else {
        return;
    };
    let mut padding = [0; LENGTH];
    padding[0] = RESERVED;
    // Where not all of it is taken, some of it was; the stream ends when it is dropped.
    drop(now_or_never(stream.write(&padding)));
}

fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// With a request of some 50 bytes it fills two datagrams of 1200, which allow an answer of 7200.
const LENGTH: usize = 2250;
/// The first of the reserved types, 0x21 and each 0x1f further.
const RESERVED: u8 = 0x21;
