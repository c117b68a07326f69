/// Why a datagram was dropped. Each is counted under its [`DropReason::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Too short for its header or for any packet.
    NotQuic,
    /// A short header whose connection ID no known configuration decodes.
    UndecodableCid,
    /// A handshake packet of a process or node that is gone.
    OwnerGone,
    /// Its owner is not heard, and may live.
    OwnerSilent,
    /// Its server ID is of no node in the view.
    UnknownOwner,
    /// It was passed on once and belongs elsewhere: the hop limit is 1.
    HopLimit,
    /// A version negotiation or Retry packet, which only servers send.
    ServerPacket,
    /// A version that is not spoken, in a datagram too short to be answered.
    UnknownVersion,
    /// A Handshake packet with a connection ID that the client chose.
    NoOwner,
    /// Its owner is gone and the allowance of resets is used up.
    ResetLimit,
    /// Its owner is gone and it is too short to be answered with a reset.
    ResetTooShort,
    /// A new connection at a draining node, whose allowance of those that peers take is used up.
    HandOverLimit,
}

impl DropReason {
    /// Every reason, for metrics that show a zero before the first drop.
    pub const ALL: [Self; 12] = [
        Self::NotQuic,
        Self::UndecodableCid,
        Self::OwnerGone,
        Self::OwnerSilent,
        Self::UnknownOwner,
        Self::HopLimit,
        Self::ServerPacket,
        Self::UnknownVersion,
        Self::NoOwner,
        Self::ResetLimit,
        Self::ResetTooShort,
        Self::HandOverLimit,
    ];

    /// The word under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotQuic => "not_quic",
            Self::UndecodableCid => "undecodable_cid",
            Self::OwnerGone => "owner_gone",
            Self::OwnerSilent => "owner_silent",
            Self::UnknownOwner => "unknown_owner",
            Self::HopLimit => "hop_limit",
            Self::ServerPacket => "server_packet",
            Self::UnknownVersion => "unknown_version",
            Self::NoOwner => "no_owner",
            Self::ResetLimit => "reset_limit",
            Self::ResetTooShort => "reset_too_short",
            Self::HandOverLimit => "hand_over_limit",
        }
    }
}
