use super::{Fate, Limits, Packet, Trace};

/// Writes packets down while somebody wants that, up to a limit.
#[derive(Debug)]
pub(super) struct Recorder {
    limits: Limits,
    on: bool,
    /// Tells the places of one trace from those of another.
    number: u64,
    bytes: usize,
    trace: Trace,
}

/// Where a packet stands in a trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    trace: u64,
    index: usize,
}

impl Recorder {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            on: false,
            number: 0,
            bytes: 0,
            trace: Trace::default(),
        }
    }

    pub(super) fn begin(&mut self) {
        drop(self.take());
        self.on = true;
    }

    pub(super) fn take(&mut self) -> Trace {
        self.on = false;
        self.number += 1;
        self.bytes = 0;
        let mut trace = std::mem::take(&mut self.trace);
        // They come from several sockets.
        trace.packets.sort_by_key(|packet| packet.sent);
        trace
    }

    pub(super) fn add(&mut self, packet: Packet) -> Option<Place> {
        if !self.on {
            return None;
        }
        let bytes = self.bytes + packet.bytes.len();
        if self.trace.packets.len() >= self.limits.packets || bytes > self.limits.bytes {
            self.trace.left_out += 1;
            return None;
        }
        self.bytes = bytes;
        self.trace.packets.push(packet);
        Some(Place {
            trace: self.number,
            index: self.trace.packets.len() - 1,
        })
    }

    /// Writes down what became of a packet, if its trace was not taken before.
    pub(super) fn settle(&mut self, place: Place, fate: Fate) {
        if place.trace == self.number
            && let Some(packet) = self.trace.packets.get_mut(place.index)
        {
            packet.fate = fate;
        }
    }
}
