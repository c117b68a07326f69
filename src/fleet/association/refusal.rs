use crate::wire::EnvelopeError;

/// Why a tunnel datagram was refused. Each is counted under its [`Refusal::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not have the form of a tunnel datagram.
    #[error(transparent)]
    Form(#[from] EnvelopeError),
    /// The sender is not a member.
    #[error("the sender is not a member of the fleet")]
    UnknownNode,
    /// The sender uses this node's own ID.
    #[error("the sender uses this node's own ID")]
    OwnNode,
    /// The sender uses an epoch of the fleet key that is not in this node's keyring.
    #[error("the sender uses another epoch of the fleet key")]
    Epoch,
    /// The tag does not verify: another key, or a forgery.
    #[error("the tag does not verify")]
    Tag,
    /// The sender's boot is not confirmed yet.
    #[error("the sender's boot is not confirmed")]
    Unconfirmed,
    /// The boot gave way to a later one of the same node.
    #[error("the boot gave way to a later one")]
    Replaced,
    /// The counter was used before or is too old.
    #[error("the datagram was seen before or is too old")]
    Replayed,
}

impl Refusal {
    /// The word under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Form(EnvelopeError::Length) => "length",
            Self::Form(EnvelopeError::Version) => "version",
            Self::Form(EnvelopeError::Kind) => "kind",
            Self::UnknownNode => "unknown_node",
            Self::OwnNode => "own_node",
            Self::Epoch => "epoch",
            Self::Tag => "tag",
            Self::Unconfirmed => "unconfirmed",
            Self::Replaced => "replaced",
            Self::Replayed => "replayed",
        }
    }
}
