use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use wayhold::bench::plan::Plan;
use wayhold::bench::results::{self, Lateness, Machine, Run, Setting};
use wayhold::bench::run::Bed;
use wayhold::bench::{Layer, SCHEMA, Scenario};
use wayhold::testbed::emulator;

use super::measure::Args;

/// Says what is run where.
pub(super) fn describe(args: &Args, plan: &Plan, bed: &Bed, seed: u64) -> anyhow::Result<Run> {
    let mut machine = results::machine();
    if let Bed::Stand {
        network: Some(network),
        ..
    } = bed
    {
        machine.network = network.client.run(results::network_variables)?;
    }
    let setting = setting(args, &machine.network);
    let scenarios = plan.scenarios().cloned().collect();
    let doubts = unlike(&setting).into_iter().collect();
    Ok(Run {
        doubts,
        ..begun(scenarios, seed, machine, setting)
    })
}

/// What one transport was given and the other was not.
fn unlike(setting: &Setting) -> Option<String> {
    let of = |side| setting.congestion.get(side).map(String::as_str);
    let (tcp, quic) = (of("tcp-client")?, of("quic-client")?);
    (tcp != quic).then(|| {
        format!(
            "TCP has the congestion controller {tcp}, QUIC {quic}; until a first response both are in slow \
             start"
        )
    })
}

/// Says where something runs that needs no network; what that is, nobody says yet.
pub(super) fn without_network(seed: u64) -> Run {
    let setting = Setting {
        network: "none: both sides on one thread".to_owned(),
        provider: PROVIDER.to_owned(),
        ..Setting::default()
    };
    begun(Vec::new(), seed, results::machine(), setting)
}

/// A run of these scenarios, of which nothing is done yet.
pub(super) fn begun(
    scenarios: Vec<Scenario>,
    seed: u64,
    machine: Machine,
    setting: Setting,
) -> Run {
    Run {
        schema: SCHEMA,
        partial: true,
        command: results::command(),
        started: results::rfc3339(system_now()),
        seconds: 0.0,
        seed,
        scenarios,
        software: results::software(),
        machine,
        setting,
        emulator: None,
        noise: BTreeMap::new(),
        doubts: Vec::new(),
    }
}

/// What both sides were given. Both are of this package, but for a target.
fn setting(args: &Args, variables: &BTreeMap<String, String>) -> Setting {
    let tcp = variables.get("ipv4/tcp_congestion_control");
    let tcp = tcp.map_or("the kernel's", String::as_str);
    let sides = ["tcp-client", "tcp-node", "quic-client", "quic-node"];
    let ours = if args.target.is_some() { 3 } else { 4 };
    let of_sides = |of_tcp: &str, of_quic: &str| {
        let values = [of_tcp, of_tcp, of_quic, of_quic];
        let pairs = sides.iter().zip(values);
        let known = pairs.filter(|(side, _)| ours == 4 || !side.ends_with("-node"));
        known
            .map(|(side, value)| ((*side).to_owned(), value.to_owned()))
            .collect()
    };
    let (network, offload) = match args.layer() {
        Layer::Link => (
            "network namespaces, veth, and a link emulator in user space",
            "off",
        ),
        Layer::Target => ("as it is, up to the target", "as the machine has it"),
        _ => ("the loopback interface", "as the machine has it"),
    };
    Setting {
        network: network.to_owned(),
        target: args.target.as_ref().map(ToString::to_string),
        provider: PROVIDER.to_owned(),
        congestion: of_sides(tcp, "cubic"),
        initial_window: of_sides("10 segments", "12000 bytes"),
        offload: [("segmentation, receive offload, checksums", offload)]
            .map(|(what, how)| (what.to_owned(), how.to_owned()))
            .into(),
    }
}

/// Says how late the emulator was.
pub(super) fn lateness(lateness: emulator::Lateness, limit: u64) -> Lateness {
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    Lateness {
        packets: lateness.packets,
        late: lateness.late,
        median_us: microseconds(lateness.median),
        p99_us: microseconds(lateness.p99),
        worst_us: microseconds(lateness.worst),
        limit_us: microseconds(Duration::from_micros(limit)),
        dropped: lateness.dropped,
        overflowed: lateness.overflowed,
        refused: lateness.refused,
    }
}

#[expect(clippy::disallowed_methods, reason = "a run says when it was")]
fn system_now() -> SystemTime {
    SystemTime::now()
}

pub(super) const PROVIDER: &str = "aws-lc-rs through rustls";
