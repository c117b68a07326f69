use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::static_table::{self, Entry};
use super::table::{Inserted, Name, Table};
use super::{huffman, integer};
use crate::http3::{Rules, Violation};

/// Reads the lines of one encoded field section (RFC 9204, section 4.5), in order.
///
/// Memory: the values of a section share one buffer, which is never longer than 8/5 of the section, the
/// most that the Huffman code can expand. A line that refers to a table takes none: it shares what is there.
#[derive(Debug)]
pub(in crate::http3) struct Section<'a> {
    rest: &'a [u8],
    rules: Rules,
    /// None for a section that refers to no entry of it.
    table: Option<&'a Table>,
    required: u64,
    base: u64,
    name: Vec<u8>,
    values: BytesMut,
}

/// One field line.
#[derive(Debug)]
pub(in crate::http3) struct Line<'a> {
    pub(in crate::http3) name: &'a [u8],
    /// The entry of the static table that the name came from, if need be by way of the dynamic table.
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
    /// Whether a section needs the dynamic table to be read.
    pub(in crate::http3) fn refers(section: &[u8]) -> bool {
        section.first().is_some_and(|first| *first != 0)
    }

    /// Reads the prefix (RFC 9204, section 4.5.1).
    pub(in crate::http3) fn open(
        section: &'a [u8],
        table: Option<&'a Table>,
        rules: Rules,
    ) -> Result<Self, Violation> {
        let mut rest = section;
        let encoded = integer::take(&mut rest, 8, rules)?;
        let none = Table::default();
        let required = if let Some(required) = table.unwrap_or(&none).required(encoded) {
            required
        } else {
            rules.refuse(Violation::RequiredInsertCount)?;
            table.map_or(0, Table::inserted)
        };
        let behind = rest.first().is_some_and(|first| first & 0x80 != 0);
        let delta = integer::take(&mut rest, 7, rules)?;
        let base = if !behind {
            required.saturating_add(delta)
        } else if let Some(base) = required
            .checked_sub(delta)
            .and_then(|base| base.checked_sub(1))
        {
            base
        } else {
            rules.refuse(Violation::NegativeBase)?;
            0
        };
        Ok(Self {
            rest,
            rules,
            table,
            required,
            base,
            name: Vec::new(),
            values: BytesMut::with_capacity(rest.len() + rest.len() / 2),
        })
    }

    /// How many insertions the section said to need.
    pub(in crate::http3) fn required(&self) -> u64 {
        self.required
    }

    /// Reads the next line (RFC 9204, sections 4.5.2 to 4.5.6).
    pub(in crate::http3) fn next(&mut self) -> Result<Option<Line<'_>>, Violation> {
        loop {
            let Some(&first) = self.rest.first() else {
                return Ok(None);
            };
            let (name, never_indexed) = match first {
                0xc0.. => (self.known(6)?, false),
                0x80..=0xbf => (self.before_base(6)?, false),
                0x50..=0x5f | 0x70..=0x7f => (self.known(4)?, first & 0x20 != 0),
                0x40..=0x7f => (self.before_base(4)?, first & 0x20 != 0),
                0x20..=0x3f => {
                    self.name.clear();
                    let (rest, name) = (&mut self.rest, &mut self.name);
                    string(rest, 3, name, self.rules)?;
                    (Some(Source::Literal), first & 0x10 != 0)
                }
                0x10..=0x1f => (self.behind_base(4)?, false),
                _ => (self.behind_base(3)?, first & 0x08 != 0),
            };
            let indexed = matches!(first, 0x80.. | 0x10..=0x1f);
            let value = match name {
                Some(Source::Known(entry)) if indexed => Value::Known(entry),
                Some(Source::Inserted(entry)) if indexed => Value::Literal(entry.value.clone()),
                None if indexed => continue,
                _ => {
                    string(&mut self.rest, 7, &mut self.values, self.rules)?;
                    Value::Literal(self.values.split().freeze())
                }
            };
            let (name, entry) = match name {
                Some(Source::Known(entry)) => (entry.name.as_bytes(), Some(entry)),
                Some(Source::Inserted(inserted)) => match &inserted.name {
                    Name::Known(entry) => (entry.name.as_bytes(), Some(*entry)),
                    Name::Literal(name) => (&name[..], None),
                },
                Some(Source::Literal) => (&self.name[..], None),
                None => continue,
            };
            return Ok(Some(Line {
                name,
                entry,
                value,
                never_indexed,
            }));
        }
    }

    fn integer(&mut self, prefix: u32) -> Result<u64, Violation> {
        integer::take(&mut self.rest, prefix, self.rules)
    }

    fn known(&mut self, prefix: u32) -> Result<Option<Source<'a>>, Violation> {
        let index = self.integer(prefix)?;
        let entry = static_table::get(index);
        if entry.is_none() {
            self.rules.refuse(Violation::StaticIndex)?;
        }
        Ok(entry.map(Source::Known))
    }

    /// RFC 9204, section 3.2.5.
    fn before_base(&mut self, prefix: u32) -> Result<Option<Source<'a>>, Violation> {
        let index = self.integer(prefix)?;
        let absolute = self.base.checked_sub(index);
        self.inserted(absolute.and_then(|absolute| absolute.checked_sub(1)))
    }

    /// RFC 9204, section 3.2.6.
    fn behind_base(&mut self, prefix: u32) -> Result<Option<Source<'a>>, Violation> {
        let index = self.integer(prefix)?;
        self.inserted(self.base.checked_add(index))
    }

    /// The entry with this absolute index, which the section must have said to need (RFC 9204, section
    /// 2.2.3).
    fn inserted(&self, absolute: Option<u64>) -> Result<Option<Source<'a>>, Violation> {
        let required = absolute.filter(|absolute| *absolute < self.required);
        let entry = required.and_then(|absolute| self.table?.get(absolute));
        if entry.is_none() {
            self.rules.refuse(Violation::DynamicReference)?;
        }
        Ok(entry.map(Source::Inserted))
    }
}

