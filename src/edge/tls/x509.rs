//! What is read of a certificate here: how long it is valid, whom it names, and its subject. Signatures
//! are checked elsewhere.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The fields of a certificate that are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The time in which it is valid (RFC 5280, section 4.1.2.5).
    pub(crate) validity: Validity,
    /// The subject's distinguished name in DER.
    pub(crate) subject: Vec<u8>,
    /// The hosts that it names in its subject alternative name, and in no other field (RFC 9525, section 2).
    pub(crate) names: Vec<Name>,
}

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// A host, or the hosts of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A DNS name in lower case.
    Exact(String),
    /// Every name that has one label before this domain; written `*.` and the domain (RFC 9525, section
    /// 6.3).
    Below(String),
    /// An address.
    Address(IpAddr),
}

impl Fields {
    /// Reads a DER certificate; `None` if it is not one.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        let (tag, _) = fields.next()?;
        if tag == VERSION {
            fields.expect(INTEGER)?;
        }
        let _signature_algorithm = fields.expect(SEQUENCE)?;
        let _issuer = fields.expect(SEQUENCE)?;
        let mut times = Der(fields.expect(SEQUENCE)?);
        let validity = Validity {
            not_before: time(times.next()?)?,
            not_after: time(times.next()?)?,
        };
        let before = fields.0;
        fields.expect(SEQUENCE)?;
        let subject = before.get(..before.len() - fields.0.len())?.to_vec();
        let _public_key = fields.expect(SEQUENCE)?;
        Some(Self {
            validity,
            subject,
            names: names(fields).unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The names of the subject alternative name, among what follows the public key.
fn names(mut fields: Der<'_>) -> Option<Vec<Name>> {
    let extensions = loop {
        let (tag, content) = fields.next()?;
        if tag == EXTENSIONS {
            break content;
        }
    };
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    loop {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        if extension.expect(OBJECT)? != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        let (mut tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            (tag, value) = extension.next()?;
        }
        if tag != OCTETS {
            return None;
        }
        let mut general = Der(Der(value).expect(SEQUENCE)?);
        let all = std::iter::from_fn(|| general.next());
        return Some(all.filter_map(name).collect());
    }
}

/// A name that a host can have; others, such as mail addresses, are none.
fn name((tag, value): (u8, &[u8])) -> Option<Name> {
    match (tag, value.len()) {
        (DNS_NAME, _) => dns(str::from_utf8(value).ok()?),
        (IP_ADDRESS, 4) => Some(Name::Address(<[u8; 4]>::try_from(value).ok()?.into())),
        (IP_ADDRESS, 16) => Some(Name::Address(<[u8; 16]>::try_from(value).ok()?.into())),
        _ => None,
    }
}

fn dns(text: &str) -> Option<Name> {
    let (wild, domain) = match text.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, text),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(legal);
    if domain.len() > 253 || !domain.split('.').all(is_label) {
        return None;
    }
    let domain = domain.to_ascii_lowercase();
    Some(if wild {
        Name::Below(domain)
    } else {
        Name::Exact(domain)
    })
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

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, absent in version 1 certificates.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT`.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17 (RFC 5280, section 4.2.1.6).
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// `[2] IMPLICIT IA5String`.
const DNS_NAME: u8 = 0x82;
/// `[7] IMPLICIT OCTET STRING`.
const IP_ADDRESS: u8 = 0x87;
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
        let validity = Fields::of(certificate.der()).unwrap().validity;
        assert_eq!(validity.not_before, at(1_795_219_200));
        assert_eq!(validity.not_after, at(2_871_849_600));
    }

    #[test]
    fn a_certificate_names_hosts_in_its_alternative_names_alone() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["A.example", "*.b.example", "192.0.2.7", "2001:db8::7"];
        let mut params = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "c.example");
        let certificate = params.self_signed(&key).unwrap();
        let fields = Fields::of(certificate.der()).unwrap();
        let names: Vec<_> = fields.names.iter().map(Name::to_string).collect();
        assert_eq!(
            names,
            ["a.example", "*.b.example", "192.0.2.7", "2001:db8::7"]
        );
        assert_eq!(fields.subject.first(), Some(&SEQUENCE));
        assert!(fields.subject.windows(9).any(|part| part == b"c.example"));
    }

    #[test]
    fn a_wildcard_is_a_whole_label_and_the_first() {
        assert_eq!(dns("*.a.example"), Some(Name::Below("a.example".into())));
        for none in [
            "*",
            "*.",
            "a*.example",
            "a.*.example",
            "*.*.example",
            "",
            ".a",
            "a..b",
            "é",
        ] {
            assert_eq!(dns(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(Fields::of(&bytes));
        }
    }
}
