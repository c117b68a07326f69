use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::clocks::NodeClock;
use crate::bench::dial::{Flip, KeyLogFile, Trust, Way};
use crate::bench::stand::{Identity, Stand, StandError, client_addresses};
use crate::bench::{Layer, Losses, Mode, Scenario};
use crate::link::{PerMillion, Profile};
use crate::testbed::emulator::{Chosen, Direction, Emulator, Network, Trace};

/// What clients dial, and what is between them and it.
#[derive(Debug)]
pub enum Bed {
    /// This package's gateway, on loopback or behind an emulated link.
    Stand {
        /// The nodes.
        stand: Box<Stand>,
        /// The network that they and the client are in; none is loopback.
        network: Option<Arc<Network>>,
    },
    /// Somebody's server.
    Target(Target),
}

/// Somebody's server.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// The name that its certificate has.
    pub name: String,
    /// What requests name as their authority.
    pub authority: String,
    /// What is asked for.
    pub path: String,
    /// What its certificate leads to.
    pub roots: Vec<CertificateDer<'static>>,
    /// Its process, if it is on this machine.
    pub process: Option<u32>,
}

impl Bed {
    /// Makes a bed of this package's gateways.
    ///
    /// # Errors
    /// [`StandError::Files`].
    pub fn gateways(network: Option<Arc<Network>>) -> Result<Self, StandError> {
        Ok(Self::Stand {
            stand: Box::new(Stand::new(network.clone())?),
            network,
        })
    }

    /// What is between the two sides.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Target(_) => Layer::Target,
            Self::Stand {
                network: Some(_), ..
            } => Layer::Link,
            Self::Stand { network: None, .. } => Layer::Loopback,
        }
    }

    pub(super) fn emulator(&self) -> Option<&Emulator> {
        match self {
            Self::Stand { network, .. } => network.as_deref().map(Network::emulator),
            Self::Target(_) => None,
        }
    }

    /// Has what a scenario needs running, and says how to dial it.
    pub(super) fn way(
        &mut self,
        scenario: &Scenario,
        key_log: Option<Arc<KeyLogFile>>,
    ) -> Result<(Way, NodeClock), StandError> {
        let quiet = pause(scenario);
        match self {
            Self::Stand { stand, network } => {
                if let Some(network) = network {
                    // Hosts know the MTU of their own link, and QUIC has to find it all the same.
                    network.set_mtu(scenario.mtu).map_err(StandError::Network)?;
                }
                let served = stand.serve(scenario)?;
                let [local, other_local] = client_addresses(network.as_deref());
                let way = Way {
                    node: served.node,
                    name: Identity::NAME.into(),
                    authority: Identity::NAME.into(),
                    path: "/".into(),
                    local,
                    other_local,
                    flip: served.flip,
                    trust: Trust {
                        roots: vec![served.root],
                        key_log,
                    },
                    limit: LIMIT,
                    quiet,
                };
                Ok((way, NodeClock::Threads(served.threads)))
            }
            Self::Target(target) => {
                let clock = target.process.map_or(NodeClock::None, NodeClock::Process);
                Ok((target.way(scenario.mode, key_log)?, clock))
            }
        }
    }

    /// Ends the nodes of scenarios before.
    pub(super) fn clear(&mut self) {
        if let Self::Stand { stand, .. } = self {
            stand.clear();
        }
    }

    /// Lets everything pass as a scenario's link does, but loses nothing.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn calm(&self, scenario: &Scenario) -> io::Result<()> {
        let Some(emulator) = self.emulator() else {
            return Ok(());
        };
        let [to_node, to_client] = profiles(scenario).map(|profile| Profile {
            loss: PerMillion::NEVER,
            ..profile
        });
        emulator.set_profiles(to_node, to_client, 0);
        for direction in [Direction::ToNode, Direction::ToClient] {
            emulator.choose_losses(direction, Chosen::default());
        }
        emulator.set_route(0)
    }

    /// Loses what a scenario says, of what this port of the client sends and gets, and begins a trace.
    pub(super) fn record(&self, scenario: &Scenario, client_port: Option<u16>, seed: u64) {
        let Some(emulator) = self.emulator() else {
            return;
        };
        let [to_node, to_client] = profiles(scenario);
        if matches!(scenario.losses, Losses::Random(_) | Losses::Bursts(_)) {
            emulator.set_profiles(to_node, to_client, seed);
        }
        let chosen = match scenario.losses {
            Losses::Client(number) => Some((Direction::ToNode, number)),
            Losses::Node(number) => Some((Direction::ToClient, number)),
            Losses::None | Losses::Random(_) | Losses::Bursts(_) => None,
        };
        if let Some((direction, number)) = chosen {
            let chosen = Chosen {
                numbers: vec![number.into()],
                client_port,
            };
            emulator.choose_losses(direction, chosen);
        }
        emulator.record();
    }

    /// Ends the trace.
    ///
    /// # Errors
    /// The emulator has stopped.
    pub(super) fn trace(&self) -> io::Result<Option<Trace>> {
        self.emulator().map(Emulator::take).transpose()
    }
}

