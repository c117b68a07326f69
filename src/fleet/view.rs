use super::{InstanceId, NodeId, server_id, split_server_id};
use crate::cid::ServerId;

/// What this process believes of the fleet: an immutable snapshot that steering reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    own: Identity,
    siblings: Vec<InstanceId>,
    peers: Vec<PeerView>,
}

/// How this process is named in the connection IDs that it issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The default profile: the server ID is the node's ID and the process's instance.
    Node(NodeId, InstanceId),
    /// A server ID given from outside, such as by a load balancer; it has no parts.
    Opaque(ServerId),
}

/// What this process believes of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The peer.
    pub node: NodeId,
    /// Whether it lives.
    pub state: PeerState,
    /// Whether it takes new connections from a node that drains: it lives steadily and does not drain
    /// itself.
    pub welcomes: bool,
}

/// Whether a peer lives, as far as this process can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It was heard within the detection time, or there was no time yet to hear it.
    Live,
    /// It was not heard, but no majority of the members says the same, so it may live behind a broken
    /// link.
    Silent,
    /// Neither this node nor a majority of the members hears it.
    Dead,
}

/// Who issued a connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Own,
    /// Another process of this node, which lives.
    Sibling(InstanceId),
    /// Another process of this node, which is gone.
    GoneInstance(InstanceId),
    /// A node that lives.
    Peer(NodeId),
    /// A node that this one does not hear and that may live.
    SilentPeer(NodeId),
    /// A node that is dead.
    DeadPeer(NodeId),
    /// No node of this view; it may have joined a moment ago.
    Unknown,
}

impl View {
    /// Collects a view; this node's own ID among the peers is left out, and of two views of one peer
    /// the first stays.
    pub fn new(own: Identity, peers: impl IntoIterator<Item = PeerView>) -> Self {
        let mut peers: Vec<_> = peers
            .into_iter()
            .filter(|peer| own.node() != Some(peer.node))
            .collect();
        peers.sort_by_key(|peer| peer.node);
        peers.dedup_by_key(|peer| peer.node);
        Self {
            own,
            siblings: Vec::new(),
            peers,
        }
    }

    /// Adds the other live processes of this node, in place of any that were known.
    #[must_use]
    pub fn with_siblings(mut self, siblings: impl IntoIterator<Item = InstanceId>) -> Self {
        self.siblings = siblings.into_iter().collect();
        self.siblings.sort_unstable();
        self.siblings.dedup();
        self
    }

    /// How this process is named.
    pub fn own(&self) -> Identity {
        self.own
    }

    /// The other nodes, in ascending order.
    pub fn peers(&self) -> &[PeerView] {
        &self.peers
    }

    /// The other live processes of this node, in ascending order.
    pub fn siblings(&self) -> &[InstanceId] {
        &self.siblings
    }

    /// Whether a peer is known and lives.
    pub fn is_live(&self, node: NodeId) -> bool {
        self.peer(node)
            .is_some_and(|peer| peer.state == PeerState::Live)
    }

    /// Whether a peer takes new connections.
    pub fn welcomes(&self, node: NodeId) -> bool {
        self.peer(node).is_some_and(|peer| peer.welcomes)
    }

    /// Finds who issued connection IDs with this server ID.
    pub fn owner(&self, id: &ServerId) -> Owner {
        let (own_node, own_instance) = match self.own {
            Identity::Opaque(own) if own == *id => return Owner::Own,
            Identity::Opaque(_) => return Owner::Unknown,
            Identity::Node(node, instance) => (node, instance),
        };
        match split_server_id(id) {
            Some((node, instance)) if node == own_node => {
                if instance == own_instance {
                    Owner::Own
                } else if self.siblings.binary_search(&instance).is_ok() {
                    Owner::Sibling(instance)
                } else {
                    Owner::GoneInstance(instance)
                }
            }
            Some((node, _)) => match self.peer(node).map(|peer| peer.state) {
                Some(PeerState::Live) => Owner::Peer(node),
                Some(PeerState::Silent) => Owner::SilentPeer(node),
                Some(PeerState::Dead) => Owner::DeadPeer(node),
                None => Owner::Unknown,
            },
            None => Owner::Unknown,
        }
    }

