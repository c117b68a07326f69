//! What must hold after every step of a world, judged by what really is and not by what nodes believe.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use quinn_proto::{ConnectionError, ConnectionId};
use wayhold::fleet::{NodeId, Refusal, View};
use wayhold::steer::{Arrival, EarlyTable, Inbound, RESETS, Verdict, Waiting};
use wayhold::wire::{BootId, Datagram, Envelope, LongKind};

use crate::amplification::Amplification;
use crate::hearing::Hearing;
use crate::issuer::CID_LEN;
use crate::keys::{config_of, fleet_key};
use crate::process::ProcessId;
use crate::worker::Place;

/// Watches one world. The first thing that is wrong stays.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) violation: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) hearing: Hearing,
    /// Processes that run.
    alive: BTreeSet<ProcessId>,
    issued: HashMap<ConnectionId, Issue>,
    connections: HashSet<(Place, usize)>,
    /// Connections that were ever opened.
    made: usize,
    /// Under which connection ID each client sends now.
    current: Vec<Option<ConnectionId>>,
    /// Connections that a node was right to reset.
    freed: HashSet<ConnectionId>,
    early: HashMap<(ProcessId, SocketAddr, Vec<u8>), (Verdict, Instant)>,
    counters: HashMap<(BootId, u8), u64>,
    opened: HashSet<(ProcessId, Vec<u8>)>,
    pub(crate) amplification: Amplification,
    resets: HashMap<(ProcessId, IpAddr), (Instant, u32)>,
}

/// How often what happened.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// What a process decided about a datagram, and by which view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) by: ProcessId,
    pub(crate) inbound: Inbound<'a>,
    pub(crate) verdict: Verdict,
    pub(crate) view: &'a View,
}

#[derive(Clone, Copy, Debug)]
struct Issue {
    place: Place,
    connection: Option<usize>,
}

