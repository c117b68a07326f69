//! What is written is read again, and what is wrong with a file is named.

use std::fs;
use std::path::Path;

use super::*;
use crate::bench::statistics::{Measured, records};
use crate::bench::trace::Drawing;
use crate::bench::{Layer, Metric, Mode, Record, SCHEMA, Sample, Scenario};

#[test]
fn a_run_that_ended_is_read_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let (run, records) = write(directory.path(), 1.0);
    let results = read(directory.path()).unwrap();
    assert_eq!(results.records, records);
    assert_eq!(results.samples, samples(1.0));
    assert_eq!(results.traces, [drawing()]);
    assert_eq!(results.gaps, [""; 0]);
    let read = results.run.unwrap();
    assert!(!read.noise.is_empty());
    assert_eq!(
        Run {
            noise: run.noise.clone(),
            ..read
        },
        run
    );
    let csv = fs::read_to_string(directory.path().join(names::CSV)).unwrap();
    assert_eq!(csv, super::csv(&records));
}

#[test]
fn a_run_that_was_cut_off_has_records_of_the_samples_it_left() {
    let directory = tempfile::tempdir().unwrap();
    let run = run();
    let mut writer = Writer::create(directory.path(), &run).unwrap();
    for sample in samples(1.0) {
        writer.sample(&sample).unwrap();
    }
    drop(writer);
    let results = read(directory.path()).unwrap();
    assert!(results.run.unwrap().partial);
    assert_eq!(results.records.len(), run.scenarios.len());
    assert!(results.records.iter().all(|record| record.partial));
    assert_eq!(results.gaps.len(), 2, "{:?}", results.gaps);
    for (made, whole) in results.records.iter().zip(measured_records(1.0)) {
        assert_eq!(made.metrics, whole.metrics);
    }
}

#[test]
fn a_line_that_was_cut_off_is_a_gap_and_the_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1.0);
    for name in [names::SAMPLES, names::RESULTS] {
        let path = directory.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, bytes).unwrap();
    }
    let results = read(directory.path()).unwrap();
    assert_eq!(results.samples.len(), samples(1.0).len() - 1);
    assert_eq!(results.records.len(), 1);
    assert_eq!(results.gaps.len(), 2, "{:?}", results.gaps);
}

#[test]
fn whatever_is_wrong_with_a_file_is_named_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1.0);
    let broken = |name: &str, change: &dyn Fn(String) -> String| {
        let path = directory.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(text.clone())).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        fs::write(&path, text).unwrap();
        let directory = format!("{}/", directory.path().display());
        error.replace(&directory, "")
    };
    let cases = [
        (
            broken(names::RESULTS, &|text| {
                text.replacen("\"tcp-full\"", "\"udp\"", 1)
            }),
            "results.jsonl:1: unknown variant `udp`",
        ),
        (
            broken(names::RESULTS, &|text| text.replace('\n', "}\n")),
            "results.jsonl:1: trailing characters",
        ),
        (
            broken(names::SAMPLES, &|text| format!("{text}no JSON\n")),
            "samples.jsonl:17: expected",
        ),
        (
            broken(names::SAMPLES, &|text| {
                text.replacen("\"scenario\":0", "\"scenario\":7", 1)
            }),
            "samples.jsonl:1: there is no scenario 7 in run.json, which has 2",
        ),
        (
            broken(names::TRACES, &|text| text.replace("to-node", "to-moon")),
            "traces.jsonl:1: unknown variant `to-moon`",
        ),
        (
            broken(names::RUN, &|text| {
                text.replace("\"seed\": 1,", "\"seed\": -1,")
            }),
            "run.json:",
        ),
        (
            broken(names::RESULTS, &|text| {
                text.replacen("\"n\":8", "\"n\":null", 1)
            }),
            "results.jsonl:1: invalid type: null",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_later_schema_is_refused_by_its_number_whatever_else_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later.jsonl");
    fs::write(&path, "{\"schema\":1000,\"scenarios\":\"other\"}\n").unwrap();
    let error = read(&path).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Newer {
                found: 1000,
                line: 1,
                ..
            }
        ),
        "{error}"
    );
    write(directory.path(), 1.0);
    fs::write(directory.path().join(names::RUN), "{\n \"schema\": 2 }").unwrap();
    let error = read(directory.path()).unwrap_err();
    assert!(
        matches!(error, ReadError::Newer { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn fields_that_later_versions_add_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1.0);
    let path = directory.path().join(names::RESULTS);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("{\"schema\":1,", "{\"schema\":1,\"added\":{},"),
    )
    .unwrap();
    assert_eq!(read(&path).unwrap().records.len(), 2);
}

