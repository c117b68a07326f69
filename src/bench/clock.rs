use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the clock of the benchmark")]
pub(super) fn now() -> Instant {
    Instant::now()
}
