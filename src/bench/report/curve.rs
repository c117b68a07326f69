//! A figure over the round-trip time, with a line for each mode.

use super::findings::{Factor, Findings, summary, transport};
use super::markup::{About, Markup, Px, picture};
use super::scale::{Scale, number};
use crate::bench::{Layer, Metric, Mode};

/// A line: a mode, and its points as round-trip time and milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Line {
    mode: Mode,
    points: Vec<(f64, f64)>,
}

/// The lines of these modes at a layer, each with two points or more.
pub(super) fn lines(
    findings: &Findings<'_>,
    layer: Layer,
    modes: &[Mode],
    metric: Metric,
) -> Vec<Line> {
    let line = |mode: &Mode| {
        let records = findings.varied(layer, *mode, Factor::Rtt);
        let points = records.into_iter().filter_map(|record| {
            let rtt = f64::from(record.scenario.rtt_ms);
            Some((rtt, summary(record, metric)?.median))
        });
        let mut points: Vec<_> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0.to_bits());
        Line {
            mode: *mode,
            points,
        }
    };
    let mut lines: Vec<_> = modes.iter().map(line).collect();
    lines.retain(|line| line.points.len() > 1);
    lines
}

/// Draws lines.
pub(super) fn curve(out: &mut Markup, id: &str, title: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let greatest = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let across = Scale::new(greatest(|point| point.0), LEFT, WIDTH - RIGHT);
    let up = Scale::new(greatest(|point| point.1), HEIGHT - BOTTOM, TOP);
    let about = About {
        title,
        description: &description(lines),
        size: (WIDTH, HEIGHT),
    };
    picture(out, id, &about, |out| {
        axes(out, &across, &up);
        let last = |line: &Line| line.points.last().map_or(0.0, |point| point.1);
        let mut order: Vec<_> = lines.iter().collect();
        order.sort_by(|a, b| last(b).total_cmp(&last(a)));
        let mut free = TOP;
        for line in order {
            draw(out, line, &across, &up);
            let (end, wanted) = (
                across.at(line.points[line.points.len() - 1].0),
                up.at(last(line)),
            );
            let label = wanted.max(free);
            free = label + LINE;
            out.shape(
                "path",
                &[
                    ("class", &"leader"),
                    (
                        "d",
                        &format_args!(
                            "M{} {}L{} {}",
                            Px(end + 6.0),
                            Px(wanted),
                            Px(WIDTH - RIGHT + 12.0),
                            Px(label)
                        ),
                    ),
                ],
            );
            let class = format!("label {}", transport(line.mode));
            let (x, y) = (Px(WIDTH - RIGHT + 16.0), Px(label + 4.0));
            out.leaf(
                "text",
                &[("class", &class), ("x", &x), ("y", &y)],
                line.mode,
            );
        }
    });
}

fn axes(out: &mut Markup, across: &Scale, up: &Scale) {
    let (bottom, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in up.ticks() {
        let y = Px(up.at(tick));
        out.shape(
            "line",
            &[
                ("class", &"grid"),
                ("x1", &LEFT),
                ("x2", &end),
                ("y1", &y),
                ("y2", &y),
            ],
        );
        let (x, y) = (Px(LEFT - 8.0), Px(up.at(tick) + 4.0));
        out.leaf(
            "text",
            &[("class", &"tick end"), ("x", &x), ("y", &y)],
            number(tick),
        );
    }
    for tick in across.ticks() {
        let (x, y) = (Px(across.at(tick)), Px(bottom + 18.0));
        out.leaf(
            "text",
            &[("class", &"tick middle"), ("x", &x), ("y", &y)],
            number(tick),
        );
    }
    let (x, y) = (Px(f64::midpoint(LEFT, end)), Px(HEIGHT - 6.0));
    out.leaf(
        "text",
        &[("class", &"axis middle"), ("x", &x), ("y", &y)],
        "round-trip time of the link, ms",
    );
    out.leaf(
        "text",
        &[("class", &"axis"), ("x", &4), ("y", &14)],
        "ms, median",
    );
}

fn draw(out: &mut Markup, line: &Line, across: &Scale, up: &Scale) {
    let class = format!("curve {} {}", transport(line.mode), style(line.mode));
    let points: Vec<_> = line
        .points
        .iter()
        .map(|(rtt, time)| format!("{},{}", Px(across.at(*rtt)), Px(up.at(*time))))
        .collect();
    out.shape(
        "polyline",
        &[("class", &class), ("points", &points.join(" "))],
    );
    for (rtt, time) in &line.points {
        let (x, y) = (Px(across.at(*rtt)), Px(up.at(*time)));
        let class = format!("point {}", transport(line.mode));
        let place: super::markup::Attributes<'_> =
            &[("class", &class), ("cx", &x), ("cy", &y), ("r", &4)];
        out.element("circle", place, |out| {
            let words = format!("{}: {} ms at {rtt} ms", line.mode, number(*time));
            out.leaf("title", &[], words);
        });
    }
}

/// Modes of one transport differ by their dashes, so that nobody has to tell colours apart.
fn style(mode: Mode) -> &'static str {
    match mode {
        Mode::TcpResumed | Mode::QuicResumed | Mode::TcpReconnectResumed | Mode::QuicAddress => {
            "dashed"
        }
        Mode::Tcp0Rtt | Mode::Quic0Rtt | Mode::TcpReconnect0Rtt | Mode::QuicFlip => "dotted",
        Mode::QuicRetry | Mode::TcpFastOpen => "long",
        _ => "solid",
    }
}

fn description(lines: &[Line]) -> String {
    let words = lines.iter().filter_map(|line| {
        let ((near, few), (far, many)) = (line.points.first()?, line.points.last()?);
        Some(format!(
            "{} from {} ms at {near} ms to {} ms at {far} ms",
            line.mode,
            number(*few),
            number(*many)
        ))
    });
    words.collect::<Vec<_>>().join("; ")
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 48.0;
/// What a line of text takes.
const LINE: f64 = 16.0;
