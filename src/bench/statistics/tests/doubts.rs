use super::draw::{exponential, measured, normal, taken, uniform, with_trips};
use crate::bench::statistics::doubts::two_groups;
use crate::bench::statistics::quantile::sorted;
use crate::bench::statistics::{Measured, records};
use crate::bench::{Layer, Losses, Metric, Mode, Record};
use crate::link::Random;

const FIRST_BYTE: Metric = Metric::FirstByte;

fn doubts(measured: &Measured) -> Vec<String> {
    Record::of(measured, &[], 1).doubts
}

fn around(center: f64, spread: f64, n: u32) -> Vec<f64> {
    let mut random = Random::new(3);
    let values = (0..n).map(|_| center + spread * normal(&mut random));
    values.collect()
}

#[test]
fn good_samples_are_not_doubted() {
    let good = measured(Mode::TcpFull, FIRST_BYTE, &around(152.0, 0.4, 40));
    assert_eq!(doubts(&good), Vec::<String>::new());
}

#[test]
fn few_samples_and_few_blocks_are_doubted() {
    let few = measured(Mode::TcpFull, FIRST_BYTE, &around(152.0, 0.4, 9));
    assert_eq!(doubts(&few), ["only 9 samples"]);
    let mut few = measured(Mode::TcpFull, FIRST_BYTE, &around(152.0, 0.4, 40));
    for (place, taken) in few.taken.iter_mut().enumerate() {
        taken.block = u32::from(place > 20);
    }
    assert_eq!(doubts(&few), ["only 2 blocks to compare"]);
}

#[test]
fn late_and_failed_samples_are_doubted_when_they_are_many() {
    let mut many = measured(Mode::TcpFull, FIRST_BYTE, &around(152.0, 0.4, 40));
    many.late = 4;
    many.failures.insert("tcp".to_owned(), 4);
    assert_eq!(doubts(&many), Vec::<String>::new());
    many.late = 5;
    many.failures.insert("closed-by-node".to_owned(), 2);
    let expected = [
        "5 of 45 samples were thrown away, because the emulator delivered late",
        "6 of 51 attempts failed",
    ];
    assert_eq!(doubts(&many), expected);
}

#[test]
fn a_wide_interval_is_doubted() {
    let mut random = Random::new(3);
    let values: Vec<_> = (0..30)
        .map(|_| 50.0 + 40.0 * uniform(&mut random))
        .collect();
    let doubts = doubts(&measured(Mode::TcpFull, FIRST_BYTE, &values));
    let wide = "first_byte_ms: the median may lie anywhere from ";
    assert!(
        doubts.iter().any(|doubt| doubt.starts_with(wide)),
        "{doubts:?}"
    );
}

#[test]
fn two_groups_are_told_apart_and_one_is_not_split() {
    let mut two = around(102.0, 0.5, 31);
    two.extend(around(152.0, 0.5, 9));
    let said = doubts(&measured(Mode::TcpFull, FIRST_BYTE, &two));
    let groups = said.iter().find(|doubt| doubt.contains("two groups"));
    let groups = groups.expect("there are two");
    assert!(
        groups.starts_with("first_byte_ms: two groups, 31 around 10"),
        "{groups}"
    );
    assert!(groups.contains(" and 9 around 15"), "{groups}");

    let mut random = Random::new(9);
    let one: [fn(&mut Random) -> f64; 3] = [normal, exponential, uniform];
    for (name, draw) in ["normal", "exponential", "uniform"].iter().zip(one) {
        for n in [20, 40, 200] {
            let split = (0..500).filter(|_| {
                let values = (0..n).map(|_| 100.0 + 30.0 * draw(&mut random));
                two_groups(FIRST_BYTE, &sorted(values.collect())).is_some()
            });
            let split = split.count();
            assert!(split * n <= 500, "{split} of 500: {name}, {n}");
        }
    }
}

#[test]
fn what_differs_from_itself_is_doubted() {
    // The second of each block takes a tenth longer.
    let values = (0..20).flat_map(|block| {
        [
            taken(block, FIRST_BYTE, 100.0),
            taken(block, FIRST_BYTE, 110.0),
        ]
    });
    let unlike = Measured {
        taken: values.collect(),
        ..measured(Mode::TcpFull, FIRST_BYTE, &[])
    };
    let said = doubts(&unlike);
    let expected = "first_byte_ms: differs from itself by 9 % (A/A)";
    assert!(said.iter().any(|doubt| doubt == expected), "{said:?}");
}

fn quic(first_byte: impl Fn(usize) -> u32, time: f64) -> Measured {
    let mut quic = measured(Mode::QuicFull, FIRST_BYTE, &around(time, 0.4, 40));
    quic.scenario.layer = Layer::Link;
    for (place, taken) in quic.taken.iter_mut().enumerate() {
        *taken = with_trips(taken.clone(), first_byte(place));
    }
    quic
}

#[test]
fn round_trips_that_do_not_agree_are_doubted_unless_chance_decides() {
    let mut some = quic(|place| 2 + u32::from(place < 3), 102.0);
    let expected = "round_trips_first_byte: not the same in all samples: 2 in 37, 3 in 3";
    assert_eq!(doubts(&some), [expected]);
    some.scenario.losses = Losses::Client(3);
    assert_eq!(doubts(&some), [expected]);
    some.scenario.losses = Losses::Random(10);
    assert_eq!(doubts(&some), Vec::<String>::new());
}

#[test]
fn round_trips_that_the_time_does_not_show_are_doubted() {
    let mut slow = quic(|_| 2, 152.0);
    let said = doubts(&slow);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("round_trips_first_byte: 2 by the packets, 3 by the time"),
        "{said:?}"
    );
    // A retransmission waits for a timer.
    slow.scenario.losses = Losses::Client(1);
    assert_eq!(doubts(&slow), Vec::<String>::new());
}

#[test]
fn missing_round_trips_are_doubted_where_there_is_a_trace() {
    let mut some = quic(|_| 2, 102.0);
    some.taken[7].sample.round_trips = None;
    let expected = "round trips of 39 in 40 samples only: the other traces are not complete";
    assert_eq!(doubts(&some), [expected]);
    some.scenario.rtt_ms = 0;
    assert_eq!(doubts(&some), Vec::<String>::new());
}

#[test]
fn the_time_after_a_move_is_the_recovery() {
    let values = around(51.5, 0.3, 40);
    let mut moved = measured(Mode::QuicRebind, Metric::Recovery, &values);
    for taken in &mut moved.taken {
        *taken = with_trips(taken.clone(), 2);
    }
    for taken in &mut moved.taken {
        let time = taken.sample.metrics[&Metric::Recovery];
        taken.sample.metrics.insert(FIRST_BYTE, time);
    }
    let said = &records(&[moved], 1)[0].doubts;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("round_trips_first_byte: 2 by the packets, 1 by the time"),
        "{said:?}"
    );
}
