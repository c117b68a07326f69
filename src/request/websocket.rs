//! The two values of a WebSocket's handshake in HTTP/1.1 (RFC 6455, section 4). HTTP/2 and HTTP/3 have
//! none (RFC 8441, section 5).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// The length of a key: 16 bytes in base64.
pub(crate) const KEY_BYTES: usize = 24;

/// Makes a key of 16 bytes that nobody can foresee.
pub(crate) fn key(random: [u8; 16]) -> HeaderValue {
    HeaderValue::try_from(STANDARD.encode(random)).expect("base64 is visible ASCII")
}

/// Whether this is a key.
pub(crate) fn is_key(value: &[u8]) -> bool {
    let [digits @ .., b'=', b'='] = value else {
        return false;
    };
    let alphabet = alphabet::STANDARD.as_str().as_bytes();
    value.len() == KEY_BYTES && digits.iter().all(|digit| alphabet.contains(digit))
}

/// What answers a key.
pub(crate) fn accept(key: &[u8]) -> HeaderValue {
    let mut sum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sum.update(key);
    sum.update(GUID);
    HeaderValue::try_from(STANDARD.encode(sum.finish())).expect("base64 is visible ASCII")
}

/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let key = key(*b"the sample nonce");
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_key(key.as_bytes()));
        assert_eq!(accept(key.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_has_16_bytes() {
        for bad in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ= ",
            "dGhlIHNhbXBsZSBub25jZQQ=",
            "dGhlIHNhbXBsZSBub25jZ-==",
            "dGhlIHNhbXBsZSBub25jZQdGhl==",
        ] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
