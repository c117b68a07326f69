use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::fleet::NodeId;
use crate::wire::MAX_CID_LEN;

/// Where the first packets of new connections went, so that what follows under the same client-chosen
/// connection ID goes there too. The only state that is kept for a flow.
///
/// An entry lasts [`EarlyTable::LIFETIME`]. At [`EarlyTable::CAPACITY`] entries no further one is made
/// until the oldest ends, and [`EarlyTable::take_refused`] counts those that were not.
#[derive(Debug, Default)]
pub struct EarlyTable {
    places: BTreeMap<EarlyKey, (Place, Instant)>,
    ends: VecDeque<(Instant, EarlyKey)>,
    refused: u64,
}

/// A flow before its client knows a connection ID of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EarlyKey {
    cid: [u8; MAX_CID_LEN],
    len: u8,
    source: SocketAddr,
}

/// Who takes a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This process.
    Here,
    /// A peer.
    Node(NodeId),
}

impl EarlyKey {
    /// Names a flow; `None` if the connection ID is longer than 20 bytes, which QUIC version 1 has not.
    pub fn new(cid: &[u8], source: SocketAddr) -> Option<Self> {
        let mut bytes = [0; MAX_CID_LEN];
        bytes.get_mut(..cid.len())?.copy_from_slice(cid);
        let len = u8::try_from(cid.len()).ok()?;
        Some(Self {
            cid: bytes,
            len,
            source,
        })
    }
}

impl EarlyTable {
    /// How long an entry lasts: longer than a handshake may take by default.
    pub const LIFETIME: Duration = Duration::from_secs(10);
    /// The most entries: about 8 MiB.
    pub const CAPACITY: usize = 65_536;

    /// Where this flow went.
    pub fn get(&self, now: Instant, key: &EarlyKey) -> Option<Place> {
        let (place, end) = self.places.get(key)?;
        (now < *end).then_some(*place)
    }

    /// Remembers where a flow goes, in place of what was known of it.
    pub fn insert(&mut self, now: Instant, key: EarlyKey, place: Place) {
        self.expire(now);
        if self.ends.len() >= Self::CAPACITY {
            self.refused += 1;
            return;
        }
        let end = now + Self::LIFETIME;
        self.places.insert(key, (place, end));
        self.ends.push_back((end, key));
    }

    /// Entries held now, ended ones included until the next [`EarlyTable::insert`].
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Gives how many entries were not made because the table was full, since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((end, key)) = self.ends.front().copied() {
            if now < end {
                return;
            }
            self.ends.pop_front();
            // An entry that was made anew has a later end of its own.
            if self
                .places
                .get(&key)
                .is_some_and(|(_, newest)| *newest <= now)
            {
                self.places.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::start;

    fn key(number: u32) -> EarlyKey {
        let source = SocketAddr::from(([192, 0, 2, 1], 1000));
        EarlyKey::new(&number.to_be_bytes(), source).unwrap()
    }

    #[test]
    fn a_flow_is_known_for_its_lifetime_and_no_longer() {
        let start = start();
        let mut table = EarlyTable::default();
        table.insert(start, key(1), Place::Here);
        let end = start + EarlyTable::LIFETIME;
        assert_eq!(
            table.get(start + EarlyTable::LIFETIME / 2, &key(1)),
            Some(Place::Here)
        );
        assert_eq!(table.get(end, &key(1)), None);
        assert_eq!(table.get(start, &key(2)), None);
    }

    #[test]
    fn another_source_is_another_flow() {
        let mut table = EarlyTable::default();
        let now = start();
        table.insert(now, key(1), Place::Here);
        let other = SocketAddr::from(([192, 0, 2, 1], 1001));
        let other = EarlyKey::new(&1_u32.to_be_bytes(), other).unwrap();
        assert_eq!(table.get(now, &other), None);
    }

    #[test]
    fn a_flood_fills_the_table_and_no_more_until_entries_end() {
        let start = start();
        let mut table = EarlyTable::default();
        let capacity = u32::try_from(EarlyTable::CAPACITY).unwrap();
        for number in 0..capacity + 10 {
            table.insert(start, key(number), Place::Here);
        }
        assert_eq!(
            (table.len(), table.take_refused()),
            (EarlyTable::CAPACITY, 10)
        );
        table.insert(
            start + EarlyTable::LIFETIME,
            key(capacity + 10),
            Place::Here,
        );
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_entry_made_anew_outlasts_its_first_end() {
        let start = start();
        let mut table = EarlyTable::default();
        table.insert(start, key(1), Place::Here);
        let later = start + EarlyTable::LIFETIME / 2;
        let node = NodeId::new(4).unwrap();
        table.insert(later, key(1), Place::Node(node));
        let first_end = start + EarlyTable::LIFETIME;
        table.insert(first_end, key(2), Place::Here);
        assert_eq!(table.get(first_end, &key(1)), Some(Place::Node(node)));
    }
}
