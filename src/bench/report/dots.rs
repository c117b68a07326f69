//! A figure of a few modes side by side: a dot for the median, a line from p10 to p90, a tick at p99.

use super::findings::transport;
use super::markup::{About, Attributes, Markup, Px, picture};
use super::scale::{Scale, many, number};
use crate::bench::{Mode, Summary};

/// A row of dots.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What it is about.
    pub(super) label: String,
    /// The modes and their figures.
    pub(super) dots: Vec<(Mode, Summary)>,
}

/// Draws rows over one axis.
pub(super) fn dots(out: &mut Markup, id: &str, title: &str, axis: &str, rows: &[Row]) {
    let figures = || rows.iter().flat_map(|row| &row.dots);
    let greatest = figures().map(|(_, figure)| figure.p99).fold(0.0, f64::max);
    let across = Scale::new(greatest, LEFT, WIDTH - RIGHT);
    let lanes: usize = rows.iter().map(|row| row.dots.len()).sum();
    let height = TOP + many(lanes) * LANE + many(rows.len()) * GAP + BOTTOM;
    let about = About {
        title,
        description: &description(rows),
        size: (WIDTH, height),
    };
    picture(out, id, &about, |out| {
        axes(out, axis, &across, height);
        let mut y = TOP;
        for row in rows {
            let middle = y + many(row.dots.len()) * LANE / 2.0;
            let (x, label) = (Px(LEFT - 12.0), Px(middle + 4.0));
            let place: Attributes<'_> = &[("class", &"label end"), ("x", &x), ("y", &label)];
            out.leaf("text", place, &row.label);
            for (mode, figure) in &row.dots {
                let dot = Dot {
                    mode: *mode,
                    figure,
                    // The row says which mode it is where there is one.
                    named: row.dots.len() > 1,
                };
                dot.draw(out, &across, y + LANE / 2.0);
                y += LANE;
            }
            y += GAP;
        }
    });
}

fn axes(out: &mut Markup, axis: &str, across: &Scale, height: f64) {
    let bottom = height - BOTTOM;
    for tick in across.ticks() {
        let x = Px(across.at(tick));
        let (from, to) = (Px(TOP - 6.0), Px(bottom));
        out.shape(
            "line",
            &[
                ("class", &"grid"),
                ("x1", &x),
                ("x2", &x),
                ("y1", &from),
                ("y2", &to),
            ],
        );
        let y = Px(bottom + 16.0);
        let place: Attributes<'_> = &[("class", &"tick middle"), ("x", &x), ("y", &y)];
        out.leaf("text", place, number(tick));
    }
    let (x, y) = (Px(f64::midpoint(LEFT, WIDTH - RIGHT)), Px(height - 6.0));
    let place: Attributes<'_> = &[("class", &"axis middle"), ("x", &x), ("y", &y)];
    out.leaf("text", place, axis);
}

struct Dot<'a> {
    mode: Mode,
    figure: &'a Summary,
    named: bool,
}

impl Dot<'_> {
    fn draw(&self, out: &mut Markup, across: &Scale, y: f64) {
        let (mode, figure) = (self.mode, self.figure);
        let class = transport(mode);
        let [p10, p90, p99] = [figure.p10, figure.p90, figure.p99].map(|it| Px(across.at(it)));
        let (up, down, text, y) = (Px(y - 5.0), Px(y + 5.0), Px(y + 4.0), Px(y));
        let line = format!("M{p10} {y}H{p90}M{p99} {up}V{down}");
        let whisker = format!("whisker {class}");
        out.shape("path", &[("class", &whisker), ("d", &line)]);
        let x = Px(across.at(figure.median));
        let point = format!("point {class}");
        if class == "tcp" {
            let square = format!("M{x} {y}m-4.5 -4.5h9v9h-9z");
            out.shape("path", &[("class", &point), ("d", &square)]);
        } else {
            let place: Attributes<'_> = &[("class", &point), ("cx", &x), ("cy", &y), ("r", &5)];
            out.shape("circle", place);
        }
        let words = if self.named {
            format!("{} {mode}", number(figure.median))
        } else {
            number(figure.median)
        };
        let (x, label) = (Px(WIDTH - RIGHT + 12.0), format!("label {class}"));
        let place: Attributes<'_> = &[("class", &label), ("x", &x), ("y", &text)];
        out.leaf("text", place, words);
    }
}

fn description(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let dots = row.dots.iter();
        let dots = dots.map(|(mode, figure)| format!("{mode} {}", number(figure.median)));
        format!("{}: {}", row.label, dots.collect::<Vec<_>>().join(", "))
    };
    rows.iter().map(row).collect::<Vec<_>>().join("; ")
}

const WIDTH: f64 = 800.0;
const LEFT: f64 = 270.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// The height of a dot's lane, and what is between two rows.
const LANE: f64 = 18.0;
const GAP: f64 = 12.0;