    /// Chooses who takes a new connection that this node hands over while it drains: by rendezvous
    /// hashing over the peers that welcome one, so that nodes with the same view choose the same peer
    /// and one that goes moves only its own share.
    pub fn successor(&self, cid: &[u8]) -> Option<NodeId> {
        self.peers
            .iter()
            .filter(|peer| peer.welcomes)
            .max_by_key(|peer| (weight(cid, peer.node), peer.node))
            .map(|peer| peer.node)
    }

    fn peer(&self, node: NodeId) -> Option<&PeerView> {
        let found = self.peers.binary_search_by_key(&node, |peer| peer.node);
        found.ok().map(|at| &self.peers[at])
    }
}

impl PeerView {
    /// A peer that lives and takes new connections.
    pub fn live(node: NodeId) -> Self {
        Self {
            node,
            state: PeerState::Live,
            welcomes: true,
        }
    }
}

impl Identity {
    /// The server ID that stands in this process's connection IDs.
    pub fn server_id(self) -> ServerId {
        match self {
            Self::Node(node, instance) => server_id(node, instance),
            Self::Opaque(id) => id,
        }
    }

    /// The node's ID, where the server ID carries one.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(node, _) => Some(node),
            Self::Opaque(_) => None,
        }
    }
}

/// FNV-1a over the connection ID and the node, and a finalizer so that every bit counts.
fn weight(cid: &[u8], node: NodeId) -> u64 {
    let node = node.to_bytes();
    let hash = cid.iter().chain(&node).fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    });
    let hash = (hash ^ hash >> 32).wrapping_mul(FINALIZER);
    hash ^ hash >> 29
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
const FINALIZER: u64 = 0xd6e8_feb8_6659_fd93;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn view(peers: impl IntoIterator<Item = u32>) -> View {
        let own = Identity::Node(node(0), InstanceId(1));
        View::new(own, peers.into_iter().map(|id| PeerView::live(node(id))))
    }

    #[test]
    fn a_server_id_leads_to_its_process_and_its_state() {
        let mut peers = [1, 2, 3].map(|id| PeerView::live(node(id)));
        peers[1].state = PeerState::Silent;
        peers[2].state = PeerState::Dead;
        let own = Identity::Node(node(0), InstanceId(1));
        let view = View::new(own, peers).with_siblings([InstanceId(9)]);
        let owner = |id, instance| view.owner(&server_id(node(id), InstanceId(instance)));
        assert_eq!(owner(0, 1), Owner::Own);
        assert_eq!(owner(0, 9), Owner::Sibling(InstanceId(9)));
        assert_eq!(owner(0, 8), Owner::GoneInstance(InstanceId(8)));
        assert_eq!(owner(1, 8), Owner::Peer(node(1)));
        assert_eq!(owner(2, 8), Owner::SilentPeer(node(2)));
        assert_eq!(owner(3, 8), Owner::DeadPeer(node(3)));
        assert_eq!(owner(4, 8), Owner::Unknown);
    }

    #[test]
    fn a_peer_that_goes_moves_only_its_own_share() {
        let (all, fewer) = (view([1, 2, 3, 4]), view([1, 2, 4]));
        let mut share = [0; 5];
        for cid in 0..4000_u32 {
            let cid = cid.to_be_bytes();
            let before = all.successor(&cid).unwrap();
            share[before.get() as usize] += 1;
            if before != node(3) {
                assert_eq!(fewer.successor(&cid), Some(before));
            }
        }
        assert!(
            share[1..].iter().all(|count| (850..1150).contains(count)),
            "{share:?}"
        );
    }

    #[test]
    fn nobody_takes_over_where_nobody_welcomes() {
        let mut peer = PeerView::live(node(1));
        peer.welcomes = false;
        let own = Identity::Node(node(0), InstanceId(1));
        assert_eq!(View::new(own, [peer]).successor(&[1; 8]), None);
    }
}