impl Checker {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            current: vec![None; clients],
            ..Self::default()
        }
    }

    /// Notes that something is wrong.
    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn started(&mut self, process: ProcessId) {
        self.alive.insert(process);
    }

    pub(crate) fn is_alive(&self, process: ProcessId) -> bool {
        self.alive.contains(&process)
    }

    pub(crate) fn stopped(&mut self, process: ProcessId) {
        self.alive.remove(&process);
        self.connections.retain(|(place, _)| place.0 != process);
    }

    pub(crate) fn opened_connection(&mut self, place: Place, handle: usize) {
        self.connections.insert((place, handle));
        self.made += 1;
    }

    /// How many connections were opened in all.
    pub(crate) fn connections_made(&self) -> usize {
        self.made
    }

    pub(crate) fn closed_connection(&mut self, place: Place, handle: usize) {
        self.connections.remove(&(place, handle));
    }

    /// A worker issued a connection ID.
    pub(crate) fn issued(&mut self, place: Place, connection: Option<usize>, cid: ConnectionId) {
        let issue = Issue { place, connection };
        if self.issued.insert(cid, issue).is_some() {
            self.fail(format!("{place:?} issued {cid} again"));
        }
    }

    /// A client sent a datagram.
    pub(crate) fn client_sent(&mut self, client: usize, datagram: &[u8]) {
        if let Some(cid) = short_cid(datagram) {
            self.current[client] = Some(cid);
        }
    }

    /// A client begins a connection.
    pub(crate) fn client_connects(&mut self, client: usize) {
        self.current[client] = None;
    }

    /// The process that holds a client's connection, as far as the client knows one.
    pub(crate) fn owner_of(&self, client: usize) -> Option<ProcessId> {
        let issue = self.issued.get(self.current[client].as_ref()?)?;
        Some(issue.place.0)
    }

    /// Whether the process that issued a connection ID runs no longer.
    pub(crate) fn is_of_gone(&self, cid: &[u8]) -> bool {
        let issue = self.issued.get(&ConnectionId::new(cid));
        issue.is_some_and(|issue| !self.alive.contains(&issue.place.0))
    }

    /// Who issued a connection ID.
    pub(crate) fn place_of(&self, cid: &[u8]) -> Option<Place> {
        self.issued
            .get(&ConnectionId::new(cid))
            .map(|issue| issue.place)
    }

    /// A client's connection is over although it wanted it.
    pub(crate) fn lost(&mut self, client: usize, reason: &ConnectionError, excused: bool) {
        let cid = self.current[client];
        let owner = self.owner_of(client);
        let gone = owner.is_some_and(|owner| !self.alive.contains(&owner));
        let freed = cid.is_some_and(|cid| self.freed.contains(&cid));
        self.count("connection lost");
        if !(gone || freed || excused) {
            self.fail(format!(
                "client {client} lost its connection at {owner:?}: {reason}"
            ));
        }
    }

    /// A process decided about a datagram.
    pub(crate) fn decided(&mut self, now: Instant, decision: &Decision<'_>) {
        let Decision {
            by,
            inbound,
            verdict,
            ..
        } = decision;
        self.count(name_of(*verdict));
        let again = match inbound.arrival {
            Arrival::Direct => false,
            Arrival::Tunnel => matches!(verdict, Verdict::Forward(_)),
            Arrival::Sibling => matches!(verdict, Verdict::Forward(_) | Verdict::Sibling(_)),
        };
        if again {
            self.fail(format!("{by:?} passes on what was passed on: {verdict:?}"));
        }
        if *verdict == Verdict::Reset {
            self.is_within_its_allowance(now, *by, inbound.source.ip());
        }
        self.leads_to_its_issuer(decision);
        self.stays_with_its_first(now, decision);
    }

    /// The tables of a process have so many entries; each first packet makes at most one of the first.
    pub(crate) fn tables(&mut self, by: ProcessId, early: usize, waiting: usize) {
        if waiting > Waiting::<()>::CAPACITY {
            self.fail(format!("{waiting} datagrams wait at {by:?}"));
        }
        let firsts = self.counts.get("first packets").copied().unwrap_or(0);
        if early > EarlyTable::CAPACITY || early as u64 > firsts {
            self.fail(format!(
                "{by:?} keeps {early} flows of {firsts} first packets"
            ));
        }
    }

    /// A process sends a stateless reset.
    pub(crate) fn reset(&mut self, now: Instant, by: ProcessId, trigger: &[u8], packet: &[u8]) {
        self.count("reset sent");
        if packet.len() >= trigger.len() || packet.len() < 21 {
            let lens = (packet.len(), trigger.len());
            self.fail(format!(
                "{by:?} answers with a reset of the lengths {lens:?}"
            ));
        }
        let Some(cid) = short_cid(trigger) else {
            return;
        };
        let Some(issue) = self.issued.get(&cid).copied() else {
            return;
        };
        if packet[packet.len() - 16..] != token_of(&cid) {
            self.fail(format!("{by:?} resets {cid} with another's key"));
            return;
        }
        let (owner, _) = issue.place;
        let open = issue
            .connection
            .is_some_and(|handle| self.connections.contains(&(issue.place, handle)));
        let active = open && self.current.contains(&Some(cid));
        if !active {
            return;
        }
        if by == owner || self.hearing.by_majority(now, owner.node) {
            self.fail(format!("{by:?} resets {cid}, which lives at {owner:?}"));
        } else {
            self.freed.insert(cid);
        }
    }

    /// A process took a heartbeat that proves its sender alive.
    pub(crate) fn heard(&mut self, now: Instant, by: NodeId, sender: NodeId) {
        self.hearing.heard(now, by, sender);
    }

    /// A process sealed a datagram: no counter is used twice under one key.
    pub(crate) fn sealed(&mut self, boot: BootId, envelope: &[u8]) {
        let Ok(sealed) = Envelope::parse(envelope) else {
            return self.fail("an envelope that does not parse".to_owned());
        };
        let counter = sealed.envelope.counter;
        let [lane, ..] = counter.to_be_bytes();
        let last = self.counters.insert((boot, lane), counter);
        if last.is_some_and(|last| last >= counter) {
            self.fail(format!(
                "the counter {counter} is used again under one boot ID"
            ));
        }
    }

    /// A process took a datagram out of an envelope: no envelope counts twice.
    pub(crate) fn opened(&mut self, by: ProcessId, envelope: &[u8]) {
        let Ok(sealed) = Envelope::parse(envelope) else {
            return;
        };
        if !self.opened.insert((by, sealed.header.to_vec())) {
            let counter = sealed.envelope.counter;
            self.fail(format!("{by:?} takes the envelope {counter} again"));
        }
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.count(refusal.reason());
    }

    /// The fleet sends to an address: to one that proved nothing at most three times what came from it,
    /// and one batch of each connection (RFC 9000, section 8).
    pub(crate) fn fleet_sent(
        &mut self,
        to: SocketAddr,
        connection: Option<(ProcessId, usize)>,
        len: usize,
    ) {
        if let Err(excess) = self.amplification.fleet_sent(to, connection, len) {
            self.fail(excess);
        }
    }

    /// One source is answered with resets at a bounded rate.
    fn is_within_its_allowance(&mut self, now: Instant, by: ProcessId, source: IpAddr) {
        let (first, count) = self.resets.entry((by, source)).or_insert((now, 0));
        *count += 1;
        let seconds = 1.0 + now.duration_since(*first).as_secs_f64();
        if f64::from(*count) > 1.0 + seconds * f64::from(RESETS.per_source) {
            let what = format!("{by:?} sends {count} resets to {source} in {seconds} s");
            self.fail(what);
        }
    }

    fn leads_to_its_issuer(&mut self, decision: &Decision<'_>) {
        let Decision { by, verdict, .. } = *decision;
        let cid = destination(decision.inbound.datagram);
        let Some(issue) = cid.and_then(|cid| self.issued.get(&cid)) else {
            return;
        };
        let place = issue.place;
        let (owner, worker) = place;
        let right = match verdict {
            Verdict::Local(slot) => (by, slot.0) == (owner, worker),
            Verdict::Sibling(instance) => (by.node, instance) == (owner.node, owner.instance),
            Verdict::Forward(node) => node == owner.node || !self.alive.contains(&owner),
            Verdict::Accept(_) => by != owner,
            _ => true,
        };
        if !right {
            self.fail(format!("{by:?} says {verdict:?} of what {place:?} issued"));
        }
    }

    /// First packets of one flow go where the first of them went, as long as that lives.
    fn stays_with_its_first(&mut self, now: Instant, decision: &Decision<'_>) {
        let Decision {
            by,
            inbound,
            verdict,
            view,
        } = *decision;
        let Ok(Datagram::Long(header)) = Datagram::parse(inbound.datagram) else {
            return;
        };
        let decided = matches!(verdict, Verdict::Accept(_) | Verdict::Forward(_));
        if header.kind != LongKind::Initial || !decided {
            return;
        }
        self.count("first packets");
        if self
            .issued
            .contains_key(&ConnectionId::new(header.destination))
        {
            return;
        }
        let key = (by, inbound.source, header.destination.to_vec());
        let before = self.early.get(&key).copied();
        let before = before.filter(|(_, at)| now < *at + EarlyTable::LIFETIME);
        let left = match before {
            Some((first, _)) if first == verdict => return,
            Some((Verdict::Forward(node), _)) => {
                inbound.arrival != Arrival::Direct || !view.is_live(node)
            }
            Some(_) => false,
            None => true,
        };
        if !left {
            self.fail(format!(
                "{by:?} turns from {before:?} to {verdict:?} in a flow"
            ));
        }
        self.early.insert(key, (verdict, now));
    }
}

