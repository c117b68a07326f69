use std::io::IoSliceMut;

use crate::edge::socket::udp::{BATCH_SIZE, RecvMeta};
use tokio::io::Interest;

use super::Tunnel;
use crate::edge::endpoints::Endpoints;
use crate::edge::socket::Injected;
use crate::edge::steering::Steering;
use crate::fleet::Refusal;
use crate::steer::{Arrival, Verdict};
use crate::telemetry::Reason;
use crate::wire::{Envelope, Kind};

/// Takes what peers send: checks it, and hands client datagrams to this node's endpoints.
pub(super) struct Receiver<'a> {
    tunnel: &'a Tunnel,
    endpoints: &'a Endpoints,
    steering: &'a Steering,
    buffer: Vec<u8>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(
        tunnel: &'a Tunnel,
        endpoints: &'a Endpoints,
        steering: &'a Steering,
    ) -> Self {
        Self {
            tunnel,
            endpoints,
            steering,
            buffer: vec![0; BATCH_SIZE * MAX_MESSAGE],
        }
    }

    /// Takes the next batch off the socket, if there is one, and handles it.
    pub(super) fn receive(&mut self) {
        let io = &self.tunnel.io;
        // A socket error is about a datagram sent earlier (ICMP), never about this socket.
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut chunks = self
            .buffer
            .chunks_exact_mut(MAX_MESSAGE)
            .map(IoSliceMut::new);
        let mut slices: [_; BATCH_SIZE] =
            std::array::from_fn(|_| chunks.next().expect("the buffer has BATCH_SIZE chunks"));
        let receive = || io.state.recv((&io.io).into(), &mut slices, &mut meta);
        let Ok(received) = io.io.try_io(Interest::READABLE, receive) else {
            return;
        };
        for (chunk, meta) in self.buffer.chunks_exact(MAX_MESSAGE).zip(&meta[..received]) {
            for message in chunk[..meta.len].chunks(meta.stride.max(1)) {
                if let Err(refusal) = self.take(message) {
                    self.tunnel.driver.refused(meta.addr, refusal);
                }
            }
        }
    }

    /// Handles what a peer sent. A datagram that was sealed for the process before this one is handed
    /// to that, if it lives; everything else that is refused is counted.
    pub(super) fn take(&self, message: &[u8]) -> Result<(), Refusal> {
        let Err(refusal) = self.handle(message) else {
            return Ok(());
        };
        let of_another_boot = matches!(refusal, Refusal::Unconfirmed | Refusal::Tag)
            && Kind::of(message) == Ok(Kind::Datagram);
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

    fn handle(&self, message: &[u8]) -> Result<(), Refusal> {
        match Kind::of(message)? {
            Kind::Datagram => self.on_datagram(message),
            Kind::Heartbeat => self.on_heartbeat(message),
        }
    }

    fn on_heartbeat(&self, message: &[u8]) -> Result<(), Refusal> {
        if let Some((relay, answer)) = self.tunnel.driver.on_heartbeat(message)? {
            self.tunnel.send(&answer, relay);
        }
        Ok(())
    }

    fn on_datagram(&self, message: &[u8]) -> Result<(), Refusal> {
        let sealed = Envelope::parse(message)?;
        self.tunnel.driver.open(&sealed)?;
        self.tunnel.metrics.datagrams_tunnelled.inc();
        let source = sealed.envelope.path.source;
        let verdict = self
            .steering
            .decide(sealed.payload, source, Arrival::Tunnel);
        if verdict == Verdict::Reset {
            let reset = self.steering.reset(sealed.payload);
            self.endpoints.answer(reset, sealed.envelope.path);
        }
        if let Verdict::Sibling(instance) = verdict {
            let one = (sealed.payload, sealed.payload.len().max(1));
            let envelope = &sealed.envelope;
            self.steering
                .pass(instance, one, envelope.path, envelope.ecn);
        }
        if matches!(verdict, Verdict::Local(_) | Verdict::Accept(_)) {
            let Envelope { path, ecn, .. } = sealed.envelope;
            let injected = Injected::new(sealed.payload, path, ecn);
            if !self.endpoints.put(verdict, injected) {
                self.steering.count_drop(QUEUE_FULL);
            }
        }
        Ok(())
    }
}

/// The largest message that generic receive offload makes of several datagrams.
const MAX_MESSAGE: usize = 65_535;
pub(in crate::edge) const QUEUE_FULL: &str = "queue_full";
