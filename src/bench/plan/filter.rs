use std::collections::BTreeSet;
use std::str::FromStr;

use super::Plan;
use crate::bench::{Losses, Scenario};

/// A condition on one factor, written `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    key: &'static str,
    value: String,
}

/// Why a filter is no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It has no `=`.
    #[error("`{0}` is no filter; write KEY=VALUE, such as mode=quic-full")]
    Form(String),
    /// There is no such factor.
    #[error("nothing is called `{key}`; there are {known}")]
    Key {
        /// What was asked for.
        key: String,
        /// What there is.
        known: String,
    },
    /// The plan has no scenario with this value.
    #[error("no scenario of this plan has {key}={value}; there are {known}")]
    Value {
        /// The factor.
        key: &'static str,
        /// What was asked for.
        value: String,
        /// What there is.
        known: String,
    },
    /// Each filter lets something pass, and all together nothing.
    #[error("no scenario of this plan passes all filters")]
    NothingLeft,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| FilterError::Form(text.to_owned()))?;
        let known = KEYS.iter().find(|(name, _)| *name == key);
        let Some((key, _)) = known else {
            let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
            return Err(FilterError::Key {
                key: key.to_owned(),
                known: names.join(", "),
            });
        };
        Ok(Self {
            key,
            value: value.to_owned(),
        })
    }
}

impl Filter {
    fn passes(&self, scenario: &Scenario) -> bool {
        value(self.key, scenario) == self.value
    }

    /// Whether any scenario passes.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), FilterError> {
        if plan.scenarios().any(|scenario| self.passes(scenario)) {
            return Ok(());
        }
        let values = plan.scenarios().map(|scenario| value(self.key, scenario));
        let known: BTreeSet<_> = values.collect();
        Err(FilterError::Value {
            key: self.key,
            value: self.value.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        })
    }
}

/// Whether a scenario passes, for each key, one of the filters with it.
pub(super) fn pass(filters: &[Filter], scenario: &Scenario) -> bool {
    filters.iter().all(|filter| {
        let mut alternatives = filters.iter().filter(|other| other.key == filter.key);
        alternatives.any(|other| other.passes(scenario))
    })
}

fn value(key: &str, scenario: &Scenario) -> String {
    let known = KEYS.iter().find(|(name, _)| *name == key);
    known.map_or_else(String::new, |(_, value)| value(scenario))
}

/// Writes losses as a filter names them.
fn losses(losses: Losses) -> String {
    match losses {
        Losses::None => "none".into(),
        Losses::Random(thousandths) => format!("random-{thousandths}"),
        Losses::Bursts(thousandths) => format!("bursts-{thousandths}"),
        Losses::Client(number) => format!("client-{number}"),
        Losses::Node(number) => format!("node-{number}"),
    }
}

type Value = fn(&Scenario) -> String;

/// The factors, by the names that they have in a result.
const KEYS: &[(&str, Value)] = &[
    ("mode", |scenario| scenario.mode.to_string()),
    ("rtt_ms", |scenario| scenario.rtt_ms.to_string()),
    ("losses", |scenario| losses(scenario.losses)),
    ("rate_mbit", |scenario| {
        let rate = scenario.rate_mbit;
        rate.map_or_else(|| "none".into(), |rate| rate.to_string())
    }),
    ("mtu", |scenario| scenario.mtu.to_string()),
    ("certificate", |scenario| scenario.certificate.to_string()),
    ("key_exchange", |scenario| scenario.key_exchange.to_string()),
    ("mtu_discovery", |scenario| {
        scenario.mtu_discovery.to_string()
    }),
    ("initial_mtu", |scenario| scenario.initial_mtu.to_string()),
    ("initial_rtt_ms", |scenario| {
        scenario.initial_rtt_ms.to_string()
    }),
];
