//! The other processes of this node: while an upgrade lasts, each keeps its connections, and the one
//! that reads the node's sockets hands them their datagrams.
//!
//! The way is a local socket to each. It never blocks, the kernel bounds what waits in it, and only
//! processes of the same user reach it, because of the mode of its directory. So what comes in needs
//! no proof.

mod receiver;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use receiver::Receiver;

use super::steering::Steering;
use crate::control::{Entry, Registration};
use crate::fleet::InstanceId;
use crate::sys::packets::{PacketSocket, WatchedPackets};
use crate::wire::{MAX_SIBLING_HEADER, SiblingMessage};

/// The ways to the live siblings of this process.
#[derive(Debug)]
pub(crate) struct Siblings {
    registration: Registration,
    links: ArcSwap<Vec<Arc<Link>>>,
    census: watch::Sender<Census>,
    changed: Notify,
}

/// What is known of the siblings that share this process's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Whether one that took over from this process lives, or has registered to do so.
    pub(crate) superseded: bool,
    /// Whether one lives from which this process took over.
    pub(crate) preceded: bool,
    /// Whether the one that reads said that the node ends.
    pub(crate) ending: bool,
}

#[derive(Debug)]
struct Link {
    entry: Entry,
    socket: PacketSocket,
}

impl Siblings {
    /// Knows nobody yet; see [`Siblings::refresh`].
    pub(crate) fn new(registration: Registration) -> Self {
        Self {
            registration,
            links: ArcSwap::default(),
            census: watch::Sender::default(),
            changed: Notify::new(),
        }
    }

    /// This process.
    pub(crate) fn own(&self) -> Entry {
        self.registration.own()
    }

    /// The siblings that live, in ascending order.
    #[cfg(test)]
    pub(crate) fn live(&self) -> Vec<Entry> {
        self.links.load().iter().map(|link| link.entry).collect()
    }

    /// What is known of them, as it changes.
    pub(crate) fn census(&self) -> watch::Receiver<Census> {
        self.census.subscribe()
    }

