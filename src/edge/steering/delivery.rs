use std::net::SocketAddr;
use std::slice::Chunks;

use super::{NO_ENDPOINT, NO_TUNNEL, QUEUE_FULL, Steering};
use crate::edge::endpoints::Endpoints;
use crate::edge::sibling::NO_SIBLING;
use crate::edge::socket::{Batch, Injected, Port, split};
use crate::fleet::{InstanceId, NodeId};
use crate::steer::{Arrival, Slot, Verdict};
use crate::telemetry::HandedOver;
use crate::wire::{
    Cargo, Datagram, Ecn, Path, RESET_RANDOM, SiblingMessage, stateless_reset, version_negotiation,
};

impl Steering {
    /// Sets the endpoints of this process, once.
    pub(crate) fn serve(&self, endpoints: Endpoints) {
        // A second call would be of a second gateway; the first one's stay in use.
        drop(self.endpoints.set(endpoints));
    }

    /// Decides on datagrams and sends them on their way.
    pub(crate) fn take(&self, batch: &Batch<'_>) {
        let mut judge = self.judge(batch.origin.path.source, batch.origin.arrival);
        split(
            batch.bytes,
            batch.stride,
            |datagram| judge.decide(datagram),
            |verdict, bytes| self.carry_out(verdict, &batch.part(bytes)),
        );
    }

    /// Sends datagrams with this verdict on their way; those that are dropped were counted already.
    pub(crate) fn carry_out(&self, verdict: Verdict, batch: &Batch<'_>) {
        match verdict {
            Verdict::Local(slot) => self.hand_over(slot, batch),
            Verdict::Accept(worker) => {
                let reached = batch.origin.path.destination;
                let endpoints = self.endpoints.get();
                let slot = endpoints.map(|endpoints| endpoints.accepting(reached, worker));
                self.hand_over(slot.unwrap_or_default(), batch);
            }
            Verdict::Forward(node) => {
                let datagrams = batch.bytes.chunks(batch.stride);
                self.forward(node, datagrams, batch.origin.path, batch.origin.ecn);
            }
            Verdict::Sibling(instance) => self.pass(instance, batch),
            Verdict::Wait => self.hold(Injected::copy(batch)),
            Verdict::Negotiate => self.answer(negotiation(batch.bytes), batch),
            Verdict::Reset => self.answer(self.reset(batch.bytes), batch),
            Verdict::Drop(_) => {}
        }
    }

    fn hand_over(&self, slot: Slot, batch: &Batch<'_>) {
        let taken = self.inject(slot, batch) as u64;
        let cause = match batch.origin.arrival {
            Arrival::Tunnel => HandedOver::TUNNEL,
            Arrival::Sibling => HandedOver::SIBLING,
            // What is taken apart in the socket does not come here, unless it had to wait.
            Arrival::Direct => HandedOver::WAITED,
        };
        let handed_over = &self.metrics.handed_over;
        handed_over.get_or_create(&cause).inc_by(taken);
    }

    /// Puts datagrams into the queue of an endpoint, as many as there is room for, and gives how many
    /// these are. The others are dropped and counted; QUIC sends again.
    pub(crate) fn inject(&self, slot: Slot, batch: &Batch<'_>) -> usize {
        let endpoints = self.endpoints.get();
        let Some(endpoint) = endpoints.and_then(|endpoints| endpoints.of(slot)) else {
            self.count_drops(NO_ENDPOINT, batch.count() as u64);
            return 0;
        };
        let taken = endpoint.injector.inject(batch);
        if taken < batch.count() {
            self.count_drops(QUEUE_FULL, (batch.count() - taken) as u64);
        }
        taken
    }

    /// Sends datagrams of one path to their owner. What the tunnel cannot take is dropped and
    /// counted; QUIC sends again.
    pub(crate) fn forward(&self, to: NodeId, datagrams: Chunks<'_, u8>, path: Path, ecn: Ecn) {
        let sent = self.send(to, datagrams, (Cargo::Datagram, path, ecn));
        self.metrics.datagrams_forwarded.inc_by(sent);
    }

