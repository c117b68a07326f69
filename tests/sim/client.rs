//! A client that fetches one thing after the other, wherever its address and the route go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quinn_proto::{
    ClientConfig, ConnectionError, ConnectionId, ConnectionIdGenerator, EndpointConfig,
    MtuDiscoveryConfig, TokenMemoryCache, TransportConfig, VarInt,
};
use wayhold::link::Random;
use wayhold::wire::LongKind;

use crate::app::{Asking, Request};
use crate::clock::beginning;
use crate::endpoint::{Endpoint, Output, Received};
use crate::keys::ResetSigner;
use crate::process::SERVICE;
use crate::tls::{self, Hello, SERVER_NAME};
use crate::worker::{IDLE_TIMEOUT, Place};

/// One client with at most one connection that it uses.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) endpoint: Endpoint<Asking>,
    pub(crate) current: Option<usize>,
    /// Datagrams sent on this connection.
    pub(crate) sent: u32,
    /// When this connection was begun.
    pub(crate) connecting_since: Option<Instant>,
    /// Whether it needs nothing more.
    pub(crate) done: bool,
    /// How many fetches it completed.
    pub(crate) complete: u32,
    /// Datagrams that it had sent when its first fetch was complete.
    pub(crate) first_took: Option<u32>,
    /// With what and who answered first, for each of its connection IDs.
    followed: BTreeMap<Vec<u8>, (LongKind, Place)>,
    config: ClientConfig,
    until: Instant,
    most_thinking: Duration,
    number: u64,
    fetches: u64,
    counted: u32,
    random: Random,
    thinking: bool,
}

/// What a client wants of the world beside what its endpoint wants.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Time to think before it goes on.
    pub(crate) think: Option<Duration>,
    /// Why its connection is over that it wanted.
    pub(crate) lost: Option<ConnectionError>,
}

impl Client {
    /// A client that goes on fetching until this time.
    pub(crate) fn new(number: u64, hello: Hello, until: Instant, random: Random) -> Self {
        let mut random = random;
        let cids = Arc::new(Mutex::new(random.fork()));
        let mut config = ClientConfig::new(tls::client(hello));
        config
            .transport_config(Arc::new(transport()))
            .token_store(Arc::new(TokenMemoryCache::default()));
        config.initial_dst_cid_provider(Arc::new(move || {
            let random = &mut *cids.lock().unwrap();
            let len = 8 + random.below(13) as usize;
            draw(random, len)
        }));
        Self {
            address: address(number, 0),
            endpoint: Endpoint::new(endpoint(&mut random)),
            current: None,
            sent: 0,
            connecting_since: None,
            done: false,
            complete: 0,
            first_took: None,
            followed: BTreeMap::new(),
            config,
            until,
            most_thinking: until.duration_since(beginning()) / FETCHES,
            number,
            fetches: 0,
            counted: 0,
            random,
            thinking: false,
        }
    }

