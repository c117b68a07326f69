use std::io::IoSliceMut;

use crate::edge::socket::udp::{BATCH_SIZE, RecvMeta};
use tokio::io::Interest;

use super::Tunnel;
use super::run::Run;
use crate::edge::socket::Origin;
use crate::edge::steering::Steering;
use crate::fleet::{NodeId, Refusal};
use crate::steer::Arrival;
use crate::telemetry::Reason;
use crate::wire::{Cargo, Envelope, Kind};

/// Takes what peers send: checks it, and hands client datagrams to this node's endpoints.
pub(super) struct Receiver<'a> {
    tunnel: &'a Tunnel,
    steering: &'a Steering,
    run: Run,
    buffer: Vec<u8>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(tunnel: &'a Tunnel, steering: &'a Steering) -> Self {
        Self {
            tunnel,
            steering,
            run: Run::default(),
            buffer: vec![0; BATCH_SIZE * MAX_MESSAGE],
        }
    }

    /// Takes the next batch off the socket, if there is one, and handles it.
    pub(super) fn receive(&mut self) {
        let io = &self.tunnel.io;
        // A socket error is about a datagram sent earlier (ICMP), never about this socket.
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut chunks = buffer.chunks_exact_mut(MAX_MESSAGE).map(IoSliceMut::new);
        let mut slices: [_; BATCH_SIZE] =
            std::array::from_fn(|_| chunks.next().expect("the buffer has BATCH_SIZE chunks"));
        let receive = || io.state.recv((&io.io).into(), &mut slices, &mut meta);
        let received = io.io.try_io(Interest::READABLE, receive).unwrap_or(0);
        for (chunk, meta) in buffer.chunks_exact(MAX_MESSAGE).zip(&meta[..received]) {
            for message in chunk[..meta.len].chunks(meta.stride.max(1)) {
                if let Err(refusal) = self.take(message) {
                    self.tunnel.driver.refused(meta.addr, refusal);
                }
            }
        }
        self.run.end(self.steering);
        self.buffer = buffer;
    }

    /// Handles a tunnel datagram that came by way of a sibling. Refused, it is counted; it says nothing
    /// of the peer at the other end.
    pub(super) fn take_one(&mut self, message: &[u8]) {
        self.take(message).unwrap_or_default();
        self.run.end(self.steering);
    }

    /// Handles what a peer sent. A datagram that was sealed for the process before this one is handed
    /// to that, if it lives; everything else that is refused is counted.
    fn take(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let Err(refusal) = self.handle(message) else {
            return Ok(());
        };
        let of_another_boot = matches!(refusal, Refusal::Unconfirmed | Refusal::Tag)
            && Kind::of(message) != Ok(Kind::Heartbeat);
        if of_another_boot && self.steering.pass_envelope(message) {
            return Ok(());
        }
        let reason = Reason {
            reason: refusal.reason(),
        };
        let refused = &self.tunnel.metrics.tunnel_refused;
        refused.get_or_create(&reason).inc();
        Err(refusal)
    }

    fn handle(&mut self, message: &[u8]) -> Result<(), Refusal> {
        match Kind::of(message)? {
            Kind::Datagram | Kind::Reply => self.on_datagram(message),
            Kind::Heartbeat => self.on_heartbeat(message),
        }
    }

    fn on_heartbeat(&self, message: &[u8]) -> Result<(), Refusal> {
        if let Some((relay, answer)) = self.tunnel.driver.on_heartbeat(message)? {
            self.tunnel.send(&answer, relay);
        }
        Ok(())
    }

    fn on_datagram(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let sealed = Envelope::parse(message)?;
        self.tunnel.driver.open(&sealed)?;
        let Envelope {
            sender,
            cargo,
            path,
            ecn,
            ..
        } = sealed.envelope;
        if cargo == Cargo::Datagram {
            self.tunnel.metrics.datagrams_tunnelled.inc();
        }
        let origin = Origin {
            path,
            ecn,
            arrival: Arrival::Tunnel,
            ingress: Some(NodeId::from_bytes(sender.node)),
        };
        self.run.add(self.steering, cargo, origin, sealed.payload);
        Ok(())
    }
}

/// The largest message that generic receive offload makes of several datagrams.
const MAX_MESSAGE: usize = 65_535;
