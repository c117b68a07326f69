use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::static_table::{self, Entry};
use super::{huffman, integer};
use crate::http3::{Rules, Violation};

/// Reads the lines of one encoded field section (RFC 9204, section 4.5), in order.
///
/// Memory: the values of a section share one buffer, which is never longer than 8/5 of the section, the
/// most that the Huffman code can expand.
#[derive(Debug)]
pub(in crate::http3) struct Section<'a> {
    rest: &'a [u8],
    rules: Rules,
    name: Vec<u8>,
    values: BytesMut,
}

/// One field line.
#[derive(Debug)]
pub(in crate::http3) struct Line<'a> {
    pub(in crate::http3) name: &'a [u8],
    /// The entry of the static table that the name came from.
    pub(in crate::http3) entry: Option<&'static Entry>,
    pub(in crate::http3) value: Value,
    /// Whether no intermediary may put it into a table (RFC 9204, section 7.1.3).
    pub(in crate::http3) never_indexed: bool,
}

/// The value of a line.
#[derive(Debug)]
pub(in crate::http3) enum Value {
    Known(&'static Entry),
    Literal(Bytes),
}

impl Value {
    pub(in crate::http3) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Known(entry) => entry.value.as_bytes(),
            Self::Literal(bytes) => bytes,
        }
    }

    pub(in crate::http3) fn into_bytes(self) -> Bytes {
        match self {
            Self::Known(entry) => Bytes::from_static(entry.value.as_bytes()),
            Self::Literal(bytes) => bytes,
        }
    }

    /// None if the `http` crate allows no such value.
    pub(in crate::http3) fn into_header(self) -> Option<HeaderValue> {
        match self {
            Self::Known(entry) => Some(entry.field_value.clone()),
            Self::Literal(bytes) => HeaderValue::from_maybe_shared(bytes).ok(),
        }
    }
}

impl<'a> Section<'a> {
    /// Reads the prefix (RFC 9204, section 4.5.1).
    pub(in crate::http3) fn open(section: &'a [u8], rules: Rules) -> Result<Self, Violation> {
        let mut rest = section;
        if integer::take(&mut rest, 8, rules)? != 0 {
            rules.refuse(Violation::RequiredInsertCount)?;
        }
        // Without a Required Insert Count every negative base is out of range.
        if rest.first().is_some_and(|first| first & 0x80 != 0) {
            rules.refuse(Violation::NegativeBase)?;
        }
        integer::take(&mut rest, 7, rules)?;
        Ok(Self {
            rest,
            rules,
            name: Vec::new(),
            values: BytesMut::with_capacity(rest.len() + rest.len() / 2),
        })
    }

    /// Reads the next line (RFC 9204, sections 4.5.2 to 4.5.6).
    pub(in crate::http3) fn next(&mut self) -> Result<Option<Line<'_>>, Violation> {
        loop {
            let Some(&first) = self.rest.first() else {
                return Ok(None);
            };
            let line = match first {
                0xc0.. => {
                    let index = self.integer(6)?;
                    self.entry(index)?.map(|entry| (Some(entry), 0))
                }
                0x50..=0x5f | 0x70..=0x7f => {
                    let index = self.integer(4)?;
                    self.entry(index)?.map(|entry| (Some(entry), first & 0x20))
                }
                0x20..=0x3f => {
                    self.name.clear();
                    let (rest, name) = (&mut self.rest, &mut self.name);
                    string(rest, 3, name, self.rules)?;
                    Some((None, first & 0x10))
                }
                _ => {
                    self.skip_dynamic(first)?;
                    None
                }
            };
            let Some((entry, never)) = line else {
                continue;
            };
            let value = match entry {
                Some(entry) if first >= 0xc0 => Value::Known(entry),
                _ => {
                    string(&mut self.rest, 7, &mut self.values, self.rules)?;
                    Value::Literal(self.values.split().freeze())
                }
            };
            return Ok(Some(Line {
                name: entry.map_or(&self.name, |entry| entry.name.as_bytes()),
                entry,
                value,
                never_indexed: never != 0,
            }));
        }
    }

    fn integer(&mut self, prefix: u32) -> Result<u64, Violation> {
        integer::take(&mut self.rest, prefix, self.rules)
    }

    fn entry(&self, index: u64) -> Result<Option<&'static Entry>, Violation> {
        let entry = static_table::get(index);
        if entry.is_none() {
            self.rules.refuse(Violation::StaticIndex)?;
        }
        Ok(entry)
    }

    /// There is no dynamic table, so every reference to it is an error.
    fn skip_dynamic(&mut self, first: u8) -> Result<(), Violation> {
        self.rules.refuse(Violation::DynamicReference)?;
        let prefix = match first {
            0x80.. => 6,
            0x10.. => 4,
            _ => 3,
        };
        self.integer(prefix)?;
        if matches!(first, 0x00..=0x0f | 0x40..=0x7f) {
            string(&mut self.rest, 7, &mut self.values, self.rules)?;
            self.values.clear();
        }
        Ok(())
    }
}

