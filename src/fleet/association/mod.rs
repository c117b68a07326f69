mod outgoing;
mod refusal;

use std::collections::VecDeque;
use std::sync::Arc;

use aws_lc_rs::constant_time;

pub use outgoing::{Counters, CountersExhausted, Outgoing, OutgoingLane};
pub use refusal::Refusal;

use super::tunnel_key::{PairKeys, TrafficKey};
use super::{Epoch, Epochs, InstanceId, NodeId};
use crate::wire::{
    BootId, Challenge, Heartbeat, ReplayWindow, Report, Sealed, SealedHeartbeat, Sender,
};

/// This process's side of the tunnel to one peer node.
///
/// Both sides send heartbeats. Each carries a new challenge and sends the other's last one back; a
/// peer whose heartbeat answers a recent challenge is alive now, and its boot ID is *confirmed*.
/// Traffic keys are derived from the pair's key of an epoch and both boot IDs, so no datagram of an
/// earlier boot is ever accepted and no counter is used twice under one key, whoever restarts. A boot
/// that gave way to another is never confirmed again, because its keys would start over with used
/// counters.
///
/// What it sends is under the newest epoch that the peer is known to have.
#[derive(Debug)]
pub struct Association {
    own: Party,
    peer: NodeId,
    keys: PairKeys,
    counters: Arc<Counters>,
    issued: [Option<Challenge>; ANSWERABLE],
    heard: Option<Last>,
    /// Whether `heard` is of a live peer and not yet answered.
    owes_answer: bool,
    confirmed: Option<Confirmed>,
    replaced: VecDeque<BootId>,
    may_answer: bool,
    ticks: usize,
}

/// One process, as tunnels know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its node.
    pub node: NodeId,
    /// Its instance of the node.
    pub instance: InstanceId,
    /// What it drew at its start.
    pub boot: BootId,
}

/// What an accepted heartbeat calls for.
#[derive(Debug)]
pub struct Heard {
    /// Set when a boot of the peer was confirmed that was not before, or has a newer epoch of the key:
    /// how to seal for it from now on.
    pub confirmed: Option<Arc<Outgoing>>,
    /// Whether the heartbeat proves that the peer is alive now.
    pub alive: bool,
    /// Whether [`Association::answer`] should not wait for the next tick; at most once a tick.
    pub answer_now: bool,
}

/// The heartbeat to be answered next.
#[derive(Clone, Copy, Debug)]
struct Last {
    boot: BootId,
    challenge: Challenge,
    epochs: Epochs,
}

/// A process of the peer that proved to be alive.
#[derive(Debug)]
struct Confirmed {
    boot: BootId,
    instance: InstanceId,
    epochs: Epochs,
    /// The epoch under which it is sent to.
    sealing: Epoch,
    incoming: Vec<Incoming>,
}

/// What a process of the peer sends under one epoch.
#[derive(Debug)]
struct Incoming {
    epoch: Epoch,
    /// The name of the pair's key.
    pair: [u8; 8],
    key: TrafficKey,
    lanes: Vec<ReplayWindow>,
}

impl Association {
    /// Starts with nothing heard. `own` is written into everything that is sent.
    pub fn new(own: Party, peer: NodeId, keys: PairKeys, counters: Arc<Counters>) -> Self {
        Self {
            own,
            peer,
            keys,
            counters,
            issued: [None; ANSWERABLE],
            heard: None,
            owes_answer: false,
            confirmed: None,
            replaced: VecDeque::new(),
            may_answer: true,
            ticks: 0,
        }
    }

    /// The peer node.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// The process of the peer that proved to be alive last, if any did.
    pub fn confirmed(&self) -> Option<Party> {
        self.confirmed.as_ref().map(|confirmed| Party {
            node: self.peer,
            instance: confirmed.instance,
            boot: confirmed.boot,
        })
    }

    /// The epochs that the confirmed process is known to have.
    pub fn known_epochs(&self) -> Option<Epochs> {
        self.confirmed.as_ref().map(|confirmed| confirmed.epochs)
    }

    /// Takes other keys. What is in force before and after keeps its replay windows; gives how to seal
    /// from now on for a peer that is confirmed.
    pub fn rekey(&mut self, keys: PairKeys) -> Option<Arc<Outgoing>> {
        self.keys = keys;
        let confirmed = self.confirmed.as_mut()?;
        let keys = &self.keys;
        confirmed.incoming.retain(|incoming| {
            let key = keys.get(incoming.epoch);
            key.is_some_and(|key| key.name() == incoming.pair)
        });
        confirmed.sealing = keys.sealing(confirmed.epochs);
        self.outgoing()
    }

