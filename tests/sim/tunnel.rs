//! A process's end of the tunnels.

use wayhold::fleet::{NodeId, Refusal};
use wayhold::steer::Arrival;
use wayhold::wire::{Envelope, EnvelopeError, Heartbeat, Kind, Path};

use crate::defect::Defect;
use crate::endpoint::Received;
use crate::process::{Action, Process, SERVICE, Scene};

impl Process {
    /// Takes what arrived at this node's end of the tunnels.
    pub(crate) fn tunnelled(&mut self, scene: &mut Scene<'_>, bytes: &[u8]) {
        let outcome = match Kind::of(bytes) {
            Ok(Kind::Heartbeat) => self.heartbeat(scene, bytes),
            Ok(Kind::Datagram) => self.envelope(scene, bytes),
            // Every node answers clients directly here.
            Ok(Kind::Reply) => Err(EnvelopeError::Kind.into()),
            Err(error) => Err(error.into()),
        };
        if let Err(refusal) = outcome {
            scene.checker.refused(refusal);
            scene
                .trace
                .note(scene.now, "refused", self.place(), bytes.len());
        }
    }

    /// Sends a client's datagram to its owner.
    pub(crate) fn forward(&self, scene: &mut Scene<'_>, peer: NodeId, received: &Received) {
        let Some(outgoing) = self.outgoing.get(&peer) else {
            scene.checker.count("peer_unconfirmed");
            return;
        };
        let path = Path {
            source: received.from,
            destination: SERVICE,
        };
        let mut envelope = Vec::new();
        let sealed = outgoing.seal(path, received.ecn, &received.bytes, &mut envelope);
        sealed.expect("no world lasts 2^56 datagrams");
        scene.checker.sealed(self.boot, &envelope);
        scene.out.push(Action::Tunnel(peer, envelope));
    }

    fn heartbeat(&mut self, scene: &mut Scene<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let wall = self.clock.since_epoch();
        let reaction = self.membership.on_heartbeat(scene.now, wall, bytes)?;
        let sender = Heartbeat::parse(bytes)?.heartbeat.sender.node;
        scene
            .checker
            .heard(scene.now, self.id.node, NodeId::from_bytes(sender));
        if let Some(outgoing) = reaction.confirmed {
            self.outgoing.insert(reaction.peer, outgoing);
        }
        if let Some(answer) = reaction.answer {
            scene.out.push(Action::Tunnel(reaction.peer, answer));
        }
        self.follow();
        Ok(())
    }

    fn envelope(&mut self, scene: &mut Scene<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let sealed = Envelope::parse(bytes)?;
        match self.membership.open(&sealed) {
            Err(Refusal::Replayed) if self.defect == Some(Defect::NoReplayWindow) => {}
            outcome => outcome?,
        }
        scene.checker.opened(self.id, bytes);
        let Envelope { path, ecn, .. } = sealed.envelope;
        let received = Received {
            from: path.source,
            ecn,
            bytes: sealed.payload.to_vec(),
        };
        self.arrive(scene, received, Arrival::Tunnel);
        Ok(())
    }
}
