//! What a bridge reads and says of gRPC: deadlines, and health.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// How long a caller waits: `grpc-timeout`, of at most eight digits and a unit. What is not one is no
/// deadline; the backend says what it thinks of it.
pub(super) fn timeout(fields: &HeaderMap) -> Option<Duration> {
    let text = fields.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let legal = (1..=MAX_DIGITS).contains(&digits.len());
    let count: u64 = Some(digits)
        .filter(|digits| legal && digits.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The message that asks how a service is (`grpc.health.v1.HealthCheckRequest`), as it is sent: one field,
/// the name, which is empty for the whole server.
pub(super) fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        // A name is shorter than 128 bytes, so its length is one.
        message.put_u8(u8::try_from(service.len()).unwrap_or(MAX_SERVICE));
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(UNCOMPRESSED);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.put(message);
    framed.freeze()
}

/// Whether an answer says that the service is serving (`grpc.health.v1.HealthCheckResponse`).
pub(super) fn is_serving(content: &[u8]) -> bool {
    content == SERVING
}

/// Where health is asked for.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// The longest name of a service whose health is asked for.
const MAX_SERVICE: u8 = 127;
const MAX_DIGITS: usize = 8;
const UNCOMPRESSED: u8 = 0;
/// Field 1, of a length.
const SERVICE: u8 = 0x0a;
/// Field 1, an integer: 1.
const SERVING: [u8; 7] = [UNCOMPRESSED, 0, 0, 0, 2, 0x08, 1];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        let read = |text: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&fields)
        };
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("100m", Duration::from_millis(100)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "1SS",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn health_is_asked_for_by_name_or_of_the_whole_server() {
        assert_eq!(health_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(health_request("a.B")[..], *b"\0\0\0\0\x05\x0a\x03a.B");
    }

    #[test]
    fn only_serving_is_well() {
        assert!(is_serving(b"\0\0\0\0\x02\x08\x01"));
        for other in [
            &b""[..],
            b"\0\0\0\0\0",
            b"\0\0\0\0\x02\x08\0",
            b"\0\0\0\0\x02\x08\x02",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x02\x08\x01\0",
        ] {
            assert!(!is_serving(other), "{other:?}");
        }
    }
}
