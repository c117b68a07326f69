use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::SIBLING_MESSAGE;
use crate::edge::socket::{Batch, Origin};
use crate::edge::steering::{QUEUE_FULL, Steering};
use crate::fleet::NodeId;
use crate::steer::Arrival;
use crate::sys::packets::{PacketSocket, WatchedPackets};
use crate::wire::{MAX_SIBLING_HEADER, SiblingMessage};

/// Where that goes which siblings hand to this process.
#[derive(Debug)]
pub(crate) struct Receiver {
    steering: Arc<Steering>,
    envelopes: Option<mpsc::Sender<Bytes>>,
}

impl Receiver {
    /// Delivers datagrams as `steering` decides, and tunnel datagrams to this tunnel, if there is one.
    pub(crate) fn new(steering: Arc<Steering>, envelopes: Option<mpsc::Sender<Bytes>>) -> Self {
        Self {
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
                ingress,
                size,
                bytes,
            }) => {
                self.steering.take(&Batch {
                    bytes,
                    stride: size,
                    origin: Origin {
                        path,
                        ecn,
                        arrival: Arrival::Sibling,
                        ingress: ingress.map(NodeId::from_bytes),
                    },
                });
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
