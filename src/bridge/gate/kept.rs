use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::rand;

use super::rates::{Rates, RatesOf};
use super::token::Keys;
use crate::balance::ClientPrefixes;
use crate::bridge::BridgeError;
use crate::config::{self, JwtAlgorithm, JwtKeys};
use crate::telemetry::GateMetrics;

/// What outlives a [`Bridge`](crate::bridge::Bridge) when the next one asks for the same: what clients have
/// spent of their rates, and the keys of tokens.
///
/// It holds nothing that no bridge uses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::bridge) struct Kept(Arc<Mutex<Things>>);

#[derive(Debug, Default)]
struct Things {
    rates: Known<RatesOf, Rates>,
    keys: Known<KeysOf, Keys>,
}

/// Things by what they follow from.
type Known<K, T> = Vec<(K, Weak<T>)>;

/// All that a set of keys follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeysOf {
    pub(super) name: String,
    pub(super) from: JwtKeys,
    pub(super) algorithms: Vec<JwtAlgorithm>,
}

impl Kept {
    /// The rates of a route, if it has any.
    pub(super) fn rates(
        &self,
        route: &config::Route,
        clients: (ClientPrefixes, u32),
        metrics: &GateMetrics,
    ) -> Result<Option<Arc<Rates>>, BridgeError> {
        let of = RatesOf::new(route, clients);
        if !of.any() {
            return Ok(None);
        }
        self.found(
            |things| &mut things.rates,
            of,
            |of| {
                let mut seed = [0; 8];
                rand::fill(&mut seed).map_err(|_unspecified| BridgeError::Random)?;
                Ok(Rates::new(of, metrics, u64::from_ne_bytes(seed)))
            },
        )
        .map(Some)
    }

    /// The keys of tokens.
    pub(super) fn keys<E>(
        &self,
        of: KeysOf,
        make: impl FnOnce(&KeysOf) -> Result<Keys, E>,
    ) -> Result<Arc<Keys>, E> {
        self.found(|things| &mut things.keys, of, make)
    }

    fn found<K: PartialEq, T, E>(
        &self,
        list: fn(&mut Things) -> &mut Known<K, T>,
        of: K,
        make: impl FnOnce(&K) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = list(&mut things);
        list.retain(|(_, thing)| thing.strong_count() > 0);
        let known = list.iter().find(|(known, _)| *known == of);
        if let Some(thing) = known.and_then(|(_, thing)| thing.upgrade()) {
            return Ok(thing);
        }
        let made = Arc::new(make(&of)?);
        list.push((of, Arc::downgrade(&made)));
        Ok(made)
    }
}