    /// Hands datagrams of one path to the process that owns them, `size` bytes each but the last.
    /// Never waits.
    ///
    /// # Errors
    /// The reason under which they are counted; see [`DROP_REASONS`].
    pub(crate) fn pass(
        &self,
        to: InstanceId,
        datagrams: SiblingMessage<'_>,
    ) -> Result<(), &'static str> {
        let links = self.links.load();
        let found = links.binary_search_by_key(&to, |link| link.entry.instance);
        let link = found.map(|at| &links[at]).map_err(|_at| NO_SIBLING)?;
        self.send(link, datagrams)
    }

    /// Hands a tunnel datagram that this process cannot open to the one from which it took over,
    /// whose boot the sender may still seal for.
    ///
    /// # Errors
    /// As for [`Siblings::pass`]; `no_sibling` if there is no such process.
    pub(crate) fn pass_envelope(&self, envelope: &[u8]) -> Result<(), &'static str> {
        let links = self.links.load();
        let own = self.own().birth;
        let predecessor = links
            .iter()
            .filter(|link| own.supersedes(link.entry.birth))
            .max_by_key(|link| link.entry.birth.generation);
        let link = predecessor.ok_or(NO_SIBLING)?;
        self.send(link, SiblingMessage::Envelope(envelope))
    }

    /// Tells every process from which this one took over, or its predecessors did, that the node ends.
    pub(crate) fn announce_ending(&self) {
        let own = self.own().birth;
        for link in self.links.load().iter() {
            if own.supersedes(link.entry.birth) {
                // One that is gone has nothing to end, and one that reads too slowly is told by
                // whoever stops the node.
                self.send(link, SiblingMessage::Ending).unwrap_or_default();
            }
        }
    }

    /// Waits until no process lives from which this one took over. Cancel safe.
    pub(crate) async fn outlived_predecessors(&self) {
        let mut census = self.census.subscribe();
        // The sender lives as long as `self`.
        drop(census.wait_for(|census| !census.preceded).await);
    }

    /// Looks who lives now, and tells the steering rules if that has changed.
    pub(crate) fn refresh(&self, steering: &Steering) {
        let before = self.links.load_full();
        let link_of = |entry: &Entry| {
            let link = before.iter().find(|link| link.entry == *entry);
            link.filter(|link| link.socket.is_connected())
        };
        let scan = match self.registration.scan(|entry| link_of(entry).is_some()) {
            Ok(scan) => scan,
            Err(error) => {
                tracing::warn!(%error, "cannot look for other processes of this node");
                return;
            }
        };
        let renewed = !scan.joined.is_empty();
        let known = scan.live.iter().filter_map(link_of).map(Arc::clone);
        let joined = scan.joined.into_iter().map(|(entry, socket)| {
            // The default is used where the kernel does not grant more.
            drop(socket.request_queue(QUEUE));
            tracing::info!(instance = %entry.instance, "another process of this node lives");
            Arc::new(Link { entry, socket })
        });
        let mut links: Vec<_> = known.chain(joined).collect();
        links.sort_by_key(|link| link.entry);
        let own = self.own().birth;
        let births = || links.iter().map(|link| link.entry.birth);
        let superseded = births().any(|birth| birth.supersedes(own));
        let preceded = births().any(|birth| own.supersedes(birth));
        let entries = |links: &[Arc<Link>]| links.iter().map(|link| link.entry).collect::<Vec<_>>();
        if renewed || entries(&links) != entries(&before) {
            let instances: Vec<_> = links.iter().map(|link| link.entry.instance).collect();
            steering.set_siblings(&instances);
            self.links.store(Arc::new(links));
        }
        self.census.send_if_modified(|census| {
            let before = std::mem::replace(
                census,
                Census {
                    superseded,
                    preceded,
                    ..*census
                },
            );
            before != *census
        });
    }

    /// Takes what siblings send and looks for new ones, until told to stop.
    pub(crate) async fn serve(&self, receiver: Receiver, stop: CancellationToken) {
        let receiver = Arc::new(receiver);
        let listener = match WatchedPackets::new(self.registration.listener()) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot listen to other processes of this node");
                return stop.cancelled().await;
            }
        };
        let mut tick = tokio::time::interval(REFRESH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.refresh(receiver.steering()),
                () = self.changed.notified() => self.refresh(receiver.steering()),
                () = receiver.ending() => {
                    self.census.send_modify(|census| census.ending = true);
                }
                // A sibling is gone.
                Some(_) = connections.join_next() => self.refresh(receiver.steering()),
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    if let Ok(socket) = accepted {
                        connections.spawn(receiver::run(socket, Arc::clone(&receiver)));
                    }
                }
            }
        }
    }

    /// Leaves the node: no sibling finds this process any more.
    pub(crate) fn leave(&self) {
        self.registration.withdraw();
    }

    fn send(&self, link: &Link, message: SiblingMessage<'_>) -> Result<(), &'static str> {
        let mut header = Vec::with_capacity(MAX_SIBLING_HEADER);
        let carried = message.write_header(&mut header);
        let sent = link
            .socket
            .send(&[IoSlice::new(&header), IoSlice::new(carried)]);
        sent.map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return SIBLING_FULL;
            }
            self.changed.notify_one();
            SIBLING_ERROR
        })
    }
}

/// Every reason for which a datagram for a sibling, or from one, is dropped.
pub(crate) const DROP_REASONS: [&str; 4] =
    [NO_SIBLING, SIBLING_FULL, SIBLING_ERROR, SIBLING_MESSAGE];

pub(crate) const NO_SIBLING: &str = "no_sibling";
const SIBLING_FULL: &str = "sibling_full";
const SIBLING_ERROR: &str = "sibling_error";
const SIBLING_MESSAGE: &str = "sibling_message";
/// The end of a sibling is seen at once by its connection; this is for those that start.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);
/// One from each sibling, and room for those that only look who lives.
const MAX_CONNECTIONS: usize = 300;
/// As large as the buffers of the service sockets, from which the messages come.
const QUEUE: usize = 4 << 20;

#[cfg(test)]
mod tests;
