use std::time::SystemTime;

use tokio::time::Instant;

/// The runtime's time, which tests may pause. Requests are timed by this clock only.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where requests read the monotonic clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day, for `Date` fields (RFC 9110, section 6.6.1).
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where requests read the time of day"
)]
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}