    /// Begins anew as another boot of this process; peers confirm it as they do a restart.
    pub(super) fn reboot(&mut self, boot: BootId) {
        self.own.boot = boot;
        self.issued = [None; ANSWERABLE];
        self.heard = None;
        self.owes_answer = false;
        self.confirmed = None;
        self.may_answer = true;
    }

    /// Begins a tick: issues `challenge`, which is 16 new random bytes. The peer's answer counts while
    /// fewer than four more were issued.
    pub fn tick(&mut self, challenge: Challenge) {
        self.issued.rotate_right(1);
        self.issued[0] = Some(challenge);
        self.may_answer = true;
        self.owes_answer = false;
        self.ticks = self.ticks.wrapping_add(1);
    }

    /// Writes a heartbeat with the challenge of this tick: version 2 with a report, else version 1.
    pub fn heartbeat(&self, report: Option<&Report<'_>>, out: &mut Vec<u8>) {
        let answer = self
            .heard
            .map_or((NO_BOOT, NO_CHALLENGE), |last| (last.boot, last.challenge));
        self.write(self.speaking(), answer, report, out);
    }

    /// Writes a heartbeat that answers an accepted one of the peer's between two ticks.
    pub fn answer(
        &self,
        sealed: &SealedHeartbeat<'_>,
        report: Option<&Report<'_>>,
        out: &mut Vec<u8>,
    ) {
        let Heartbeat {
            sender,
            boot,
            challenge,
            ..
        } = sealed.heartbeat;
        if let Some((epoch, _)) = self.keys.of_low_byte(sender.epoch) {
            self.write(epoch, (boot, challenge), report, out);
        }
    }

    /// The digest of a configuration as it stands in a report under the key of the epoch that ends in
    /// this byte.
    pub(super) fn config_digest(&self, config: &[u8; 32], epoch: u8) -> Option<[u8; 8]> {
        let key = self.keys.of_low_byte(epoch);
        key.map(|(_, key)| key.config_digest(config))
    }

    /// The epoch in which the heartbeat of this tick is sent. As long as none is known that both have,
    /// each is tried in turn.
    pub(super) fn speaking(&self) -> Epoch {
        let shared = self.heard.and_then(|last| self.keys.shared(last.epochs));
        shared.unwrap_or_else(|| self.keys.attempt(self.ticks))
    }

    /// Whether a heartbeat answers another process than this one.
    pub(super) fn answers_another(&self, heartbeat: &Heartbeat) -> bool {
        ![NO_BOOT, self.own.boot].contains(&heartbeat.answer.0)
    }

