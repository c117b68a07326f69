//! The client's encoder stream (RFC 9204, section 4.3).

use bytes::Bytes;

use super::static_table;
use super::table::{MAX_CAPACITY, Name, Table};
use super::{huffman, integer};
use crate::http3::{Rules, Violation};

/// Reads the instructions that fill the table.
///
/// It holds the part of one instruction that has come, and no more than an instruction may have whose
/// entry fits into the table: a length is judged before what it announces comes. That is 15 KiB if its
/// strings are made of the rarest characters, each of which has 30 bits, and else the capacity of the table.
#[derive(Debug, Default)]
pub(in crate::http3) struct EncoderStream {
    held: Vec<u8>,
    counts: Counts,
}

/// How many instructions came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http3) struct Counts {
    /// Entries that were inserted or duplicated.
    pub(in crate::http3) insertions: u32,
    /// Everything else.
    pub(in crate::http3) others: u32,
}

/// One instruction, as it lies in the bytes that came.
#[derive(Debug)]
enum Instruction<'a> {
    Capacity(u64),
    Static(u64, Text<'a>),
    Dynamic(u64, Text<'a>),
    Literal(Text<'a>, Text<'a>),
    Duplicate(u64),
}

/// A string as it was encoded.
#[derive(Clone, Copy, Debug)]
struct Text<'a> {
    encoded: &'a [u8],
    huffman: bool,
}

impl EncoderStream {
    /// Takes instructions and carries out those that are whole.
    pub(in crate::http3) fn receive(
        &mut self,
        bytes: &[u8],
        table: &mut Table,
        rules: Rules,
    ) -> Result<(), Violation> {
        let mut held = std::mem::take(&mut self.held);
        let mut rest = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        while let Some(instruction) = take(&mut rest, table, rules)? {
            let count = match instruction {
                Instruction::Capacity(_) => &mut self.counts.others,
                _ => &mut self.counts.insertions,
            };
            *count = count.saturating_add(1);
            carry_out(&instruction, table, rules)?;
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// How many came since the last call.
    pub(in crate::http3) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

/// Takes an instruction off the front; none if it is not whole.
fn take<'a>(
    input: &mut &'a [u8],
    table: &Table,
    rules: Rules,
) -> Result<Option<Instruction<'a>>, Violation> {
    let mut rest = *input;
    let Some(&first) = rest.first() else {
        return Ok(None);
    };
    let mut room = Room {
        left: table.longest().unwrap_or(0),
        rules,
    };
    let instruction = match first {
        0x80.. => {
            let Some(index) = number(&mut rest, 6, rules)? else {
                return Ok(None);
            };
            let value = room.text(&mut rest, 7)?;
            value.map(|value| match first & 0x40 {
                0 => Instruction::Dynamic(index, value),
                _ => Instruction::Static(index, value),
            })
        }
        0x40..=0x7f => {
            let Some(name) = room.text(&mut rest, 5)? else {
                return Ok(None);
            };
            let value = room.text(&mut rest, 7)?;
            value.map(|value| Instruction::Literal(name, value))
        }
        0x20..=0x3f => number(&mut rest, 5, rules)?.map(Instruction::Capacity),
        _ => number(&mut rest, 5, rules)?.map(Instruction::Duplicate),
    };
    if instruction.is_some() {
        *input = rest;
    }
    Ok(instruction)
}

fn carry_out(
    instruction: &Instruction<'_>,
    table: &mut Table,
    rules: Rules,
) -> Result<(), Violation> {
    let (name, value) = match instruction {
        Instruction::Capacity(capacity) => {
            let capacity = usize::try_from(*capacity).unwrap_or(usize::MAX);
            if capacity > MAX_CAPACITY {
                rules.refuse(Violation::TableCapacity)?;
            }
            table.set_capacity(capacity.min(MAX_CAPACITY));
            return Ok(());
        }
        Instruction::Static(index, value) => {
            let name = static_table::get(*index).map(Name::Known);
            (name, value.decode(rules)?)
        }
        Instruction::Dynamic(index, value) => {
            let name = table.newest(*index).map(|entry| entry.name.clone());
            (name, value.decode(rules)?)
        }
        Instruction::Literal(name, value) => {
            let name = Name::Literal(name.decode(rules)?);
            (Some(name), value.decode(rules)?)
        }
        Instruction::Duplicate(index) => match table.newest(*index) {
            Some(entry) => (Some(entry.name.clone()), entry.value.clone()),
            None => (None, Bytes::new()),
        },
    };
    let Some(name) = name else {
        return rules.refuse(Violation::InstructionReference);
    };
    match table.insert(name, value) {
        Ok(()) => Ok(()),
        Err(_oversized) => rules.refuse(Violation::LargeInsertion),
    }
}

/// What the strings of an instruction may still come to.
struct Room {
    left: usize,
    rules: Rules,
}

impl Room {
    /// Takes a string whose length has a prefix of so many bits; none if it is not whole.
    fn text<'a>(
        &mut self,
        input: &mut &'a [u8],
        prefix: u32,
    ) -> Result<Option<Text<'a>>, Violation> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let huffman = first & (1 << prefix) != 0;
        let Some(length) = number(input, prefix, self.rules)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let least = if huffman {
            length / LONGEST_CODE * 8
        } else {
            length
        };
        match self.left.checked_sub(least) {
            Some(left) => self.left = left,
            None => self.rules.refuse(Violation::LargeInsertion)?,
        }
        let Some((encoded, rest)) = input.split_at_checked(length) else {
            return Ok(None);
        };
        *input = rest;
        Ok(Some(Text { encoded, huffman }))
    }
}