/// Where the name of a line comes from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Known(&'static Entry),
    Inserted(&'a Inserted),
    Literal,
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
    use crate::http3::qpack::EncoderStream;

    type Lines = Vec<(String, String, bool)>;

    fn lines(section: &[u8]) -> Result<Lines, Violation> {
        lines_with(section, None)
    }

    fn lines_with(section: &[u8], table: Option<&Table>) -> Result<Lines, Violation> {
        let mut section = Section::open(section, table, Rules::default())?;
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

    /// Entries whose names and values are single letters, from a and A on, of which the table holds three.
    fn table(inserted: u8) -> Table {
        let mut table = Table::default();
        let mut stream = EncoderStream::default();
        let mut bytes = b"\x3f\x47".to_vec();
        for index in 0..inserted {
            bytes.extend([0x41, b'a' + index, 1, b'A' + index]);
        }
        stream
            .receive(&bytes, &mut table, Rules::default())
            .unwrap();
        assert_eq!((table.capacity(), table.inserted()), (102, inserted.into()));
        table
    }

    /// RFC 9204, appendices B.2, B.4 and B.5.
    #[test]
    fn the_sections_of_the_rfc_are_read_with_its_table() {
        let (mut table, mut stream) = (Table::default(), EncoderStream::default());
        let mut receive = |bytes: &[u8], table: &mut Table| {
            stream.receive(bytes, table, Rules::default()).unwrap();
        };
        receive(
            b"\x3f\xbd\x01\xc0\x0fwww.example.com\xc1\x0c/sample/path",
            &mut table,
        );
        let authority = line(":authority", "www.example.com");
        let read = lines_with(b"\x03\x81\x10\x11", Some(&table));
        let path = line(":path", "/sample/path");
        assert_eq!(read, Ok(vec![authority.clone(), path]));
        receive(b"\x4acustom-key\x0ccustom-value\x02", &mut table);
        let read = lines_with(b"\x05\x00\x80\xc1\x81", Some(&table));
        let custom = line("custom-key", "custom-value");
        assert_eq!(read, Ok(vec![authority, line(":path", "/"), custom]));
    }

    #[test]
    fn every_form_of_a_dynamic_line_is_read() {
        let table = table(4);
        // Four insertions are needed and the base is 2: one entry before it, two behind.
        let section = b"\x05\x81\x80\x10\x11\x40\x01x\x60\x01y\x01\x01z\x08\x01z";
        let mut read = lines_with(section, Some(&table)).unwrap();
        let never: Vec<_> = read.iter().map(|line| line.2).collect();
        assert_eq!(never, [false, false, false, false, true, false, true]);
        for line in &mut read {
            line.2 = false;
        }
        let expected = [
            line("b", "B"),
            line("c", "C"),
            line("d", "D"),
            line("b", "x"),
            line("b", "y"),
            line("d", "z"),
            line("c", "z"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_refers_to_no_entry_is_refused() {
        for (section, violation) in [
            (&b"\x01\x00"[..], Violation::RequiredInsertCount),
            (b"\xff\x80\x01\x00", Violation::RequiredInsertCount),
            (b"\x00\x80", Violation::NegativeBase),
            (b"\x00\x00\x80", Violation::DynamicReference),
            (b"\x00\x01\x80", Violation::DynamicReference),
            (b"\x00\x00\x40\x01a", Violation::DynamicReference),
            (b"\x00\x00\x10", Violation::DynamicReference),
            (b"\x00\x00\x00\x01a", Violation::DynamicReference),
        ] {
            assert_eq!(lines(section), Err(violation), "{section:x?}");
        }
        let table = table(4);
        for (section, violation) in [
            (&b"\x06\x00"[..], Violation::RequiredInsertCount),
            (b"\x05\x84", Violation::NegativeBase),
            (b"\x05\x00\x83", Violation::DynamicReference),
            (b"\x05\x00\x84", Violation::DynamicReference),
            (b"\x05\x00\x10", Violation::DynamicReference),
            // It is there, but the section said not to need it.
            (b"\x04\x00\x10", Violation::DynamicReference),
            (
                b"\x05\x00\x1f\xf0\xff\xff\xff\xff\xff\xff\xff\x3f",
                Violation::DynamicReference,
            ),
        ] {
            assert_eq!(
                lines_with(section, Some(&table)),
                Err(violation),
                "{section:x?}"
            );
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
