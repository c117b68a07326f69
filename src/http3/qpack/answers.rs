//! The gateway's decoder stream (RFC 9204, section 4.4): what it says to the client's encoder.

use bytes::{Bytes, BytesMut};

use super::integer;
use crate::http3::{Rules, StreamId, Violation};

/// Instructions that wait to be written, at most [`MOST_HELD`] bytes and an increment.
///
/// An increment is not held: it is the difference between what was inserted and what the client knows of,
/// taken when something is written.
#[derive(Debug, Default)]
pub(in crate::http3) struct Answers {
    held: BytesMut,
    /// How many insertions the client knows to have come (RFC 9204, section 2.1.4).
    known: u64,
}

impl Answers {
    /// Acknowledges a section that needed so many insertions (RFC 9204, section 4.4.1).
    ///
    /// # Errors
    /// When the client has not read so many instructions that this one goes over the limit.
    pub(in crate::http3) fn acknowledge(
        &mut self,
        id: StreamId,
        required: u64,
        rules: Rules,
    ) -> Result<(), Violation> {
        self.known = self.known.max(required);
        self.put(0x80, 7, id, rules)
    }

    /// Says that no more of a stream is read (RFC 9204, section 4.4.2).
    ///
    /// # Errors
    /// As for an acknowledgment.
    pub(in crate::http3) fn cancel(&mut self, id: StreamId, rules: Rules) -> Result<(), Violation> {
        self.put(0x40, 6, id, rules)
    }

    /// What is to be written, behind it what was inserted meanwhile (RFC 9204, section 4.4.3).
    pub(in crate::http3) fn take(&mut self, inserted: u64) -> Option<Bytes> {
        let mut out = std::mem::take(&mut self.held);
        let increment = inserted.saturating_sub(self.known);
        if increment > 0 {
            self.known = inserted;
            let increment = usize::try_from(increment).unwrap_or(usize::MAX);
            integer::put(&mut out, 0, 6, increment);
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn put(&mut self, flags: u8, prefix: u32, id: StreamId, rules: Rules) -> Result<(), Violation> {
        if self.held.len() >= MOST_HELD {
            rules.refuse(Violation::UnreadAnswers)?;
        }
        let id = usize::try_from(id.value()).unwrap_or(usize::MAX);
        integer::put(&mut self.held, flags, prefix, id);
        Ok(())
    }
}

/// Three for each of 128 requests at once, which are all that can be under way while nothing can be written.
const MOST_HELD: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::default()
    }

    /// RFC 9204, appendices B.2, B.3 and B.4.
    #[test]
    fn sections_are_acknowledged_insertions_counted_and_streams_cancelled() {
        let mut answers = Answers::default();
        assert_eq!(answers.take(0), None);
        answers.acknowledge(StreamId::new(4), 2, rules()).unwrap();
        assert_eq!(answers.take(2).as_deref(), Some(&b"\x84"[..]));
        assert_eq!(answers.take(3).as_deref(), Some(&b"\x01"[..]));
        answers.cancel(StreamId::new(8), rules()).unwrap();
        assert_eq!(answers.take(3).as_deref(), Some(&b"\x48"[..]));
        assert_eq!(answers.take(3), None);
    }

    #[test]
    fn an_acknowledgment_says_that_its_insertions_came_and_the_increment_only_the_others() {
        let mut answers = Answers::default();
        answers.acknowledge(StreamId::new(0), 3, rules()).unwrap();
        answers.acknowledge(StreamId::new(4), 1, rules()).unwrap();
        assert_eq!(answers.take(5).as_deref(), Some(&b"\x80\x84\x02"[..]));
    }

    #[test]
    fn a_client_that_reads_no_answers_is_refused_at_two_kibibytes() {
        let mut answers = Answers::default();
        for _ in 0..MOST_HELD {
            answers.acknowledge(StreamId::new(0), 1, rules()).unwrap();
        }
        let over = answers.acknowledge(StreamId::new(0), 1, rules());
        assert_eq!(over, Err(Violation::UnreadAnswers));
        let over = answers.cancel(StreamId::new(0), rules());
        assert_eq!(over, Err(Violation::UnreadAnswers));
        assert_eq!(answers.take(1).map(|taken| taken.len()), Some(MOST_HELD));
        assert_eq!(answers.cancel(StreamId::new(0), rules()), Ok(()));
    }
}
