use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::port::covers;
use crate::fleet::NodeId;

/// Where the last datagram of each client came in, for clients for which this cannot be told
/// otherwise: replies leave there.
///
/// quinn keeps the local address of a connection's first packet, and that is right for as long as the
/// client reaches the same address of this node. An entry is made for a client that reaches another
/// one (of another listener, or of a family that it moved to) or this node by way of a peer.
#[derive(Debug)]
pub(super) struct Returns {
    own: SocketAddr,
    /// Addresses to which clients may move in the middle of a connection (RFC 9000, section 9.6).
    preferred: Vec<SocketAddr>,
    lifetime: Duration,
    entries: HashMap<SocketAddr, Entry>,
    usual: Usual,
    next_sweep: Option<Instant>,
}

/// Where a datagram came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entrance {
    /// The address of this node to which it was sent.
    pub(super) local: SocketAddr,
    /// The node that it reached first, if answers are to go back through that.
    pub(super) ingress: Option<NodeId>,
}

/// How a reply leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Departure {
    /// The address that it comes from; `None` leaves it to the system.
    pub(super) source: Option<SocketAddr>,
    /// The node through which it goes.
    pub(super) ingress: Option<NodeId>,
}

/// There is no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReturnsFull;

#[derive(Debug)]
struct Entry {
    entrance: Entrance,
    seen: Instant,
}

/// The address of each family that clients reached first; most reach no other.
#[derive(Debug, Default)]
struct Usual {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Returns {
    /// The most entries: about 8 MiB.
    pub(super) const CAPACITY: usize = 1 << 16;

    /// Starts empty, for a socket bound to `own`. An entry of a client that is silent for `lifetime` is
    /// forgotten.
    pub(super) fn new(own: SocketAddr, preferred: Vec<SocketAddr>, lifetime: Duration) -> Self {
        Self {
            own,
            preferred,
            lifetime,
            entries: HashMap::new(),
            usual: Usual::default(),
            next_sweep: None,
        }
    }

    /// Notes where datagrams came in that prove nothing about their sender: an entry follows the
    /// client, but none is made.
    pub(super) fn renew(&mut self, now: Instant, client: SocketAddr, entrance: Entrance) {
        self.usual.learn(entrance.local.ip());
        if let Some(entry) = self.entries.get_mut(&client) {
            *entry = Entry {
                entrance,
                seen: now,
            };
        }
    }

    /// Notes where datagrams of a connection came in.
    ///
    /// # Errors
    /// [`ReturnsFull`]; replies to the client then leave as quinn says.
    pub(super) fn note(
        &mut self,
        now: Instant,
        client: SocketAddr,
        entrance: Entrance,
    ) -> Result<(), ReturnsFull> {
        self.renew(now, client, entrance);
        if self.is_usual(entrance) || self.entries.contains_key(&client) {
            return Ok(());
        }
        if self.entries.len() >= Self::CAPACITY {
            return Err(ReturnsFull);
        }
        let entry = Entry {
            entrance,
            seen: now,
        };
        self.entries.insert(client, entry);
        Ok(())
    }

    fn is_usual(&self, Entrance { local, ingress }: Entrance) -> bool {
        let usual = self.usual.of_family(local.ip()) == Some(local.ip());
        // Where the system does not tell the address, it chooses that of replies.
        let usual = usual || local.ip().is_unspecified();
        usual && ingress.is_none() && covers(self.own, local)
    }

    /// How a reply leaves that would leave from `source`, the address of the connection's first
    /// packet.
    pub(super) fn departure(&self, client: SocketAddr, source: Option<IpAddr>) -> Departure {
        let of_family = source.filter(|ip| ip.is_ipv4() == client.is_ipv4());
        let from = |ip| SocketAddr::new(ip, self.own.port());
        let Some(Entry { entrance, .. }) = self.entries.get(&client) else {
            let changed = || source.and_then(|_| self.usual.of_family(client.ip()));
            return Departure {
                source: of_family.or_else(changed).map(from),
                ingress: None,
            };
        };
        // One client may have connections with several addresses of this listener.
        let elsewhere =
            !covers(self.own, entrance.local) || self.preferred.contains(&entrance.local);
        let source = of_family.filter(|_| !elsewhere).map(from);
        Departure {
            source: Some(source.unwrap_or(entrance.local)),
            ingress: entrance.ingress,
        }
    }

    /// Forgets silent clients, now and then; gives how many entries there are.
    pub(super) fn sweep(&mut self, now: Instant) -> usize {
        if self.next_sweep.is_none_or(|next| next <= now) {
            self.next_sweep = Some(now + SWEEP_INTERVAL);
            let lifetime = self.lifetime;
            self.entries
                .retain(|_, entry| now.duration_since(entry.seen) < lifetime);
        }
        self.entries.len()
    }
}

impl Usual {
    fn learn(&mut self, ip: IpAddr) {
        let known = if ip.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        if !ip.is_unspecified() {
            known.get_or_insert(ip);
        }
    }

