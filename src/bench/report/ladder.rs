//! The packets of one handshake between client and node, time going down.

use super::findings::transport;
use super::markup::{About, Attributes, Markup, Px, picture};
use super::scale::{Scale, many, number};
use crate::bench::Metric;
use crate::bench::trace::{Drawing, Step};
use crate::testbed::emulator::Direction;

/// Draws the packets of a drawing, at most [`MOST`] of them.
pub(super) fn ladder(out: &mut Markup, drawing: &Drawing) {
    let steps = &drawing.steps[..drawing.steps.len().min(MOST)];
    let marks: Vec<_> = MARKS
        .iter()
        .filter_map(|(metric, name)| Some((*drawing.marks.get(metric)?, *name)))
        .collect();
    let ends = steps
        .iter()
        .map(|step| step.arrived_ms.unwrap_or(step.sent_ms));
    let last = ends
        .chain(marks.iter().map(|mark| mark.0))
        .fold(0.0, f64::max);
    let length = (last * PX_A_MS).clamp(SHORTEST, LONGEST);
    let down = Scale::new(last, TOP, TOP + length);
    let left = labels(steps, Direction::ToNode, &marks, &down);
    let right = labels(steps, Direction::ToClient, &[], &down);
    let lowest = left.iter().chain(&right);
    let lowest = lowest.map(|label| label.y + many(label.lines.len() - 1) * LINE);
    let height = lowest.fold(TOP + length, f64::max) + BOTTOM;
    let title = format!("Packets of {}", drawing.mode);
    let about = About {
        title: &title,
        description: &description(steps, &marks, last),
        size: (WIDTH, height),
    };
    picture(out, &format!("ladder-{}", drawing.mode), &about, |out| {
        frame(out, &down, TOP + length);
        let class = transport(drawing.mode);
        for step in steps {
            arrow(out, (step, fate(step, steps, last)), &down, class);
        }
        ticks(out, &down);
        for (time, _) in &marks {
            let y = down.at(*time);
            let diamond = format!("M{} {}l5 5l-5 5l-5 -5z", Px(CLIENT), Px(y - 5.0));
            out.shape("path", &[("class", &"mark"), ("d", &diamond)]);
        }
        side(out, &left, ("end", CLIENT - 8.0, CLIENT - 18.0));
        side(out, &right, ("", NODE + 8.0, NODE + 18.0));
    });
}

/// How many packets a drawing has beyond what is drawn.
pub(super) fn left_out(drawing: &Drawing) -> usize {
    drawing.steps.len().saturating_sub(MOST)
}

/// Words beside a line, as near as possible to where they belong.
struct Label {
    wanted: f64,
    y: f64,
    lines: Vec<String>,
    is_mark: bool,
}

impl Label {
    fn new(wanted: f64, lines: Vec<String>) -> Self {
        Self {
            wanted,
            y: 0.0,
            lines,
            is_mark: false,
        }
    }
}

/// What one side sends, with packets of one flight and one name counted together, and its marks.
fn labels(steps: &[Step], direction: Direction, marks: &[(f64, &str)], down: &Scale) -> Vec<Label> {
    let mut flights: Vec<(f64, &str, usize, usize)> = Vec::new();
    for step in steps.iter().filter(|step| step.direction == direction) {
        match flights.last_mut() {
            Some((sent, label, bytes, count))
                if *label == step.label && step.sent_ms - *sent < FLIGHT_MS =>
            {
                *bytes += step.bytes;
                *count += 1;
            }
            _ => flights.push((step.sent_ms, &step.label, step.bytes, 1)),
        }
    }
    let flights = flights.into_iter();
    let mut labels: Vec<_> = flights
        .map(|(sent, label, bytes, count)| {
            let times = if count > 1 {
                format!("{count} × ")
            } else {
                String::new()
            };
            // The length never stands apart from its unit.
            let words = format!("{times}{label} ·\u{a0}{bytes}\u{a0}B");
            Label::new(down.at(sent), wrapped(&words))
        })
        .collect();
    labels.extend(marks.iter().map(|(time, name)| Label {
        is_mark: true,
        ..Label::new(down.at(*time), vec![format!("{name} {} ms", number(*time))])
    }));
    labels.sort_by(|a, b| a.wanted.total_cmp(&b.wanted));
    let mut free = TOP;
    for label in &mut labels {
        label.y = label.wanted.max(free);
        free = label.y + many(label.lines.len()) * LINE;
    }
    labels
}

/// Words in lines that fit beside the picture, broken where names are joined or at spaces, or anywhere if
/// there is neither.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in words.split_inclusive(['+', ' ']) {
        let last = lines.len() - 1;
        let room = WORDS.saturating_sub(lines[last].chars().count());
        if part.trim_end().chars().count() > room && !lines[last].is_empty() {
            lines.push(String::new());
        }
        for letter in part.chars() {
            if lines[lines.len() - 1].chars().count() >= WORDS && letter != ' ' {
                lines.push(String::new());
            }
            let last = lines.len() - 1;
            lines[last].push(letter);
        }
    }
    lines
        .into_iter()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn frame(out: &mut Markup, down: &Scale, bottom: f64) {
    for tick in down.ticks() {
        let y = Px(down.at(tick));
        out.shape(
            "line",
            &[
                ("class", &"grid"),
                ("x1", &CLIENT),
                ("x2", &NODE),
                ("y1", &y),
                ("y2", &y),
            ],
        );
    }
    for (x, name) in [(CLIENT, "client"), (NODE, "node")] {
        out.shape(
            "line",
            &[
                ("class", &"life"),
                ("x1", &x),
                ("x2", &x),
                ("y1", &Px(TOP - 8.0)),
                ("y2", &Px(bottom)),
            ],
        );
        let y = Px(TOP - 14.0);
        let place: Attributes<'_> = &[("class", &"axis middle"), ("x", &x), ("y", &y)];
        out.leaf("text", place, name);
    }
}

