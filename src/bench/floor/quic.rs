//! Two quinn-proto endpoints in one thread and in virtual time: the gateway's own, with the configuration that it
//! runs with, and a client's.
//!
//! A handshake is measured until both sides have nothing more to say: until everything is acknowledged, the
//! node's tickets, tokens and connection IDs have arrived, and no search for the MTU is left to be done. What
//! timers cause within a second counts; closing does not.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, StreamId, VarInt,
};

use super::FloorError;
use super::credentials::NAME;
use super::meter::{Meter, Side};
use crate::QuicConfigs;
use crate::bench::Sample;

/// A client and a node, and the one connection between them.
pub(super) struct Pair {
    client: Party,
    node: Party,
    config: ClientConfig,
    retry: bool,
    now: Instant,
    port: u16,
}

/// What came of a handshake.
#[derive(Debug)]
pub(super) struct Shaken {
    pub(super) sample: Sample,
    /// Whether the node answered the first packet with a Retry.
    pub(super) retried: bool,
    /// Whether the node took early data.
    pub(super) early: bool,
}

/// Whether every address has to be proven first (RFC 9000, section 8.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    AtOnce,
    AfterRetry,
}

/// What the client sends before it has heard from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstFlight {
    Handshake,
    /// With a request in 0-RTT packets, if it has a session.
    Request,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

impl Pair {
    /// Starts at `now`, from where on time is virtual.
    pub(super) fn new(
        configs: QuicConfigs,
        config: ClientConfig,
        admission: Admission,
        now: Instant,
    ) -> Self {
        let QuicConfigs { endpoint, server } = configs;
        let node = Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), true, None);
        let client = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        Self {
            client: Party::new(client),
            node: Party::new(node),
            config,
            retry: admission == Admission::AfterRetry,
            now,
            port: 0,
        }
    }

    /// Connects once, from another port than before, and forgets the connection.
    ///
    /// # Errors
    /// When it does not come about, or does not come to rest.
    pub(super) fn handshake(&mut self, first: FirstFlight) -> Result<Shaken, FloorError> {
        let mut meter = Meter::default();
        self.port = self.port % (u16::MAX - FIRST_PORT) + 1;
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + self.port));
        let (now, config) = (self.now, self.config.clone());
        meter.measure(Side::Client, || self.client.connect(now, config, first))?;
        let until = self.now + LONGEST;
        while self.now < until {
            let Some(next) = self.flight(from, &mut meter) else {
                let shaken = self.shaken(&meter);
                self.forget(from);
                return shaken;
            };
            self.now = next;
        }
        Err(FloorError::Restless)
    }

    /// Lets both sides take what is under way and send what they have; gives when there is more to do.
    fn flight(&mut self, from: SocketAddr, meter: &mut Meter) -> Option<Instant> {
        let (now, retry) = (self.now, self.retry);
        let sides = [
            (Side::Client, &mut self.client, NODE),
            (Side::Node, &mut self.node, from),
        ];
        for (side, party, peer) in sides {
            if party.is_due(now) {
                meter.measure(side, || party.step(now, peer, retry));
                party.pack();
            }
        }
        self.client.hand_to(&mut self.node);
        self.node.hand_to(&mut self.client);
        if !self.client.arrived.is_empty() || !self.node.arrived.is_empty() {
            return Some(now + DELAY);
        }
        let timers = [self.client.timeout(), self.node.timeout()];
        let next = timers.into_iter().flatten().min()?;
        (next < now + REST).then_some(next.max(now))
    }

    fn shaken(&self, meter: &Meter) -> Result<Shaken, FloorError> {
        let [client, node] = [&self.client, &self.node];
        if let Some(lost) = client.lost.clone().or_else(|| node.lost.clone()) {
            return Err(FloorError::Quic(lost));
        }
        if !(client.connected && node.connected) {
            return Err(FloorError::Incomplete);
        }
        Ok(Shaken {
            sample: meter.sample(),
            retried: node.retried,
            early: node.early_bytes == REQUEST.len(),
        })
    }

    /// Closes the connection and lets its memory go at both sides.
    fn forget(&mut self, from: SocketAddr) {
        let mut meter = Meter::default();
        if let Some((_, connection)) = &mut self.client.connection {
            connection.close(self.now, VarInt::from_u32(0), bytes::Bytes::new());
        }
        self.client.closing = true;
        while let Some(next) = self.flight(from, &mut meter) {
            self.now = next;
        }
        for party in [&mut self.client, &mut self.node] {
            party.arrived.clear();
            // What is closed has one timer left, after which the endpoint is told to forget it.
            self.now = party.timeout().unwrap_or(self.now).max(self.now);
            party.step(self.now, NODE, false);
            party.reset();
        }
    }
}

/// One endpoint with at most one connection.
struct Party {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    arrived: VecDeque<BytesMut>,
    leaving: VecDeque<BytesMut>,
    /// What was sent in the step under way, one burst after the other.
    written: Vec<u8>,
    bursts: Vec<Burst>,
    scratch: Vec<u8>,
    sent: u32,
    connected: bool,
    retried: bool,
    closing: bool,
    early_bytes: usize,
    lost: Option<String>,
}

/// Datagrams of equal size but for the last, as one system call takes them.
#[derive(Clone, Copy, Debug)]
struct Burst {
    bytes: usize,
    segment: usize,
}

