//! Finds the records that a table, a picture or a sentence is about.

use crate::bench::results::Results;
use crate::bench::{Layer, Losses, Metric, Mode, Record, Scenario, Summary};

/// All records of some results, and the point of the matrix around which each layer varied.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) records: Vec<&'a Record>,
}

/// What the modes of one table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A handshake over a network.
    Handshake,
    /// What a client does after a move.
    Move,
    /// Many handshakes, or many connections.
    Load,
    /// A handshake without IO.
    Floor,
}

/// A factor of the matrix that a picture varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    Rtt,
    Losses,
    /// Certificate and key exchange: both decide how many bytes the node sends.
    Credentials,
}

impl<'a> Findings<'a> {
    pub(super) fn of(results: &'a [Results]) -> Self {
        Self {
            records: results
                .iter()
                .flat_map(|results| &results.records)
                .collect(),
        }
    }

    /// The records of a kind, by layer, factors and mode; the centre of the matrix comes first.
    pub(super) fn ordered(&self, kind: Kind) -> Vec<&'a Record> {
        let mut records: Vec<_> = self.records.clone();
        records.retain(|record| kind_of(record) == kind);
        let mut keyed: Vec<_> = records
            .into_iter()
            .map(|record| {
                let scenario = &record.scenario;
                let order = order(scenario, &self.centre(scenario.layer));
                ((scenario.layer, order, scenario.mode), record)
            })
            .collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        keyed.into_iter().map(|(_, record)| record).collect()
    }

    /// The point of the matrix around which a layer varied: for each factor the usual value, or where no
    /// scenario has that one, what most have. Its mode means nothing.
    pub(super) fn centre(&self, layer: Layer) -> Scenario {
        let usual = Scenario::of(layer, Mode::QuicFull);
        let all: Vec<_> = self
            .records
            .iter()
            .map(|record| &record.scenario)
            .filter(|scenario| scenario.layer == layer)
            .collect();
        Scenario {
            rtt_ms: most(&all, usual.rtt_ms, |it| it.rtt_ms),
            losses: most(&all, usual.losses, |it| it.losses),
            rate_mbit: most(&all, usual.rate_mbit, |it| it.rate_mbit),
            mtu: most(&all, usual.mtu, |it| it.mtu),
            certificate: most(&all, usual.certificate, |it| it.certificate),
            key_exchange: most(&all, usual.key_exchange, |it| it.key_exchange),
            mtu_discovery: most(&all, usual.mtu_discovery, |it| it.mtu_discovery),
            initial_mtu: most(&all, usual.initial_mtu, |it| it.initial_mtu),
            initial_rtt_ms: most(&all, usual.initial_rtt_ms, |it| it.initial_rtt_ms),
            ..usual
        }
    }

    /// The record of a mode at the centre of a layer.
    pub(super) fn at_centre(&self, layer: Layer, mode: Mode) -> Option<&'a Record> {
        let centre = Scenario {
            mode,
            ..self.centre(layer)
        };
        self.find(|record| record.scenario == centre)
    }

    /// The records of a mode that differ from the centre of a layer at most in one factor.
    pub(super) fn varied(&self, layer: Layer, mode: Mode, factor: Factor) -> Vec<&'a Record> {
        let centre = self.centre(layer);
        let records = self.records.iter().copied();
        records
            .filter(|record| {
                let scenario = &record.scenario;
                scenario.mode == mode && without(scenario, factor, &centre) == centre
            })
            .collect()
    }

    pub(super) fn find(&self, is_it: impl Fn(&Record) -> bool) -> Option<&'a Record> {
        self.records.iter().copied().find(|record| is_it(record))
    }

    /// The layer over which handshakes are best seen, of those that there are.
    pub(super) fn network(&self) -> Option<Layer> {
        let known = [Layer::Link, Layer::Target, Layer::Loopback];
        let has = |layer: &Layer| {
            let of_layer = |record: &Record| {
                let kind = kind_of(record);
                record.scenario.layer == *layer && matches!(kind, Kind::Handshake | Kind::Move)
            };
            self.find(of_layer).is_some()
        };
        known.into_iter().find(has)
    }
}

/// A scenario with everything but its factor as it is, and its mode as the centre has it.
fn without(scenario: &Scenario, factor: Factor, centre: &Scenario) -> Scenario {
    let mut scenario = Scenario {
        mode: centre.mode,
        ..scenario.clone()
    };
    match factor {
        Factor::Rtt => scenario.rtt_ms = centre.rtt_ms,
        Factor::Losses => scenario.losses = centre.losses,
        Factor::Credentials => {
            scenario.certificate = centre.certificate;
            scenario.key_exchange = centre.key_exchange;
        }
    }
    scenario
}

pub(super) fn kind_of(record: &Record) -> Kind {
    use Metric::{ConnectionMemory, HandshakeRate, HandshakeRatePerCore, Latency, Recovery};
    let has = |metric: &Metric| record.metrics.contains_key(metric);
    let load = [
        Latency,
        HandshakeRate,
        HandshakeRatePerCore,
        ConnectionMemory,
    ];
    if record.scenario.layer == Layer::Floor {
        Kind::Floor
    } else if load.iter().any(has) {
        Kind::Load
    } else if has(&Recovery) || is_move(record.scenario.mode) {
        Kind::Move
    } else {
        Kind::Handshake
    }
}

/// Whether a mode begins with a connection that there already is.
pub(super) fn is_move(mode: Mode) -> bool {
    MOVES.contains(&mode)
}

