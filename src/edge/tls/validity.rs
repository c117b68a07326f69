use std::time::{Duration, SystemTime};

/// The time in which a certificate is valid (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    /// Reads the times of a DER certificate; `None` if it is not one. Signatures are not checked.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        let (tag, _) = fields.next()?;
        if tag == VERSION {
            fields.expect(INTEGER)?;
        }
        let _signature_algorithm = fields.expect(SEQUENCE)?;
        let _issuer = fields.expect(SEQUENCE)?;
        let mut validity = Der(fields.expect(SEQUENCE)?);
        Some(Self {
            not_before: time(validity.next()?)?,
            not_after: time(validity.next()?)?,
        })
    }
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let length = length
                    .iter()
                    .fold(0, |length, &byte| length << 8 | usize::from(byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == expected).then_some(content)
    }
}

fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let ([month, day, hour, minute, second], b"Z") = pairs(rest)? else {
        return None;
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn pairs(text: &[u8]) -> Option<([u64; 5], &[u8])> {
    let (digits, rest) = text.split_at_checked(10)?;
    let mut values = [0; 5];
    for (value, pair) in values.iter_mut().zip(digits.chunks_exact(2)) {
        *value = number(pair)?;
    }
    Some((values, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March put the leap day last, so months have fixed offsets.
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - DAYS_BEFORE_1970)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, absent in version 1 certificates.
const VERSION: u8 = 0xa0;
/// From 1 March of year 0.
const DAYS_BEFORE_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(time((UTC_TIME, b"261121023427Z")), Some(at(1_795_228_467)));
        assert_eq!(time((UTC_TIME, b"700101000000Z")), Some(at(0)));
        assert_eq!(
            time((GENERALIZED_TIME, b"20500301000000Z")),
            Some(at(2_529_705_600))
        );
        assert_eq!(
            time((GENERALIZED_TIME, b"20000229235959Z")),
            Some(at(951_868_799))
        );
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            &b""[..],
            b"261321023427Z",
            b"260021023427Z",
            b"2611210234",
            b"261121240000Z",
            b"261121023427+0100",
            b"26112102342xZ",
        ] {
            assert_eq!(time((UTC_TIME, text)), None, "{text:?}");
        }
    }

    #[test]
    fn a_certificate_tells_its_validity() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 11, 21);
        params.not_after = rcgen::date_time_ymd(2061, 1, 2);
        let certificate = params.self_signed(&key).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        assert_eq!(validity.not_before, at(1_795_219_200));
        assert_eq!(validity.not_after, at(2_871_849_600));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Validity::of(&bytes);
        }
    }
}
