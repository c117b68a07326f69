//! The steps of every request that no transport differs in: rules, limits, deadlines, measuring.
//!
//! A request that breaks a rule never reaches the handler, and what the handler answers never breaks
//! one on the way out.

mod exchange;
mod grpc;
mod idle;
mod inbound;
mod outbound;
mod provenance;
mod response;
mod rules;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;

use self::exchange::{Exchange, Telemetry};
use self::inbound::{Inbound, Tally};
pub(crate) use self::provenance::Provenance;
use super::pace::PaceTerms;
use super::tls::Hosts;
use crate::config::{Limits, Timeouts};
use crate::request::{
    Body, BodyError, ClientFacts, Informational, Interim, RequestError, ResetCode, SharedHandler,
};
use crate::telemetry::{AccessLog, Early, Informed, Metrics, Reason};

/// What stands between every transport and the [`Handler`](crate::request::Handler).
#[derive(Debug)]
pub(crate) struct Service {
    policy: ArcSwap<Policy>,
    telemetry: Arc<Telemetry>,
}

/// How a request is answered; each keeps to the end what it began with.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Answers it.
    pub(crate) handler: SharedHandler,
    /// Bounds it.
    pub(crate) rules: Rules,
    /// Whom it is believed to be from, and what it is called.
    pub(crate) provenance: Provenance,
    /// Whether it writes a line.
    pub(crate) access: AccessLog,
}

/// The limits and deadlines of one request.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    header_bytes: u64,
    header_fields: usize,
    body_bytes: Option<u64>,
    body_idle: Duration,
    body_rate: PaceTerms,
    tunnel_idle: Duration,
    alt_svc: Option<HeaderValue>,
    hosts: Option<Arc<Hosts>>,
}

/// What a transport does for a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Send this. A body that ends with an error resets the stream.
    Response(Response<Body>, Blame),
    /// Reset the stream; nobody waits for a response.
    Reset(ResetCode),
}

/// Takes note of why a transport gives up a response whose body did not fail.
#[derive(Debug)]
pub(crate) struct Blame(Arc<Tally>);

impl Blame {
    /// Notes it; to be done before the body is dropped.
    pub(crate) fn put(&self, error: BodyError) {
        self.0.fail(error);
    }
}

impl Service {
    /// Puts the rules before a handler.
    pub(crate) fn new(policy: Policy, metrics: Metrics) -> Self {
        Self {
            policy: ArcSwap::from_pointee(policy),
            telemetry: Arc::new(Telemetry::new(metrics)),
        }
    }

