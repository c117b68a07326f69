//! Which backend of a pool gets the next request, which gets none for now, what is sent again, and how
//! many requests may come.
//!
//! A [`Pool`] is told when requests begin, what they came to and when they end, and what probes say. It
//! connects to nothing; what a backend is, is its caller's.

mod backend;
mod budget;
mod choose;
mod health;
mod latency;
mod maglev;
mod outlier;
mod patience;
mod pool;
mod rate;
mod survey;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use backend::{BackendState, Member, Zone};
pub use budget::{RetryBudget, RetryTerms};
pub use choose::Choice;
pub use health::{HealthTerms, Repeatable, Unfit};
pub use outlier::OutlierTerms;
pub use patience::{Patience, PatienceTerms};
pub use pool::{Answer, BackendId, Change, How, NoBackend, Picked, Pool, PoolTerms, Wish};
pub use rate::{ClientBuckets, ClientKey, ClientPrefixes, Counted, RateLimit, RateTerms, TooMany};
