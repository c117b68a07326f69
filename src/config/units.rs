//! Durations and sizes as they are written in a configuration.

use std::fmt;
use std::time::Duration;

/// Reads a whole number and a unit: `ms`, `s`, `m` or `h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(UnitError::NoUnit),
        _ => return Err(UnitError::DurationUnit),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or(UnitError::TooLarge)
}

/// Reads a number of bytes, alone or with a unit: `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(UnitError::SizeUnit),
    };
    number.checked_mul(bytes).ok_or(UnitError::TooLarge)
}

/// Why a number with a unit cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnitError {
    #[error("expected a whole number and a unit")]
    NoNumber,
    #[error("a unit is missing: ms, s, m or h")]
    NoUnit,
    #[error("the unit must be ms, s, m or h")]
    DurationUnit,
    #[error("the unit must be KiB, MiB or GiB, or none for bytes")]
    SizeUnit,
    #[error("the number is too large")]
    TooLarge,
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber);
    }
    // Only digits are left, so the one way to fail is overflow.
    let number = digits.parse().or(Err(UnitError::TooLarge))?;
    Ok((number, unit))
}

/// Shows a duration as [`parse_duration`] reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        match milliseconds {
            0 => f.write_str("0s"),
            n if n % 3_600_000 == 0 => write!(f, "{}h", n / 3_600_000),
            n if n % 1000 == 0 => write!(f, "{}s", n / 1000),
            n => write!(f, "{n}ms"),
        }
    }
}

/// Shows a number of bytes as [`parse_size`] reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let fitting = units
            .into_iter()
            .find(|(bytes, _)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        match fitting {
            Some((bytes, unit)) => write!(f, "{}{unit}", self.0 / bytes),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, expected) in [
            ("500ms", Duration::from_millis(500)),
            ("25s", Duration::from_secs(25)),
            ("2m", Duration::from_mins(2)),
            ("1h", Duration::from_hours(1)),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_durations_are_refused_with_the_reason() {
        for (text, expected) in [
            ("", UnitError::NoNumber),
            ("s", UnitError::NoNumber),
            ("-1s", UnitError::NoNumber),
            ("+1s", UnitError::NoNumber),
            ("25", UnitError::NoUnit),
            ("25 s", UnitError::DurationUnit),
            ("1.5s", UnitError::DurationUnit),
            ("1d", UnitError::DurationUnit),
            ("1S", UnitError::DurationUnit),
            ("99999999999999999999s", UnitError::TooLarge),
            ("18446744073709551615h", UnitError::TooLarge),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_carry_a_binary_unit() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1200", Ok(1200)),
            ("7B", Ok(7)),
            ("64KiB", Ok(65536)),
            ("1MiB", Ok(1 << 20)),
            ("2GiB", Ok(2 << 30)),
            ("1kB", Err(UnitError::SizeUnit)),
            ("1M", Err(UnitError::SizeUnit)),
            ("-1", Err(UnitError::NoNumber)),
            ("18446744073709551615KiB", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for milliseconds in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&Span(duration).to_string()), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_size(&Size(bytes).to_string()), Ok(bytes));
        }
    }
}
