use std::time::{Duration, Instant};

use super::health::{Admission, Health, HealthTerms, Repeatable, Unfit};
use super::latency::PeakEwma;
use super::outlier::Record;

/// What is fixed about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A hash of what names it, the same on every node: which keys are its own follows from that.
    pub identity: u64,
    /// Its share beside others; 0 is none.
    pub weight: u16,
    /// Where it is.
    pub zone: Zone,
    /// One of a higher number gets requests only while none of a lower is fit (RFC 2782).
    pub priority: u16,
}

/// Where a backend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Where this node is, or nobody says where anything is.
    #[default]
    Own,
    /// Elsewhere, where it costs more to reach.
    Other,
}

/// What is known of a backend, to be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendState {
    /// Why it gets no requests, if so.
    pub unfit: Option<Unfit>,
    /// Requests under way to it.
    pub under_way: u32,
    /// The mean time to its answers, which leans to the slowest; none before the first.
    pub latency: Option<Duration>,
    /// The part of its weight that it gets while it comes back: 0.1 to 1.
    pub share: f64,
}

/// A backend as a pool sees it.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) member: Member,
    pub(super) under_way: u32,
    pub(super) health: Health,
    pub(super) latency: PeakEwma,
    pub(super) record: Record,
    /// How much it is owed by the others, in turns.
    pub(super) turn: f64,
}

impl Backend {
    pub(super) fn new(member: Member, health: Health) -> Self {
        Self {
            member,
            under_way: 0,
            health,
            latency: PeakEwma::default(),
            record: Record::default(),
            turn: 0.0,
        }
    }

    pub(super) fn admission(&self, request: Repeatable, now: Instant) -> Admission {
        self.health.admission(request, now)
    }

    /// The weight that it has now.
    pub(super) fn weight(&self, terms: &HealthTerms, now: Instant) -> f64 {
        f64::from(self.member.weight) * self.health.share(terms.slow_start, now)
    }

    /// What a request would wait here, were all that is under way served one after the other.
    pub(super) fn wait(&self, now: Instant) -> f64 {
        let latency = self.latency.read(now).unwrap_or(UNKNOWN);
        latency.max(LEAST) * (f64::from(self.under_way) + 1.0)
    }

    pub(super) fn state(&self, terms: &HealthTerms, now: Instant) -> BackendState {
        let latency = self.latency.read(now);
        BackendState {
            unfit: self.health.unfit(),
            under_way: self.under_way,
            latency: latency.map(Duration::from_secs_f64),
            share: self.health.share(terms.slow_start, now),
        }
    }
}

/// What a backend that has not answered yet is taken to need, in seconds.
const UNKNOWN: f64 = 0.001;
/// What every answer takes, in seconds: of two that answer in no time the one with fewer requests is
/// better.
const LEAST: f64 = 0.000_05;
