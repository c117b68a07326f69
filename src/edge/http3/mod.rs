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
use h3::error::ConnectionError;
use h3::server::{Connection, RequestResolver};
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
}

impl Http3 {
    /// Serves one connection until it ends or, once it is told to go, until its last request was
    /// answered. `facts` is asked once for each request.
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
        let Ok(Ok(mut connection)) = opened else {
            return;
        };

        let mut requests = JoinSet::new();
        let mut used = false;
        let mut draining = pin!(course.reached(Phase::Draining));
        let mut ending = pin!(course.reached(Phase::Ending));
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Ok(Some(resolver)) => {
                        used = true;
                        self.start(&mut requests, resolver, &shared, facts());
                    }
                    Ok(None) => return self.finish(&shared, requests).await,
                    Err(error) => {
                        tracing::debug!(%error, "the HTTP/3 connection ended");
                        return;
                    }
                },
                Some(ended) = requests.join_next() => self.count(ended),
                () = &mut draining, if used => break,
                () = &mut ending => break,
            }
        }
        if announce_end(&mut connection).await.is_err() {
            return;
        }
        self.finish(&shared, requests).await;
    }

    fn start(
        &self,
        requests: &mut JoinSet<()>,
        resolver: RequestResolver<Adapter, Bytes>,
        shared: &Shared,
        client: ClientFacts,
    ) {
        let Some(stopped) = shared.take_accepted() else {
            return;
        };
        let exchange = Exchange::new(Arc::clone(&self.service), self.rules, client, stopped);
        requests.spawn(exchange.run(resolver));
    }

    /// Answers the requests that were accepted, and rejects all others, until the client has had
    /// time to learn from the GOAWAY which is which.
    async fn finish(&self, shared: &Shared, mut requests: JoinSet<()>) {
        let mut rejecting = pin!(shared.reject_new());
        loop {
            tokio::select! {
                ended = requests.join_next() => match ended {
                    Some(ended) => self.count(ended),
                    None => break,
                },
                () = &mut rejecting => return,
            }
        }
        // The client ends the connection, or this does.
        drop(tokio::time::timeout(shared.round_trips(LINGER), rejecting).await);
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

/// Sends the GOAWAY (RFC 9114, section 5.2).
///
/// The library's names the first stream that is not processed when it is asked to allow one more,
/// but would still accept that one, and on accepting again it sends a second GOAWAY that gives up
/// requests which have been answered. So it must not accept again.
async fn announce_end(connection: &mut Connection<Adapter, Bytes>) -> Result<(), ConnectionError> {
    connection.shutdown(1).await
}

/// Round trips between the last response and the end of the connection: one for the GOAWAY and what
/// the client sent before it came, and two for a loss.
const LINGER: u32 = 3;
/// One byte can be a whole field, and `http::HeaderMap` holds 24,576.
const MAX_ENCODED_SECTION: u64 = 24_000;