impl Target {
    fn way(&self, mode: Mode, key_log: Option<Arc<KeyLogFile>>) -> Result<Way, StandError> {
        let impossible = |reason| {
            let layer = Layer::Target;
            Err(StandError::Impossible {
                mode,
                layer,
                reason,
            })
        };
        if mode == Mode::QuicFlip {
            return impossible("the route to somebody's server is not ours to change");
        }
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let other_local = match (mode, self.address.ip()) {
            (Mode::QuicAddress, IpAddr::V4(ip)) if ip.is_loopback() => [127, 0, 0, 2].into(),
            (Mode::QuicAddress, _) => {
                return impossible("the client knows of no second address of this machine");
            }
            _ => any,
        };
        Ok(Way {
            node: self.address,
            name: self.name.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
            local: any,
            other_local,
            flip: Flip::Never,
            trust: Trust {
                roots: self.roots.clone(),
                key_log,
            },
            limit: TARGET_LIMIT,
            quiet: TARGET_PAUSE,
        })
    }
}

/// How long to wait until what came before has come to its end.
pub(super) fn pause(scenario: &Scenario) -> Duration {
    match scenario.layer {
        Layer::Target => TARGET_PAUSE,
        _ => Duration::from_millis(scenario.rtt_ms.into()) * 3 / 2 + PAUSE,
    }
}

/// What the link does to each direction, the client's first.
fn profiles(scenario: &Scenario) -> [Profile; 2] {
    let (thousandths, burst) = match scenario.losses {
        Losses::Random(thousandths) => (thousandths, 1),
        Losses::Bursts(thousandths) => (thousandths, BURST),
        Losses::None | Losses::Client(_) | Losses::Node(_) => (0, 1),
    };
    let bytes_per_second = scenario.rate_mbit.map(|rate| u64::from(rate) * 125_000);
    let profile = Profile {
        loss: PerMillion(u32::from(thousandths) * 1000),
        burst,
        bytes_per_second,
        queue: bytes_per_second.map_or(u64::MAX, |_| QUEUE),
        mtu: scenario.mtu.into(),
        ..Profile::of(Duration::from_millis(scenario.rtt_ms.into()) / 2)
    };
    [profile; 2]
}

/// For preparing and for dialing. After three lost flights TCP waits 7 s and QUIC as long.
const LIMIT: Duration = Duration::from_secs(20);
/// A target that is there answers within some round trips.
const TARGET_LIMIT: Duration = Duration::from_secs(5);
/// What hosts need for what is left after a round trip.
const PAUSE: Duration = Duration::from_millis(3);
const TARGET_PAUSE: Duration = Duration::from_millis(200);
/// How many packets in a row are lost on average in [`Losses::Bursts`].
const BURST: u32 = 4;
/// Bytes that wait for a link with a rate: some 40 full packets, as in routers of homes.
const QUEUE: u64 = 64_000;
