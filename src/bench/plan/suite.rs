use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Group, Plan, Subject};
use crate::bench::scenario::named;
use crate::bench::{Certificate, KeyExchange, Layer, Losses, Mode, NoSuchName, Scenario};

named! {
    /// How much is measured.
    Suite, "suite" {
        /// Every mode at 50 ms, some samples each: about 10 s.
        Smoke = "smoke",
        /// Every mode at each round-trip time, and one factor at a time around 50 ms: about 3 min.
        Default = "default",
        /// Every mode under each factor, and more samples: more than an hour.
        Full = "full",
    }
}

impl Suite {
    /// The plan of a suite.
    ///
    /// Only the layer `link` has an emulated network. On others there is one round-trip time, the
    /// network's own, written as 0, and no losses, rate or MTU of ours.
    pub fn plan(self, subject: Subject, layer: Layer) -> Plan {
        let maker = Maker {
            subject,
            layer,
            suite: self,
        };
        let mut groups = maker.round_trip_times();
        if self != Self::Smoke {
            if layer == Layer::Link {
                groups.extend(maker.link_factors());
            }
            if layer != Layer::Target {
                groups.extend(maker.node_factors());
            }
        }
        groups.retain(|group| !group.scenarios.is_empty());
        Plan { groups }
    }
}

struct Maker {
    subject: Subject,
    layer: Layer,
    suite: Suite,
}

impl Maker {
    /// Every mode, at one round-trip time after the other.
    fn round_trip_times(&self) -> Vec<Group> {
        let times: &[(u32, u32)] = match (self.layer, self.suite) {
            (Layer::Link, Suite::Smoke) => &[(50, 3)],
            (Layer::Link, Suite::Default) => &[(50, 14), (0, 20), (10, 8), (100, 3), (200, 3)],
            (Layer::Link, Suite::Full) => &[(50, 100), (0, 100), (10, 60), (100, 60), (200, 40)],
            (_, Suite::Smoke) => &[(0, 40)],
            (_, Suite::Default) => &[(0, 400)],
            (_, Suite::Full) => &[(0, 2000)],
        };
        let modes = self.modes();
        let group =
            |&(rtt_ms, samples)| self.group(&modes, samples, |scenario| scenario.rtt_ms = rtt_ms);
        times.iter().map(group).collect()
    }

    /// What the emulated network does beside taking its time.
    fn link_factors(&self) -> Vec<Group> {
        let modes = self.chosen_modes();
        let (few, many) = match self.suite {
            Suite::Full => (20, 100),
            Suite::Smoke | Suite::Default => (2, 10),
        };
        let mut groups = Vec::new();
        for losses in [
            Losses::Client(1),
            Losses::Client(2),
            Losses::Node(1),
            Losses::Node(2),
        ] {
            groups.push(self.group(&modes, few, |scenario| scenario.losses = losses));
        }
        for losses in [
            Losses::Random(10),
            Losses::Random(30),
            Losses::Bursts(10),
            Losses::Bursts(30),
        ] {
            groups.push(self.group(&modes, many, |scenario| scenario.losses = losses));
        }
        for rate in [1, 10] {
            groups.push(self.group(&modes, few, |scenario| scenario.rate_mbit = Some(rate)));
        }
        groups.push(self.group(&modes, few, |scenario| scenario.mtu = 1280));
        groups
    }

    /// What the two sides do differently.
    fn node_factors(&self) -> Vec<Group> {
        let modes = self.chosen_modes();
        let samples = match (self.layer, self.suite) {
            (Layer::Link, Suite::Full) => 40,
            (Layer::Link, _) => 4,
            (_, Suite::Full) => 1000,
            (_, _) => 100,
        };
        let mut groups = Vec::new();
        let mut vary = |modes: &[Mode], factor: &dyn Fn(&mut Scenario)| {
            groups.push(self.group(modes, samples, factor));
        };
        if self.subject == Subject::Handshake {
            for certificate in Certificate::ALL.iter().skip(1) {
                vary(&modes, &|scenario| scenario.certificate = *certificate);
            }
            for key_exchange in KeyExchange::ALL.iter().skip(1) {
                vary(&modes, &|scenario| scenario.key_exchange = *key_exchange);
            }
            // A ClientHello of two packets, and a chain beyond three times one.
            vary(&modes, &|scenario| {
                scenario.key_exchange = KeyExchange::X25519MlKem768;
                scenario.certificate = Certificate::LongChain;
            });
        }
        let mut quic = modes.clone();
        quic.retain(|mode| mode.name().starts_with("quic"));
        vary(&quic, &|scenario| {
            scenario.mtu_discovery = !scenario.mtu_discovery;
        });
        vary(&quic, &|scenario| scenario.initial_mtu = 1400);
        vary(&quic, &|scenario| scenario.initial_rtt_ms = 100);
        groups
    }

    fn group(&self, modes: &[Mode], samples: u32, vary: impl Fn(&mut Scenario)) -> Group {
        let scenarios = modes.iter().map(|mode| {
            let mut scenario = Scenario::of(self.layer, *mode);
            if self.layer != Layer::Link {
                scenario.rtt_ms = 0;
            }
            vary(&mut scenario);
            scenario
        });
        Group {
            scenarios: scenarios.collect(),
            samples,
        }
    }

    fn modes(&self) -> Vec<Mode> {
        let all = self.subject.modes().iter().copied();
        let here = |mode: &Mode| match (self.layer, mode) {
            // Fast Open needs a variable of the kernel that only a test bed may set.
            (Layer::Link, Mode::TcpFastOpen) => self.suite != Suite::Smoke,
            // What another server asks for and where its packets go is not for a client to say.
            (_, Mode::TcpFastOpen) | (Layer::Target, Mode::QuicRetry | Mode::QuicFlip) => false,
            _ => true,
        };
        all.filter(here).collect()
    }

    /// The modes that each factor is varied with.
    fn chosen_modes(&self) -> Vec<Mode> {
        match (self.suite, self.subject) {
            (Suite::Full, _) => self.modes(),
            (_, Subject::Handshake) => vec![Mode::TcpFull, Mode::QuicFull],
            (_, Subject::Migrate) => vec![Mode::QuicAddress, Mode::TcpReconnectResumed],
        }
    }
}
