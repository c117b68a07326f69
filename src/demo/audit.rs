use std::ops::Add;

use crate::testbed::Counts;

/// What the relay and one node say about the same datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeBooks {
    /// Datagrams that the node counted on its service address.
    pub(super) received: u64,
    /// Datagrams that it sent through its tunnel.
    pub(super) forwarded: u64,
    /// Datagrams of other nodes' connections that it answered with a reset or dropped.
    pub(super) unforwarded: u64,
    /// Of those, and of its own connections that are gone, datagrams answered with a reset.
    pub(super) resets: u64,
    /// Changes of a client's address that it counted.
    pub(super) path_changes: u64,
    /// Datagrams that the kernel dropped at the service address before the node saw them.
    pub(super) kernel_dropped: u64,
    /// QUIC connections that are open.
    pub(super) connections: u64,
    /// Datagrams that may be missing above: they reached a process after it was asked for the last
    /// time.
    pub(super) unread: u64,
    /// Path changes that may be missing in the same way.
    pub(super) unread_changes: u64,
}

impl NodeBooks {
    /// Reads a page of metrics.
    pub(super) fn read(page: &str) -> Self {
        let sum = |series: &str| {
            let of_line = |line: &str| {
                let (name, value) = line.rsplit_once(' ')?;
                let counts = name.strip_prefix("wayhold_")?.starts_with(series);
                counts.then(|| value.parse::<u64>().ok())?
            };
            page.lines().filter_map(of_line).sum()
        };
        let resets = sum("resets_total");
        let dropped = |reason| sum(&format!("datagrams_dropped_total{{reason=\"{reason}\"}}"));
        Self {
            received: sum("datagrams_received_total"),
            forwarded: sum("datagrams_forwarded_total"),
            unforwarded: NOT_FORWARDED.into_iter().map(dropped).sum::<u64>() + resets,
            resets,
            path_changes: sum("path_changes_total"),
            connections: sum("connections{transport=\"quic\"}"),
            ..Self::default()
        }
    }

    /// Datagrams that are known to have arrived.
    pub(super) fn seen(&self) -> u64 {
        self.received + self.kernel_dropped
    }
}

/// Two processes of one node, one after the other.
impl Add for NodeBooks {
    type Output = Self;

    fn add(self, later: Self) -> Self {
        Self {
            received: self.received + later.received,
            forwarded: self.forwarded + later.forwarded,
            unforwarded: self.unforwarded + later.unforwarded,
            resets: self.resets + later.resets,
            path_changes: self.path_changes + later.path_changes,
            kernel_dropped: self.kernel_dropped + later.kernel_dropped,
            connections: self.connections + later.connections,
            unread: self.unread + later.unread,
            unread_changes: self.unread_changes + later.unread_changes,
        }
    }
}

/// Where the relay's counts and those of the nodes cannot both be true.
///
/// What the relay handed to a node, the node received or the kernel dropped: this is exact, because
/// the relay sends datagrams one by one and nobody else knows the nodes' address. What it handed to a node that is not the owner, that node
/// forwarded, unless the owner is dead, or the tunnel or the kernel dropped it; of the kernel's drops
/// nobody knows whose they were, so they are the margin. Of some the relay knows no owner. A process that gives way or is killed counts
/// on after it was asked for the last time: that is a margin too.
pub(super) fn disagreements(counts: &Counts, nodes: &[NodeBooks], connections: u64) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let (delivered, foreign) = (counts.delivered[index], counts.foreign[index]);
        if !(node.seen()..=node.seen() + node.unread).contains(&delivered) {
            found.push(format!(
                "node {index}: the relay delivered {delivered} datagrams, the node received {} \
                 and the kernel dropped {}; {} may have gone unread",
                node.received, node.kernel_dropped, node.unread
            ));
        }
        let forwarded = node.forwarded;
        let margin = node.unforwarded + node.kernel_dropped + node.unread;
        if forwarded > foreign + counts.unowned[index] || forwarded + margin < foreign {
            found.push(format!(
                "node {index}: the relay delivered {foreign} datagrams of other nodes' \
                 connections, the node forwarded {forwarded}; {margin} may be missing"
            ));
        }
    }
    let changes: u64 = nodes.iter().map(|node| node.path_changes).sum();
    let most = (counts.rebinds + counts.addresses) * connections;
    let unread: u64 = nodes.iter().map(|node| node.unread_changes).sum();
    // The nodes look ten times a second, so one change can hide the one before it; that more than
    // half of them do would mean that moves are not seen.
    if changes > most || changes * 2 + unread < most {
        found.push(format!(
            "the nodes counted {changes} path changes where {most} were made, {unread} of which \
             may have gone unread"
        ));
    }
    found
}