/// Under which a verdict is counted.
pub(crate) fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drop(reason) => reason.name(),
        Verdict::Local(_) => "Local",
        Verdict::Accept(_) => "Accept",
        Verdict::Sibling(_) => "Sibling",
        Verdict::Forward(_) => "Forward",
        Verdict::Wait => "Wait",
        Verdict::Reset => "Reset",
        Verdict::Negotiate => "Negotiate",
    }
}

/// The reset token that the issuer of a connection ID gave out with it, derived from the fleet's key
/// alone.
fn token_of(cid: &ConnectionId) -> [u8; 16] {
    let config = cid[0] >> 5;
    let key = (0..7)
        .map(fleet_key)
        .find(|key| config_of(key).id().get() == config);
    let key = key.expect("a world has fewer epochs than there are config IDs");
    let decoded = config_of(&key).decode(cid).expect("a worker issued it");
    key.reset_key(decoded.config_id, &decoded.server_id)
        .token(cid)
}

fn destination(datagram: &[u8]) -> Option<ConnectionId> {
    match Datagram::parse(datagram) {
        Ok(Datagram::Long(header)) if header.destination.len() == CID_LEN => {
            Some(ConnectionId::new(header.destination))
        }
        Ok(Datagram::Long(_)) => None,
        _ => short_cid(datagram),
    }
}

fn short_cid(datagram: &[u8]) -> Option<ConnectionId> {
    match Datagram::parse(datagram) {
        Ok(Datagram::Short(rest)) => Some(ConnectionId::new(&rest[..CID_LEN])),
        _ => None,
    }
}
