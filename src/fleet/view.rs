use super::{InstanceId, NodeId, server_id, split_server_id};
use crate::cid::ServerId;

/// What this process believes of the fleet: an immutable snapshot that steering reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    own: Identity,
    peers: Vec<NodeId>,
}

/// How this process is named in the connection IDs that it issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The default profile: the server ID is the node's ID and the process's instance.
    Node(NodeId, InstanceId),
    /// A server ID given from outside, such as by a load balancer; it has no parts.
    Opaque(ServerId),
}

/// Who issued a connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Own,
    /// Another process of this node, which is gone.
    GoneInstance(InstanceId),
    /// Another node of the fleet.
    Peer(NodeId),
    /// No node of this view; it may have joined a moment ago.
    Unknown,
}

impl View {
    /// Collects a view; this node's own ID among the peers is left out.
    pub fn new(own: Identity, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let mut peers: Vec<_> = peers
            .into_iter()
            .filter(|peer| own.node() != Some(*peer))
            .collect();
        peers.sort_unstable();
        peers.dedup();
        Self { own, peers }
    }

    /// How this process is named.
    pub fn own(&self) -> Identity {
        self.own
    }

    /// The other nodes, in ascending order.
    pub fn peers(&self) -> &[NodeId] {
        &self.peers
    }

    /// Finds who issued connection IDs with this server ID.
    pub fn owner(&self, id: &ServerId) -> Owner {
        match self.own {
            Identity::Opaque(own) if own == *id => Owner::Own,
            Identity::Opaque(_) => Owner::Unknown,
            Identity::Node(own_node, own_instance) => match split_server_id(id) {
                Some((node, instance)) if node == own_node && instance == own_instance => {
                    Owner::Own
                }
                Some((node, instance)) if node == own_node => Owner::GoneInstance(instance),
                Some((node, _)) if self.peers.binary_search(&node).is_ok() => Owner::Peer(node),
                _ => Owner::Unknown,
            },
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
