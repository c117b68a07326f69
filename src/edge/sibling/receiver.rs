use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::SIBLING_MESSAGE;
use crate::edge::endpoints::Endpoints;
use crate::edge::socket::Injected;
use crate::edge::steering::Steering;
use crate::edge::tunnel::QUEUE_FULL;
use crate::steer::{Arrival, Verdict};
use crate::sys::packets::{PacketSocket, WatchedPackets};
use crate::wire::{Ecn, MAX_SIBLING_HEADER, Path, SiblingMessage};

/// Where that goes which siblings hand to this process.
#[derive(Debug)]
pub(crate) struct Receiver {
    endpoints: Endpoints,
    steering: Arc<Steering>,
    envelopes: Option<mpsc::Sender<Bytes>>,
}

impl Receiver {
    /// Delivers datagrams to these endpoints, and tunnel datagrams to this tunnel, if there is one.
    pub(crate) fn new(
        endpoints: Endpoints,
        steering: Arc<Steering>,
        envelopes: Option<mpsc::Sender<Bytes>>,
    ) -> Self {
        Self {
            endpoints,
            steering,
            envelopes,
        }
    }

    pub(super) fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Handles a message; whether it says that the node ends.
    fn handle(&self, message: &[u8]) -> bool {
        match SiblingMessage::parse(message) {
            Some(SiblingMessage::Datagrams {
                path,
                ecn,
                size,
                bytes,
            }) => {
                for datagram in bytes.chunks(size) {
                    self.deliver(datagram, path, ecn);
                }
                false
            }
            Some(SiblingMessage::Envelope(envelope)) => {
                let envelope = Bytes::copy_from_slice(envelope);
                let tunnel = self.envelopes.as_ref();
                if tunnel.is_none_or(|tunnel| tunnel.try_send(envelope).is_err()) {
                    self.steering.count_drop(QUEUE_FULL);
                }
                false
            }
            Some(SiblingMessage::Ending) => true,
            None => {
                self.steering.count_drop(SIBLING_MESSAGE);
                false
            }
        }
    }

    fn deliver(&self, datagram: &[u8], path: Path, ecn: Ecn) {
        let verdict = self
            .steering
            .decide(datagram, path.source, Arrival::Sibling);
        match verdict {
            Verdict::Local(_) | Verdict::Accept(_) => {
                let injected = Injected::new(datagram, path, ecn);
                if !self.endpoints.put(verdict, injected) {
                    self.steering.count_drop(QUEUE_FULL);
                }
            }
            Verdict::Reset => self.endpoints.answer(self.steering.reset(datagram), path),
            _ => {}
        }
    }
}

/// Takes what one sibling sends until it is gone; whether it said that the node ends.
pub(super) async fn run(socket: PacketSocket, receiver: Arc<Receiver>) -> bool {
    let Ok(socket) = WatchedPackets::new(Arc::new(socket)) else {
        return false;
    };
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        match socket.receive(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(length) => {
                if receiver.handle(&buffer[..length]) {
                    return true;
                }
            }
        }
    }
}

/// A batch of datagrams is at most as long as the kernel's largest.
const MAX_MESSAGE: usize = MAX_SIBLING_HEADER + 65_535;
