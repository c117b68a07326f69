use std::sync::Arc;

/// What an extended CONNECT asks for: the value of `:protocol` (RFC 8441, section 4; RFC 9220), which in
/// HTTP/1.1 stands in `Upgrade` (RFC 9110, section 7.8).
///
/// In the extensions of a request with the method CONNECT it says that the request is for a tunnel. A
/// response with a 2xx status opens the tunnel: the body of the request is one direction of it and the body
/// of the response the other, both at once. The end of a body is the end of that direction alone; an error,
/// or a body that is dropped before its end, breaks off that direction, and whoever answers the request
/// passes that on. Any other status is an ordinary response.
///
/// It is a token, with a version behind a slash where it has one, in lower case and at most 64 bytes long.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectProtocol(Arc<str>);

impl ConnectProtocol {
    /// RFC 6455; RFC 8441, section 5.
    pub const WEBSOCKET: &str = "websocket";

    /// Takes a name; none if it cannot be one. Names are the same in any case (RFC 9110, section 7.8).
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut parts = name.splitn(2, |byte| *byte == b'/');
        if name.len() > MAX_BYTES || !parts.all(is_token) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(Self(name.to_ascii_lowercase().into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(legal)
}

const MAX_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_a_token_with_or_without_a_version() {
        let name = |text: &str| ConnectProtocol::new(text.as_bytes());
        assert_eq!(name("WebSocket").unwrap().as_str(), "websocket");
        assert_eq!(name("h2c/1.0").unwrap().as_str(), "h2c/1.0");
        for bad in ["", "a b", "a,b", "/1", "a/", "a/b/c", "\u{e4}"] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        assert!(name(&"a".repeat(MAX_BYTES)).is_some());
        assert!(name(&"a".repeat(MAX_BYTES + 1)).is_none());
    }
}
