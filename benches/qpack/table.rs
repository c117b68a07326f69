//! An encoder with a dynamic table (RFC 9204, section 3.2), as far as it counts bytes.

use std::collections::VecDeque;

use super::Fields;

/// The table, and what was sent so far.
#[derive(Debug)]
pub(crate) struct Encoder {
    entries: VecDeque<Entry>,
    size: usize,
    messages: usize,
    /// How many messages later an entry may be referred to.
    in_flight: usize,
}

#[derive(Debug)]
struct Entry {
    name: String,
    value: String,
    /// The message that brought it.
    message: usize,
}

/// What one message took.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Of its section, of the encoder stream, and of the peer's acknowledgment.
    pub(crate) bytes: usize,
    /// Which lines were in a table.
    pub(crate) known: Vec<bool>,
}

impl Encoder {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            messages: 0,
            in_flight,
        }
    }

    /// The bytes of a section without a table.
    pub(crate) fn plain(fields: &Fields) -> usize {
        PREFIX
            + fields
                .iter()
                .map(|(name, value)| line(name, value))
                .sum::<usize>()
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, fields: &Fields) -> Sent {
        self.messages += 1;
        let mut sent = Sent {
            bytes: PREFIX,
            ..Sent::default()
        };
        let mut references = false;
        for (name, value) in fields {
            let plain = line(name, value);
            // One byte or two are an entry of the static table.
            let mut known = plain <= 2;
            sent.bytes += match self.find(name, value) {
                _ if known => plain,
                Some(index) => {
                    (known, references) = (true, true);
                    index
                }
                None if VARYING.contains(&name.as_str()) || self.has(name, value) => plain,
                None => {
                    self.insert(name, value);
                    // An insertion takes what a literal line does. Where nothing waits, the line is
                    // referred to at once, and else it is sent as a literal as well.
                    references |= self.in_flight == 0;
                    plain + if self.in_flight == 0 { 1 } else { plain }
                }
            };
            sent.known.push(known);
        }
        if references {
            // The required insert count takes another byte at most, and so does the acknowledgment.
            sent.bytes += 2;
        }
        sent
    }

    /// The bytes of a reference to an entry that may be referred to.
    fn find(&self, name: &str, value: &str) -> Option<usize> {
        let usable = |entry: &&Entry| entry.message + self.in_flight <= self.messages;
        let mut newest = self.entries.iter().rev().enumerate();
        let (index, _) = newest
            .find(|(_, entry)| entry.name == name && entry.value == value && usable(entry))?;
        Some(if index < 63 { 1 } else { 2 })
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.name == name && entry.value == value)
    }

    fn insert(&mut self, name: &str, value: &str) {
        let size = |name: &str, value: &str| name.len() + value.len() + 32;
        self.size += size(name, value);
        while self.size > CAPACITY {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.size -= size(&oldest.name, &oldest.value);
        }
        self.entries.push_back(Entry {
            name: name.to_owned(),
            value: value.to_owned(),
            message: self.messages,
        });
    }
}

/// The bytes of one line with the static table and the Huffman code, by another implementation.
fn line(name: &str, value: &str) -> usize {
    let mut out = Vec::new();
    let field = ::qpack::HeaderField::new(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    ::qpack::encode_stateless(&mut out, [field]).expect("it encodes anything");
    out.len() - PREFIX
}

/// What is different in each message and would only drive other entries out; other encoders have such a
/// list as well.
const VARYING: &[&str] = &[
    ":path",
    "content-length",
    "etag",
    "last-modified",
    "set-cookie",
    "x-request-id",
    "idempotency-key",
    "traceparent",
    "x-runtime",
    "x-ratelimit-remaining",
];
const CAPACITY: usize = 4096;
/// A required insert count and a base.
const PREFIX: usize = 2;
