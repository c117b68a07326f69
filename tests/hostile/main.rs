//! The hostile table: what clients send that they should not, and what looks so but is legal, with what
//! has to come of it at the client and at backends. Every row is bytes on raw QUIC streams.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::too_many_lines, reason = "most of it is a table")]

mod attack;
mod connect;
mod datagrams;
mod engine;
mod fields;
mod floods;
mod frames;
mod legal;
mod qpack;
mod recorder;
mod row;
mod slow;
mod streams;
mod target;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wayhold::http3::{Rules, Violation};

use self::attack::{Outcome, PATIENCE, Target};
use self::recorder::{Recorded, Speaks};
use self::row::{Message, Reaches, Row, ordinary, served};
use self::slow::Slow;

fn families() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("fields", fields::rows()),
        ("target", target::rows()),
        ("connect", connect::rows()),
        ("frames", frames::rows()),
        ("streams", streams::rows()),
        ("qpack", qpack::rows()),
        ("datagrams", datagrams::rows()),
        ("floods", floods::rows()),
        (
            "slow",
            slow::rows().into_iter().map(|slow| slow.row).collect(),
        ),
        ("legal", legal::rows()),
    ]
}

/// Those that need no other limits than the usual ones.
fn rows() -> impl Iterator<Item = Row> {
    let families = families()
        .into_iter()
        .filter(|(family, _)| *family != "slow");
    families.flat_map(|(_, rows)| rows)
}

#[test]
fn the_table_is_wide_and_does_not_shrink() {
    let (mut names, mut played) = (BTreeSet::new(), BTreeSet::new());
    let mut counts = Vec::new();
    for (family, rows) in families() {
        counts.push((family, rows.len()));
        for row in rows {
            assert!(names.insert(row.name), "{} twice", row.name);
            let steps = format!("{:?}", row.steps);
            assert!(played.insert(steps), "{} is another row too", row.name);
        }
    }
    let shrunk = |(had, has): (&(&str, usize), &(&str, usize))| had.0 != has.0 || had.1 > has.1;
    let shrunk = LEAST.iter().zip(&counts).any(shrunk);
    assert!(!shrunk && LEAST.len() <= counts.len(), "{counts:?}");
}

/// How many rows each family has, or more.
const LEAST: [(&str, usize); 10] = [
    ("fields", 67),
    ("target", 66),
    ("connect", 24),
    ("frames", 37),
    ("streams", 41),
    ("qpack", 69),
    ("datagrams", 22),
    ("floods", 18),
    ("slow", 23),
    ("legal", 57),
];

#[test]
fn the_engine_alone_refuses_what_is_for_it_to_refuse() {
    let now = now();
    for row in rows() {
        let played = engine::play(&row, Rules::default(), now);
        assert!(engine::agrees(&row, &played), "{row:?}: {played:?}");
    }
}

