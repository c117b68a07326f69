//! The dynamic table that the client fills (RFC 9204, section 3.2).

use std::collections::VecDeque;

use bytes::Bytes;

use super::static_table::Entry;

/// What the client has inserted and not evicted, at most [`MAX_CAPACITY`] bytes as RFC 9204, section
/// 3.2.1 counts them, which is 128 entries at most.
///
/// An evicted value lives on while a request has it, as a part of the section that the request is held to.
#[derive(Debug, Default)]
pub(in crate::http3) struct Table {
    capacity: usize,
    size: usize,
    inserted: u64,
    /// The oldest first.
    entries: VecDeque<Inserted>,
}

/// An entry that the client inserted.
#[derive(Clone, Debug)]
pub(in crate::http3) struct Inserted {
    pub(super) name: Name,
    pub(super) value: Bytes,
}

/// Where the name of an entry came from.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Known(&'static Entry),
    Literal(Bytes),
}

/// An entry is larger than the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversized;

impl Name {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Known(entry) => entry.name.as_bytes(),
            Self::Literal(name) => name,
        }
    }
}

impl Inserted {
    fn size(&self) -> usize {
        self.name.as_bytes().len() + self.value.len() + ENTRY_OVERHEAD
    }
}

impl Table {
    /// Sets the capacity and evicts what no longer fits (RFC 9204, section 3.2.3).
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.evict(capacity);
    }

    /// Inserts an entry behind evicting what it takes the place of (RFC 9204, section 3.2.2).
    pub(super) fn insert(&mut self, name: Name, value: Bytes) -> Result<(), Oversized> {
        let entry = Inserted { name, value };
        let size = entry.size();
        let left = self.capacity.checked_sub(size).ok_or(Oversized)?;
        self.evict(left);
        self.size += size;
        self.inserted += 1;
        self.entries.push_back(entry);
        Ok(())
    }

    /// The entry with this absolute index, unless it was evicted or never inserted (RFC 9204, section
    /// 3.2.4).
    pub(super) fn get(&self, index: u64) -> Option<&Inserted> {
        let back = self.inserted.checked_sub(index)?;
        let back = usize::try_from(back).ok()?;
        self.entries.get(self.entries.len().checked_sub(back)?)
    }

    /// The entry with this index relative to the newest one (RFC 9204, section 3.2.5).
    pub(super) fn newest(&self, index: u64) -> Option<&Inserted> {
        self.get(self.inserted.checked_sub(index)?.checked_sub(1)?)
    }

    /// The longest name and value together that an entry may have.
    pub(super) fn longest(&self) -> Option<usize> {
        self.capacity.checked_sub(ENTRY_OVERHEAD)
    }

    pub(in crate::http3) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many entries were ever inserted.
    pub(in crate::http3) fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Decodes a Required Insert Count (RFC 9204, section 4.5.1.1). None if no encoder that knows what
    /// was inserted encodes it so, or if it asks for more than that.
    pub(super) fn required(&self, encoded: u64) -> Option<u64> {
        if encoded == 0 {
            return Some(0);
        }
        if encoded > FULL_RANGE {
            return None;
        }
        let most = self.inserted + MAX_ENTRIES;
        let wrapped = most / FULL_RANGE * FULL_RANGE;
        let mut required = wrapped + encoded - 1;
        if required > most {
            required = required.checked_sub(FULL_RANGE)?;
        }
        (1..=self.inserted).contains(&required).then_some(required)
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.size -= oldest.size();
        }
    }
}

/// What the gateway's SETTINGS allow the client.
pub(in crate::http3) const MAX_CAPACITY: usize = 4096;
/// RFC 9204, section 3.2.1.
const ENTRY_OVERHEAD: usize = 32;
const MAX_ENTRIES: u64 = (MAX_CAPACITY / ENTRY_OVERHEAD) as u64;
const FULL_RANGE: u64 = 2 * MAX_ENTRIES;

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(name: &'static str) -> Name {
        Name::Literal(Bytes::from_static(name.as_bytes()))
    }

    fn table(inserted: u64) -> Table {
        let mut table = Table::default();
        table.set_capacity(MAX_CAPACITY);
        for _ in 0..inserted {
            table.insert(literal(""), Bytes::new()).unwrap();
        }
        table
    }

    #[test]
    fn the_oldest_entries_make_room_and_what_is_larger_than_the_table_does_not_fit() {
        let mut table = Table::default();
        assert_eq!(table.longest(), None);
        assert_eq!(table.insert(literal(""), Bytes::new()), Err(Oversized));
        table.set_capacity(3 * 34);
        for name in ["a", "b", "c", "d"] {
            table
                .insert(literal(name), Bytes::from_static(b"x"))
                .unwrap();
        }
        let name = |table: &Table, index| {
            let entry = table.get(index)?;
            String::from_utf8(entry.name.as_bytes().to_vec()).ok()
        };
        assert_eq!(name(&table, 0), None, "evicted");
        assert_eq!(name(&table, 1).as_deref(), Some("b"));
        assert_eq!(name(&table, 3).as_deref(), Some("d"));
        assert_eq!(name(&table, 4), None, "not inserted");
        assert_eq!(name(&table, u64::MAX), None);
        assert!(table.newest(2).is_some() && table.newest(3).is_none());
        table.set_capacity(34);
        assert_eq!((name(&table, 2), table.size), (None, 34));
        let large = Bytes::from_static(b"xx");
        assert_eq!(table.insert(literal("e"), large), Err(Oversized));
        assert_eq!(name(&table, 3).as_deref(), Some("d"), "nothing was evicted");
        table.set_capacity(0);
        assert_eq!((table.entries.len(), table.inserted()), (0, 4));
    }

    /// As the encoder does it: RFC 9204, section 4.5.1.1.
    #[test]
    fn a_required_insert_count_survives_its_wrapping() {
        for inserted in [1, 2, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1000] {
            let table = table(inserted);
            for required in inserted.saturating_sub(127).max(1)..=inserted {
                let encoded = required % FULL_RANGE + 1;
                assert_eq!(table.required(encoded), Some(required), "{inserted}");
            }
            let future = (inserted + 1) % FULL_RANGE + 1;
            assert_eq!(table.required(future), None, "{inserted}");
            assert_eq!(table.required(0), Some(0));
            assert_eq!(table.required(FULL_RANGE + 1), None);
        }
        assert!((1..=FULL_RANGE).all(|encoded| table(0).required(encoded).is_none()));
    }
}
