use super::{Arrival, DropReason, Slot, Steer, Verdict};
use crate::cid::{Cid, ConfigId, DecodeError, ServerId};
use crate::fleet::Owner;

/// Where packets with one connection ID go, and what of it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The configuration that reads it.
    pub config: ConfigId,
    /// What it holds.
    pub server_id: ServerId,
    /// Who that is, in the view of the moment.
    pub owner: Owner,
    /// Which endpoint of this process issued it, if one did.
    pub slot: Option<Slot>,
    /// What becomes of a short-header packet of full size that arrives from a client. Where the
    /// allowance of resets is used up, a drop takes the place of a reset.
    pub verdict: Verdict,
}

impl Steer {
    /// Finds where packets with a connection ID go. Says nothing of whether such a connection exists.
    ///
    /// # Errors
    /// Why no known configuration reads it; its packets are dropped.
    pub fn locate(&self, cid: &Cid) -> Result<Location, DecodeError> {
        let decoded = self.configs.decode(cid)?;
        let owner = self.view.owner(&decoded.server_id);
        let verdict = match self.routed(cid, &decoded.server_id, Arrival::Direct) {
            Ok(verdict) => verdict,
            Err(DropReason::OwnerGone) => Verdict::Reset,
            Err(reason) => Verdict::Drop(reason),
        };
        Ok(Location {
            config: decoded.config_id,
            server_id: decoded.server_id,
            owner,
            slot: (owner == Owner::Own).then(|| self.slots.slot_of(cid)),
            verdict,
        })
    }
}

impl Location {
    /// Why the verdict is what it is, in a sentence for an operator.
    pub fn why(&self) -> &'static str {
        match self.owner {
            Owner::Own => "this process issued it",
            Owner::Sibling(_) => "another live process of this node issued it",
            Owner::GoneInstance(_) => "a process of this node issued it that is gone",
            Owner::Peer(_) => "a node issued it that lives",
            Owner::SilentPeer(_) => {
                "a node issued it that this one does not hear, and no majority says that it is dead"
            }
            Owner::DeadPeer(_) => "a node issued it that is dead",
            Owner::Unknown => "it names no node of this fleet",
        }
    }
}

impl Verdict {
    /// The word for it in what operators see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Accept(_) => "accept",
            Self::Wait => "wait",
            Self::Sibling(_) => "sibling",
            Self::Forward(_) => "forward",
            Self::Reset => "reset",
            Self::Negotiate => "negotiate",
            Self::Drop(_) => "drop",
        }
    }
}
