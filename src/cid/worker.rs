use std::array;
use std::fmt;
use std::num::NonZeroU16;

/// Chooses the worker that serves a connection ID.
///
/// It is a keyed hash of eight bytes in arithmetic that classic BPF has too, so that the kernel
/// hands a datagram to the socket of the worker that user space would choose. It spreads
/// connection IDs, also those that clients choose, but authenticates nothing.
///
/// With the eight bytes read as two big-endian 32-bit words `a` and `b`, all arithmetic modulo
/// 2^32, the worker is `((a * k0 ^ b * k1) >> 16) mod workers`.
#[derive(Clone, Copy)]
pub struct WorkerHash {
    multipliers: [u32; 2],
}

impl WorkerHash {
    /// The bytes of a connection ID that are hashed.
    pub const INPUT_LEN: usize = 8;
    /// How far the mixed words are shifted right: the low bits of a product depend on the low bits
    /// of its factors only.
    pub const SHIFT: u32 = 16;

    /// Makes the hash that belongs to a key.
    pub fn new(key: [u8; 8]) -> Self {
        // An even multiplier would lose bits of the word.
        let multipliers = words(key).map(|word| word | 1);
        Self { multipliers }
    }

    /// The multipliers `k0` and `k1`, for a program that computes the same hash.
    pub fn multipliers(self) -> [u32; 2] {
        self.multipliers
    }

    /// The worker of a connection ID: below `workers`.
    ///
    /// The hash covers the last eight bytes of a connection ID that has the length of those issued
    /// here, `our_len` (a plaintext one varies only there), and the first eight of any other. One
    /// that is shorter than eight bytes belongs to worker 0.
    pub fn worker_of(self, cid: &[u8], our_len: usize, workers: NonZeroU16) -> u16 {
        let input = if cid.len() == our_len {
            cid.last_chunk()
        } else {
            cid.first_chunk()
        };
        input.map_or(0, |input| self.worker(*input, workers))
    }

    fn worker(self, input: [u8; Self::INPUT_LEN], workers: NonZeroU16) -> u16 {
        let [a, b] = words(input);
        let [k0, k1] = self.multipliers;
        let mixed = (a.wrapping_mul(k0) ^ b.wrapping_mul(k1)) >> Self::SHIFT;
        mixed as u16 % workers
    }
}

/// The multipliers are a secret of the fleet: whoever knows them can aim at one worker.
impl fmt::Debug for WorkerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerHash(..)")
    }
}

fn words(bytes: [u8; WorkerHash::INPUT_LEN]) -> [u32; 2] {
    [0, 4].map(|at| u32::from_be_bytes(array::from_fn(|index| bytes[at + index])))
}
