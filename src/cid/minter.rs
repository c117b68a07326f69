use super::{Cid, CidConfig, Lane, Nonce, ServerId, WorkerHash};

/// Makes the connection IDs of one worker: one server ID under one configuration, no nonce twice.
///
/// Under a key the nonces are a counter from a random start (a repeated nonce would repeat the
/// connection ID), and each lane has a range of its own. Without a key each nonce is random,
/// because a counter would show which connection IDs belong together
/// (draft-ietf-quic-load-balancers-21, section 9.6).
#[derive(Debug)]
pub struct Minter {
    config: CidConfig,
    server_id: ServerId,
    lane: Lane,
    hash: Option<WorkerHash>,
    nonces: Nonces,
}

impl Minter {
    /// The fewest nonce bytes under a key: 2^64 nonces cannot run out.
    pub const MIN_NONCE_LEN: usize = 8;

    /// Starts minting.
    ///
    /// `start` must be random: it is where the counter begins, so that a process which starts again
    /// under the same server ID and key does not repeat nonces. It is not used without a key. Two
    /// minters of one server ID, configuration and key need different lanes of one process, or
    /// starts of their own.
    ///
    /// Fails if the server ID's length is not the configuration's, or if the configuration has a
    /// key and fewer than [`Self::MIN_NONCE_LEN`] bytes of nonce.
    pub fn new(
        config: CidConfig,
        server_id: ServerId,
        lane: Lane,
        start: u128,
    ) -> Result<Self, MinterError> {
        if config.is_encrypted() && config.nonce_len() < Self::MIN_NONCE_LEN {
            return Err(MinterError::ShortNonce(config.nonce_len()));
        }
        Self::dangerous_short_nonce(config, server_id, lane, start)
    }

    /// Starts minting as [`Self::new`] does, but accepts nonces of less than
    /// [`Self::MIN_NONCE_LEN`] bytes under a key.
    ///
    /// Such nonces can run out (four bytes are 2^32 connection IDs for all workers), and a process
    /// that starts again may well repeat nonces of the one before.
    pub fn dangerous_short_nonce(
        config: CidConfig,
        server_id: ServerId,
        lane: Lane,
        start: u128,
    ) -> Result<Self, MinterError> {
        if server_id.len() != config.server_id_len() {
            return Err(MinterError::ServerId {
                expected: config.server_id_len(),
                found: server_id.len(),
            });
        }
        let nonces = if config.is_encrypted() {
            Nonces::Counter(Counter::new(config.blank_nonce(), lane, start))
        } else {
            Nonces::Random
        };
        Ok(Self {
            config,
            server_id,
            lane,
            hash: None,
            nonces,
        })
    }

    /// Mints only connection IDs that `hash` gives to this minter's worker.
    ///
    /// Fails if there are several workers and the connection IDs are too short to tell them apart.
    pub fn with_worker_hash(mut self, hash: WorkerHash) -> Result<Self, MinterError> {
        if self.lane.workers().get() > 1 && self.config.cid_len() < WorkerHash::INPUT_LEN {
            return Err(MinterError::ShortCid(self.config.cid_len()));
        }
        self.hash = Some(hash);
        Ok(self)
    }

    /// The configuration.
    pub fn config(&self) -> &CidConfig {
        &self.config
    }

    /// The server ID in every connection ID.
    pub fn server_id(&self) -> &ServerId {
        &self.server_id
    }

