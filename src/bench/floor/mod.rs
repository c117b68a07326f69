//! What a handshake takes of a processor without any IO: both sides in one thread, in memory, and beside
//! them the cryptographic operations alone.
//!
//! The node's side is what [`GatewayBuilder::protocols`](crate::GatewayBuilder::protocols) makes, which is what
//! a gateway serves with. Modes take turns in blocks, and each sample's ratio is to the cryptographic
//! operations of its own block, so a change of the processor's clock reaches both alike.

mod credentials;
mod exchange;
mod meter;
mod parties;
mod primitives;
mod quic;
mod schedule;
mod signatures;
mod tls;

use std::fmt;
use std::str::FromStr;

pub use parties::Handshakes;
use serde::{Deserialize, Serialize};

use super::scenario::{NoSuchName, named};
use super::statistics::{self, Measured, Taken};
use super::{Certificate, KeyExchange, Layer, Metric, Mode, Sample, Scenario};
use crate::GatewayError;

/// What is to be measured.
#[derive(Clone, Debug, PartialEq)]
pub struct FloorPlan {
    /// Which handshakes, each one of [`FloorPlan::MODES`].
    pub modes: Vec<Mode>,
    /// Under each of these certificates.
    pub certificates: Vec<Certificate>,
    /// And each of these key exchanges.
    pub key_exchanges: Vec<KeyExchange>,
    /// How the client of QUIC searches for a larger MTU, which the node pays for as well.
    pub client_search: ClientSearch,
    /// How often each mode has its turn. The first turns of all are to warm up and not measured.
    pub blocks: u32,
    /// Handshakes in one turn.
    pub samples: u32,
}

