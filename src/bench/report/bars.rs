//! Sums of a few parts, such as processor time by what it was spent on.

use super::markup::{About, Attributes, Markup, Px, picture};
use super::scale::{Scale, many, number};

/// A bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// What it is about.
    pub(super) label: String,
    /// The parts: which of the chart's kinds, and how much.
    pub(super) parts: Vec<(usize, f64)>,
}

/// Draws bars over one axis. The kinds of parts are named in the order of their colours.
pub(super) fn bars(out: &mut Markup, id: &str, titles: (&str, &str), kinds: &[&str], bars: &[Bar]) {
    let (title, axis) = titles;
    let whole = |bar: &Bar| bar.parts.iter().map(|part| part.1).sum::<f64>();
    let greatest = bars.iter().map(whole).fold(0.0, f64::max);
    let across = Scale::new(greatest, LEFT, WIDTH - RIGHT);
    let height = TOP + many(bars.len()) * LANE + BOTTOM;
    let about = About {
        title,
        description: &description(kinds, bars),
        size: (WIDTH, height),
    };
    picture(out, id, &about, |out| {
        legend(out, kinds, bars);
        axes(out, axis, &across, height);
        for (place, bar) in bars.iter().enumerate() {
            let y = TOP + many(place) * LANE;
            draw(out, bar, &across, y);
        }
    });
}

/// Names the kinds of which there is something.
fn legend(out: &mut Markup, kinds: &[&str], bars: &[Bar]) {
    let mut x = LEFT;
    let is_there = |kind: usize| {
        bars.iter()
            .any(|bar| bar.parts.iter().any(|it| it.0 == kind))
    };
    let there: Vec<_> = kinds
        .iter()
        .enumerate()
        .filter(|(kind, _)| is_there(*kind))
        .collect();
    for (kind, name) in there {
        let square = format!("M{} 4h12v12h-12z", Px(x));
        let class = format!("part{kind}");
        out.shape("path", &[("class", &class), ("d", &square)]);
        let text = Px(x + 18.0);
        let place: Attributes<'_> = &[("class", &"label"), ("x", &text), ("y", &14)];
        out.leaf("text", place, name);
        x += 36.0 + many(name.chars().count()) * 7.0;
    }
}

fn axes(out: &mut Markup, axis: &str, across: &Scale, height: f64) {
    let bottom = height - BOTTOM;
    for tick in across.ticks() {
        let x = Px(across.at(tick));
        let (from, to) = (Px(TOP - 4.0), Px(bottom));
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

fn draw(out: &mut Markup, bar: &Bar, across: &Scale, y: f64) {
    let (x, text) = (Px(LEFT - 12.0), Px(y + 16.0));
    let place: Attributes<'_> = &[("class", &"label end"), ("x", &x), ("y", &text)];
    out.leaf("text", place, &bar.label);
    let mut sum = 0.0;
    for (kind, amount) in &bar.parts {
        let (from, to) = (across.at(sum), across.at(sum + amount));
        sum += amount;
        let (x, top, width) = (Px(from), Px(y + 2.0), Px((to - from - 1.0).max(0.5)));
        let class = format_args!("part{kind}");
        let place: Attributes<'_> = &[
            ("class", &class),
            ("x", &x),
            ("y", &top),
            ("width", &width),
            ("height", &20),
        ];
        out.shape("rect", place);
        if to - from > ROOM && bar.parts.len() > 1 {
            let middle = Px(f64::midpoint(from, to));
            let class = format_args!("inside middle on{kind}");
            let place: Attributes<'_> = &[("class", &class), ("x", &middle), ("y", &text)];
            out.leaf("text", place, number(*amount));
        }
    }
    let x = Px(across.at(sum) + 8.0);
    let place: Attributes<'_> = &[("class", &"label"), ("x", &x), ("y", &text)];
    out.leaf("text", place, number(sum));
}

fn description(kinds: &[&str], bars: &[Bar]) -> String {
    let bar = |bar: &Bar| {
        let parts = bar.parts.iter();
        let parts = parts.map(|(kind, amount)| format!("{} {}", kinds[*kind], number(*amount)));
        format!("{}: {}", bar.label, parts.collect::<Vec<_>>().join(", "))
    };
    bars.iter().map(bar).collect::<Vec<_>>().join("; ")
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
const LANE: f64 = 28.0;
/// A part that is wider has its number in it.
const ROOM: f64 = 34.0;
