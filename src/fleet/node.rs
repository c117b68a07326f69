use std::fmt;

/// A node of the fleet: 24 bits, unique among the members.
///
/// It is the first three bytes of the server ID in every connection ID that the node issues under
/// the default profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The largest ID.
    pub const MAX: u32 = 0x00ff_ffff;

    /// Checks that the ID fits into 24 bits.
    pub fn new(id: u32) -> Result<Self, NodeIdError> {
        if id > Self::MAX {
            Err(NodeIdError(id))
        } else {
            Ok(Self(id))
        }
    }

    /// The ID as a number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The ID in network byte order.
    pub fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    /// Reads what [`NodeId::to_bytes`] wrote.
    pub fn from_bytes([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is too large for a [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node ID {0} is larger than {max}", max = NodeId::MAX)]
pub struct NodeIdError(pub u32);

/// One process of a node: the last byte of the default profile's server ID.
///
/// A node that starts again, or a second process during an upgrade, has another instance, so its
/// connection IDs never lead to a process that does not know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u8);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
