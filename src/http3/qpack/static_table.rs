//! The static table (RFC 9204, appendix A).

#![expect(clippy::cast_possible_truncation, reason = "the table has 99 entries")]

use http::{HeaderName, HeaderValue};

/// One entry of the table.
#[derive(Debug)]
pub(in crate::http3) struct Entry {
    pub(in crate::http3) name: &'static str,
    pub(in crate::http3) value: &'static str,
    /// The name of a field that is no pseudo-field.
    pub(in crate::http3) field: Option<HeaderName>,
    pub(in crate::http3) field_value: HeaderValue,
}

/// The entry with this index.
pub(super) fn get(index: u64) -> Option<&'static Entry> {
    usize::try_from(index)
        .ok()
        .and_then(|index| TABLE.get(index))
}

/// Where a field is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Name and value.
    Field(u8),
    /// The name, at its first entry.
    Name(u8),
    Nothing,
}

/// Looks for a field.
pub(super) fn find(name: &[u8], value: &[u8]) -> Found {
    let Some(first) = find_name(name) else {
        return Found::Nothing;
    };
    let mut index = first;
    while index != NONE {
        if TABLE[usize::from(index)].value.as_bytes() == value {
            return Found::Field(index);
        }
        index = NEXT[usize::from(index)];
    }
    Found::Name(first)
}

fn find_name(name: &[u8]) -> Option<u8> {
    let mut slot = hash(name);
    loop {
        let index = SLOTS[slot];
        if index == NONE {
            return None;
        }
        if TABLE[usize::from(index)].name.as_bytes() == name {
            return Some(index);
        }
        slot = (slot + 1) % SLOTS.len();
    }
}

/// Spreads names by what differs most between them. A client cannot make many names meet in one slot,
/// because only those of the table are in any.
const fn hash(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let (first, last, middle) = (
        name[0] as usize,
        name[name.len() - 1] as usize,
        name[name.len() / 2] as usize,
    );
    (name.len() * 37 + first * 7 + middle * 3 + last * 17) % SLOT_COUNT
}

const SLOT_COUNT: usize = 256;
const NONE: u8 = u8::MAX;

/// The first entry of each name, at its hash or behind it.
static SLOTS: [u8; SLOT_COUNT] = {
    let mut slots = [NONE; SLOT_COUNT];
    let mut index = 0;
    while index < NAMES.len() {
        let mut slot = hash(NAMES[index].as_bytes());
        while slots[slot] != NONE && !equal(NAMES[slots[slot] as usize], NAMES[index]) {
            slot = (slot + 1) % SLOT_COUNT;
        }
        if slots[slot] == NONE {
            slots[slot] = index as u8;
        }
        index += 1;
    }
    slots
};

/// The next entry with the same name.
static NEXT: [u8; 99] = {
    let mut next = [NONE; 99];
    let mut index = 0;
    while index < NAMES.len() {
        let mut later = index + 1;
        while later < NAMES.len() && !equal(NAMES[index], NAMES[later]) {
            later += 1;
        }
        if later < NAMES.len() {
            next[index] = later as u8;
        }
        index += 1;
    }
    next
};

const fn equal(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

const fn entry(name: &'static str, value: &'static str) -> Entry {
    let field = if name.as_bytes()[0] == b':' {
        None
    } else {
        Some(HeaderName::from_static(name))
    };
    Entry {
        name,
        value,
        field,
        field_value: HeaderValue::from_static(value),
    }
}

macro_rules! table {
    ($(($name:literal, $value:literal),)*) => {
        static TABLE: [Entry; 99] = [$(entry($name, $value),)*];
        const NAMES: [&str; 99] = [$($name,)*];
    };
}

table! {
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_where_it_is() {
        for (index, entry) in TABLE.iter().enumerate() {
            let index = u8::try_from(index).unwrap();
            let found = find(entry.name.as_bytes(), entry.value.as_bytes());
            assert_eq!(found, Found::Field(index), "{}", entry.name);
        }
        assert_eq!(find(b":status", b"431"), Found::Name(24));
        assert_eq!(find(b"content-type", b"text/x"), Found::Name(44));
        assert_eq!(find(b"x-custom", b""), Found::Nothing);
        assert_eq!(find(b"", b""), Found::Nothing);
    }

    #[test]
    fn the_table_ends_with_its_last_entry() {
        assert_eq!(get(98).map(|entry| entry.value), Some("sameorigin"));
        assert!(get(99).is_none());
        assert!(get(u64::MAX).is_none());
    }
}