impl Party {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connection: None,
            arrived: VecDeque::new(),
            leaving: VecDeque::new(),
            written: Vec::with_capacity(64 << 10),
            bursts: Vec::with_capacity(16),
            scratch: Vec::with_capacity(64 << 10),
            sent: 0,
            connected: false,
            retried: false,
            closing: false,
            early_bytes: 0,
            lost: None,
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        config: ClientConfig,
        first: FirstFlight,
    ) -> Result<(), FloorError> {
        let (handle, mut connection) = self
            .endpoint
            .connect(now, config, NODE, NAME)
            .map_err(|error| FloorError::Quic(error.to_string()))?;
        if first == FirstFlight::Request
            && connection.has_0rtt()
            && let Some(stream) = connection.streams().open(Dir::Bi)
        {
            let mut stream = connection.send_stream(stream);
            stream
                .write(REQUEST)
                .and_then(|_| {
                    stream
                        .finish()
                        .map_err(|_closed| quinn_proto::WriteError::ClosedStream)
                })
                .map_err(|error| FloorError::Quic(error.to_string()))?;
        }
        self.connection = Some((handle, connection));
        Ok(())
    }

    fn is_due(&mut self, now: Instant) -> bool {
        !self.arrived.is_empty()
            || self.timeout().is_some_and(|due| due <= now)
            || (self.sent == 0 && self.connection.is_some())
            || self.closing
    }

    fn timeout(&mut self) -> Option<Instant> {
        self.connection.as_mut()?.1.poll_timeout()
    }

    /// Does everything that an endpoint and its connection have to do now.
    fn step(&mut self, now: Instant, peer: SocketAddr, retry: bool) {
        self.closing = false;
        while let Some(datagram) = self.arrived.pop_front() {
            self.receive(now, (peer, retry), datagram);
        }
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        if connection.poll_timeout().is_some_and(|due| due <= now) {
            connection.handle_timeout(now);
        }
        loop {
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            while let Some(event) = connection.poll() {
                match event {
                    Event::Connected => self.connected = true,
                    Event::ConnectionLost { reason } => self.lost = Some(reason.to_string()),
                    _ => {}
                }
            }
            if let Some(stream) = connection.streams().accept(Dir::Bi) {
                self.early_bytes += read(connection, stream);
            }
            self.scratch.clear();
            let Some(transmit) = connection.poll_transmit(now, SEGMENTS, &mut self.scratch) else {
                break;
            };
            self.written.extend_from_slice(&self.scratch);
            self.bursts.push(Burst {
                bytes: transmit.size,
                segment: transmit.segment_size.unwrap_or(transmit.size),
            });
        }
    }

    fn receive(&mut self, now: Instant, (peer, retry): (SocketAddr, bool), datagram: BytesMut) {
        self.scratch.clear();
        let event = self
            .endpoint
            .handle(now, peer, None, None, datagram, &mut self.scratch);
        let response = match event {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
                return;
            }
            Some(DatagramEvent::NewConnection(incoming))
                if retry && !incoming.remote_address_validated() =>
            {
                self.retried = true;
                self.endpoint.retry(incoming, &mut self.scratch).ok()
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.endpoint.accept(incoming, now, &mut self.scratch, None) {
                    Ok(accepted) => {
                        self.connection = Some(accepted);
                        None
                    }
                    Err(error) => {
                        self.lost = Some(error.cause.to_string());
                        error.response
                    }
                }
            }
            Some(DatagramEvent::Response(transmit)) => Some(transmit),
            None => None,
        };
        if let Some(transmit) = response {
            self.written.extend_from_slice(&self.scratch);
            self.bursts.push(Burst {
                bytes: transmit.size,
                segment: transmit.size,
            });
        }
    }

    /// Makes datagrams of what was written, which a kernel would do.
    fn pack(&mut self) {
        let mut written = self.written.as_slice();
        for burst in self.bursts.drain(..) {
            let (bytes, rest) = written.split_at(burst.bytes);
            for datagram in bytes.chunks(burst.segment) {
                self.leaving.push_back(BytesMut::from(datagram));
                self.sent += 1;
            }
            written = rest;
        }
        self.written.clear();
    }

    fn hand_to(&mut self, peer: &mut Self) {
        peer.arrived.append(&mut self.leaving);
    }

    fn reset(&mut self) {
        self.connection = None;
        self.leaving.clear();
        self.written.clear();
        self.bursts.clear();
        self.sent = 0;
        self.connected = false;
        self.retried = false;
        self.early_bytes = 0;
        self.lost = None;
    }
}

/// Reads what has arrived of a stream; none of it comes later than 0-RTT packets do.
fn read(connection: &mut Connection, stream: StreamId) -> usize {
    let mut read = 0;
    let mut stream = connection.recv_stream(stream);
    if let Ok(mut chunks) = stream.read(true) {
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            read += chunk.bytes.len();
        }
        let _transmit = chunks.finalize();
    }
    read
}

const NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 443);
const FIRST_PORT: u16 = 1024;
/// From one side to the other.
const DELAY: Duration = Duration::from_millis(5);
/// Without anything to do for so long, both sides have come to rest. Longer than any acknowledgment is
/// delayed and any probe waits.
const REST: Duration = Duration::from_secs(1);
/// No handshake takes this long.
const LONGEST: Duration = Duration::from_secs(30);
/// As quinn asks for at most.
const SEGMENTS: usize = 10;
/// As long as the header section of a simple request.
const REQUEST: &[u8] = &[0x5a; 100];