#[test]
fn every_rule_is_needed_by_a_row() {
    let now = now();
    let rows: Vec<Row> = rows().collect();
    let held: Vec<_> = rows
        .iter()
        .map(|row| engine::play(row, Rules::default(), now))
        .collect();
    let idle: Vec<_> = Violation::ALL
        .iter()
        .filter(|rule| **rule != Violation::Unrepresentable)
        .filter(|rule| {
            let without = Rules::default().without(**rule);
            let differs =
                |(row, held): (&Row, &engine::Played)| engine::play(row, without, now) != *held;
            !rows.iter().zip(&held).any(differs)
        })
        .collect();
    assert!(idle.is_empty(), "no row needs {idle:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_harms_a_backend_that_speaks_http1() {
    whole_table(Speaks::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_harms_a_backend_that_speaks_http2() {
    whole_table(Speaks::Http2).await;
}

async fn whole_table(speaks: Speaks) {
    let mut target = Target::start(speaks, "").await;
    let mut failures = Vec::new();
    for row in rows() {
        failures.extend(failures_of(&target, &row).await);
    }
    assert_eq!(target.metrics.panics.get(), 0);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for reason in ["rapid_reset", "noise", "protocol"] {
        assert!(target.refused(reason) > 0, "nothing counted as {reason}");
    }
    // Some of these clients never say that they have closed their connection.
    target.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_their_time_are_cut_off_and_counted() {
    let mut playing = JoinSet::new();
    for Slow { row, counted } in slow::rows() {
        playing.spawn(async move {
            let mut target = Target::start(Speaks::Http1, slow::LIMITS).await;
            let mut failures = failures_of(&target, &row).await;
            if counted.is_some_and(|reason| target.failed(reason) == 0) {
                failures.push(format!("{}: not counted as {counted:?}", row.name));
            }
            assert_eq!(target.metrics.panics.get(), 0);
            target.end().await.unwrap();
            failures
        });
    }
    let failures = playing.join_all().await.concat();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Plays a row, and gives what is wrong with what came of it.
async fn failures_of(target: &Target, row: &Row) -> Vec<String> {
    let mut failures = Vec::new();
    let outcome = target.attack(row).await;
    if outcome != Outcome::from(row.expect) {
        failures.push(format!("{}: {outcome:?}, not {:?}", row.name, row.expect));
    }
    let mut recorded = after(target, row).await;
    // Of a flood some requests are still on their way, and would be taken for those of another row.
    let mut quiet = u32::from(row.reaches != Reaches::Ordinary) * QUIET;
    while quiet < QUIET {
        let late = after(target, row).await;
        quiet = if late.is_empty() { quiet + 1 } else { 0 };
        recorded.extend(late);
    }
    failures.extend(harm(row, recorded));
    failures
}

/// Asks for something ordinary, so that whatever the row made the gateway send has come, and gives that.
async fn after(target: &Target, row: &Row) -> Vec<Recorded> {
    let plain = Row {
        steps: vec![ordinary()],
        ..served("", vec![], Message::new("GET", "/"))
    };
    let name = row.name;
    assert_eq!(target.attack(&plain).await, Outcome::Status(200), "{name}");
    settled(target, row).await
}

/// Everything that a backend was sent in a row, but for what the harness itself asked.
async fn settled(target: &Target, row: &Row) -> Vec<Recorded> {
    let settling = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        loop {
            if let Some(recorded) = target.recorder.take() {
                return recorded;
            }
            ticks.tick().await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settling).await;
    let mut recorded = settled.unwrap_or_else(|_| panic!("{}: a request goes on", row.name));
    let plain = Recorded {
        message: Message::new("GET", "/"),
        whole: true,
    };
    let last = recorded.iter().rposition(|recorded| *recorded == plain);
    recorded.remove(last.unwrap_or_else(|| panic!("{}: the last request is lost", row.name)));
    let round_trip = |recorded: &Recorded| {
        let fields = &recorded.message.fields;
        fields.iter().any(|field| field.0 == "x-round-trip")
    };
    recorded.retain(|recorded| !round_trip(recorded));
    recorded
}

/// What a backend saw that it should not have.
fn harm(row: &Row, mut recorded: Vec<Recorded>) -> Option<String> {
    for recorded in &mut recorded {
        recorded
            .message
            .fields
            .sort_by(|left, right| left.0.cmp(&right.0));
    }
    let is = |recorded: &Recorded, message: &Message| {
        let mut message = message.clone();
        message.fields.sort_by(|left, right| left.0.cmp(&right.0));
        recorded.message == message
    };
    let fine = match &row.reaches {
        Reaches::Nothing => recorded.is_empty(),
        Reaches::Whole(message) => {
            matches!(&recorded[..], [one] if one.whole && is(one, message))
        }
        Reaches::Cut => recorded.iter().all(|recorded| !recorded.whole),
        Reaches::Ordinary => recorded.iter().all(|recorded| {
            let Message {
                target,
                body,
                fields,
                ..
            } = &recorded.message;
            ["/", "/forever"].contains(&target.as_str())
                && fields.is_empty()
                && body.iter().all(|byte| *byte == b'x')
        }),
    };
    (!fine).then(|| {
        format!(
            "{}: a backend saw {recorded:?}, not {:?}",
            row.name, row.reaches
        )
    })
}

/// How many times nothing more came.
const QUIET: u32 = 3;

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
fn now() -> Instant {
    Instant::now()
}
