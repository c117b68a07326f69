//! Who really hears whom.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wayhold::fleet::NodeId;

/// When each node last heard each other, and since when without a gap.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    members: Vec<NodeId>,
    runs: BTreeMap<(NodeId, NodeId), (Instant, Instant)>,
}

impl Hearing {
    pub(crate) fn set_members(&mut self, members: Vec<NodeId>) {
        self.members = members;
    }

    pub(crate) fn heard(&mut self, now: Instant, by: NodeId, sender: NodeId) {
        let (since, last) = self.runs.entry((by, sender)).or_insert((now, now));
        if now.duration_since(*last) > GAP {
            *since = now;
        }
        *last = now;
    }

    /// Whether more than half of the members, the node among them, have heard it for so long that
    /// nobody can believe anything else.
    pub(crate) fn by_majority(&self, now: Instant, node: NodeId) -> bool {
        let others = self.members.iter().filter(|other| **other != node);
        let hearing = others
            .filter(|other| self.steadily(now, **other, node) && self.steadily(now, node, **other));
        2 * (1 + hearing.count()) > self.members.len()
    }

    fn steadily(&self, now: Instant, by: NodeId, sender: NodeId) -> bool {
        self.runs.get(&(by, sender)).is_some_and(|(since, last)| {
            now.duration_since(*last) <= GAP && now.duration_since(*since) >= STEADY
        })
    }
}

/// Longer than two intervals of heartbeats, shorter than the detection time.
const GAP: Duration = Duration::from_millis(600);
/// Longer than it takes until a wrong belief that was right before is told to everybody and outdated.
const STEADY: Duration = Duration::from_millis(2500);