    fn of_family(&self, ip: IpAddr) -> Option<IpAddr> {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// A sweep looks at every entry.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::steering::now;

    const LIFETIME: Duration = Duration::from_secs(120);

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn directly(local: &str) -> Entrance {
        Entrance {
            local: at(local),
            ingress: None,
        }
    }

    fn through(node: u32, local: &str) -> Entrance {
        Entrance {
            local: at(local),
            ingress: NodeId::new(node).ok(),
        }
    }

    fn returns() -> Returns {
        Returns::new(at("[::]:443"), vec![at("192.0.2.2:443")], LIFETIME)
    }

    fn source(returns: &Returns, client: &str, first: &str) -> SocketAddr {
        let first = Some(first.parse().unwrap());
        returns.departure(at(client), first).source.unwrap()
    }

    #[test]
    fn the_usual_client_has_no_entry_and_is_answered_from_where_it_began() {
        let mut returns = returns();
        for port in 1..100 {
            let client = SocketAddr::from(([203, 0, 113, 1], port));
            returns
                .note(now(), client, directly("192.0.2.1:443"))
                .unwrap();
        }
        assert_eq!(returns.sweep(now()), 0);
        let from = source(&returns, "203.0.113.1:7", "192.0.2.1");
        assert_eq!(from, at("192.0.2.1:443"));
    }

    #[test]
    fn a_change_of_family_is_followed_with_and_without_an_entry() {
        let mut returns = returns();
        let client = "[2001:db8::7]:1";
        assert_eq!(
            returns.departure(at(client), Some([192, 0, 2, 1].into())),
            Departure::default()
        );
        for local in ["[2001:db8::1]:443", "[2001:db8::2]:443"] {
            returns.note(now(), at(client), directly(local)).unwrap();
            assert_eq!(source(&returns, client, "192.0.2.1"), at(local));
        }
    }

    #[test]
    fn a_client_at_the_preferred_address_is_answered_from_there() {
        let mut returns = returns();
        let client = at("203.0.113.1:7");
        let entrances = ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.1:443"];
        for local in entrances {
            returns.note(now(), client, directly(local)).unwrap();
            assert_eq!(source(&returns, "203.0.113.1:7", "192.0.2.1"), at(local));
        }
    }

    #[test]
    fn two_connections_of_one_client_keep_their_addresses() {
        let mut returns = returns();
        let client = at("203.0.113.1:7");
        for local in ["192.0.2.1:443", "192.0.2.3:443"] {
            returns.note(now(), client, directly(local)).unwrap();
        }
        for first in ["192.0.2.1", "192.0.2.3"] {
            let from = source(&returns, "203.0.113.1:7", first);
            assert_eq!(from.ip().to_string(), first);
        }
    }

    #[test]
    fn another_listener_is_answered_from_until_the_client_returns() {
        let mut returns = returns();
        let client = at("203.0.113.1:7");
        for local in ["192.0.2.1:8443", "192.0.2.1:443"] {
            returns.note(now(), client, directly(local)).unwrap();
            assert_eq!(source(&returns, "203.0.113.1:7", "192.0.2.1"), at(local));
        }
    }

    #[test]
    fn replies_go_back_through_the_node_that_was_reached_last() {
        let mut returns = returns();
        let client = at("203.0.113.1:7");
        let by = |returns: &Returns| returns.departure(client, None).ingress;
        for node in [4, 5] {
            returns
                .note(now(), client, through(node, "192.0.2.1:443"))
                .unwrap();
            assert_eq!(by(&returns), NodeId::new(node).ok());
        }
        returns.renew(now(), client, directly("192.0.2.1:443"));
        assert_eq!(by(&returns), None);
    }

    #[test]
    fn packets_that_prove_nothing_make_no_entry() {
        let mut returns = returns();
        let client = at("203.0.113.1:7");
        returns.renew(now(), client, directly("192.0.2.1:443"));
        returns.renew(now(), client, directly("192.0.2.2:443"));
        assert_eq!(returns.sweep(now()), 0);
    }

    #[test]
    fn a_flood_fills_the_map_and_no_more_until_the_clients_are_silent() {
        let (mut returns, start) = (returns(), now());
        let client = |number: usize| {
            let number = u32::try_from(number).unwrap();
            SocketAddr::from((std::net::Ipv4Addr::from(number), 1))
        };
        let entrance = through(4, "192.0.2.1:443");
        for number in 0..Returns::CAPACITY {
            returns.note(start, client(number), entrance).unwrap();
        }
        let one_more = client(Returns::CAPACITY);
        assert_eq!(returns.note(start, one_more, entrance), Err(ReturnsFull));
        assert_eq!(returns.sweep(start), Returns::CAPACITY);
        assert_eq!(returns.sweep(start + LIFETIME), 0);
        returns.note(start + LIFETIME, one_more, entrance).unwrap();
    }
}
