//! What a dynamic table of QPACK would save: `cargo bench --bench qpack`.
//!
//! The header sets of `header_sets.txt` are encoded with the static table and the Huffman code alone, as
//! the gateway's engine does, and by a model of an encoder with a table of 4 KiB. The model is kind to the
//! table: it knows no loss, and entries are evicted whether or not somebody still refers to them. What
//! values cost on the wire is asked of another implementation.
//!
//! Processor time is that of the engine for a section as it comes now, and for one in which everything
//! that the table would have is a reference to the static table instead: a lookup, without any work for
//! the table itself. So the difference is the most that a table can save.

#![expect(clippy::print_stdout, reason = "the report")]

mod table;

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use wayhold::http3::{RequestStream, Terms};

use table::Encoder;

/// Messages of one direction, one after the other on a connection.
#[derive(Debug)]
struct Set {
    name: String,
    messages: Vec<Fields>,
}

type Fields = Vec<(String, String)>;

fn main() {
    let sets = sets(include_str!("header_sets.txt"));
    println!("bytes of a message (and packets of 1200 bytes for all of a set, sent at once)");
    println!("| set | messages | static | all entries at once | acknowledged entries |");
    println!("|---|---:|---:|---:|---:|");
    for set in &sets {
        let plain = set.messages.iter().map(Encoder::plain).sum();
        println!(
            "| {} | {} | {} | {} | {} |",
            set.name,
            set.messages.len(),
            figure(set, plain, plain),
            figure(set, table(set, 0), plain),
            figure(set, table(set, IN_FLIGHT), plain),
        );
    }
    println!("\nprocessor time of one request's section in the engine, ns, p10 of {ROUNDS} rounds");
    println!("| set | as it comes | with a lookup for each known line |");
    println!("|---|---:|---:|");
    for set in sets.iter().filter(|set| set.name.starts_with("request")) {
        let mut encoder = Encoder::new(0);
        let known: Vec<_> = set
            .messages
            .iter()
            .map(|fields| encoder.send(fields).known)
            .collect();
        let come: Vec<_> = set
            .messages
            .iter()
            .map(|fields| frame(fields.iter().cloned()))
            .collect();
        let looked_up = set.messages.iter().zip(known).map(|(fields, known)| {
            let lines = fields.iter().zip(known).enumerate();
            frame(lines.map(|(index, (line, known))| {
                if known && !line.0.starts_with(':') {
                    stand_in(index)
                } else {
                    line.clone()
                }
            }))
        });
        println!(
            "| {} | {} | {} |",
            set.name,
            decode(&come),
            decode(&looked_up.collect::<Vec<_>>())
        );
    }
}

/// All messages of a set with a table, of which those after it see an entry `in_flight` messages later.
fn table(set: &Set, in_flight: usize) -> usize {
    let mut encoder = Encoder::new(in_flight);
    set.messages
        .iter()
        .map(|fields| encoder.send(fields).bytes)
        .sum()
}

fn figure(set: &Set, bytes: usize, plain: usize) -> String {
    let packets = bytes.div_ceil(ROOM);
    let percent = 100 * bytes / plain;
    format!("{} ({packets}), {percent} %", bytes / set.messages.len())
}

/// Lines of the static table, each another. Pseudo-fields cannot be stood in for.
fn stand_in(index: usize) -> (String, String) {
    let entries = [
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-ranges", "bytes"),
        ("accept", "*/*"),
        ("cache-control", "no-cache"),
        ("vary", "origin"),
        ("content-type", "text/plain"),
        ("expect-ct", ""),
        ("purpose", "prefetch"),
        ("range", "bytes=0-"),
        ("server", ""),
        ("timing-allow-origin", "*"),
        ("upgrade-insecure-requests", "1"),
        ("user-agent", ""),
        ("x-frame-options", "deny"),
        ("x-content-type-options", "nosniff"),
        ("if-range", ""),
        ("early-data", "1"),
        ("forwarded", ""),
        ("origin", ""),
    ];
    let (name, value) = entries[index % entries.len()];
    (name.to_owned(), value.to_owned())
}

fn frame(fields: impl Iterator<Item = (String, String)>) -> Bytes {
    let mut section = Vec::new();
    let fields = fields
        .map(|(name, value)| ::qpack::HeaderField::new(name.into_bytes(), value.into_bytes()));
    ::qpack::encode_stateless(&mut section, fields).expect("it encodes anything");
    let length = u16::try_from(section.len()).expect("it is short") | 0x4000;
    [&[1][..], &length.to_be_bytes(), &section].concat().into()
}

/// The processor time of one section, in nanoseconds.
fn decode(frames: &[Bytes]) -> u128 {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let before = processor_time();
            for _ in 0..REPEATS {
                for frame in frames {
                    let mut stream = RequestStream::new(Terms::default());
                    black_box(stream.next(&mut frame.clone())).expect("it is a request");
                }
            }
            processor_time().saturating_sub(before).as_nanos()
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 10] / (REPEATS * frames.len() as u128)
}

/// Reads the file, whose head says what its lines mean.
fn sets(text: &str) -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for block in text.split("\n\n") {
        let mut fields: Option<Fields> = None;
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix("== ") {
                sets.push(Set {
                    name: name.to_owned(),
                    messages: Vec::new(),
                });
                continue;
            }
            let last = sets.last().and_then(|set| set.messages.last());
            let fields = fields.get_or_insert_with(|| last.cloned().unwrap_or_default());
            if let Some(name) = line.strip_prefix('-') {
                fields.retain(|(known, _)| known != name);
                continue;
            }
            let (name, value) = split(line);
            match fields.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => value.clone_into(known),
                None => fields.push((name.to_owned(), value.to_owned())),
            }
        }
        if let (Some(fields), Some(set)) = (fields, sets.last_mut()) {
            set.messages.push(fields);
        }
    }
    sets
}

/// The colon of a pseudo-field belongs to its name.
fn split(line: &str) -> (&str, &str) {
    let colon = line
        .match_indices(": ")
        .next()
        .expect("a field has a value")
        .0;
    (line.split_at(colon).0, line.split_at(colon + 2).1)
}

/// What the processor has spent on this thread.
fn processor_time() -> Duration {
    // The kernel brings the figure up to date when the thread gives its turn away.
    std::thread::yield_now();
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = statistics.split(' ').next().unwrap_or_default();
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

const ROUNDS: usize = 50;
const REPEATS: u128 = 20;
/// Messages that leave before the first of them is acknowledged.
const IN_FLIGHT: usize = 10;
/// What a datagram of 1200 bytes has for streams.
const ROOM: usize = 1160;