/// Takes a string off the front and appends it to `out` (RFC 9204, section 4.1.2).
fn string<B>(input: &mut &[u8], prefix: u32, out: &mut B, rules: Rules) -> Result<(), Violation>
where
    B: bytes::BufMut,
{
    let first = *input.first().ok_or(Violation::TruncatedSection)?;
    let length = integer::take(input, prefix, rules)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > input.len() {
        rules.refuse(Violation::TruncatedSection)?;
    }
    let (encoded, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    if first & (1 << prefix) == 0 {
        out.put_slice(encoded);
        Ok(())
    } else {
        huffman::decode(encoded, out, rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = Vec<(String, String, bool)>;

    fn lines(section: &[u8]) -> Result<Lines, Violation> {
        let mut section = Section::open(section, Rules::default())?;
        let mut lines = Vec::new();
        while let Some(line) = section.next()? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            lines.push((
                text(line.name),
                text(line.value.as_bytes()),
                line.never_indexed,
            ));
        }
        Ok(lines)
    }

    fn line(name: &str, value: &str) -> (String, String, bool) {
        (name.to_owned(), value.to_owned(), false)
    }

    /// RFC 9204, appendix B.1.
    #[test]
    fn a_literal_with_a_name_of_the_static_table_is_read() {
        let read = lines(b"\x00\x00\x51\x0b/index.html");
        assert_eq!(read, Ok(vec![line(":path", "/index.html")]));
    }

    #[test]
    fn every_form_of_a_static_line_is_read() {
        let section = [
            &b"\x00\x00\xd1\xff\x00"[..],
            b"\x5f\x09\x03431",
            b"\x23abc\x01x",
            b"\x2b\x1c\x64\x9f\x81\x1f",
            b"\x7f\x50\x01y\x31z\x00",
        ]
        .concat();
        let mut expected = vec![
            line(":method", "GET"),
            line(":status", "100"),
            line(":status", "431"),
            line("abc", "x"),
        ];
        let read = lines(&section).unwrap();
        assert_eq!(read[..4], expected[..]);
        assert_eq!(read[4].1, "a");
        expected = vec![line("user-agent", "y"), line("z", "")];
        for line in &mut expected {
            line.2 = true;
        }
        assert_eq!(read[5..], expected[..]);
    }

    #[test]
    fn what_needs_a_dynamic_table_is_refused() {
        for (section, violation) in [
            (&b"\x01\x00"[..], Violation::RequiredInsertCount),
            (b"\xff\x80\x01\x00", Violation::RequiredInsertCount),
            (b"\x00\x80", Violation::NegativeBase),
            (b"\x00\x00\x80", Violation::DynamicReference),
            (b"\x00\x00\x40\x01a", Violation::DynamicReference),
            (b"\x00\x00\x10", Violation::DynamicReference),
            (b"\x00\x00\x00\x01a", Violation::DynamicReference),
        ] {
            assert_eq!(lines(section), Err(violation), "{section:x?}");
        }
    }

    #[test]
    fn what_is_cut_or_out_of_range_is_refused() {
        for (section, violation) in [
            (&b""[..], Violation::TruncatedSection),
            (b"\x00", Violation::TruncatedSection),
            (b"\x00\x00\xff", Violation::TruncatedSection),
            (b"\x00\x00\x51\x0b/index", Violation::TruncatedSection),
            (b"\x00\x00\x51", Violation::TruncatedSection),
            (b"\x00\x00\x25abc", Violation::TruncatedSection),
            (b"\x00\x00\xff\x24", Violation::StaticIndex),
            (b"\x00\x00\x5f\x54\x00", Violation::StaticIndex),
            (
                b"\x00\x00\x51\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                Violation::LargeInteger,
            ),
        ] {
            assert_eq!(lines(section), Err(violation), "{section:x?}");
        }
    }
}
