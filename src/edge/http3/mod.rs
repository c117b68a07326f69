//! HTTP/3 (RFC 9114) on an accepted connection. This module is the only one that knows the h3
//! crate; what the crate does not bound or gets wrong is held off by the [`gate`] and the
//! [`adapter`].

mod adapter;
mod body;
mod gate;
mod request;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h3::quic::StreamId;
use h3::server::{Connection, RequestResolver};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::adapter::{Adapter, Shared};
use self::request::Exchange;
use super::course::{Course, Phase};
use super::quic::transport;
use super::service::Service;
use crate::request::ClientFacts;
use crate::telemetry::Metrics;

/// What every connection's HTTP/3 layer needs.
#[derive(Clone, Debug)]
pub(crate) struct Http3 {
    /// Answers requests.
    pub(crate) service: Arc<Service>,
    /// Bounds and times.
    pub(crate) rules: Rules,
    /// Counts panics.
    pub(crate) metrics: Metrics,
}

/// The bounds of one connection's HTTP/3 layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Bytes of a header section (RFC 9114, section 4.2.2).
    pub(crate) header_bytes: u32,
    /// From the start of a request stream to its complete header section.
    pub(crate) header_timeout: Duration,
    /// Between two pieces of a body that the client takes.
    pub(crate) body_idle: Duration,
    /// When the process ends, from the last answer to the end of the connection.
    pub(crate) linger: Duration,
}

impl Http3 {
    /// Serves one connection until it ends or, once it is told to go, until its last request was
    /// answered and the client has closed it. `facts` is asked once for each request.
    ///
    /// It is told when the process ends, and while the node drains as soon as it has been of use: a
    /// client that was accepted meanwhile gets its first answer and then connects elsewhere.
    pub(crate) async fn serve<F>(&self, connection: transport::Connection, facts: F, course: Course)
    where
        F: Fn() -> ClientFacts,
    {
        let (adapter, shared) = Adapter::new(connection, self.max_headers());
        let mut builder = h3::server::builder();
        builder
            .max_field_section_size(u64::from(self.rules.header_bytes))
            .send_grease(false);
        let opened = tokio::time::timeout(self.rules.header_timeout, builder.build(adapter)).await;
        let Ok(Ok(connection)) = opened else {
            return;
        };
        let used = Arc::new(Notify::new());
        let mut open = Open {
            connection,
            shared,
            facts,
            requests: JoinSet::new(),
            used: Arc::clone(&used),
        };
        let told = async {
            let draining = async {
                used.notified().await;
                course.reached(Phase::Draining).await;
            };
            tokio::select! {
                () = draining => {}
                () = course.reached(Phase::Ending) => {}
            }
        };
        let mut halt = self.accept_until(told, &mut open).await;
        if halt == Halt::Due {
            halt = self.announce_end(&mut open).await;
        }
        if halt != Halt::Ended {
            self.finish(open, course).await;
        }
    }

    async fn accept_until<F>(&self, due: impl Future<Output = ()>, open: &mut Open<F>) -> Halt
    where
        F: Fn() -> ClientFacts,
    {
        let mut due = pin!(due);
        loop {
            tokio::select! {
                accepted = open.connection.accept() => match accepted {
                    Ok(Some(resolver)) => {
                        open.used.notify_one();
                        self.start(open, resolver);
                    }
                    Ok(None) => return Halt::Finished,
                    Err(error) => {
                        tracing::debug!(%error, "the HTTP/3 connection ended");
                        return Halt::Ended;
                    }
                },
                Some(ended) = open.requests.join_next() => self.count(ended),
                () = &mut due => return Halt::Due,
            }
        }
    }

    fn start<F>(&self, open: &mut Open<F>, resolver: RequestResolver<Adapter, Bytes>)
    where
        F: Fn() -> ClientFacts,
    {
        let Some(stopped) = open.shared.take_accepted() else {
            return;
        };
        let client = (open.facts)();
        let exchange = Exchange::new(Arc::clone(&self.service), self.rules, client, stopped);
        open.requests.spawn(exchange.run(resolver));
    }

    /// Tells the client to go, takes what it sends before it can know, and then tells it which
    /// requests that were (RFC 9114, section 5.2).
    ///
    /// The library's GOAWAY names the first stream that is not processed when it is asked to allow one
    /// more, but would still accept that one, and on accepting again it sends another GOAWAY that gives
    /// up requests which have been answered. So it must not accept again after that.
    async fn announce_end<F>(&self, open: &mut Open<F>) -> Halt
    where
        F: Fn() -> ClientFacts,
    {
        let everything = StreamId::try_from(LAST_REQUEST).expect("the largest of all stream IDs");
        let warned = open.connection.inner.shutdown(&mut None, everything).await;
        if warned.is_err() {
            return Halt::Ended;
        }
        let arriving = tokio::time::sleep(open.shared.round_trips(ARRIVAL));
        let halt = self.accept_until(arriving, open).await;
        if halt == Halt::Due && open.connection.shutdown(1).await.is_err() {
            return Halt::Ended;
        }
        halt
    }

    /// Answers the requests that were accepted, and rejects all others, until the client has learned
    /// from the GOAWAY which is which and closes the connection.
    ///
    /// A client that was not scheduled, or whose network is away, learns it late; a connection that is
    /// closed before leaves it with requests of which it does not know what became. So a node that
    /// drains, which loses nothing by it, waits long, and a process that ends less so.
    async fn finish<F>(&self, mut open: Open<F>, course: Course) {
        let mut rejecting = pin!(open.shared.reject_new());
        loop {
            tokio::select! {
                ended = open.requests.join_next() => match ended {
                    Some(ended) => self.count(ended),
                    None => break,
                },
                () = &mut rejecting => return,
            }
        }
        let ending = async {
            course.reached(Phase::Ending).await;
            tokio::time::sleep(self.rules.linger).await;
        };
        tokio::select! {
            () = rejecting => {}
            () = ending => {}
            () = tokio::time::sleep(DRAIN_LINGER) => {}
        }
    }

    fn count(&self, ended: Result<(), tokio::task::JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.metrics.panics.inc();
            tracing::error!("a request task panicked");
        }
    }

    /// A field of one byte on the wire counts 32 and more against the limit, so the encoded section
    /// of an acceptable request is never longer than the limit. The cap keeps the number of fields
    /// below what the header map can hold.
    fn max_headers(&self) -> u64 {
        u64::from(self.rules.header_bytes).min(MAX_ENCODED_SECTION)
    }
}

/// A connection whose requests are accepted.
struct Open<F> {
    connection: Connection<Adapter, Bytes>,
    shared: Arc<Shared>,
    facts: F,
    requests: JoinSet<()>,
    /// Notified when a request was accepted.
    used: Arc<Notify>,
}

/// Why no more requests are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// It was to be so.
    Due,
    /// The client sends no more, and has an answer to all.
    Finished,
    /// The connection has ended.
    Ended,
}

/// The largest ID that a request's stream can have, 2^62 - 4.
const LAST_REQUEST: u64 = (1 << 62) - 4;
/// Round trips between the first GOAWAY and the last: one for the GOAWAY and what the client sent
/// before it came, and two for a loss.
const ARRIVAL: u32 = 3;
/// From the last answer to the end of a connection while the node drains.
const DRAIN_LINGER: Duration = Duration::from_secs(10);
/// One byte can be a whole field, and `http::HeaderMap` holds 24,576.
const MAX_ENCODED_SECTION: u64 = 24_000;
