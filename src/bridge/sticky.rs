use http::{HeaderValue, header, request, response};

use super::key::cookie;

/// What leads a client back to the backend that served it: a cookie with the hash of what the backend
/// is called, which every node knows it by.
///
/// A client can choose among the backends by it, and reach no other.
#[derive(Clone, Debug)]
pub(super) struct Sticky {
    name: String,
    before: Option<u64>,
}

impl Sticky {
    /// Reads the cookie of this name.
    pub(super) fn of(name: &str, parts: &request::Parts) -> Self {
        let value = cookie(&parts.headers, name).and_then(|value| std::str::from_utf8(value).ok());
        Self {
            name: name.to_owned(),
            before: value.and_then(|value| u64::from_str_radix(value, 16).ok()),
        }
    }

    /// The identity of the backend that the client names.
    pub(super) fn before(&self) -> Option<u64> {
        self.before
    }

    /// Sets the cookie, unless the client has it already.
    pub(super) fn remember(&self, parts: &mut response::Parts, identity: u64) {
        if self.before == Some(identity) {
            return;
        }
        let cookie = format!(
            "{}={identity:016x}; Path=/; HttpOnly; Secure; SameSite=Lax",
            self.name
        );
        if let Ok(value) = HeaderValue::try_from(cookie) {
            parts.headers.append(header::SET_COOKIE, value);
        }
    }
}