/// Which transport a mode is about, which decides its colour.
pub(super) fn transport(mode: Mode) -> &'static str {
    match mode {
        Mode::Crypto | Mode::TlsFull | Mode::TlsResumed | Mode::Tls0Rtt => "tls",
        Mode::TcpFull
        | Mode::TcpResumed
        | Mode::Tcp0Rtt
        | Mode::TcpFastOpen
        | Mode::TcpReconnect
        | Mode::TcpReconnectResumed
        | Mode::TcpReconnect0Rtt => "tcp",
        Mode::QuicFull
        | Mode::QuicRetry
        | Mode::QuicToken
        | Mode::QuicResumed
        | Mode::Quic0Rtt
        | Mode::QuicRebind
        | Mode::QuicAddress
        | Mode::QuicFlip => "quic",
    }
}

/// In what a scenario differs from another one, in words.
pub(super) fn factors(scenario: &Scenario, centre: &Scenario) -> Vec<String> {
    let mut factors = Vec::new();
    let mut differs = |differs: bool, words: &dyn Fn() -> String| {
        if differs {
            factors.push(words());
        }
    };
    let (it, centre) = (scenario, centre);
    differs(it.rtt_ms != centre.rtt_ms, &|| {
        format!("RTT {} ms", it.rtt_ms)
    });
    differs(it.losses != centre.losses, &|| losses(it.losses));
    differs(it.rate_mbit != centre.rate_mbit, &|| rate(it.rate_mbit));
    differs(it.mtu != centre.mtu, &|| format!("MTU {}", it.mtu));
    differs(it.certificate != centre.certificate, &|| {
        it.certificate.to_string()
    });
    differs(it.key_exchange != centre.key_exchange, &|| {
        it.key_exchange.to_string()
    });
    differs(it.mtu_discovery != centre.mtu_discovery, &|| {
        format!("MTU discovery {}", on_off(it.mtu_discovery))
    });
    differs(it.initial_mtu != centre.initial_mtu, &|| {
        format!("initial MTU {}", it.initial_mtu)
    });
    differs(it.initial_rtt_ms != centre.initial_rtt_ms, &|| {
        format!("initial RTT {} ms", it.initial_rtt_ms)
    });
    factors
}

/// Sorts scenarios: first the centre, then those that differ from it in one factor, factor by factor, then
/// those that differ in more.
fn order(scenario: &Scenario, centre: &Scenario) -> (usize, Vec<(usize, u64)>) {
    let numbers = |it: &Scenario| {
        let losses = match it.losses {
            Losses::None => 0,
            Losses::Random(thousandths) => 0x1_0000 + u64::from(thousandths),
            Losses::Bursts(thousandths) => 0x2_0000 + u64::from(thousandths),
            Losses::Client(number) => 0x3_0000 + u64::from(number),
            Losses::Node(number) => 0x4_0000 + u64::from(number),
        };
        [
            u64::from(it.rtt_ms),
            losses,
            it.rate_mbit.map_or(0, u64::from),
            u64::from(it.mtu),
            it.certificate as u64,
            it.key_exchange as u64,
            u64::from(it.mtu_discovery),
            u64::from(it.initial_mtu),
            u64::from(it.initial_rtt_ms),
        ]
    };
    let own = numbers(scenario).into_iter().enumerate();
    let pairs = own.zip(numbers(centre));
    let differing = pairs.filter(|((_, own), usual)| own != usual);
    let differing: Vec<_> = differing.map(|(own, _)| own).collect();
    (differing.len(), differing)
}

/// A whole scenario but for its mode, in words.
pub(super) fn circumstances(scenario: &Scenario) -> String {
    let network = match scenario.layer {
        Layer::Floor => {
            return format!("{}, {}", scenario.certificate, scenario.key_exchange);
        }
        Layer::Link => format!("RTT {} ms, {}", scenario.rtt_ms, losses(scenario.losses)),
        Layer::Loopback => "loopback".to_owned(),
        Layer::Target => "the network as it is".to_owned(),
    };
    format!(
        "{network}, {}, MTU {}, {}, {}, MTU discovery {}, initial MTU {}, initial RTT {} ms",
        rate(scenario.rate_mbit),
        scenario.mtu,
        scenario.certificate,
        scenario.key_exchange,
        on_off(scenario.mtu_discovery),
        scenario.initial_mtu,
        scenario.initial_rtt_ms,
    )
}

pub(super) fn losses(losses: Losses) -> String {
    let percent = |thousandths: u16| f64::from(thousandths) / 10.0;
    match losses {
        Losses::None => "no loss".to_owned(),
        Losses::Random(thousandths) => format!("{} % lost at random", percent(thousandths)),
        Losses::Bursts(thousandths) => format!("{} % lost in bursts", percent(thousandths)),
        Losses::Client(number) => format!("client's packet {number} lost"),
        Losses::Node(number) => format!("node's packet {number} lost"),
    }
}

fn rate(mbit: Option<u32>) -> String {
    mbit.map_or_else(
        || "no rate limit".to_owned(),
        |mbit| format!("{mbit} Mbit/s"),
    )
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn most<T: PartialEq + Copy>(
    scenarios: &[&Scenario],
    usual: T,
    factor: impl Fn(&Scenario) -> T,
) -> T {
    let count = |value: T| scenarios.iter().filter(|it| factor(it) == value).count();
    if count(usual) > 0 {
        return usual;
    }
    let values = scenarios.iter().map(|scenario| factor(scenario));
    values.max_by_key(|value| count(*value)).unwrap_or(usual)
}

/// A figure of a record.
pub(super) fn summary(record: &Record, metric: Metric) -> Option<&Summary> {
    record.metrics.get(&metric)
}

pub(super) const MOVES: [Mode; 6] = [
    Mode::QuicRebind,
    Mode::QuicAddress,
    Mode::QuicFlip,
    Mode::TcpReconnect,
    Mode::TcpReconnectResumed,
    Mode::TcpReconnect0Rtt,
];
