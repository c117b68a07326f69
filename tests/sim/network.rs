//! What is between clients and nodes, and between nodes.

use std::net::SocketAddr;
use std::time::Duration;

use wayhold::link::Fate;
use wayhold::steer::Arrival;
use wayhold::wire::{Datagram, LongKind};

use crate::endpoint::{Received, Sent};
use crate::event::Event;
use crate::plan::below;
use crate::process::{ProcessId, SERVICE};
use crate::world::World;

impl World {
    pub(crate) fn at_service(&mut self, site: usize, received: Received) {
        let Some(process) = self.reader_of(site) else {
            return;
        };
        let stray = self.random.happens(self.plan.strays) && received.bytes[0] & 0x80 == 0;
        let worker = self.random.below(16) as u16;
        let len = received.bytes.len() * (1 + usize::from(stray));
        self.checker
            .amplification
            .fleet_received(received.from, len);
        self.with(site, process, |process, scene| {
            if stray {
                process.stray(scene, worker, &received);
            }
            process.arrive(scene, received, Arrival::Direct);
        });
    }

    pub(crate) fn at_client(&mut self, to: SocketAddr, received: &Received) {
        // What goes to an address that nobody has any more is lost.
        let Some(client) = self.homes.get(&to).copied() else {
            return;
        };
        self.checker.amplification.reached(to);
        let len = received.bytes.len();
        self.trace.note(self.now, "client", client as u64, len);
        if !self.is_followed(client, &received.bytes) {
            return;
        }
        self.client(client, |client, now, out| {
            client.receive(now, received, out)
        });
    }

    /// Whether a client goes on with whoever sent this packet; see [`Client::followed`]. Who asked it to
    /// try again may be gone when it does, and then another takes the token.
    fn is_followed(&mut self, client: usize, datagram: &[u8]) -> bool {
        match Datagram::parse(datagram) {
            Ok(Datagram::Long(header))
                if matches!(header.kind, LongKind::Initial | LongKind::Retry) =>
            {
                let place = self.checker.place_of(header.source);
                let Some(place) = place else {
                    return true;
                };
                let client = &mut self.clients[client];
                let (kind, first) = client.followed(header.destination, header.kind, place);
                let gone = kind == LongKind::Retry && !self.checker.is_alive(first.0);
                first == place || gone
            }
            _ => true,
        }
    }

    /// Sends from one node to another.
    pub(crate) fn relay(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let link = self
            .relays
            .get_mut(&(from, to))
            .expect("all pairs have a link");
        let fate = link.send(self.now, bytes.len() + HEADERS);
        self.deliver(fate, || Event::Relay(to, bytes.to_vec()));
    }

    pub(crate) fn answer(&mut self, by: ProcessId, sent: Sent) {
        let connection = sent.connection.map(|handle| (by, handle));
        self.checker
            .fleet_sent(sent.to, connection, sent.bytes.len());
        let Some(client) = self.homes.get(&sent.to).copied() else {
            return;
        };
        let fate = self.downlinks[client].send(self.now, sent.bytes.len() + HEADERS);
        let received = Received {
            from: SERVICE,
            ecn: sent.ecn,
            bytes: sent.bytes,
        };
        self.deliver(fate, || Event::Client(sent.to, received.clone()));
    }

    /// Puts a packet where its fate wants it.
    fn deliver(&mut self, fate: Fate, event: impl Fn() -> Event) {
        match fate {
            Fate::Lost(_) => self.checker.count("lost"),
            Fate::Arrives { at, again } => {
                self.at(at, event());
                if let Some(again) = again {
                    self.checker.count("duplicated");
                    self.at(again, event());
                }
            }
        }
    }

    pub(crate) fn client_sends(&mut self, number: usize, sent: Sent) {
        let client = &mut self.clients[number];
        let index = client.sent;
        client.sent += 1;
        let current = client.current;
        if current.is_some() && sent.connection == current {
            self.checker.client_sent(number, &sent.bytes);
        }
        let received = Received {
            from: client.address,
            ecn: sent.ecn,
            bytes: sent.bytes,
        };
        self.adversary.capture(&received);
        let site = self.route(number, index);
        if self.adversary.spoofs(number, &received) {
            self.spoof(site, &received);
        }
        self.overtake(site, &received);
        let len = received.bytes.len();
        self.trace
            .note(self.now, "sent", number as u64 + 1000 * site as u64, len);
        let fate = self.uplinks[number].send(self.now, len + HEADERS);
        if let Fate::Arrives { at, .. } = fate {
            let latest = self.latest[number].get_or_insert(at);
            if at < *latest {
                self.checker.count("reordered");
            }
            *latest = at.max(*latest);
        }
        self.deliver(fate, || Event::Service(site, received.clone()));
    }

    /// The node that a client's packet reaches.
    fn route(&mut self, client: usize, index: u32) -> usize {
        let planned = if self.clients[client].complete == 0 {
            let astray = &self.plan.clients[client].astray;
            astray
                .iter()
                .find(|astray| (astray.from..astray.from + astray.count).contains(&index))
        } else {
            None
        };
        let wanted = match planned {
            Some(astray) => astray.node,
            None if self.scattered[client] => below(&mut self.random, self.sites.len()),
            None => self.routes[client],
        };
        let count = self.sites.len();
        let ways = (wanted..wanted + count).map(|site| site % count);
        let mut announced = ways.filter(|site| self.sites[*site].announced);
        announced.next().unwrap_or(wanted)
    }

    /// Sends straight to a node.
    pub(crate) fn inject(&mut self, site: usize, received: Received) {
        self.at(self.now + HOP, Event::Service(site, received));
    }

    /// Sends straight to a node's end of the tunnels.
    pub(crate) fn inject_tunnelled(&mut self, site: usize, bytes: Vec<u8>) {
        self.at(self.now + HOP, Event::Relay(site, bytes));
    }
}

/// Of IPv4 and UDP.
const HEADERS: usize = 28;
/// Within a machine, or from someone who is near.
pub(crate) const HOP: Duration = Duration::from_micros(50);
