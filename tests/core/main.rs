//! Claims about the core that need no IO.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cid_codec;
mod cid_minting;
mod cid_vectors;
mod keyring;
