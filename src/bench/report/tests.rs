//! Structure of what is written, from made results: no pixel, no wording.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::findings::MOVES;
use super::*;
use crate::bench::results::{Results, Run};
use crate::bench::trace::{Drawing, Step};
use crate::bench::{
    Certificate, Comparison, Interval, KeyExchange, Layer, Losses, Metric, Mode, Record, SCHEMA,
    Scenario, Summary,
};
use crate::testbed::emulator::Direction;

const EVIL: &str = "</p><script>alert('\"&')</script>";

#[test]
fn every_element_of_the_page_is_closed_in_order() {
    let page = page(&[everything()]);
    let mut open = Vec::new();
    for tag in tags(&page) {
        let name = tag.split([' ', '/', '>']).find(|part| !part.is_empty());
        let name = name.unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') && !["meta", "!DOCTYPE"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn every_picture_says_in_words_what_it_shows() {
    let page = page(&[everything()]);
    let pictures: Vec<_> = page.split("<svg ").skip(1).collect();
    assert!(pictures.len() > 8, "{}", pictures.len());
    for picture in pictures {
        let (attributes, inner) = picture.split_once('>').unwrap();
        assert!(attributes.contains("role=\"img\""), "{attributes}");
        let named = attributes.split_once("aria-labelledby=\"").unwrap().1;
        let ids: Vec<_> = named.split('"').next().unwrap().split(' ').collect();
        let title = format!("<title id=\"{}\">", ids[0]);
        let description = format!("<desc id=\"{}\">", ids[1]);
        assert!(inner.starts_with(&title), "{title}");
        let (_, description) = inner.split_once(&description).unwrap();
        assert!(
            !description.starts_with('<'),
            "an empty description: {ids:?}"
        );
    }
}

#[test]
fn no_identifier_is_there_twice_and_every_reference_leads_to_one() {
    let page = page(&[everything()]);
    let all = |attribute: &str| {
        let begin = format!(" {attribute}=\"");
        let parts = page.split(&begin).skip(1);
        let values = parts.filter_map(|part| part.split('"').next());
        values
            .flat_map(|value| value.split(' '))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let ids = all("id");
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    for reference in all("aria-labelledby") {
        assert!(ids.contains(&reference), "{reference}");
    }
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = page(&[everything()]);
    for outside in [
        "http:", "https:", "src=", "url(", "@import", "<link", "<script", "//",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn what_others_wrote_is_text_on_the_page() {
    let mut results = everything();
    results.path = PathBuf::from(EVIL);
    let run = results.run.as_mut().unwrap();
    run.command = vec![EVIL.to_owned()];
    run.machine.processor = EVIL.to_owned();
    run.machine.network.insert(EVIL.to_owned(), EVIL.to_owned());
    run.doubts.push(EVIL.to_owned());
    results.records[0].doubts.push(EVIL.to_owned());
    results.records[0].derived.insert(EVIL.to_owned(), 1.0);
    results.traces[0].steps[0].label = EVIL.to_owned();
    let page = page(&[results]);
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert('&quot;&amp;')"));
}

#[test]
fn tables_name_their_rows_and_columns() {
    let page = page(&[everything()]);
    let tables: Vec<_> = page.split("<table>").skip(1).collect();
    assert!(tables.len() > 5);
    for table in tables {
        let table = table.split("</table>").next().unwrap();
        assert!(table.starts_with("<caption>"), "{table}");
        for row in table.split("<tbody>").nth(1).unwrap().split("<tr>").skip(1) {
            assert!(row.contains("scope=\"row\""), "{row}");
        }
    }
}

#[test]
fn each_mode_with_a_trace_has_a_ladder_with_all_its_packets() {
    let results = everything();
    let page = page(std::slice::from_ref(&results));
    for drawing in &results.traces {
        let id = format!("<title id=\"ladder-{}-title\">", drawing.mode);
        let (_, picture) = page.split_once(&id).unwrap();
        let picture = picture.split("</svg>").next().unwrap();
        let arrows = picture.matches("class=\"arrow").count();
        assert_eq!(arrows, drawing.steps.len(), "{}", drawing.mode);
        assert_eq!(picture.matches("class=\"arrow lost").count(), 1);
        assert!(picture.contains("first byte"), "{}", drawing.mode);
    }
}

#[test]
fn a_ladder_with_too_many_packets_says_how_many_it_leaves_out() {
    let mut results = everything();
    results.traces.truncate(1);
    let step = results.traces[0].steps[0].clone();
    results.traces[0].steps = vec![step; 75];
    assert!(page(&[results]).contains("15 more packets"));
}

#[test]
fn long_and_strange_labels_of_packets_stay_on_the_page() {
    let mut results = everything();
    results.traces[0].steps[0].label = "x".repeat(300);
    results.traces[0].steps[1].label = "\u{1f980}+é ".repeat(40);
    results.traces[0].steps[2].label = String::new();
    let page = page(&[results]);
    assert!(page.contains(&"x".repeat(26)));
    assert!(!page.contains(&format!(">{}<", "x".repeat(300))));
}

#[test]
fn every_picture_that_results_allow_is_there() {
    let page = page(&[everything()]);
    for id in [
        "first-byte",
        "processor-floor",
        "processor-network",
        "credentials",
        "recovery",
        "recovery-rtt",
        "losses",
        "load",
    ] {
        assert!(page.contains(&format!("<title id=\"{id}-title\">")), "{id}");
    }
    assert!(!page.contains("class=\"missing\""));
}

#[test]
fn what_was_not_measured_is_named_with_the_command_that_does() {
    let mut results = everything();
    results.traces.clear();
    results.records.truncate(1);
    results.run = None;
    let page = page(&[results]);
    for command in ["handshake", "migrate", "floor", "load"] {
        let named = format!("<code>wayhold bench {command}</code>");
        assert!(page.contains(&named), "{command}");
    }
}

#[test]
fn the_verdict_says_what_quic_saves_costs_and_where_it_breaks_even() {
    let verdict = verdict(&[everything()]).join("\n");
    assert!(
        verdict.contains("101 ms (2 round trips) against 151 ms (3 round trips)"),
        "{verdict}"
    );
    assert!(verdict.contains("(×1.50)"), "{verdict}");
    assert!(
        verdict.contains("breaks even at a round-trip time of 0.50 ms"),
        "{verdict}"
    );
    assert!(
        verdict.contains("quic-rebind 51 ms (1 round trip)"),
        "{verdict}"
    );
    assert!(verdict.contains("×3.00 its cryptography"), "{verdict}");
}

#[test]
fn quic_that_is_never_behind_has_no_break_even() {
    let mut results = everything();
    for record in &mut results.records {
        if record.scenario.rtt_ms == 0 && record.scenario.mode == Mode::QuicFull {
            record.metrics.insert(Metric::FirstByte, figure(0.1));
        }
    }
    let verdict = verdict(&[results]).join("\n");
    assert!(
        verdict.contains("ahead at every round-trip time"),
        "{verdict}"
    );
}

#[test]
fn too_little_to_compare_has_no_verdict_and_noise_is_unknown() {
    let mut results = everything();
    results.records.truncate(1);
    results.records[0].comparisons.clear();
    let results = [results];
    assert_eq!(verdict(&results), [""; 0]);
    assert!(noise(&results).contains("unknown"));
}

#[test]
fn tables_show_every_scenario_once_with_doubts_and_noise_below() {
    let mut results = everything();
    results.records[0].doubts.push("a doubt".to_owned());
    results.records[1].partial = true;
    let count = results.records.len();
    let text = text(&[results]);
    let rows = text.lines().filter(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word.parse::<Mode>().is_ok())
            && !line.starts_with("factors")
            && !line.starts_with("doubt: ")
            && !line.contains("round trip")
            && !line.starts_with("Handshakes a second")
    });
    assert_eq!(rows.count(), count, "{text}");
    assert!(text.contains("a doubt"));
    assert!(text.contains("cut off"));
    assert!(
        text.contains("(A/A): first_byte_ms 1.00 % (worst of 1: 1.00 %)"),
        "{text}"
    );
}

#[test]
fn the_centre_comes_first_and_factors_follow_in_the_order_of_their_values() {
    let text = text(&[everything()]);
    let place = |words: &str| {
        let found = text.lines().position(|line| line.starts_with(words));
        found.unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let order = [
        "Handshakes",
        "RTT 0 ms",
        "RTT 10 ms",
        "RTT 100 ms",
        "RTT 200 ms",
    ];
    let lines: Vec<_> = order.iter().map(|words| place(words)).collect();
    assert!(lines.is_sorted(), "{lines:?}");
    assert!(place("RTT 200 ms") < place("1 % lost at random"));
}

#[test]
fn doubts_that_differ_in_numbers_and_figures_alone_are_said_once() {
    let mut results = everything();
    for (number, record) in results.records.iter_mut().take(7).enumerate() {
        let metric = Metric::ALL[number];
        record
            .doubts
            .push(format!("{metric}: a doubt about {number}.5"));
    }
    let said = doubts(&[results]);
    let said: Vec<_> = said
        .iter()
        .filter(|doubt| doubt.contains("a doubt"))
        .collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("and 6 more"), "{said:?}");
}

/// Results in which every picture has something to show.
fn everything() -> Results {
    let mut records = Vec::new();
    for rtt_ms in [50, 0, 10, 100, 200] {
        over_rtt(&mut records, rtt_ms);
    }
    for mode in [Mode::TcpFull, Mode::QuicFull] {
        over_factors(&mut records, mode);
    }
    without_io(&mut records);
    let itself = records[0].scenario.mode;
    records[0].comparisons.push(Comparison {
        to: itself,
        metric: Metric::FirstByte,
        ratio: 1.01,
        interval: Interval {
            low: 0.99,
            high: 1.02,
        },
    });
    Results {
        path: "results".into(),
        run: Some(run()),
        records,
        samples: Vec::new(),
        traces: [Mode::TcpFull, Mode::QuicFull].map(drawing).to_vec(),
        gaps: Vec::new(),
    }
}

fn over_rtt(records: &mut Vec<Record>, rtt_ms: u32) {
    let scenario = |mode| Scenario {
        rtt_ms,
        ..Scenario::of(Layer::Link, mode)
    };
    for (mode, trips) in [
        (Mode::TcpFull, 3),
        (Mode::QuicFull, 2),
        (Mode::Tcp0Rtt, 2),
        (Mode::Quic0Rtt, 1),
    ] {
        records.push(handshake(scenario(mode), trips));
    }
    for mode in MOVES {
        let trips = if mode.name().starts_with("quic") {
            1
        } else {
            3
        };
        let recovery = f64::from(trips * rtt_ms) + 1.0;
        let mut record = record(scenario(mode), &[(Metric::Recovery, recovery)]);
        let trips = ("round_trips_first_byte".to_owned(), trips.into());
        record.derived.extend([trips]);
        records.push(record);
    }
}

fn over_factors(records: &mut Vec<Record>, mode: Mode) {
    let centre = Scenario::of(Layer::Link, mode);
    for losses in [Losses::Random(10), Losses::Client(1)] {
        let scenario = Scenario {
            losses,
            ..centre.clone()
        };
        records.push(handshake(scenario, 2));
    }
    for certificate in [Certificate::LongChain, Certificate::MlDsa65] {
        let scenario = Scenario {
            certificate,
            ..centre.clone()
        };
        records.push(handshake(scenario, 3));
    }
    let key_exchange = KeyExchange::X25519MlKem768;
    let scenario = Scenario {
        key_exchange,
        ..centre
    };
    records.push(handshake(scenario, 2));
    let metrics = [(Metric::HandshakeRatePerCore, 2000.0)];
    records.push(record(Scenario::of(Layer::Loopback, mode), &metrics));
}

fn without_io(records: &mut Vec<Record>) {
    for (mode, client, node) in [
        (Mode::Crypto, 180.0, 50.0),
        (Mode::TlsFull, 210.0, 70.0),
        (Mode::QuicFull, 260.0, 150.0),
        (Mode::TlsResumed, 50.0, 60.0),
        (Mode::QuicResumed, 100.0, 110.0),
    ] {
        let metrics = [
            (Metric::ClientCpu, client),
            (Metric::NodeCpu, node),
            (Metric::NodeFloorRatio, node / 50.0),
        ];
        records.push(record(Scenario::of(Layer::Floor, mode), &metrics));
    }
}

fn handshake(scenario: Scenario, trips: u32) -> Record {
    let is_quic = scenario.mode.name().starts_with("quic");
    let constant = if is_quic { 1.25 } else { 0.75 };
    let metrics = [
        (Metric::Ready, f64::from(scenario.rtt_ms)),
        (
            Metric::FirstByte,
            f64::from(trips * scenario.rtt_ms) + constant,
        ),
        (Metric::NodeBytesHandshake, 3000.0),
        (Metric::ClientBytes, 2000.0),
        (Metric::NodeBytes, 3000.0),
        (Metric::ClientCpu, if is_quic { 300.0 } else { 200.0 }),
        (Metric::NodeCpu, if is_quic { 150.0 } else { 100.0 }),
        (Metric::NodeKernel, 20.0),
    ];
    let has_trips = scenario.rtt_ms > 0;
    let mut record = record(scenario, &metrics);
    if has_trips {
        record
            .derived
            .insert("round_trips_first_byte".to_owned(), trips.into());
    }
    record
}

fn record(scenario: Scenario, metrics: &[(Metric, f64)]) -> Record {
    Record {
        schema: SCHEMA,
        scenario,
        samples: 30,
        late: 0,
        failures: BTreeMap::new(),
        metrics: metrics
            .iter()
            .map(|(metric, value)| (*metric, figure(*value)))
            .collect(),
        derived: BTreeMap::new(),
        comparisons: Vec::new(),
        doubts: Vec::new(),
        partial: false,
    }
}

fn figure(value: f64) -> Summary {
    Summary {
        n: 30,
        p10: value,
        median: value,
        p90: value * 1.1,
        p99: value * 1.2,
        median_interval: Interval {
            low: value * 0.99,
            high: value * 1.01,
        },
    }
}

fn drawing(mode: Mode) -> Drawing {
    let step = |direction, sent_ms, arrived_ms, label: &str| Step {
        direction,
        sent_ms,
        arrived_ms,
        bytes: 1228,
        label: label.to_owned(),
    };
    Drawing {
        mode,
        steps: vec![
            step(Direction::ToNode, 0.1, Some(25.1), "Initial"),
            step(Direction::ToNode, 0.2, None, "Initial"),
            step(Direction::ToClient, 25.3, Some(50.4), "Initial+Handshake"),
            step(Direction::ToNode, 50.6, Some(75.6), "Handshake+1-RTT"),
            step(Direction::ToClient, 75.8, Some(100.8), "1-RTT"),
        ],
        marks: [(Metric::Ready, 50.5), (Metric::FirstByte, 101.0)].into(),
    }
}

fn run() -> Run {
    Run {
        schema: SCHEMA,
        partial: false,
        command: vec!["wayhold".to_owned(), "bench".to_owned()],
        started: "2026-01-01T00:00:00Z".to_owned(),
        seconds: 10.0,
        seed: 1,
        scenarios: Vec::new(),
        software: crate::bench::results::software(),
        machine: crate::bench::results::machine(),
        setting: crate::bench::results::Setting::default(),
        emulator: Some(crate::bench::results::Lateness::default()),
        noise: BTreeMap::new(),
        doubts: Vec::new(),
    }
}

/// What stands between `<` and `>`, outside the style sheet.
fn tags(page: &str) -> Vec<&str> {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    [before, after]
        .iter()
        .flat_map(|part| part.split('<').skip(1))
        .map(|part| part.split('>').next().unwrap())
        .collect()
}
