use std::num::NonZeroU16;

use crate::cid::{Lane, WorkerHash};

/// How a process shares its connection IDs among its endpoints: one for each worker of each listener.
///
/// The slot of a connection ID is its hash modulo `listeners * workers`, and slot
/// `listener * workers + worker` belongs to that worker of that listener. So the hash modulo `workers`,
/// which the kernel computes for the sockets of one listener, is the worker in either case.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    hash: WorkerHash,
    cid_len: usize,
    workers: NonZeroU16,
    count: NonZeroU16,
}

/// One endpoint of a process: a worker of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// More endpoints than there can be: 65,535 in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{listeners} listeners of {workers} workers are more than {max} endpoints", max = u16::MAX)]
pub struct TooManySlots {
    listeners: NonZeroU16,
    workers: NonZeroU16,
}

impl Slots {
    /// Shares connection IDs of `cid_len` bytes by this hash.
    ///
    /// # Errors
    /// [`TooManySlots`].
    pub fn new(
        hash: WorkerHash,
        cid_len: usize,
        listeners: NonZeroU16,
        workers: NonZeroU16,
    ) -> Result<Self, TooManySlots> {
        let count = listeners
            .checked_mul(workers)
            .ok_or(TooManySlots { listeners, workers })?;
        Ok(Self {
            hash,
            cid_len,
            workers,
            count,
        })
    }

    /// The slots of a process with one endpoint.
    pub fn single(cid_len: usize) -> Self {
        Self {
            hash: WorkerHash::new([0; 8]),
            cid_len,
            workers: NonZeroU16::MIN,
            count: NonZeroU16::MIN,
        }
    }

    /// The hash.
    pub fn hash(&self) -> WorkerHash {
        self.hash
    }

    /// Bytes of the connection IDs that are issued here.
    pub fn cid_len(&self) -> usize {
        self.cid_len
    }

    /// Workers of each listener.
    pub fn workers(&self) -> NonZeroU16 {
        self.workers
    }

    /// All endpoints.
    pub fn count(&self) -> NonZeroU16 {
        self.count
    }

    /// The endpoint of a worker of a listener.
    pub fn slot(&self, listener: u16, worker: u16) -> Slot {
        Slot(listener * self.workers.get() + worker)
    }

    /// The endpoint of another worker of the same listener.
    pub fn beside(&self, slot: Slot, worker: u16) -> Slot {
        self.slot(slot.0 / self.workers, worker)
    }

    /// The share of nonces of an endpoint; its minter makes connection IDs of this slot only.
    ///
    /// # Panics
    /// If the process has no such slot.
    pub fn lane(&self, slot: Slot) -> Lane {
        Lane::new(slot.0, self.count).expect("the slot is one of this process")
    }

    /// The endpoint whose minter made a connection ID.
    pub fn slot_of(&self, cid: &[u8]) -> Slot {
        Slot(self.hash.worker_of(cid, self.cid_len, self.count))
    }

    /// The worker that takes a connection ID which a client chose, at whichever listener it arrives.
    pub fn worker_of(&self, cid: &[u8]) -> u16 {
        self.slot_of(cid).0 % self.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(listeners: u16, workers: u16) -> Result<Slots, TooManySlots> {
        let count = |number| NonZeroU16::new(number).unwrap();
        Slots::new(
            WorkerHash::new([7; 8]),
            17,
            count(listeners),
            count(workers),
        )
    }

    #[test]
    fn the_hash_modulo_the_workers_is_the_worker_of_every_slot() {
        let slots = slots(3, 4).unwrap();
        for id in 0..2000_u32 {
            let mut cid = [0x5a; 17];
            cid[13..].copy_from_slice(&id.to_be_bytes());
            let worker = slots.hash().worker_of(&cid, 17, slots.workers());
            assert_eq!(slots.slot_of(&cid).0 % 4, worker);
            assert_eq!(slots.worker_of(&cid), worker);
        }
    }

    #[test]
    fn more_endpoints_than_a_lane_can_number_are_refused() {
        assert!(slots(255, 257).is_ok());
        assert!(slots(256, 256).is_err());
    }
}