    /// Makes a connection ID that this minter never made before (without a key: with overwhelming
    /// probability).
    ///
    /// `random` fills the slice that it gets with random bytes; it is called once for the first
    /// octet, and without a key once more for each nonce. With a worker hash it takes as many
    /// nonces as there are workers on average, and at most 64 times as many.
    pub fn mint(&mut self, mut random: impl FnMut(&mut [u8])) -> Result<Cid, MintError> {
        let mut bits = [0];
        random(&mut bits);
        let tries = u32::from(self.lane.workers().get()) * TRIES_PER_WORKER;
        for _ in 0..tries {
            let nonce = match &mut self.nonces {
                Nonces::Counter(counter) => counter.take().ok_or(MintError::Exhausted)?,
                Nonces::Random => {
                    let mut nonce = self.config.blank_nonce();
                    random(nonce.bytes_mut());
                    nonce
                }
            };
            let cid = self.config.encode_fitting(&self.server_id, &nonce, bits[0]);
            if self.is_ours(&cid) {
                return Ok(cid);
            }
        }
        Err(MintError::NotOurs(tries))
    }

    /// Whether a connection ID has the configuration, the server ID and, with a worker hash, the
    /// worker of this minter.
    ///
    /// Under a key, other bytes of the right length pass with a probability of 1 to
    /// 2^(8 × server ID length).
    pub fn owns(&self, cid: &[u8]) -> bool {
        let decoded = self.config.decode(cid);
        decoded.is_ok_and(|decoded| decoded.server_id == self.server_id) && self.is_ours(cid)
    }

    fn is_ours(&self, cid: &[u8]) -> bool {
        self.hash.is_none_or(|hash| {
            let our_len = self.config.cid_len();
            hash.worker_of(cid, our_len, self.lane.workers()) == self.lane.worker()
        })
    }
}

/// Why a minter cannot work as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MinterError {
    /// The server ID's length is not the configuration's.
    #[error("the configuration has a server ID of {expected} bytes, not {found}")]
    ServerId {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The nonces could run out or repeat after a restart.
    #[error(
        "a nonce of {0} bytes is too short to mint encrypted connection IDs; use at least {min}",
        min = Minter::MIN_NONCE_LEN
    )]
    ShortNonce(usize),
    /// All connection IDs would belong to one worker.
    #[error(
        "a connection ID of {0} bytes is too short to choose a worker by; use at least {min}",
        min = WorkerHash::INPUT_LEN
    )]
    ShortCid(usize),
}

/// Why there is no further connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// Every nonce of the lane is used: only another configuration with another key helps.
    #[error("every nonce of this worker is used")]
    Exhausted,
    /// No nonce in this many tries made a connection ID of this worker, which sound random bytes
    /// practically exclude.
    #[error("none of {0} nonces made a connection ID of this worker")]
    NotOurs(u32),
}

#[derive(Debug)]
enum Nonces {
    Counter(Counter),
    Random,
}

/// The nonces of one lane: a range of the nonce's last eight bytes (all, if it has fewer), walked
/// once around from a random place. The bytes before them, if any, are random but fixed.
///
/// The range depends on the lane alone, so lanes are disjoint whatever their starts are.
#[derive(Debug)]
struct Counter {
    blank: Nonce,
    first: u128,
    last: u128,
    next: u128,
    left: u128,
}

impl Counter {
    fn new(blank: Nonce, lane: Lane, start: u128) -> Self {
        let space = 1 << (8 * blank.len().min(COUNTER_BYTES));
        let size = space / u128::from(lane.workers().get());
        let fixed = start & !(u128::from(u64::MAX));
        let first = fixed + size * u128::from(lane.worker());
        Self {
            blank,
            first,
            last: first + (size - 1),
            next: first + (start - fixed) % size,
            left: size,
        }
    }

    fn take(&mut self) -> Option<Nonce> {
        self.left = self.left.checked_sub(1)?;
        let value = self.next;
        self.next = if value == self.last {
            self.first
        } else {
            value + 1
        };
        let mut nonce = self.blank;
        let from_last = value.to_be_bytes().into_iter().rev();
        for (to, from) in nonce.bytes_mut().iter_mut().rev().zip(from_last) {
            *to = from;
        }
        Some(nonce)
    }
}

/// Wide enough never to run out, narrow enough for a range in a `u128`.
const COUNTER_BYTES: usize = 8;
/// Misses with a probability below 2^-90, however many workers there are.
const TRIES_PER_WORKER: u32 = 64;
