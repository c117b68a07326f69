//! Defects that are planted on purpose, each of which the checker must find.

/// A mistake in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Endpoints take every connection ID for their own.
    LaxValidate,
    /// What came out of a tunnel is forwarded like anything else.
    NoHopLimit,
    /// The reset tokens of all processes come from one key.
    SharedResetKey,
    /// An envelope that was there before is taken again.
    NoReplayWindow,
    /// A peer that this node does not hear is dead.
    MajorityIgnored,
    /// Where first packets went is forgotten at once.
    NoEarlyTable,
    /// A process that starts again has the boot ID of the one before, so its counters repeat.
    CountersReused,
    /// Connection IDs are minted by another hash than they are steered by.
    WrongWorkerHash,
}

impl Defect {
    pub(crate) const ALL: [Self; 8] = [
        Self::LaxValidate,
        Self::NoHopLimit,
        Self::SharedResetKey,
        Self::NoReplayWindow,
        Self::MajorityIgnored,
        Self::NoEarlyTable,
        Self::CountersReused,
        Self::WrongWorkerHash,
    ];
}
