use crate::http3::{Rules, Violation};

/// The client's decoder stream (RFC 9204, section 4.4). It can only cancel: responses use no dynamic table,
/// so nothing that was sent needs an acknowledgment.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http3) struct DecoderStream {
    integer: Continued,
}

/// An integer whose value means nothing here, and how many bytes of it came.
#[derive(Clone, Copy, Debug, Default)]
struct Continued(Option<u8>);

impl Continued {
    /// Takes the first byte of an integer with a prefix.
    fn begin(&mut self, first: u8, prefix: u32) {
        let most = (1 << prefix) - 1;
        self.0 = (first & most == most).then_some(0);
    }

    fn is_open(self) -> bool {
        self.0.is_some()
    }

    /// Takes one more byte and says whether the integer has become longer than 62 bits are.
    fn more(&mut self, byte: u8) -> Length {
        let count = self.0.unwrap_or(0).saturating_add(1);
        self.0 = (byte & 0x80 != 0).then_some(count);
        if count > 9 {
            Length::Over
        } else {
            Length::Within
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Within,
    Over,
}

impl DecoderStream {
    /// Takes instructions and gives how many began.
    pub(in crate::http3) fn receive(
        &mut self,
        bytes: &[u8],
        rules: Rules,
    ) -> Result<u32, Violation> {
        let mut count = 0;
        for &byte in bytes {
            if self.integer.is_open() {
                if self.integer.more(byte) == Length::Over {
                    rules.refuse(Violation::CancelledInteger)?;
                }
                continue;
            }
            count += 1;
            match byte {
                0x40..=0x7f => self.integer.begin(byte, 6),
                _ => rules.refuse(Violation::Acknowledgment)?,
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_may_cancel_and_has_nothing_to_acknowledge() {
        let receive = |bytes: &[u8]| DecoderStream::default().receive(bytes, Rules::default());
        // RFC 9204, appendix B.4: stream cancellation.
        assert_eq!(receive(b"\x48"), Ok(1));
        assert_eq!(receive(b"\x7f\x80\x01\x48"), Ok(2));
        assert_eq!(receive(b"\x84"), Err(Violation::Acknowledgment));
        assert_eq!(receive(b"\x01"), Err(Violation::Acknowledgment));
        assert_eq!(receive(b"\x00"), Err(Violation::Acknowledgment));
        let endless = [&[0x7f][..], &[0x80; 10]].concat();
        assert_eq!(receive(&endless), Err(Violation::CancelledInteger));
    }
}
