use crate::edge::socket::{Batch, Origin};
use crate::edge::steering::Steering;
use crate::wire::Cargo;

/// Consecutive datagrams out of the tunnel that go the same way: a batch again.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    cargo: Cargo,
    origin: Origin,
    stride: usize,
}

impl Run {
    /// Adds a datagram; sends those before it on their way first if it does not go with them.
    pub(super) fn add(
        &mut self,
        steering: &Steering,
        cargo: Cargo,
        origin: Origin,
        datagram: &[u8],
    ) {
        if !self.continues_with(cargo, origin, datagram.len()) {
            self.end(steering);
            self.head = Some(Head {
                cargo,
                origin,
                stride: datagram.len().max(1),
            });
        }
        self.bytes.extend_from_slice(datagram);
    }

    /// Sends what there is on its way.
    pub(super) fn end(&mut self, steering: &Steering) {
        let Some(head) = self.head.take() else {
            return;
        };
        let batch = Batch {
            bytes: &self.bytes,
            stride: head.stride,
            origin: head.origin,
        };
        match head.cargo {
            Cargo::Datagram => steering.take(&batch),
            Cargo::Reply => steering.emit(&batch),
        }
        self.bytes.clear();
    }

    /// Only the last of a batch may be shorter than the others.
    fn continues_with(&self, cargo: Cargo, origin: Origin, len: usize) -> bool {
        self.head.is_some_and(|head| {
            (head.cargo, head.origin) == (cargo, origin)
                && (1..=head.stride).contains(&len)
                && self.bytes.len().is_multiple_of(head.stride)
                && self.bytes.len() + len <= MAX_BATCH
        })
    }
}

/// As much as a socket gives in one batch.
const MAX_BATCH: usize = 65_535;
