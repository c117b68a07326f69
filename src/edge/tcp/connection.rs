use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::activity::Activity;
use super::closing::close;
use super::exchange::Exchanges;
use super::opening::{self, Refusal};
use super::tunnel::Tunnels;
use super::{TcpParts, http1, http2};
use crate::edge::course::{Course, Phase};
use crate::edge::places::Place;
use crate::edge::tls::{Opened, TlsStream};
use crate::request::{ClientFacts, Handshake, Informational, PathFacts, Protocol, RequestError};
use crate::telemetry::{Reason, Transport};

/// One client's connection, from its first byte to its last.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) parts: Arc<TcpParts>,
    pub(super) course: Course,
    client: SocketAddr,
}

impl Connection {
    pub(super) fn new(parts: Arc<TcpParts>, client: SocketAddr, course: Course) -> Self {
        Self {
            parts,
            course,
            client: canonical(client),
        }
    }

    /// Serves the connection to its end. Its handshake counts as half open until it is complete; requests
    /// in early data are answered meanwhile.
    pub(super) async fn run(self, stream: TcpStream, handshake: Place) {
        let _panics = PanicCount(self.parts.metrics.panics.clone());
        let local = stream.local_addr().map(canonical);
        let mut deadline = pin!(sleep(self.parts.timeouts.handshake));
        let opened = tokio::select! {
            () = self.course.reached(Phase::Ending) => return,
            () = &mut deadline => Err(Refusal::Timeout),
            opened = self.open(stream) => opened,
        };
        let (opened, local) = match (opened, local) {
            (Ok(opened), Ok(local)) => (opened, local),
            (Ok(_), Err(error)) => return self.refused(&Refusal::Handshake(error)),
            (Err(refusal), _) => return self.refused(&refusal),
        };
        let mut client = ClientFacts::new(Arc::new(PathFacts::default()), self.client, local);
        client.owner = self.parts.node;
        client.protocol = opened.protocol;
        client.resumption = opened.kind;
        client.certificate = opened.client;
        let outcomes = self.parts.metrics.informational.clone();
        client.informational = Informational::unsupported(outcomes);
        let Some(completion) = opened.completion else {
            drop(handshake);
            return self.serve(opened.stream, client).await;
        };
        let (end, known) = Handshake::under_way();
        let mut served = pin!(self.serve(opened.stream, client.after(known)));
        let completed = tokio::select! {
            biased;
            () = &mut deadline => Err(Refusal::Timeout),
            completed = completion.completed() => completed.map_err(Refusal::Handshake),
            () = &mut served => return,
        };
        drop(handshake);
        match completed {
            Ok(()) => {
                end.complete();
                served.await;
            }
            Err(refusal) => self.refused(&refusal),
        }
    }

    async fn open(&self, stream: TcpStream) -> Result<Opened, Refusal> {
        stream.set_nodelay(true)?;
        opening::open(stream, &self.parts.tls).await
    }

    async fn serve(&self, mut stream: TlsStream, client: ClientFacts) {
        let open = self
            .parts
            .metrics
            .connections
            .get_or_create_owned(&Transport::TCP);
        let _open = OpenCount::new(open);
        let protocol = client.protocol;
        let exchanges = Exchanges {
            service: Arc::clone(&self.parts.service),
            client,
            activity: Activity::new(),
            course: self.course.clone(),
            tunnels: Tunnels::Connection(Arc::default()),
        };
        let ended = if protocol == Protocol::Http2 {
            http2::serve(self, &mut stream, exchanges).await
        } else {
            http1::serve(self, &mut stream, exchanges).await
        };
        match ended {
            Ok(End::InOrder) => close(stream).await,
            Ok(End::Cut) => {}
            Err(error) => {
                tracing::debug!(client = %self.client, %error, "TCP connection ended early");
            }
        }
    }

    /// Counts a request that failed before the service saw it.
    pub(super) fn failed(&self, error: RequestError) {
        let reason = error.reason();
        let failed = &self.parts.metrics.requests_failed;
        failed.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a connection that is ended for what its client did.
    pub(super) fn refuse(&self, reason: &'static str) {
        let refused = &self.parts.metrics.connections_refused;
        refused.get_or_create(&Reason { reason }).inc();
    }

    fn refused(&self, refusal: &Refusal) {
        tracing::debug!(client = %self.client, %refusal, "TCP connection refused");
        self.refuse(refusal.reason());
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was sent, and the client may still receive it.
    InOrder,
    /// The client gets nothing more.
    Cut,
}

/// Counts a panic that unwinds through its owner.
#[derive(Debug)]
pub(super) struct PanicCount(pub(super) Counter);

impl Drop for PanicCount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a TCP task panicked");
            self.0.inc();
        }
    }
}

/// hyper ended the connection by itself.
pub(super) fn in_order(ended: hyper::Result<()>) -> hyper::Result<End> {
    ended.map(|()| End::InOrder)
}

struct OpenCount(Gauge);

impl OpenCount {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// An IPv4 client of a dual-stack socket appears as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
