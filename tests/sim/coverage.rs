//! What has to occur in some world: every verdict, and everything that can happen.

use wayhold::fleet::{InstanceId, NodeId};
use wayhold::steer::{DropReason, Slot, Verdict};

use crate::checker::{Counts, name_of};

/// What never occurred.
pub(crate) fn missing(counts: &Counts) -> Vec<&'static str> {
    let expected = verdicts().map(name_of).chain(EVENTS.iter().copied());
    expected.filter(|what| !counts.contains_key(what)).collect()
}

/// One verdict of each kind, and one for each reason of a drop.
fn verdicts() -> impl Iterator<Item = Verdict> {
    std::iter::successors(Some(Verdict::Local(Slot(0))), |verdict| following(*verdict))
}

/// A verdict or a reason that is new does not compile until it has a place here.
fn following(verdict: Verdict) -> Option<Verdict> {
    let next = match verdict {
        Verdict::Local(_) => Verdict::Accept(0),
        Verdict::Accept(_) => Verdict::Sibling(InstanceId(0)),
        Verdict::Sibling(_) => Verdict::Forward(NodeId::default()),
        Verdict::Forward(_) => Verdict::Wait,
        Verdict::Wait => Verdict::Reset,
        Verdict::Reset => Verdict::Negotiate,
        Verdict::Negotiate => Verdict::Drop(DropReason::NotQuic),
        Verdict::Drop(reason) => Verdict::Drop(match reason {
            DropReason::NotQuic => DropReason::UndecodableCid,
            DropReason::UndecodableCid => DropReason::OwnerGone,
            DropReason::OwnerGone => DropReason::OwnerSilent,
            DropReason::OwnerSilent => DropReason::UnknownOwner,
            DropReason::UnknownOwner => DropReason::HopLimit,
            DropReason::HopLimit => DropReason::ServerPacket,
            DropReason::ServerPacket => DropReason::UnknownVersion,
            DropReason::UnknownVersion => DropReason::NoOwner,
            DropReason::NoOwner => DropReason::ResetLimit,
            DropReason::ResetLimit => DropReason::ResetTooShort,
            DropReason::ResetTooShort => DropReason::HandOverLimit,
            DropReason::HandOverLimit => return None,
        }),
    };
    Some(next)
}

/// Things that happen in some world, the refusals of the tunnel among them.
const EVENTS: &[&str] = &[
    "address change",
    "connection lost",
    "crash",
    "cut",
    "drain",
    "duplicated",
    "flip",
    "join",
    "key update",
    "leave",
    "left",
    "lost",
    "mutation",
    "outage",
    "peer_unconfirmed",
    "rebind",
    "released",
    "reordered",
    "replaced",
    "replay",
    "replayed",
    "reset sent",
    "restart",
    "retry",
    "rotation",
    "scatter",
    "spoof",
    "spoofed",
    "tag",
    "unconfirmed",
    "unknown_node",
    "upgrade",
    "upgrade ended",
];

#[test]
fn every_reason_of_a_drop_is_among_the_expected_verdicts() {
    let reasons = verdicts().filter_map(|verdict| match verdict {
        Verdict::Drop(reason) => Some(reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), DropReason::ALL);
}