named! {
    /// How the client searches for a larger MTU (RFC 8899).
    ClientSearch, "search" {
        /// As the gateway does, if it does.
        Gateway = "gateway",
        /// As quinn does unless told otherwise.
        Quinn = "quinn",
        /// Not at all.
        Off = "off",
    }
}

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloorError {
    /// A mode needs what this layer does not have: see [`FloorPlan::MODES`].
    #[error("the floor has no `{0}`")]
    NoSuchMode(Mode),
    /// Keys or certificates could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The gateway refuses its own default configuration.
    #[error("the gateway: {0}")]
    Gateway(#[from] GatewayError),
    /// The cryptographic library refused.
    #[error("the cryptographic library refused an operation")]
    Cryptography(#[from] aws_lc_rs::error::Unspecified),
    /// The client cannot be set up.
    #[error("the client: {0}")]
    Client(#[from] super::dial::DialError),
    /// TLS refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS refused to write or read.
    #[error("TLS: {0}")]
    TlsBytes(#[from] std::io::Error),
    /// QUIC refused, or ended the connection.
    #[error("QUIC: {0}")]
    Quic(String),
    /// Both sides fell silent before the handshake was complete.
    #[error("the handshake came to rest before it was complete")]
    Incomplete,
    /// Both sides went on for longer than any handshake takes.
    #[error("the handshake did not come to rest")]
    Restless,
    /// The two sides agreed on another cipher suite than the cryptographic operations are of.
    #[error("the handshake has another cipher suite than the cryptographic operations")]
    Suite,
    /// A handshake was another one than was to be measured.
    #[error("a handshake of `{mode}` {what}")]
    Other {
        /// What was to be measured.
        mode: Mode,
        /// What it was.
        what: &'static str,
    },
}

impl FloorPlan {
    /// The modes that this layer has.
    pub const MODES: &[Mode] = &[
        Mode::Crypto,
        Mode::TlsFull,
        Mode::TlsResumed,
        Mode::Tls0Rtt,
        Mode::QuicFull,
        Mode::QuicRetry,
        Mode::QuicResumed,
        Mode::Quic0Rtt,
    ];

    /// Does everything. `go_on` is told the share that is done, and ends the run early when it returns false:
    /// what was measured until then is marked as partial.
    ///
    /// It takes only the calling thread, whose clock it reads.
    ///
    /// # Errors
    /// [`FloorError`], at the first handshake that fails or is not what it should be.
    pub fn run(&self, mut go_on: impl FnMut(f64) -> bool) -> Result<Vec<Measured>, FloorError> {
        let mut all = Vec::new();
        let points = self.certificates.len() * self.key_exchanges.len();
        for (index, (certificate, key_exchange)) in self.points().enumerate() {
            let mut point = Point::new(self, (certificate, key_exchange))?;
            for block in 0..=self.blocks {
                point.block(block, self.samples)?;
                let done = f64::from(block + 1) / f64::from(self.blocks + 1);
                if !go_on((count(index) + done) / count(points)) {
                    all.extend(point.into_measured(true));
                    return Ok(all);
                }
            }
            all.extend(point.into_measured(false));
        }
        Ok(all)
    }

    fn points(&self) -> impl Iterator<Item = (Certificate, KeyExchange)> {
        self.certificates.iter().flat_map(|&certificate| {
            let key_exchanges = self.key_exchanges.iter();
            key_exchanges.map(move |&key_exchange| (certificate, key_exchange))
        })
    }
}

/// All modes under one certificate and key exchange.
struct Point {
    /// Goes first in each block, shown or not.
    crypto: Handshakes,
    stages: Vec<(Handshakes, Measured)>,
    shown: Option<Measured>,
}

impl Point {
    fn new(plan: &FloorPlan, factors: (Certificate, KeyExchange)) -> Result<Self, FloorError> {
        let measured = |mode| Measured::of(scenario(mode, factors));
        let (crypto, others): (Vec<_>, Vec<_>) =
            plan.modes.iter().partition(|mode| **mode == Mode::Crypto);
        let mut stages = Vec::new();
        for mode in others {
            stages.push((
                Handshakes::new(mode, factors, plan.client_search)?,
                measured(mode),
            ));
        }
        Ok(Self {
            crypto: Handshakes::new(Mode::Crypto, factors, plan.client_search)?,
            stages,
            shown: crypto.first().map(|mode| measured(*mode)),
        })
    }

    /// Gives each mode its turn. The first of all is to warm up.
    fn block(&mut self, block: u32, samples: u32) -> Result<(), FloorError> {
        let floor = self.crypto.turn(samples)?;
        let medians = RATIOS.map(|(of, _)| median(&floor, of));
        let mut turns = vec![(self.shown.as_mut(), floor)];
        for (stage, measured) in &mut self.stages {
            turns.push((Some(measured), stage.turn(samples)?));
        }
        let Some(block) = block.checked_sub(1) else {
            return Ok(());
        };
        for (measured, samples) in turns {
            let Some(measured) = measured else {
                continue;
            };
            measured.taken.extend(samples.into_iter().map(|mut sample| {
                for ((of, name), median) in RATIOS.iter().zip(medians) {
                    ratio(&mut sample, (*of, *name), median);
                }
                Taken { block, sample }
            }));
        }
        Ok(())
    }

    fn into_measured(self, partial: bool) -> impl Iterator<Item = Measured> {
        let others = self.stages.into_iter().map(|(_, measured)| measured);
        self.shown
            .into_iter()
            .chain(others)
            .map(move |measured| Measured {
                partial,
                ..measured
            })
    }
}

impl Default for FloorPlan {
    /// Every mode with ECDSA P-256 and X25519, 2000 handshakes of each in 40 turns.
    fn default() -> Self {
        Self {
            modes: Self::MODES.to_vec(),
            certificates: vec![Certificate::EcdsaP256],
            key_exchanges: vec![KeyExchange::X25519],
            client_search: ClientSearch::Gateway,
            blocks: 40,
            samples: 50,
        }
    }
}

/// There is no network, and QUIC is set as the gateway sets it.
fn scenario(mode: Mode, (certificate, key_exchange): (Certificate, KeyExchange)) -> Scenario {
    let quic = parties::config(mode).quic;
    let initial_rtt_ms = u32::try_from(quic.initial_rtt.as_millis()).unwrap_or(u32::MAX);
    Scenario {
        rtt_ms: 0,
        certificate,
        key_exchange,
        mtu_discovery: quic.mtu_discovery,
        initial_mtu: quic.initial_mtu,
        initial_rtt_ms,
        ..Scenario::of(Layer::Floor, mode)
    }
}

fn ratio(sample: &mut Sample, (of, name): (Metric, Metric), floor: Option<f64>) {
    if let (Some(&time), Some(floor)) = (sample.metrics.get(&of), floor)
        && floor > 0.0
    {
        sample.metrics.insert(name, time / floor);
    }
}

fn median(samples: &[Sample], metric: Metric) -> Option<f64> {
    let values: Vec<_> = samples
        .iter()
        .filter_map(|sample| sample.metrics.get(&metric).copied())
        .collect();
    statistics::median(&values)
}

fn count(points: usize) -> f64 {
    u32::try_from(points).map_or(f64::MAX, f64::from)
}

const RATIOS: [(Metric, Metric); 2] = [
    (Metric::ClientCpu, Metric::ClientFloorRatio),
    (Metric::NodeCpu, Metric::NodeFloorRatio),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(modes: &[Mode]) -> FloorPlan {
        FloorPlan {
            modes: modes.to_vec(),
            blocks: 2,
            samples: 2,
            ..FloorPlan::default()
        }
    }

    #[test]
    fn every_mode_is_what_it_says_and_measures_both_sides() {
        let measured = plan(FloorPlan::MODES).run(|_| true).unwrap();
        let modes: Vec<_> = measured.iter().map(|one| one.scenario.mode).collect();
        assert_eq!(modes, FloorPlan::MODES);
        for one in measured {
            assert_eq!(one.taken.len(), 4, "{}", one.scenario.mode);
            assert!(!one.partial);
            for taken in one.taken {
                for (time, ratio) in RATIOS {
                    assert!(taken.sample.metrics[&time] > 0.0);
                    assert!(taken.sample.metrics[&ratio] > 0.0);
                }
            }
        }
    }

    #[test]
    fn both_transports_shake_hands_under_every_certificate_and_key_exchange() {
        let mut by_certificate = plan(&[Mode::TlsFull, Mode::QuicFull]);
        (by_certificate.blocks, by_certificate.samples) = (1, 1);
        let mut by_key_exchange = by_certificate.clone();
        by_certificate.certificates = Certificate::ALL.to_vec();
        by_key_exchange.key_exchanges = KeyExchange::ALL.to_vec();
        for (plan, points) in [
            (by_certificate, Certificate::ALL.len()),
            (by_key_exchange, KeyExchange::ALL.len()),
        ] {
            assert_eq!(plan.run(|_| true).unwrap().len(), 2 * points);
        }
    }

    #[test]
    fn a_run_that_ends_early_keeps_what_it_has() {
        let mut told = Vec::new();
        let measured = plan(&[Mode::TlsFull]).run(|done| {
            told.push(done);
            told.len() < 2
        });
        let measured = measured.unwrap();
        assert!(measured[0].partial);
        assert_eq!(measured[0].taken.len(), 2);
        assert!(told[0] > 0.0 && told[1] > told[0] && told[1] < 1.0);
    }

    #[test]
    fn a_mode_of_another_layer_is_refused() {
        let refused = plan(&[Mode::TcpFull]).run(|_| true).unwrap_err();
        assert_eq!(refused.to_string(), "the floor has no `tcp-full`");
    }
}
