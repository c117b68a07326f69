use crate::testbed::Counts;

/// What the relay and one node say about the same datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeBooks {
    /// Datagrams that the node counted on its service address.
    pub(super) received: u64,
    /// Datagrams that it sent through its tunnel.
    pub(super) forwarded: u64,
    /// Datagrams that it would have sent, had the tunnel taken them.
    pub(super) tunnel_dropped: u64,
    /// Changes of a client's address that it counted.
    pub(super) path_changes: u64,
    /// Datagrams that the kernel dropped at the service address before the node saw them.
    pub(super) kernel_dropped: u64,
}

/// Where the relay's counts and those of the nodes cannot both be true.
///
/// What the relay handed to a node, the node received or the kernel dropped: this is exact, because
/// the relay sends datagrams one by one. What it handed to a node that is not the owner, that node
/// forwarded, unless the tunnel or the kernel dropped it; of the kernel's drops nobody knows whose
/// they were, so they are the margin.
pub(super) fn disagreements(counts: &Counts, nodes: &[NodeBooks], connections: u64) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let (delivered, foreign) = (counts.delivered[index], counts.foreign[index]);
        let seen = node.received + node.kernel_dropped;
        if delivered != seen {
            found.push(format!(
                "node {index}: the relay delivered {delivered} datagrams, the node received {} \
                 and the kernel dropped {}",
                node.received, node.kernel_dropped
            ));
        }
        let forwarded = node.forwarded + node.tunnel_dropped;
        if forwarded > foreign || forwarded + node.kernel_dropped < foreign {
            found.push(format!(
                "node {index}: the relay delivered {foreign} datagrams of the other node's \
                 connections, the node forwarded {forwarded}"
            ));
        }
    }
    let changes: u64 = nodes.iter().map(|node| node.path_changes).sum();
    let most = (counts.rebinds + counts.addresses) * connections;
    // The nodes look ten times a second, so one change can hide the one before it; that more than
    // half of them do would mean that moves are not seen.
    if changes > most || changes * 2 < most {
        found.push(format!(
            "the nodes counted {changes} path changes where {most} were made"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Counts {
            delivered: vec![100, 50],
            foreign: vec![10, 20],
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
        books[0].tunnel_dropped += 1;
        assert_eq!(disagreements(&counts(), &books, 2), [""; 0]);
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
