use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::LoadReport;

impl LoadReport {
    /// Writes the latencies as an interval log of `HdrHistogram`, which its tools read: one histogram for
    /// each mode and rate, in microseconds, tagged `mode@rate`, one after the other by `seconds`.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_histograms(&self, seconds: u32, mut out: impl Write) -> io::Result<()> {
        let mut serializer = V2Serializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment(
                "from the intended start of a handshake to its first byte, in microseconds",
            )
            .begin_log_with(&mut out, &mut serializer)?;
        let interval = Duration::from_secs(seconds.into());
        let mut start = Duration::ZERO;
        for (mode, rate, histogram) in &self.histograms {
            let tag = format!("{mode}@{rate}");
            log.write_histogram(histogram, start, interval, Tag::new(&tag))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            start += interval;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::bench::Mode;

    #[test]
    fn histograms_are_read_as_they_were_written() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record_n(1500, 7).unwrap();
        let report = LoadReport {
            histograms: vec![(Mode::QuicFull, 100, histogram.clone())],
            ..LoadReport::default()
        };
        let mut log = Vec::new();
        report.write_histograms(5, &mut log).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
        let [LogEntry::Interval(interval)] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(interval.tag().unwrap().as_str(), "quic-full@100");
        assert_eq!(interval.duration(), Duration::from_secs(5));
        let encoded = interval.encoded_histogram();
        let bytes = base64(encoded);
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(read, histogram);
    }

    /// Decodes base64 (RFC 4648, section 4).
    fn base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = text
            .bytes()
            .filter_map(|byte| ALPHABET.iter().position(|of| *of == byte));
        let digits: Vec<_> = digits.collect();
        digits
            .chunks(4)
            .flat_map(|four| {
                let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit);
                let bits = bits << (6 * (4 - four.len()));
                [bits >> 16, bits >> 8, bits]
                    .map(|byte| u8::try_from(byte & 0xff).unwrap())
                    .into_iter()
                    .take(four.len() * 6 / 8)
            })
            .collect()
    }
}