#[test]
fn nothing_to_read_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        read(directory.path()),
        Err(ReadError::Empty { .. })
    ));
    let missing = directory.path().join("missing");
    assert!(matches!(read(&missing), Err(ReadError::Io { .. })));
    let empty = directory.path().join("empty.jsonl");
    fs::write(&empty, "\n\n").unwrap();
    assert!(matches!(read(&empty), Err(ReadError::Empty { .. })));
    drop(Writer::create(directory.path(), &run()).unwrap());
    assert!(matches!(
        read(directory.path()),
        Err(ReadError::Empty { .. })
    ));
}

#[test]
fn a_figure_that_is_no_number_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(directory.path(), &run()).unwrap();
    let mut sample = samples(1.0).remove(0);
    sample
        .sample
        .metrics
        .insert(Metric::Amplification, f64::NAN);
    let error = writer.sample(&sample).unwrap_err();
    let metric = Metric::Amplification;
    assert!(matches!(error, WriteError::NoNumber { metric: named, .. } if named == metric));
}

#[test]
fn a_new_run_in_a_directory_replaces_the_files_of_the_earlier_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1.0);
    let own = directory.path().join("notes.txt");
    fs::write(&own, "mine").unwrap();
    fs::write(directory.path().join(names::REPORT), "old").unwrap();
    drop(Writer::create(directory.path(), &run()).unwrap());
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
    assert!(!directory.path().join(names::REPORT).exists());
    assert!(!directory.path().join(names::CSV).exists());
    assert!(matches!(
        read(directory.path()),
        Err(ReadError::Empty { .. })
    ));
}

#[test]
fn csv_has_as_many_values_in_each_row_as_columns() {
    let csv = csv(&measured_records(1.0));
    let mut lines = csv.lines();
    let columns = lines.next().unwrap().split(',').count();
    assert!(lines.clone().count() > 4);
    assert!(
        lines.all(|line| line.split(',').count() == columns),
        "{csv}"
    );
    assert!(csv.contains(",first_byte_ms,tcp-full,"), "{csv}");
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let results = results(1.0);
    let compared = compare(&results, &results, 0.05);
    assert!(!compared.has_regressed());
    assert_eq!(compared.differences.len(), 4);
    for difference in &compared.differences {
        assert!((difference.ratio - 1.0).abs() < 1e-12);
        assert_eq!(difference.judgement, Judgement::Alike);
    }
    assert_eq!(compared.remarks, [""; 0]);
}

#[test]
fn what_became_slower_than_tolerated_is_worse_and_the_other_way_better() {
    let (before, after) = (results(1.0), results(1.3));
    for (tolerance, is_worse) in [(0.05, true), (0.5, false)] {
        let compared = compare(&before, &after, tolerance);
        assert_eq!(compared.has_regressed(), is_worse, "{tolerance}");
        let compared = compare(&after, &before, tolerance);
        assert!(!compared.has_regressed());
        let better = |it: &Difference| it.judgement == Judgement::Better;
        assert_eq!(compared.differences.iter().any(better), is_worse);
    }
    let compared = compare(&before, &after, 0.05);
    for difference in compared.differences {
        let interval = difference.interval;
        assert!((difference.ratio - 1.3).abs() < 1e-9, "{difference:?}");
        assert!(interval.low < 1.3 && 1.3 < interval.high, "{difference:?}");
        let is_clocked = difference.figure.ends_with("cpu_us");
        assert_eq!(difference.share < 0.5, is_clocked, "{difference:?}");
    }
}

#[test]
fn less_of_a_rate_is_worse() {
    let rate = |rate: f64| {
        let mut results = results(1.0);
        results.samples.clear();
        for record in &mut results.records {
            let mut figure = record.metrics[&Metric::FirstByte];
            for value in [
                &mut figure.p10,
                &mut figure.median,
                &mut figure.median_interval.low,
                &mut figure.median_interval.high,
            ] {
                *value = rate;
            }
            record.metrics = [(Metric::HandshakeRate, figure)].into();
        }
        results
    };
    assert!(compare(&rate(1000.0), &rate(800.0), 0.05).has_regressed());
    assert!(!compare(&rate(800.0), &rate(1000.0), 0.05).has_regressed());
}