/// Why a node does not forward what is not its own, by the names in its metrics.
const NOT_FORWARDED: [&str; 10] = [
    "no_tunnel",
    "unknown_owner",
    "unknown_peer",
    "peer_unconfirmed",
    "counters_exhausted",
    "tunnel_full",
    "tunnel_error",
    "owner_silent",
    "reset_limit",
    "reset_too_short",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Counts {
            delivered: vec![100, 50],
            foreign: vec![10, 20],
            unowned: vec![0, 0],
            rebinds: 4,
            addresses: 1,
            ..Counts::default()
        }
    }

    fn books() -> [NodeBooks; 2] {
        let node = |received, forwarded, path_changes| NodeBooks {
            received,
            forwarded,
            path_changes,
            ..NodeBooks::default()
        };
        [node(100, 10, 6), node(50, 20, 4)]
    }

    #[test]
    fn books_that_match_pass() {
        assert_eq!(disagreements(&counts(), &books(), 2), [""; 0]);
    }

    #[test]
    fn what_the_kernel_dropped_was_not_received_and_maybe_not_forwarded() {
        let mut books = books();
        books[1].received -= 3;
        books[1].kernel_dropped = 3;
        assert_eq!(disagreements(&counts(), &books, 2), [""; 0]);
        books[1].forwarded -= 3;
        assert_eq!(disagreements(&counts(), &books, 2), [""; 0]);
        books[1].forwarded -= 1;
        assert_eq!(disagreements(&counts(), &books, 2).len(), 1);
    }

    #[test]
    fn one_datagram_too_many_or_too_few_is_found() {
        let changes: [fn(&mut NodeBooks); 4] = [
            |node| node.received += 1,
            |node| node.received -= 1,
            |node| node.forwarded += 1,
            |node| node.forwarded -= 1,
        ];
        for change in changes {
            let mut books = books();
            change(&mut books[0]);
            assert_eq!(disagreements(&counts(), &books, 2).len(), 1);
        }
        let mut books = books();
        books[0].forwarded -= 1;
        books[0].unforwarded += 1;
        assert_eq!(disagreements(&counts(), &books, 2), [""; 0]);
    }

    #[test]
    fn what_the_relay_knows_no_owner_of_may_have_been_forwarded() {
        let counts = Counts {
            unowned: vec![2, 0],
            ..counts()
        };
        let mut books = books();
        books[0].forwarded += 2;
        assert_eq!(disagreements(&counts, &books, 2), [""; 0]);
        books[0].forwarded += 1;
        assert_eq!(disagreements(&counts, &books, 2).len(), 1);
    }

    #[test]
    fn what_may_have_gone_unread_is_not_missed() {
        let mut books = books();
        books[0].received -= 3;
        books[0].forwarded -= 2;
        books[0].unread = 3;
        assert_eq!(disagreements(&counts(), &books, 2), [""; 0]);
        books[0].unread = 2;
        assert_eq!(disagreements(&counts(), &books, 2).len(), 1);
    }

    #[test]
    fn books_are_read_from_the_metrics() {
        let page = "# TYPE wayhold_datagrams_received counter\n\
            wayhold_datagrams_received_total 7\n\
            wayhold_datagrams_forwarded_total 6\n\
            wayhold_datagrams_dropped_total{reason=\"not_quic\"} 100\n\
            wayhold_datagrams_dropped_total{reason=\"tunnel_full\"} 5\n\
            wayhold_resets_total 4\n\
            wayhold_connections{transport=\"tcp\"} 100\n\
            wayhold_connections{transport=\"quic\"} 3\n\
            wayhold_path_changes_total{kind=\"port\"} 2\n\
            wayhold_path_changes_total{kind=\"address\"} 1\n";
        let expected = NodeBooks {
            received: 7,
            forwarded: 6,
            unforwarded: 9,
            resets: 4,
            path_changes: 3,
            connections: 3,
            ..NodeBooks::default()
        };
        assert_eq!(NodeBooks::read(page), expected);
    }

    #[test]
    fn path_changes_are_bounded_on_both_sides() {
        for (changes, problems) in [(0, 1), (4, 1), (5, 0), (10, 0), (11, 1)] {
            let mut books = books();
            books[0].path_changes = changes;
            books[1].path_changes = 0;
            assert_eq!(disagreements(&counts(), &books, 2).len(), problems);
        }
    }
}
