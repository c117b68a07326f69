use std::num::NonZeroU16;

/// One worker's share of what the workers of a process divide among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    worker: u16,
    workers: NonZeroU16,
}

impl Lane {
    /// The only lane of a process with one worker.
    pub const ONLY: Self = Self {
        worker: 0,
        workers: NonZeroU16::MIN,
    };

    /// The lane of the worker with this index; fails unless the index is below the number of
    /// workers.
    pub fn new(worker: u16, workers: NonZeroU16) -> Result<Self, LaneError> {
        if worker < workers.get() {
            Ok(Self { worker, workers })
        } else {
            Err(LaneError { worker, workers })
        }
    }

    /// The worker's index, from 0.
    pub fn worker(self) -> u16 {
        self.worker
    }

    /// How many workers there are.
    pub fn workers(self) -> NonZeroU16 {
        self.workers
    }
}

/// A worker's index that is not below the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no worker {worker} among {workers}, which count from 0")]
pub struct LaneError {
    worker: u16,
    workers: NonZeroU16,
}
