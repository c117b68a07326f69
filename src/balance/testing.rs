//! What the tests of this module share.

use std::sync::OnceLock;
use std::time::Instant;

/// The moment at which all tests begin.
#[expect(
    clippy::disallowed_methods,
    reason = "an instant can only be got from the clock"
)]
pub(super) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
