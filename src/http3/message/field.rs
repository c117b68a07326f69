//! Names and values (RFC 9110, section 5; RFC 9114, section 10.3).

use http::{HeaderMap, HeaderName};

use crate::http3::qpack::Line;
use crate::http3::{Rules, Violation};

/// Checks a line that is no pseudo-field, and adds it to `fields`.
pub(super) fn add(line: Line<'_>, fields: &mut HeaderMap, rules: Rules) -> Result<(), Violation> {
    check_ends(line.value.as_bytes(), rules)?;
    let known = match line.entry {
        Some(entry) => entry.field.as_ref(),
        None => usual(line.name),
    };
    let name = if let Some(name) = known {
        Some(name.clone())
    } else {
        check_name(line.name, rules)?;
        HeaderName::from_bytes(line.name).ok()
    };
    let never_indexed = line.never_indexed;
    // The `http` crate allows the same values, so what it takes needs no look of our own.
    let Some(mut value) = line.value.into_header() else {
        rules.refuse(Violation::IllegalValue)?;
        return rules.refuse(Violation::Unrepresentable);
    };
    let Some(name) = name else {
        return rules.refuse(Violation::Unrepresentable);
    };
    value.set_sensitive(never_indexed);
    match fields.try_append(name, value) {
        Ok(_) => Ok(()),
        Err(_) => Err(Violation::ManyFields),
    }
}

fn check_name(name: &[u8], rules: Rules) -> Result<(), Violation> {
    if name.is_empty() {
        rules.refuse(Violation::EmptyName)?;
    }
    for &byte in name {
        match CLASSES[usize::from(byte)] {
            Class::Name => {}
            Class::Uppercase => rules.refuse(Violation::UppercaseName)?,
            Class::Value | Class::Nowhere => rules.refuse(Violation::IllegalName)?,
        }
    }
    Ok(())
}

/// Allows visible characters, spaces and tabs within, and bytes over 0x7f (RFC 9110, section 5.5).
pub(super) fn check_value(value: &[u8], rules: Rules) -> Result<(), Violation> {
    check_ends(value, rules)?;
    if value.iter().any(|byte| is_nowhere(*byte)) {
        rules.refuse(Violation::IllegalValue)?;
    }
    Ok(())
}

fn check_ends(value: &[u8], rules: Rules) -> Result<(), Violation> {
    if let (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t')) = (value.first(), value.last()) {
        rules.refuse(Violation::PaddedValue)?;
    }
    Ok(())
}

/// Finds a name that browsers and other usual clients send and the static table has not. It needs no look
/// at its characters then, and no memory of its own.
fn usual(name: &[u8]) -> Option<&'static HeaderName> {
    let index = USUAL.binary_search_by(|usual| usual.as_str().as_bytes().cmp(name));
    index.ok().map(|index| &USUAL[index])
}

/// In alphabetical order.
static USUAL: [HeaderName; 16] = [
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("priority"),
    HeaderName::from_static("sec-ch-ua"),
    HeaderName::from_static("sec-ch-ua-mobile"),
    HeaderName::from_static("sec-ch-ua-platform"),
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
    HeaderName::from_static("sec-gpc"),
    HeaderName::from_static("te"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// Whether a byte is in no name and no value.
fn is_nowhere(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Whether this is a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let legal = |byte: &u8| matches!(CLASSES[usize::from(*byte)], Class::Name | Class::Uppercase);
    !bytes.is_empty() && bytes.iter().all(legal)
}

/// Whether a field belongs to one connection (RFC 9114, section 4.2).
pub(super) fn is_connection_specific(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
    )
}

/// Where a byte may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// In names and values.
    Name,
    /// In names of HTTP/1.1, in methods and in values.
    Uppercase,
    /// In values only.
    Value,
    Nowhere,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Value; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' => Class::Uppercase,
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'!'
            | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~' => Class::Name,
            0..=8 | 10..=0x1f | 0x7f => Class::Nowhere,
            _ => Class::Value,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// Reads a content-length (RFC 9110, section 8.6): digits only, at most 2^64 - 1.
///
/// Lists of equal numbers are refused even though a recipient may repair them: another recipient may
/// repair them otherwise.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_found_and_no_others() {
        for name in &USUAL {
            assert_eq!(usual(name.as_str().as_bytes()), Some(name));
        }
        assert_eq!(usual(b"sec-fetch"), None);
        assert_eq!(usual(b"Te"), None);
        assert_eq!(usual(b""), None);
    }

    #[test]
    fn names_are_tokens_in_lower_case() {
        let check = |name: &[u8]| check_name(name, Rules::default());
        assert_eq!(check(b"x-a_b.c~1"), Ok(()));
        assert_eq!(check(b""), Err(Violation::EmptyName));
        assert_eq!(check(b"X-a"), Err(Violation::UppercaseName));
        for byte in 0..=255_u8 {
            let legal = byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || b"!#$%&'*+-.^_`|~".contains(&byte);
            let expected = if legal {
                Ok(())
            } else if byte.is_ascii_uppercase() {
                Err(Violation::UppercaseName)
            } else {
                Err(Violation::IllegalName)
            };
            assert_eq!(check(&[b'a', byte]), expected, "{byte:#x}");
        }
    }

    #[test]
    fn values_have_no_control_characters_and_no_spaces_around() {
        let check = |value: &[u8]| check_value(value, Rules::default());
        for good in [&b""[..], b"a b\tc", b"\xe4\xff", b"\"\\"] {
            assert_eq!(check(good), Ok(()));
        }
        for byte in (0..=8).chain(10..=0x1f).chain([0x7f]) {
            let bad = [b'a', byte, b'b'];
            assert_eq!(check(&bad), Err(Violation::IllegalValue), "{byte:#x}");
        }
        for bad in [&b" "[..], b" a", b"a ", b"\ta", b"a\t"] {
            assert_eq!(check(bad), Err(Violation::PaddedValue));
        }
    }

    #[test]
    fn a_length_is_a_plain_number_of_64_bits() {
        assert_eq!(length(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(length(b"007"), Some(7));
        for bad in [
            "",
            "+1",
            "-1",
            "1,1",
            " 1",
            "0x1",
            "18446744073709551616",
            "1.0",
        ] {
            assert_eq!(length(bad.as_bytes()), None, "{bad}");
        }
    }
}
