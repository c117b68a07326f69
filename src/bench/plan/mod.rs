//! What is measured, in which order: suites, and filters that leave less of them.

mod filter;
mod suite;

pub use filter::{Filter, FilterError};
pub use suite::Suite;

use super::{Mode, Scenario};

/// What a run measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The groups, one after the other.
    pub groups: Vec<Group>,
}

/// Scenarios that take turns, because they are compared: different modes under the same factors.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// Samples of each of them.
    pub samples: u32,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// They connect.
    Handshake,
    /// They move, or connect again.
    Migrate,
}

impl Subject {
    /// What clients do of this, in the order in which it is shown.
    pub const fn modes(self) -> &'static [Mode] {
        match self {
            Self::Handshake => &[
                Mode::TcpFull,
                Mode::TcpResumed,
                Mode::Tcp0Rtt,
                Mode::TcpFastOpen,
                Mode::QuicFull,
                Mode::QuicRetry,
                Mode::QuicToken,
                Mode::QuicResumed,
                Mode::Quic0Rtt,
            ],
            Self::Migrate => &[
                Mode::QuicRebind,
                Mode::QuicAddress,
                Mode::QuicFlip,
                Mode::TcpReconnect,
                Mode::TcpReconnectResumed,
                Mode::TcpReconnect0Rtt,
            ],
        }
    }
}

impl Plan {
    /// All scenarios, in the order in which their groups come.
    pub fn scenarios(&self) -> impl Iterator<Item = &Scenario> {
        self.groups.iter().flat_map(|group| &group.scenarios)
    }

    /// Takes as many samples of every scenario.
    #[must_use]
    pub fn with_samples(mut self, samples: u32) -> Self {
        for group in &mut self.groups {
            group.samples = samples;
        }
        self
    }

    /// Leaves the scenarios that pass all filters: of the filters with one key, one has to let it pass.
    ///
    /// # Errors
    /// [`FilterError`] for a filter that no scenario passes.
    pub fn only(mut self, filters: &[Filter]) -> Result<Self, FilterError> {
        for filter in filters {
            filter.check(&self)?;
        }
        for group in &mut self.groups {
            group
                .scenarios
                .retain(|scenario| filter::pass(filters, scenario));
        }
        self.groups.retain(|group| !group.scenarios.is_empty());
        if self.groups.is_empty() {
            return Err(FilterError::NothingLeft);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