    /// Sends datagrams of `size` bytes, of which the last may be shorter, to a client by way of the node
    /// that its packets reach; `false` if that node does not live. `path` is that of the client's
    /// packets.
    pub(crate) fn reply(
        &self,
        by: NodeId,
        (bytes, size): (&[u8], usize),
        path: Path,
        ecn: Ecn,
    ) -> bool {
        if self.forwarder.get().is_none() || !self.steer.load().view().is_live(by) {
            return false;
        }
        let datagrams = bytes.chunks(size.max(1));
        let sent = self.send(by, datagrams, (Cargo::Reply, path, ecn));
        self.metrics.replies_tunnelled.inc_by(sent);
        true
    }

    /// Gives a client what a peer answers it by way of this node.
    pub(crate) fn emit(&self, batch: &Batch<'_>) {
        let (path, count) = (batch.origin.path, batch.count() as u64);
        match self.port(path.destination) {
            Some(port) => {
                port.answer((batch.bytes, batch.stride), path, batch.origin.ecn);
                self.metrics.replies_emitted.inc_by(count);
            }
            None => self.count_drops(NO_ENDPOINT, count),
        }
    }

    fn send(&self, to: NodeId, datagrams: Chunks<'_, u8>, envelope: (Cargo, Path, Ecn)) -> u64 {
        let count = datagrams.len() as u64;
        let (sent, outcome) = match self.forwarder.get() {
            Some(forwarder) => forwarder.send(to, datagrams, envelope),
            None => (0, Err(NO_TUNNEL)),
        };
        if let Err(reason) = outcome {
            self.count_drops(reason, count - sent);
        }
        sent
    }

    /// Hands datagrams to the process of this node that owns them. What its queue cannot take is
    /// dropped and counted; QUIC sends again.
    pub(crate) fn pass(&self, to: InstanceId, batch: &Batch<'_>) {
        let datagrams = SiblingMessage::Datagrams {
            path: batch.origin.path,
            ecn: batch.origin.ecn,
            ingress: batch.origin.ingress.map(NodeId::to_bytes),
            size: batch.stride,
            bytes: batch.bytes,
        };
        let siblings = self.siblings.get();
        let count = batch.count() as u64;
        match siblings.map_or(Err(NO_SIBLING), |siblings| siblings.pass(to, datagrams)) {
            Ok(()) => drop(self.metrics.datagrams_passed.inc_by(count)),
            Err(reason) => self.count_drops(reason, count),
        }
    }

    /// Hands a tunnel datagram to the process from which this one took over; whether it could.
    pub(crate) fn pass_envelope(&self, envelope: &[u8]) -> bool {
        let siblings = self.siblings.get();
        siblings.is_some_and(|siblings| siblings.pass_envelope(envelope).is_ok())
    }

    /// A socket that answers from this address.
    pub(crate) fn port(&self, local: SocketAddr) -> Option<&Port> {
        self.endpoints.get()?.port(local)
    }

    /// Sends a packet of no connection back to where a datagram came from.
    fn answer(&self, answer: Option<Vec<u8>>, to: &Batch<'_>) {
        let Some(answer) = answer else {
            return;
        };
        let path = to.origin.path;
        let by = to.origin.ingress.filter(|_| self.returns_through_ingress());
        let datagram = (&answer[..], answer.len());
        if by.is_some_and(|by| self.reply(by, datagram, path, Ecn::NotEct)) {
            return;
        }
        let endpoints = self.endpoints.get();
        match endpoints.and_then(|endpoints| endpoints.reached(path.destination)) {
            Some(port) => port.answer(datagram, path, Ecn::NotEct),
            None => self.count_drop(NO_ENDPOINT),
        }
    }

    /// The packet that answers a datagram whose verdict was [`Verdict::Reset`].
    fn reset(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let Ok(Datagram::Short(rest)) = Datagram::parse(datagram) else {
            return None;
        };
        let mut random = [0; RESET_RANDOM];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let cid = rest.get(..self.slots.cid_len())?;
        stateless_reset(self.reset_token(cid), datagram.len(), random)
    }
}

/// The packet that answers a datagram whose verdict was [`Verdict::Negotiate`].
fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
    let Ok(Datagram::Long(header)) = Datagram::parse(datagram) else {
        return None;
    };
    let mut random = [0; 5];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(version_negotiation(&header, random))
}
