/// What a metric, a derived value or a mode is: its row in `docs/bench.md`, with code between backticks.
///
/// None for a name that this version does not know.
pub fn definition(name: &str) -> Option<&'static str> {
    let begin = format!("| `{name}` | ");
    GUIDE
        .lines()
        .find_map(|line| line.strip_prefix(&begin)?.strip_suffix(" |"))
}

/// The page and the document say the same because they are the same.
const GUIDE: &str = include_str!("../../../docs/bench.md");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Certificate, KeyExchange, Layer, Metric, Mode};

    #[track_caller]
    fn are_defined(names: impl IntoIterator<Item = &'static str>) {
        for name in names {
            let text = definition(name).unwrap_or_default();
            assert!(!text.is_empty(), "docs/bench.md has no row for `{name}`");
            let spans = text.matches('`').count();
            assert_eq!(spans % 2, 0, "an odd number of backticks: {text}");
        }
    }

    #[test]
    fn every_metric_and_every_derived_value_is_defined() {
        are_defined(Metric::ALL.iter().map(|metric| metric.name()));
        are_defined([
            "round_trips_ready",
            "round_trips_handshake",
            "round_trips_first_byte",
        ]);
    }

    #[test]
    fn every_mode_and_every_factor_is_defined() {
        are_defined(Mode::ALL.iter().map(|mode| mode.name()));
        are_defined(Layer::ALL.iter().map(|layer| layer.name()));
        are_defined(
            Certificate::ALL
                .iter()
                .map(|certificate| certificate.name()),
        );
        are_defined(
            KeyExchange::ALL
                .iter()
                .map(|key_exchange| key_exchange.name()),
        );
    }

    #[test]
    fn what_is_no_name_has_no_definition() {
        assert_eq!(definition("time_ms"), None);
    }
}