#[test]
fn a_round_trip_more_is_worse_also_where_there_was_none() {
    let with = |trips: f64| {
        let mut results = results(1.0);
        for record in &mut results.records {
            record.derived.insert("round_trips_ready".to_owned(), trips);
        }
        results
    };
    assert!(compare(&with(1.0), &with(2.0), 0.05).has_regressed());
    assert!(compare(&with(0.0), &with(1.0), 0.05).has_regressed());
    assert!(!compare(&with(0.0), &with(0.0), 0.05).has_regressed());
    assert!(!compare(&with(1.0), &with(0.0), 0.05).has_regressed());
}

#[test]
fn records_without_their_samples_are_compared_by_the_medians_intervals() {
    let mut after = results(1.3);
    after.samples.clear();
    let compared = compare(&results(1.0), &after, 0.05);
    assert!(compared.has_regressed());
    assert_eq!(compared.remarks.len(), 1, "{:?}", compared.remarks);
    assert!(compared.differences.iter().all(|it| it.share >= 0.5));
}

#[test]
fn samples_that_belong_to_other_records_are_not_used() {
    let mut after = results(1.3);
    after.samples = samples(1.0);
    let compared = compare(&results(1.0), &after, 0.05);
    assert!(compared.has_regressed());
    assert!(
        compared.remarks[0].contains("not used"),
        "{:?}",
        compared.remarks
    );
}

#[test]
fn scenarios_that_only_one_run_has_are_named() {
    let (mut before, mut after) = (results(1.0), results(1.0));
    before.records.remove(0);
    after.records.remove(1);
    let compared = compare(&before, &after, 0.05);
    assert_eq!(compared.differences, []);
    assert_eq!(compared.only_before, [before.records[0].scenario.clone()]);
    assert_eq!(compared.only_after, [after.records[0].scenario.clone()]);
}

fn write(directory: &Path, factor: f64) -> (Run, Vec<Record>) {
    let (run, records) = (run(), measured_records(factor));
    let mut writer = Writer::create(directory, &run).unwrap();
    for sample in samples(factor) {
        writer.sample(&sample).unwrap();
    }
    for record in &records {
        writer.record(record).unwrap();
    }
    writer.trace(&drawing()).unwrap();
    writer.finish(&run).unwrap();
    (run, records)
}

fn results(factor: f64) -> Results {
    Results {
        path: "run".into(),
        run: Some(run()),
        records: measured_records(factor),
        samples: samples(factor),
        traces: Vec::new(),
        gaps: Vec::new(),
    }
}

fn measured_records(factor: f64) -> Vec<Record> {
    let run = run();
    let all: Vec<_> = run
        .scenarios
        .iter()
        .enumerate()
        .map(|(place, scenario)| {
            let mut measured = Measured::of(scenario.clone());
            let samples = samples(factor);
            let own = samples.into_iter().filter(|raw| raw.scenario == place);
            measured.taken = own
                .map(|raw| crate::bench::statistics::Taken {
                    block: raw.block,
                    sample: raw.sample,
                })
                .collect();
            measured
        })
        .collect();
    records(&all, run.seed)
}

/// Eight samples of each of two scenarios, spread over some percent.
fn samples(factor: f64) -> Vec<RawSample> {
    let places = (0..16_u32).map(|number| (number as usize % 2, number / 2));
    places
        .map(|(scenario, block)| {
            let spread = 1.0 + f64::from(block * 5 % 8) / 100.0;
            let metrics = [
                (Metric::FirstByte, 100.0 * spread * factor),
                (Metric::NodeCpu, 200.0 * spread * factor),
            ];
            RawSample {
                scenario,
                block,
                sample: Sample {
                    metrics: metrics.into(),
                    round_trips: None,
                },
            }
        })
        .collect()
}

fn drawing() -> Drawing {
    serde_json::from_str(
        "{\"mode\":\"tcp-full\",\"steps\":[{\"direction\":\"to-node\",\"sent_ms\":0.5,\
         \"arrived_ms\":25.5,\"bytes\":60,\"label\":\"SYN\"}],\"marks\":{\"ready_ms\":101.5}}",
    )
    .unwrap()
}

fn run() -> Run {
    let scenarios = [Mode::TcpFull, Mode::QuicFull];
    Run {
        schema: SCHEMA,
        partial: false,
        command: vec!["wayhold".to_owned(), "bench".to_owned()],
        started: "2026-01-01T00:00:00Z".to_owned(),
        seconds: 1.5,
        seed: 1,
        scenarios: scenarios
            .map(|mode| Scenario::of(Layer::Link, mode))
            .to_vec(),
        software: software(),
        machine: machine(),
        setting: Setting::default(),
        emulator: Some(Lateness::default()),
        noise: std::collections::BTreeMap::new(),
        doubts: vec!["a doubt".to_owned()],
    }
}
