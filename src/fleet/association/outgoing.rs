use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fleet::tunnel_key::TrafficKey;
use crate::wire::{AUTHENTICATED_PAYLOAD, Cargo, Ecn, Envelope, Path, Sender};

/// Seals datagrams for one boot of a peer under the key of one epoch; shared by everything that
/// forwards to it.
#[derive(Debug)]
pub struct Outgoing {
    key: TrafficKey,
    sender: Sender,
    counters: Arc<Counters>,
}

/// One lane of the counters of an [`Outgoing`]; each worker has its own, so that none waits for
/// another and the receiver sees each one's datagrams in their order.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingLane<'a> {
    outgoing: &'a Outgoing,
    lane: u8,
    cargo: Cargo,
}

/// The counters of everything that this process seals, for all peers: 256 lanes.
///
/// They belong to the process and not to a key, so no counter is used twice under one key, whatever
/// becomes of members and epochs while it runs.
#[derive(Debug)]
pub struct Counters(Box<[Lane]>);

/// Every counter of this lane was used; restarting gives new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counters of this traffic key are used up")]
pub struct CountersExhausted;

/// Workers count at the same time, so no two lanes share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane(AtomicU64);

impl Outgoing {
    pub(super) fn new(key: TrafficKey, sender: Sender, counters: Arc<Counters>) -> Self {
        Self {
            key,
            sender,
            counters,
        }
    }

    /// The lane of a worker; workers above 255 share one with others.
    pub fn lane(&self, worker: u16) -> OutgoingLane<'_> {
        let [_, lane] = worker.to_be_bytes();
        OutgoingLane {
            outgoing: self,
            lane,
            cargo: Cargo::Datagram,
        }
    }

    /// Appends a client's datagram in an envelope to `out`, in the first worker's lane.
    ///
    /// # Errors
    /// Those of [`OutgoingLane::seal`].
    ///
    /// # Panics
    /// As [`OutgoingLane::seal`].
    pub fn seal(
        &self,
        path: Path,
        ecn: Ecn,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CountersExhausted> {
        self.lane(0).seal(path, ecn, datagram, out)
    }
}

impl OutgoingLane<'_> {
    /// Seals what goes this way; at first that is clients' datagrams.
    #[must_use]
    pub fn carrying(self, cargo: Cargo) -> Self {
        Self { cargo, ..self }
    }

    /// Appends a datagram in an envelope to `out`.
    ///
    /// # Errors
    /// [`CountersExhausted`] after 2^56 datagrams; nothing is appended then.
    ///
    /// # Panics
    /// If the datagram is longer than 65535 bytes, which no UDP datagram is.
    pub fn seal(
        self,
        path: Path,
        ecn: Ecn,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CountersExhausted> {
        let Outgoing {
            key,
            sender,
            counters,
        } = self.outgoing;
        let counter = counters.take(self.lane)?;
        let len = u16::try_from(datagram.len()).expect("a UDP datagram is shorter than 64 KiB");
        let start = out.len();
        Envelope {
            sender: *sender,
            counter,
            cargo: self.cargo,
            path,
            ecn,
        }
        .write_header(len, out);
        let header_len = out.len() - start;
        out.extend_from_slice(&datagram[..datagram.len().min(AUTHENTICATED_PAYLOAD)]);
        let tag = key.tag(counter, &out[start..]);
        out.truncate(start + header_len);
        out.extend_from_slice(&tag);
        out.extend_from_slice(datagram);
        Ok(())
    }
}

impl Counters {
    /// Starts every lane at 0; a process makes this once, together with its boot ID.
    pub fn new() -> Arc<Self> {
        Arc::new(Self((0..LANES).map(|_| Lane::default()).collect()))
    }

    /// A counter that was never given before.
    fn take(&self, lane: u8) -> Result<u64, CountersExhausted> {
        let next = &self.0[usize::from(lane)].0;
        let count = next.fetch_add(1, Ordering::Relaxed);
        if count >= LANE_COUNTERS {
            next.store(LANE_COUNTERS, Ordering::Relaxed);
            return Err(CountersExhausted);
        }
        Ok(u64::from(lane) << LANE_SHIFT | count)
    }
}

const LANES: usize = 256;
/// Counts within one worker's lane; the lane is the byte above.
const LANE_COUNTERS: u64 = 1 << LANE_SHIFT;
const LANE_SHIFT: u32 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_lane_gives_no_counter_and_the_others_go_on() {
        let counters = Counters::new();
        counters.0[3].0.store(LANE_COUNTERS - 1, Ordering::Relaxed);
        assert_eq!(counters.take(3), Ok((4 << LANE_SHIFT) - 1));
        for _ in 0..2 {
            assert_eq!(counters.take(3), Err(CountersExhausted));
        }
        assert_eq!(counters.take(4), Ok(4 << LANE_SHIFT));
    }
}
