//! A QUIC endpoint with its connections, driven by the world.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Incoming, Transmit};
use wayhold::wire::Ecn;

use crate::app::App;

/// An endpoint whose connections each have an application.
pub(crate) struct Endpoint<A> {
    pub(crate) inner: quinn_proto::Endpoint,
    pub(crate) connections: BTreeMap<usize, Open<A>>,
}

/// A connection, its application, and when it is to be woken.
pub(crate) struct Open<A> {
    pub(crate) connection: Connection,
    pub(crate) app: A,
    alarm: Option<Instant>,
}

/// What an endpoint wants of the world.
pub(crate) struct Output<A> {
    pub(crate) sent: Vec<Sent>,
    /// Connections to wake, and when.
    pub(crate) alarms: Vec<(usize, Instant)>,
    /// Connections that are over.
    pub(crate) ended: Vec<(usize, A)>,
    /// What an application found wrong.
    pub(crate) fault: Option<String>,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The connection that sent it, unless the endpoint did.
    pub(crate) connection: Option<usize>,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Vec<u8>,
}

/// A datagram that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Vec<u8>,
}

/// What became of a datagram.
pub(crate) enum Taken {
    /// Nothing that concerns the caller.
    Quietly,
    /// It belonged to this connection.
    Connection(usize),
    /// It wants a new connection.
    Incoming(Box<Incoming>),
    /// The endpoint answered by itself.
    Answered,
}

impl<A: App> Endpoint<A> {
    pub(crate) fn new(inner: quinn_proto::Endpoint) -> Self {
        Self {
            inner,
            connections: BTreeMap::new(),
        }
    }

    /// Takes a datagram, and drives the connection that it belongs to.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        received: &Received,
        out: &mut Output<A>,
    ) -> Taken {
        let data = BytesMut::from(&received.bytes[..]);
        let ecn = EcnCodepoint::from_bits(received.ecn.bits());
        let mut buffer = Vec::new();
        let event = self
            .inner
            .handle(now, received.from, None, ecn, data, &mut buffer);
        match event {
            None => Taken::Quietly,
            Some(DatagramEvent::NewConnection(incoming)) => Taken::Incoming(Box::new(incoming)),
            Some(DatagramEvent::Response(transmit)) => {
                out.send(None, &transmit, &buffer);
                Taken::Answered
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let open = self.connections.get_mut(&handle.0);
                open.expect("the endpoint knows only open ones")
                    .connection
                    .handle_event(event);
                self.drive(now, handle.0, out);
                Taken::Connection(handle.0)
            }
        }
    }

    /// Adds a connection and drives it.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        (handle, connection): (ConnectionHandle, Connection),
        app: A,
        out: &mut Output<A>,
    ) -> usize {
        let open = Open {
            connection,
            app,
            alarm: None,
        };
        self.connections.insert(handle.0, open);
        self.drive(now, handle.0, out);
        handle.0
    }

    /// Wakes a connection that asked for it; one that meanwhile asked for a later time waits on.
    pub(crate) fn wake(&mut self, now: Instant, handle: usize, out: &mut Output<A>) {
        if let Some(open) = self.connections.get_mut(&handle) {
            open.alarm = open.alarm.filter(|alarm| *alarm > now);
            self.drive(now, handle, out);
        }
    }

    /// Lets a connection do what it has to do now.
    pub(crate) fn drive(&mut self, now: Instant, handle: usize, out: &mut Output<A>) {
        let Some(open) = self.connections.get_mut(&handle) else {
            return;
        };
        if open.connection.poll_timeout().is_some_and(|at| at <= now) {
            open.connection.handle_timeout(now);
        }
        loop {
            let mut idle = true;
            while let Some(event) = open.connection.poll() {
                let fault = open.app.event(&mut open.connection, event);
                out.fault = out.fault.take().or(fault);
                idle = false;
            }
            while let Some(event) = open.connection.poll_endpoint_events() {
                idle = false;
                let drained = event.is_drained();
                if let Some(reply) = self.inner.handle_event(ConnectionHandle(handle), event) {
                    open.connection.handle_event(reply);
                }
                if drained {
                    let ended = self.connections.remove(&handle);
                    out.ended.extend(ended.map(|open| (handle, open.app)));
                    return;
                }
            }
            let mut buffer = Vec::new();
            if let Some(transmit) = open.connection.poll_transmit(now, BATCH, &mut buffer) {
                out.send(Some(handle), &transmit, &buffer);
                idle = false;
            }
            if idle {
                break;
            }
        }
        let at = open.connection.poll_timeout();
        if let Some(at) = at.filter(|at| open.alarm.is_none_or(|alarm| *at < alarm)) {
            open.alarm = Some(at);
            out.alarms.push((handle, at));
        }
    }
}

impl<A> Default for Output<A> {
    fn default() -> Self {
        Self {
            sent: Vec::new(),
            alarms: Vec::new(),
            ended: Vec::new(),
            fault: None,
        }
    }
}

impl<A> Output<A> {
    /// Takes apart what is sent as one batch.
    pub(crate) fn send(&mut self, connection: Option<usize>, transmit: &Transmit, buffer: &[u8]) {
        let ecn = transmit
            .ecn
            .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
        let bytes = &buffer[..transmit.size];
        let segment = transmit.segment_size.unwrap_or(bytes.len()).max(1);
        self.sent.extend(bytes.chunks(segment).map(|bytes| Sent {
            connection,
            to: transmit.destination,
            ecn,
            bytes: bytes.to_vec(),
        }));
    }
}

/// Datagrams that may leave at once, as on a system with segmentation offload.
pub(crate) const BATCH: usize = 10;
