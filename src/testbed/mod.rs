//! Moving networks, which the demo, the tests and the bench share.
//!
//! [`Relay`] plays the internet between clients and nodes on loopback, with NATs that rebind, addresses
//! that change and a route that flips; [`Backend`] is a stateless origin. Nothing here knows what is in a
//! datagram but its connection IDs, if its header shows them. [`lab`] has the kernel do the same between namespaces.

mod backend;
mod drops;
pub mod emulator;
pub mod lab;
mod relay;
mod socket;

use std::time::Instant;

pub use backend::Backend;
pub use drops::kernel_drops;
pub use relay::{Counts, FlowCounts, Honesty, Move, Relay, RelayConfig, RelayGone};

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of testbed and demo"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