impl Text<'_> {
    /// Decodes into as much memory as it needs, for a part of a larger piece would keep all of it.
    fn decode(self, rules: Rules) -> Result<Bytes, Violation> {
        if !self.huffman {
            return Ok(Bytes::copy_from_slice(self.encoded));
        }
        let mut decoded = Vec::with_capacity(self.encoded.len() * 8 / SHORTEST_CODE);
        if huffman::decode(self.encoded, &mut decoded, rules).is_err() {
            rules.refuse(Violation::InstructionString)?;
        }
        Ok(Bytes::from(decoded.into_boxed_slice()))
    }
}

/// Takes an integer off the front; none if it is not whole.
fn number(input: &mut &[u8], prefix: u32, rules: Rules) -> Result<Option<u64>, Violation> {
    match integer::take(input, prefix, rules) {
        Ok(number) => Ok(Some(number)),
        Err(Violation::TruncatedSection) => Ok(None),
        Err(_) => {
            rules.refuse(Violation::InstructionInteger)?;
            let rules = rules.without(Violation::LargeInteger);
            Ok(integer::take(input, prefix, rules).ok())
        }
    }
}

/// Bits of a character in the Huffman code (RFC 7541, appendix B). EOS has 30 as well.
const LONGEST_CODE: usize = 30;
const SHORTEST_CODE: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(table: &mut Table, bytes: &[u8]) -> Result<(), Violation> {
        EncoderStream::default().receive(bytes, table, Rules::default())
    }

    fn entry(table: &Table, index: u64) -> Option<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let entry = table.get(index)?;
        Some((text(entry.name.as_bytes()), text(&entry.value)))
    }

    fn line(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// RFC 9204, appendices B.2, B.3, B.4 and B.5.
    #[test]
    fn the_instructions_of_the_rfc_fill_the_table_wherever_they_are_cut() {
        let bytes = [
            &b"\x3f\xbd\x01\xc0\x0fwww.example.com\xc1\x0c/sample/path"[..],
            b"\x4acustom-key\x0ccustom-value",
            b"\x02",
            b"\x81\x0dcustom-value2",
        ];
        for size in [1, 2, 7, 1000] {
            let (mut table, mut stream) = (Table::default(), EncoderStream::default());
            for bytes in bytes {
                for piece in bytes.chunks(size) {
                    stream.receive(piece, &mut table, Rules::default()).unwrap();
                }
                assert!(stream.held.is_empty());
            }
            let counts = Counts {
                insertions: 5,
                others: 1,
            };
            assert_eq!((stream.take_counts(), table.capacity()), (counts, 220));
            assert_eq!(entry(&table, 0), None, "evicted");
            assert_eq!(entry(&table, 1), Some(line(":path", "/sample/path")));
            assert_eq!(entry(&table, 2), Some(line("custom-key", "custom-value")));
            assert_eq!(
                entry(&table, 3),
                Some(line(":authority", "www.example.com"))
            );
            assert_eq!(entry(&table, 4), Some(line("custom-key", "custom-value2")));
        }
    }

    #[test]
    fn a_name_of_an_entry_that_makes_room_is_still_taken() {
        let mut table = Table::default();
        receive(&mut table, b"\x3f\x04\x41a\x01b").unwrap();
        assert_eq!(table.capacity(), 35);
        receive(&mut table, b"\x80\x01c").unwrap();
        assert_eq!(
            (entry(&table, 0), entry(&table, 1)),
            (None, Some(line("a", "c")))
        );
        receive(&mut table, b"\x00").unwrap();
        assert_eq!(
            (entry(&table, 1), entry(&table, 2)),
            (None, Some(line("a", "c")))
        );
    }

    #[test]
    fn an_instruction_that_the_table_cannot_follow_is_refused() {
        let large = [&b"\x3f\x1d\x5f\x1f"[..], &[b'a'; 62]].concat();
        for (bytes, violation) in [
            (&b"\x3f\xe2\x1f"[..], Violation::TableCapacity),
            (
                b"\x3f\xe0\xff\xff\xff\xff\xff\xff\xff\x3f",
                Violation::TableCapacity,
            ),
            (
                b"\x3f\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
                Violation::InstructionInteger,
            ),
            // There is no capacity yet.
            (b"\xc0\x00", Violation::LargeInsertion),
            (b"\x40\x00", Violation::LargeInsertion),
            // A capacity of 60 has room for 28 bytes: judged by the length, by the sum, by the static name.
            (b"\x3f\x1d\x5d", Violation::LargeInsertion),
            (&large[..4], Violation::LargeInsertion),
            (b"\x3f\x1d\x44abcd\x19", Violation::LargeInsertion),
            (
                b"\x3f\x1d\xc0\x13abcdefghijklmnopqrs",
                Violation::LargeInsertion,
            ),
            (b"\x3f\x1d\x7f\x5a", Violation::LargeInsertion),
            (b"\x3f\x1d\xff\x24\x00", Violation::InstructionReference),
            (b"\x3f\x1d\x80\x00", Violation::InstructionReference),
            (b"\x3f\x1d\x00", Violation::InstructionReference),
            (b"\x3f\x1d\x41a\x00\x01", Violation::InstructionReference),
            (b"\x3f\x1d\x41a\x81\x18", Violation::InstructionString),
            (b"\x3f\x1d\x61\x18\x00", Violation::InstructionString),
        ] {
            let result = receive(&mut Table::default(), bytes);
            assert_eq!(result, Err(violation), "{bytes:x?}");
        }
    }

    /// The largest instruction that fits has 4064 characters of 30 bits.
    #[test]
    fn what_is_held_of_an_instruction_is_bounded_by_the_table() {
        let (mut table, mut stream) = (Table::default(), EncoderStream::default());
        let rules = Rules::default();
        stream.receive(b"\x3f\xe1\x1f", &mut table, rules).unwrap();
        assert_eq!(table.capacity(), MAX_CAPACITY);
        let mut value = Vec::new();
        integer::put(&mut value, 0x80, 7, 4064 * LONGEST_CODE / 8);
        for byte in [&b"\x40"[..], &value, &[0xff; 4064 * LONGEST_CODE / 8 - 1]].concat() {
            stream.receive(&[byte], &mut table, rules).unwrap();
        }
        assert!(stream.held.len() < 15 << 10 && stream.held.capacity() < 15 << 10);
        let mut over = Vec::new();
        integer::put(&mut over, 0x80, 7, 4096 * LONGEST_CODE / 8);
        let refused = receive(&mut table, &[&b"\x40"[..], &over].concat());
        assert_eq!(refused, Err(Violation::LargeInsertion));
    }
}