    /// Takes what arrived at its address.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        received: &Received,
        out: &mut Output<Asking>,
    ) -> Wishes {
        self.endpoint.receive(now, received, out);
        self.settle(now, out)
    }

    /// The place whose answer the client took first under its connection ID `own`; `place` is the next one to
    /// answer. Another's answers are no part of the connection.
    ///
    /// A client discards what another node answers to a `ClientHello` of which both got a part (RFC 9000,
    /// section 7.2). quinn-proto 0.11.19 does so only after it has taken the packet's number for received,
    /// and then acknowledges packets of the right node that it never saw.
    pub(crate) fn followed(
        &mut self,
        own: &[u8],
        kind: LongKind,
        place: Place,
    ) -> (LongKind, Place) {
        *self.followed.entry(own.to_vec()).or_insert((kind, place))
    }

    /// Wakes a connection.
    pub(crate) fn wake(&mut self, now: Instant, handle: usize, out: &mut Output<Asking>) -> Wishes {
        self.endpoint.wake(now, handle, out);
        self.settle(now, out)
    }

    /// Goes on after it has thought: connects, fetches, or ends.
    pub(crate) fn go_on(&mut self, now: Instant, out: &mut Output<Asking>) -> Wishes {
        self.thinking = false;
        let Some(handle) = self.current else {
            if now >= self.until && self.complete > 0 {
                self.done = true;
            } else {
                self.connect(now, out);
            }
            return self.settle(now, out);
        };
        let going_away = self.app(handle).is_some_and(|app| app.going_away);
        if now >= self.until || going_away {
            self.close(now, out);
            self.done = now >= self.until;
            let mut wishes = self.settle(now, out);
            if !self.done {
                self.thinking = true;
                wishes.think = Some(Duration::ZERO);
            }
            return wishes;
        }
        for _ in 0..=self.random.below(2) {
            self.fetch(handle);
        }
        self.endpoint.drive(now, handle, out);
        self.settle(now, out)
    }

    /// Whether its connection carries application data: only then may its address change.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.counted > 0 && self.current.is_some()
    }

    /// Gets another port from its NAT, and hears of it by nothing.
    pub(crate) fn rebind(&mut self) {
        let port = self.address.port();
        self.address
            .set_port(if port == u16::MAX { 1024 } else { port + 1 });
    }

    /// Moves to another network, and knows it.
    pub(crate) fn migrate(
        &mut self,
        now: Instant,
        network: u8,
        out: &mut Output<Asking>,
    ) -> Wishes {
        let port = self.address.port();
        self.address = address(self.number, network);
        self.address.set_port(port);
        if let Some(handle) = self.current
            && let Some(open) = self.endpoint.connections.get_mut(&handle)
        {
            open.connection.local_address_changed();
            self.endpoint.drive(now, handle, out);
        }
        self.settle(now, out)
    }

    /// Changes the keys of its connection.
    pub(crate) fn update_keys(&mut self) {
        if let Some(handle) = self.current
            && let Some(open) = self.endpoint.connections.get_mut(&handle)
        {
            open.connection.force_key_update();
        }
    }

    fn connect(&mut self, now: Instant, out: &mut Output<Asking>) {
        let config = self.config.clone();
        let connecting = self
            .endpoint
            .inner
            .connect(now, config, SERVICE, SERVER_NAME);
        let connecting = connecting.expect("the name and the address are fine");
        (self.sent, self.counted) = (0, 0);
        self.connecting_since = Some(now);
        self.current = Some(connecting.0.0);
        self.endpoint.open(now, connecting, Asking::default(), out);
    }

    fn close(&mut self, now: Instant, out: &mut Output<Asking>) {
        if let Some(handle) = self.current.take()
            && let Some(open) = self.endpoint.connections.get_mut(&handle)
        {
            open.connection
                .close(now, VarInt::from_u32(0), bytes::Bytes::new());
            self.endpoint.drive(now, handle, out);
        }
    }

    fn fetch(&mut self, handle: usize) {
        self.fetches += 1;
        let large = self.random.below(12) == 0;
        let most = if large { 40_000 } else { 3000 };
        let request = Request {
            tag: self.number << 32 | self.fetches,
            up: self.random.below(most / 2),
            down: self.random.below(most),
        };
        if let Some(open) = self.endpoint.connections.get_mut(&handle) {
            let may = open.app.fetch(&mut open.connection, request);
            assert!(may, "a node allows a hundred streams at once");
        }
    }

    /// Looks at what its connection has become.
    fn settle(&mut self, now: Instant, out: &Output<Asking>) -> Wishes {
        let mut wishes = Wishes::default();
        let Some(handle) = self.current else {
            return wishes;
        };
        let ended = out.ended.iter().find(|(ended, _)| *ended == handle);
        let lost = match (ended, self.app(handle)) {
            (Some((_, app)), _) | (None, Some(app)) => app.lost.clone(),
            (None, None) => None,
        };
        if lost.is_some() {
            self.current = None;
            wishes.lost = lost;
            // One that was about to go on does so anyway.
            wishes.think = (!self.thinking).then_some(RECONNECT_AFTER);
            self.thinking = true;
            return wishes;
        }
        let Some(app) = self.app(handle) else {
            return wishes;
        };
        let (complete, idle) = (app.complete, app.connected && app.open() == 0);
        self.complete += complete - self.counted;
        self.counted = complete;
        if complete > 0 {
            self.first_took.get_or_insert(self.sent);
        }
        if idle && !self.thinking {
            self.thinking = true;
            let think = self.random.up_to(self.most_thinking);
            wishes.think = Some(think.min(self.until.saturating_duration_since(now)));
        }
        wishes
    }

    fn app(&self, handle: usize) -> Option<&Asking> {
        self.endpoint.connections.get(&handle).map(|open| &open.app)
    }
}

/// The address of a client in one of its networks.
pub(crate) fn address(number: u64, network: u8) -> SocketAddr {
    SocketAddr::from(([10, network, 0, number as u8 + 1], 10_000))
}

fn endpoint(random: &mut Random) -> quinn_proto::Endpoint {
    let keyring = wayhold::fleet::Keyring::new(crate::keys::fleet_key(0));
    let own = wayhold::cid::ServerId::new(&[0; 4]).unwrap();
    let keys = crate::keys::cid_keys(&keyring, own);
    let mut config = EndpointConfig::new(Arc::new(ResetSigner {
        keys: Arc::new(Mutex::new(keys)),
        shared: None,
    }));
    let mut seed = [0; 32];
    random.fill(&mut seed);
    config.rng_seed(Some(seed));
    let cids = Arc::new(Mutex::new(random.fork()));
    config.cid_generator(move || Box::new(Generator(Arc::clone(&cids))));
    quinn_proto::Endpoint::new(Arc::new(config), None, true, None)
}

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(1400).minimum_change(64);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().unwrap()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .mtu_discovery_config(Some(mtu));
    transport
}

struct Generator(Arc<Mutex<Random>>);

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        draw(&mut self.0.lock().unwrap(), 8)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn draw(random: &mut Random, len: usize) -> ConnectionId {
    let mut bytes = [0; 20];
    random.fill(&mut bytes);
    ConnectionId::new(&bytes[..len])
}

/// A client that sends nothing is not seen to move.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// In a world of any length, about twice as many are made.
const FETCHES: u32 = 16;
const RECONNECT_AFTER: Duration = Duration::from_millis(20);