    /// Answers requests that begin from here on by another policy.
    pub(crate) fn replace(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Notes that requests which are cancelled from here on were cut off by the end of the process,
    /// and not by their clients.
    pub(crate) fn cut_off(&self) {
        self.telemetry.cut_off();
    }

    /// Answers one request. Dropping the future, or the body of the response before its end, cancels
    /// the request.
    ///
    /// It never fails: every error is a response with a short body, or a reset where the client has
    /// gone.
    pub(crate) async fn respond(
        &self,
        mut request: Request<Body>,
        mut client: ClientFacts,
    ) -> Reply {
        let policy = self.policy.load_full();
        let metrics = &self.telemetry.metrics;
        let account = policy
            .provenance
            .account(request.headers(), &client, metrics);
        client.account = account.into();
        let rules = &policy.rules;
        let mut exchange = Exchange::begin(&self.telemetry, policy.access, &request, &client);
        let protocol = client.protocol;
        let checked = rules::check(&mut request, protocol, rules).and_then(|declared| {
            // Most requests have no content, and a handler has to look for a limit.
            if declared.is_none() && request.body().is_end_stream() {
                return Ok((None, None));
            }
            let limit = body_limit(&policy, &request, &exchange)?;
            let within = declared.unwrap_or(0) <= limit.unwrap_or(u64::MAX);
            within
                .then_some((declared, limit))
                .ok_or(RequestError::Body(BodyError::TooLarge))
        });
        let answer = match checked {
            Ok(expected) => {
                let tally = Arc::clone(exchange.upload());
                let request = match exchange.tunnel().map(Arc::clone) {
                    None => {
                        request.map(|body| Body::new(Inbound::new(body, expected, rules, tally)))
                    }
                    Some(tunnel) => request
                        .map(|body| Body::new(tunnel::Upload::new(body, rules, tally, tunnel))),
                };
                call(&policy.handler, request, client, &exchange).await
            }
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|response| response::Checked::new(response, &exchange));
        match answer {
            Ok(checked) => {
                let blame = Blame(Arc::clone(exchange.upload()));
                Reply::Response(checked.dress(protocol, rules, exchange), blame)
            }
            Err(error) => {
                let error = exchange
                    .upload()
                    .failure()
                    .map_or(error, RequestError::Body);
                exchange.fail(error);
                if error == RequestError::Body(BodyError::ClientGone) {
                    return Reply::Reset(error.reset());
                }
                let checked = response::Checked::error(error, &exchange);
                let blame = Blame(Arc::clone(exchange.upload()));
                Reply::Response(checked.dress(protocol, rules, exchange), blame)
            }
        }
    }

    /// Counts a request whose header section never was whole or acceptable to its transport.
    pub(crate) fn never_began(&self, error: RequestError) {
        let reason = error.reason();
        let failed = &self.telemetry.metrics.requests_failed;
        failed.get_or_create(&Reason { reason }).inc();
    }

    /// The way of informational responses to a client whose transport sends what is put into `interim`.
    pub(crate) fn informational(&self, interim: Arc<Interim>) -> Informational {
        Informational::over(interim, self.telemetry.metrics.informational.clone())
    }

    /// Counts an informational response.
    pub(crate) fn count_informed(&self, outcome: Informed) {
        let counter = &self.telemetry.metrics.informational;
        counter.get_or_create(&outcome).inc();
    }

    /// Counts a request that came before the end of its handshake.
    pub(crate) fn count_early(&self, early: Early) {
        let counter = &self.telemetry.metrics.early_requests;
        counter.get_or_create(&early).inc();
    }
}

impl Rules {
    /// Takes what concerns requests; `alt_svc` goes into responses over TCP.
    pub(crate) fn new(limits: &Limits, timeouts: &Timeouts, alt_svc: Option<HeaderValue>) -> Self {
        Self {
            header_bytes: limits.header_bytes.into(),
            header_fields: usize::try_from(limits.header_fields).unwrap_or(usize::MAX),
            body_bytes: (limits.body_bytes > 0).then_some(limits.body_bytes),
            body_idle: timeouts.body_idle,
            body_rate: PaceTerms {
                rate: limits.body_rate,
                window: timeouts.body_idle,
            },
            tunnel_idle: timeouts.tunnel_idle,
            alt_svc,
            hosts: None,
        }
    }

    /// Takes requests for these hosts only, if any are given.
    pub(crate) fn only_for(self, hosts: Option<Arc<Hosts>>) -> Self {
        Self { hosts, ..self }
    }
}

/// The bytes that the body of a request may have, if there is a limit.
fn body_limit(
    policy: &Policy,
    request: &Request<Body>,
    exchange: &Exchange,
) -> Result<Option<u64>, RequestError> {
    let asked = catch_unwind(AssertUnwindSafe(|| policy.handler.body_bytes(request)));
    let own = asked.map_err(|_panic| {
        exchange.count_panic();
        RequestError::Internal
    })?;
    Ok(match own {
        Some(bytes) => (bytes > 0).then_some(bytes),
        None => policy.rules.body_bytes,
    })
}

/// Calls the handler; a panic in it fails this request and nothing else.
async fn call(
    handler: &SharedHandler,
    request: Request<Body>,
    client: ClientFacts,
    exchange: &Exchange,
) -> Result<Response<Body>, RequestError> {
    let panicked = |_panic| {
        exchange.count_panic();
        RequestError::Internal
    };
    let mut future =
        catch_unwind(AssertUnwindSafe(|| handler.handle(request, client))).map_err(panicked)?;
    std::future::poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic))))
    })
    .await
}