    fn write(
        &self,
        epoch: Epoch,
        answer: (BootId, Challenge),
        report: Option<&Report<'_>>,
        out: &mut Vec<u8>,
    ) {
        let Some(key) = self.keys.get(epoch) else {
            return;
        };
        let start = out.len();
        Heartbeat {
            sender: self.sender(epoch),
            boot: self.own.boot,
            challenge: self.issued[0].unwrap_or(NO_CHALLENGE),
            answer,
        }
        .write_header(report, out);
        let tag = key.heartbeat_tag(&out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Takes a heartbeat of this peer.
    ///
    /// # Errors
    /// [`Refusal::Epoch`], [`Refusal::Tag`] and [`Refusal::Replaced`]; nothing has changed then.
    pub fn on_heartbeat(&mut self, sealed: &SealedHeartbeat<'_>) -> Result<Heard, Refusal> {
        let Heartbeat {
            sender,
            boot,
            challenge,
            answer: (answered_boot, answered),
        } = sealed.heartbeat;
        let (epoch, key) = self.keys.of_low_byte(sender.epoch).ok_or(Refusal::Epoch)?;
        let tag = key.heartbeat_tag(sealed.header);
        constant_time::verify_slices_are_equal(&tag, &sealed.tag).map_err(|_err| Refusal::Tag)?;
        if self.replaced.contains(&boot) {
            return Err(Refusal::Replaced);
        }
        let alive = answered_boot == self.own.boot && self.issued.contains(&Some(answered));
        let confirmed = self.confirmed.as_ref().filter(|known| known.boot == boot);
        let known = confirmed.map(|confirmed| confirmed.epochs);
        let epochs = match sealed.report {
            Some(report) => Epochs {
                lowest: Epoch(report.epochs.0),
                highest: Epoch(report.epochs.1),
            },
            // Version 1 tells no more than the epoch that it is sent under.
            None => known
                .filter(|known| known.contains(epoch))
                .unwrap_or_else(|| Epochs::only(epoch)),
        };
        let answer_now = self.may_answer && (answered_boot != self.own.boot || known.is_none());
        self.may_answer &= !answer_now;
        // A replayed heartbeat must not take the place of a live peer's.
        if alive || !self.owes_answer {
            self.heard = Some(Last {
                boot,
                challenge,
                epochs,
            });
            self.owes_answer = alive;
        }
        let confirmed = if alive {
            self.confirm(boot, InstanceId(sender.instance), epochs)
        } else {
            None
        };
        Ok(Heard {
            confirmed,
            alive,
            answer_now,
        })
    }

    /// Checks a datagram in an envelope of this peer; its payload may be used afterwards.
    ///
    /// # Errors
    /// [`Refusal::Epoch`], [`Refusal::Unconfirmed`], [`Refusal::Tag`] and [`Refusal::Replayed`].
    pub fn open(&mut self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        let (epoch, pair) = self
            .keys
            .of_low_byte(sealed.envelope.sender.epoch)
            .ok_or(Refusal::Epoch)?;
        let confirmed = self.confirmed.as_mut().ok_or(Refusal::Unconfirmed)?;
        let of_epoch = |incoming: &Incoming| incoming.epoch == epoch;
        let known = confirmed.incoming.iter().position(of_epoch);
        let at = known.unwrap_or_else(|| {
            confirmed.incoming.push(Incoming {
                epoch,
                pair: pair.name(),
                key: TrafficKey::derive(pair, confirmed.boot, self.own.boot),
                lanes: Vec::new(),
            });
            confirmed.incoming.len() - 1
        });
        confirmed.incoming[at].open(sealed)
    }

    /// Keeps what a live process says of itself; gives how to seal for it if that changes.
    fn confirm(
        &mut self,
        boot: BootId,
        instance: InstanceId,
        epochs: Epochs,
    ) -> Option<Arc<Outgoing>> {
        let sealing = self.keys.sealing(epochs);
        if let Some(confirmed) = self.confirmed.as_mut().filter(|known| known.boot == boot) {
            confirmed.epochs = epochs;
            let before = std::mem::replace(&mut confirmed.sealing, sealing);
            return if before == sealing {
                None
            } else {
                self.outgoing()
            };
        }
        let before = self.confirmed.replace(Confirmed {
            boot,
            instance,
            epochs,
            sealing,
            incoming: Vec::new(),
        });
        if let Some(before) = before {
            self.replaced.truncate(REPLACED_BOOTS - 1);
            self.replaced.push_front(before.boot);
        }
        self.outgoing()
    }

    fn outgoing(&self) -> Option<Arc<Outgoing>> {
        let confirmed = self.confirmed.as_ref()?;
        let pair = self.keys.get(confirmed.sealing)?;
        let key = TrafficKey::derive(pair, self.own.boot, confirmed.boot);
        let sender = self.sender(confirmed.sealing);
        let outgoing = Outgoing::new(key, sender, Arc::clone(&self.counters));
        Some(Arc::new(outgoing))
    }

    fn sender(&self, epoch: Epoch) -> Sender {
        Sender {
            node: self.own.node.to_bytes(),
            instance: self.own.instance.0,
            epoch: epoch.low_byte(),
        }
    }
}

impl Incoming {
    fn open(&mut self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        let counter = sealed.envelope.counter;
        let lane = usize::from(counter.to_be_bytes()[0]);
        let window = self.lanes.get(lane);
        if window.is_some_and(|window| !window.is_fresh(counter)) {
            return Err(Refusal::Replayed);
        }
        self.key.verify(sealed)?;
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, ReplayWindow::new);
        }
        if self.lanes[lane].accept(counter) {
            Ok(())
        } else {
            Err(Refusal::Replayed)
        }
    }
}

/// How many replaced boots of a peer are remembered. One that was forgotten could be confirmed again
/// only by a process that outlived as many others of its node.
const REPLACED_BOOTS: usize = 16;
/// What stands in an answer when nothing was heard, and in a challenge before the first tick; no
/// process draws either.
const NO_BOOT: BootId = BootId([0; 16]);
const NO_CHALLENGE: Challenge = Challenge([0; 16]);
/// How many of the last challenges a peer may answer: with heartbeats every 200 ms, 800 ms.
pub(super) const ANSWERABLE: usize = 4;

#[cfg(test)]
mod tests;