fn ticks(out: &mut Markup, down: &Scale) {
    for tick in down.ticks() {
        let (x, y) = (Px(f64::midpoint(CLIENT, NODE)), Px(down.at(tick) - 3.0));
        let place: Attributes<'_> = &[("class", &"tick middle over"), ("x", &x), ("y", &y)];
        out.leaf("text", place, format_args!("{} ms", number(tick)));
    }
}

/// What became of a packet, as far as a drawing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrived,
    Lost,
    /// It would have come after the drawing ends.
    UnderWay,
}

fn fate(step: &Step, steps: &[Step], last: f64) -> Fate {
    let delays = steps
        .iter()
        .filter_map(|step| Some(step.arrived_ms? - step.sent_ms));
    let delay = delays.fold(f64::INFINITY, f64::min);
    match step.arrived_ms {
        Some(_) => Fate::Arrived,
        None if step.sent_ms + delay >= last => Fate::UnderWay,
        None => Fate::Lost,
    }
}

fn arrow(out: &mut Markup, (step, fate): (&Step, Fate), down: &Scale, class: &str) {
    let (from, to) = match step.direction {
        Direction::ToNode => (CLIENT, NODE),
        Direction::ToClient => (NODE, CLIENT),
    };
    let sent = down.at(step.sent_ms);
    let words = format!("{}, {} bytes", step.label, step.bytes);
    let half = (Px(f64::midpoint(from, to)), Px(sent + 10.0));
    let begin = format!("M{} {}L{} {}", Px(from), Px(sent), half.0, half.1);
    let (path, state) = match fate {
        Fate::Arrived => {
            let end = down.at(step.arrived_ms.unwrap_or(step.sent_ms));
            (arrow_path((from, sent), (to, end)), "arrow")
        }
        // A cross where a lost packet ends, half-way.
        Fate::Lost => (format!("{begin}m-5 -5l10 10m0 -10l-10 10"), "arrow lost"),
        Fate::UnderWay => (begin, "arrow under-way"),
    };
    let class = format!("{state} {class}");
    out.element("path", &[("class", &class), ("d", &path)], |out| {
        out.leaf("title", &[], words);
    });
}

/// A line with a head at its end.
fn arrow_path(from: (f64, f64), to: (f64, f64)) -> String {
    let (across, down) = (to.0 - from.0, to.1 - from.1);
    let length = across.hypot(down).max(1.0);
    let (across, down) = (across / length * HEAD, down / length * HEAD);
    let back = (to.0 - across, to.1 - down);
    let wing = |turn: f64| (back.0 - turn * down / 2.0, back.1 + turn * across / 2.0);
    let (one, other) = (wing(1.0), wing(-1.0));
    format!(
        "M{} {}L{} {}M{} {}L{} {}L{} {}",
        Px(from.0),
        Px(from.1),
        Px(to.0),
        Px(to.1),
        Px(one.0),
        Px(one.1),
        Px(to.0),
        Px(to.1),
        Px(other.0),
        Px(other.1)
    )
}

fn side(out: &mut Markup, labels: &[Label], (anchor, from, to): (&str, f64, f64)) {
    for label in labels {
        let leader = format!(
            "M{} {}L{} {}",
            Px(from),
            Px(label.wanted),
            Px(to),
            Px(label.y)
        );
        out.shape("path", &[("class", &"leader"), ("d", &leader)]);
        let x = Px(if anchor == "end" { to - 4.0 } else { to + 4.0 });
        let kind = if label.is_mark { "moment" } else { "packet" };
        let class = format!("{kind} {anchor}");
        for (index, line) in label.lines.iter().enumerate() {
            let y = Px(label.y + 4.0 + many(index) * LINE);
            let place: Attributes<'_> = &[("class", &class), ("x", &x), ("y", &y)];
            out.leaf("text", place, line);
        }
    }
}

fn description(steps: &[Step], marks: &[(f64, &str)], last: f64) -> String {
    let step = |step: &Step| {
        let whose = match step.direction {
            Direction::ToNode => "client",
            Direction::ToClient => "node",
        };
        let fate = match fate(step, steps, last) {
            Fate::Arrived => "",
            Fate::Lost => ", lost",
            Fate::UnderWay => ", under way",
        };
        format!("{} ms {whose}: {}{fate}", number(step.sent_ms), step.label)
    };
    let marks = marks.iter();
    let marks = marks.map(|(time, name)| format!("{name} at {} ms", number(*time)));
    let all: Vec<_> = steps.iter().map(step).chain(marks).collect();
    all.join("; ")
}

/// The moments of the client, and what they are called beside its line.
const MARKS: [(Metric, &str); 4] = [
    (Metric::Ready, "ready"),
    (Metric::Handshake, "complete"),
    (Metric::FirstByte, "first byte"),
    (Metric::Recovery, "first byte"),
];
/// More packets are not told apart.
const MOST: usize = 60;
/// Packets of one name that follow each other within this are one flight.
const FLIGHT_MS: f64 = 2.0;
/// Letters in a line beside the picture.
const WORDS: usize = 26;
const WIDTH: f64 = 520.0;
const CLIENT: f64 = 200.0;
const NODE: f64 = 320.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 16.0;
const LINE: f64 = 14.0;
const HEAD: f64 = 7.0;
const PX_A_MS: f64 = 2.4;
const SHORTEST: f64 = 150.0;
const LONGEST: f64 = 560.0;
