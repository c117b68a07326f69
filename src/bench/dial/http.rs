//! One small request in its shortest form, in HTTP/3 and in HTTP/1.1, and what its answer begins with.
//!
//! Nothing but what every server understands, so that both transports carry as little as they can.

/// A HEADERS frame with a GET request (RFC 9114, section 4.1), its fields without compression but for
/// QPACK's static table (RFC 9204, section 4.5).
pub(super) fn http3_request(authority: &str, path: &str) -> Vec<u8> {
    // No dynamic table; `:method GET` and `:scheme https` by their place in the static one.
    let mut fields = vec![0, 0, METHOD_GET, SCHEME_HTTPS];
    literal(AUTHORITY, authority, &mut fields);
    literal(PATH, path, &mut fields);
    let mut frame = vec![HEADERS];
    varint(fields.len(), &mut frame);
    frame.extend_from_slice(&fields);
    frame
}

/// A GET request of HTTP/1.1 (RFC 9112, section 3).
pub(super) fn http1_request(authority: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n").into_bytes()
}

/// The type and the SETTINGS of a control stream (RFC 9114, section 6.2.1): all as by default.
pub(super) const HTTP3_CONTROL: &[u8] = &[0, 4, 0];

/// Whether an answer in HTTP/1.1 begins with a status of success.
pub(super) fn is_http1_success(beginning: &[u8]) -> bool {
    beginning.starts_with(b"HTTP/1.1 2")
}

/// Whether an HTTP/3 request stream begins with a HEADERS frame whose first field, by QPACK's static
/// table, is a status of success. Frames of reserved types before it are none of ours to send.
pub(super) fn is_http3_success(beginning: &[u8]) -> bool {
    let [HEADERS, rest @ ..] = beginning else {
        return false;
    };
    let length = match rest.first() {
        Some(first) => 1 << (first >> 6),
        None => return false,
    };
    // Behind the length, the two numbers of the section's prefix are zero without a dynamic table.
    match rest.get(length..) {
        Some([0, 0, 0xff, more, ..]) => SUCCESS.contains(&more.saturating_add(63)),
        Some([0, 0, field, ..]) => *field >= 0xc0 && SUCCESS.contains(&(field & 0x3f)),
        _ => false,
    }
}

/// A literal field whose name is in the static table, its value as it is (RFC 9204, section 4.5.4).
fn literal(name: u8, value: &str, fields: &mut Vec<u8>) {
    fields.push(0x50 | name);
    let mut rest = value.len();
    if rest < 0x7f {
        fields.push(rest.to_le_bytes()[0]);
    } else {
        // An integer with a prefix of 7 bits (RFC 7541, section 5.1).
        fields.push(0x7f);
        rest -= 0x7f;
        while rest >= 0x80 {
            fields.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        fields.push(rest.to_le_bytes()[0]);
    }
    fields.extend_from_slice(value.as_bytes());
}

/// A number of up to 14 bits (RFC 9000, section 16), which is more than a request of ours has.
fn varint(value: usize, out: &mut Vec<u8>) {
    let [low, high, ..] = value.to_le_bytes();
    if value < 0x40 {
        out.push(low);
    } else {
        out.extend_from_slice(&[0x40 | (high & 0x3f), low]);
    }
}

const HEADERS: u8 = 1;
/// Whole fields of QPACK's static table (RFC 9204, appendix A), each as a line of a section.
const METHOD_GET: u8 = 0xd1;
const SCHEME_HTTPS: u8 = 0xd7;
/// Places in QPACK's static table (RFC 9204, appendix A).
const AUTHORITY: u8 = 0;
const PATH: u8 = 1;
/// 200, 204 and 206 there.
const SUCCESS: &[u8] = &[25, 64, 65];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_headers_frame_of_static_names() {
        let frame = http3_request("localhost:1", "/");
        let expected = b"\x01\x14\x00\x00\xd1\xd7\x50\x0blocalhost:1\x51\x01/";
        assert_eq!(frame, expected);
        let long = "a".repeat(200);
        let frame = http3_request(&long, "/");
        assert_eq!(frame[..9], [1, 0x40, 210, 0, 0, 0xd1, 0xd7, 0x50, 0x7f]);
        assert_eq!(frame[9], 200 - 0x7f);
    }

    #[test]
    fn only_statuses_of_success_are_success() {
        assert!(is_http3_success(&[1, 3, 0, 0, 0xd9]));
        assert!(is_http3_success(&[1, 0x40, 3, 0, 0, 0xff, 1]));
        for other in [
            &[1, 3, 0, 0, 0xdb][..],
            &[1, 3, 0, 0],
            &[1],
            &[],
            &[0, 1, 7],
        ] {
            assert!(!is_http3_success(other), "{other:?}");
        }
        assert!(is_http1_success(b"HTTP/1.1 200 OK\r\n"));
        assert!(!is_http1_success(b"HTTP/1.1 404 Not Found\r\n"));
    }
}
