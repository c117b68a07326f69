use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

use super::static_table::{self, Found};
use super::{huffman, integer};

/// Appends the prefix of a section that needs no dynamic table (RFC 9204, section 4.5.1).
pub(in crate::http3) fn prefix(out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
}

/// Appends `:status`.
pub(in crate::http3) fn status(out: &mut BytesMut, status: StatusCode) {
    put(
        out,
        b":status",
        status.as_str().as_bytes(),
        Sharing::Indexed,
    );
}

/// Appends fields in their order.
pub(in crate::http3) fn fields(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        let sharing = if value.is_sensitive() {
            Sharing::Never
        } else {
            Sharing::Indexed
        };
        put(out, name.as_str().as_bytes(), value.as_bytes(), sharing);
    }
}

/// Appends one line.
#[cfg(test)]
pub(in crate::http3) fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    put(out, name, value, Sharing::Indexed);
}

/// Whether intermediaries may put a line into a table (RFC 9204, section 7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Indexed,
    Never,
}

fn put(out: &mut BytesMut, name: &[u8], value: &[u8], sharing: Sharing) {
    let never = sharing == Sharing::Never;
    match static_table::find(name, value) {
        Found::Field(index) if !never => integer::put(out, 0xc0, 6, index.into()),
        Found::Field(index) | Found::Name(index) => {
            let flags = if never { 0x70 } else { 0x50 };
            integer::put(out, flags, 4, index.into());
            string(out, 0, 7, value);
        }
        Found::Nothing => {
            let flags = if never { 0x30 } else { 0x20 };
            string(out, flags, 3, name);
            string(out, 0, 7, value);
        }
    }
}

fn string(out: &mut BytesMut, flags: u8, prefix: u32, text: &[u8]) {
    let short = huffman::encoded_len(text);
    if short < text.len() {
        integer::put(out, flags | 1 << prefix, prefix, short);
        huffman::encode(text, out);
    } else {
        integer::put(out, flags, prefix, text.len());
        out.put_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::Section;
    use super::*;
    use crate::http3::Rules;

    #[test]
    fn known_fields_take_one_byte_or_two() {
        let mut out = BytesMut::new();
        prefix(&mut out);
        status(&mut out, StatusCode::OK);
        status(&mut out, StatusCode::NO_CONTENT);
        status(&mut out, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(&out[..], b"\x00\x00\xd9\xff\x01\x5f\x09\x03431");
    }

    #[test]
    fn a_sensitive_value_is_never_indexed() {
        let mut map = HeaderMap::new();
        let mut value = HeaderValue::from_static("&&&&");
        value.set_sensitive(true);
        map.insert("authorization", value.clone());
        map.insert("x", value);
        let mut out = BytesMut::new();
        prefix(&mut out);
        fields(&mut out, &map);
        let mut section = Section::open(&out, None, Rules::default()).unwrap();
        for _ in 0..2 {
            assert!(section.next().unwrap().unwrap().never_indexed);
        }
    }

    proptest! {
        #[test]
        fn any_field_survives(
            name in "[a-z0-9!#$%&'*+.^_`|~-]{1,30}",
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut out = BytesMut::new();
            prefix(&mut out);
            line(&mut out, name.as_bytes(), &value);
            let mut section = Section::open(&out, None, Rules::default()).unwrap();
            let read = section.next().unwrap().unwrap();
            prop_assert_eq!(read.name, name.as_bytes());
            prop_assert_eq!(read.value.as_bytes(), &value[..]);
            prop_assert!(section.next().unwrap().is_none());
        }
    }
}
