//! Numbers as people read them, and axes for them.

use crate::bench::Interval;

/// A number with the digits that matter, and commas from ten thousand on.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude >= 99.95 || (value.fract() == 0.0 && magnitude >= 1.0) => 0,
        _ if magnitude >= 9.995 => 1,
        _ if value == 0.0 => 0,
        _ => 2,
    };
    let digits = format!("{value:.decimals$}");
    if magnitude < 9999.5 {
        return digits;
    }
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}")
}

/// Two bounds, with as many digits as tell them apart.
pub(super) fn range(interval: Interval) -> String {
    let (low, high) = (number(interval.low), number(interval.high));
    if low != high || interval.high <= interval.low {
        return format!("{low}..{high}");
    }
    let bounds = |decimals: usize| {
        let [low, high] = [interval.low, interval.high].map(|it| format!("{it:.decimals$}"));
        (low != high || decimals == MOST_DECIMALS).then(|| format!("{low}..{high}"))
    };
    (0..=MOST_DECIMALS).find_map(bounds).unwrap_or_default()
}

/// Bytes as kilobytes, where there are enough of them.
pub(super) fn bytes(value: f64) -> String {
    if value < 1000.0 {
        format!("{} B", number(value))
    } else {
        format!("{:.1} kB", value / 1000.0)
    }
}

/// A linear axis from zero.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    begin: f64,
    length: f64,
    limit: f64,
    step: f64,
}

impl Scale {
    /// An axis up to the greatest value, with round numbers marked, from one pixel to another.
    pub(super) fn new(greatest: f64, begin: f64, end: f64) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let magnitude = 10_f64.powf((greatest / TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let fits = steps.into_iter().find(|step| greatest <= step * TICKS);
        let step = fits.unwrap_or(10.0 * magnitude);
        Self {
            begin,
            length: end - begin,
            limit: greatest,
            step,
        }
    }

    /// Where a value lies.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.begin + value / self.limit * self.length
    }

    /// The values that are marked.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, limit) = (self.step, self.limit);
        (0..)
            .map(move |count| f64::from(count) * step)
            .take_while(move |tick| *tick <= limit * 1.000_001)
    }
}

/// So many things, to be drawn.
pub(super) fn many(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// More digits after the point are no measurement.
const MOST_DECIMALS: usize = 3;
/// An axis has at most so many steps.
const TICKS: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let cases = [
            (0.0, "0"),
            (0.123, "0.12"),
            (2.0, "2"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (51.25, "51.2"),
            (151.4, "151"),
            (9999.4, "9999"),
            (12_345.6, "12,346"),
            (1_234_567.0, "1,234,567"),
            (-12_345.0, "-12,345"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn bounds_have_the_digits_that_tell_them_apart() {
        let of = |low, high| range(Interval { low, high });
        assert_eq!(of(100.0, 151.3), "100..151");
        assert_eq!(of(151.06, 151.11), "151.06..151.11");
        assert_eq!(of(151.04, 151.11), "151.0..151.1");
        assert_eq!(of(3300.0, 3300.0), "3300..3300");
        assert_eq!(of(151.000_01, 151.000_02), "151.000..151.000");
    }

    #[test]
    fn an_axis_ends_at_the_greatest_value_and_marks_few_round_numbers() {
        for (greatest, step, ticks) in [(151.0, 50.0, 4), (0.3, 0.05, 7), (7.0, 2.0, 4)] {
            let scale = Scale::new(greatest, 0.0, 100.0);
            let marked: Vec<_> = scale.ticks().collect();
            assert_eq!(marked.len(), ticks, "{marked:?}");
            assert!((marked[1] - step).abs() < 1e-9, "{marked:?}");
            assert!((scale.at(greatest) - 100.0).abs() < 1e-6, "{scale:?}");
        }
        assert!(Scale::new(0.0, 0.0, 100.0).ticks().all(|tick| tick <= 1.0));
    }
}
