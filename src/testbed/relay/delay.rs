use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A link with a constant delay: what goes in first comes out first.
#[derive(Debug)]
pub(super) struct DelayLine<T> {
    entries: VecDeque<(Instant, u64, T)>,
    delay: Duration,
    held: u64,
    limit: u64,
}

impl<T> DelayLine<T> {
    /// A line that holds at most `limit` datagrams.
    pub(super) fn new(delay: Duration, limit: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            delay,
            held: 0,
            limit,
        }
    }

    /// Takes a batch of `datagrams`, or gives it back when the line is full.
    pub(super) fn push(&mut self, now: Instant, datagrams: u64, batch: T) -> Result<(), T> {
        if self.held + datagrams > self.limit {
            return Err(batch);
        }
        self.held += datagrams;
        self.entries.push_back((now + self.delay, datagrams, batch));
        Ok(())
    }

    /// When the next batch arrives.
    pub(super) fn due(&self) -> Option<Instant> {
        self.entries.front().map(|(due, ..)| *due)
    }

    /// The next batch, if it has arrived.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        let (_, datagrams, batch) = self.entries.pop_front_if(|(due, ..)| *due <= now)?;
        self.held -= datagrams;
        Some(batch)
    }

    /// Datagrams on their way.
    pub(super) fn held(&self) -> u64 {
        self.held
    }
}

/// Resolves at an instant, or never.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::now;

    #[test]
    fn nothing_arrives_before_its_delay_and_all_in_order() {
        let start = now();
        let ms = Duration::from_millis;
        let mut line = DelayLine::new(ms(5), 10);
        assert_eq!(line.due(), None);
        line.push(start, 1, 'a').unwrap();
        line.push(start + ms(1), 2, 'b').unwrap();
        assert_eq!(line.due(), Some(start + ms(5)));
        assert_eq!(line.pop(start + ms(4)), None);
        assert_eq!(line.pop(start + ms(6)), Some('a'));
        assert_eq!(line.pop(start + ms(6)), Some('b'));
        assert_eq!((line.pop(start + ms(60)), line.held()), (None, 0));
    }

    #[test]
    fn a_full_line_gives_back_what_does_not_fit() {
        let start = now();
        let mut line = DelayLine::new(Duration::ZERO, 3);
        line.push(start, 2, 'a').unwrap();
        assert_eq!(line.push(start, 2, 'b'), Err('b'));
        line.push(start, 1, 'c').unwrap();
        assert_eq!(line.pop(start), Some('a'));
        line.push(start, 2, 'd').unwrap();
        assert_eq!(line.held(), 3);
    }
}
