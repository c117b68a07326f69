use crate::http3::{Rules, Violation};

/// The client's encoder stream (RFC 9204, section 4.3). Without a dynamic table it can only say that
/// there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http3) struct EncoderStream {
    integer: Continued,
}

/// The client's decoder stream (RFC 9204, section 4.4). It can only cancel: nothing that was sent needs
/// an acknowledgment.
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

impl EncoderStream {
    /// Takes instructions and gives how many began.
    pub(in crate::http3) fn receive(
        &mut self,
        bytes: &[u8],
        rules: Rules,
    ) -> Result<u32, Violation> {
        let mut count = 0;
        for &byte in bytes {
            if self.integer.is_open() {
                self.integer.more(byte);
                continue;
            }
            count += 1;
            match byte {
                0x20 => {}
                0x21..=0x3f => {
                    rules.refuse(Violation::TableCapacity)?;
                    self.integer.begin(byte, 5);
                }
                _ => rules.refuse(Violation::DynamicInsert)?,
            }
        }
        Ok(count)
    }
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
    fn an_encoder_without_a_table_says_so_or_nothing() {
        let receive = |bytes: &[u8]| EncoderStream::default().receive(bytes, Rules::default());
        assert_eq!(receive(b""), Ok(0));
        assert_eq!(receive(b"\x20\x20"), Ok(2));
        // RFC 9204, appendix B.2: the capacity is set, then entries are inserted.
        assert_eq!(receive(b"\x3f\xbd\x01"), Err(Violation::TableCapacity));
        assert_eq!(
            receive(b"\xc0\x0fwww.example.com"),
            Err(Violation::DynamicInsert)
        );
        // Appendix B.3 and B.4: a literal name, and a duplicate.
        assert_eq!(receive(b"\x4acustom-key"), Err(Violation::DynamicInsert));
        assert_eq!(receive(b"\x02"), Err(Violation::DynamicInsert));
    }

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
