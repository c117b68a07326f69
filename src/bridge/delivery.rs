//! One request on its way to a backend, and to another one where that is safe.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request,
};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::download::{Download, Held};
use super::grpc;
use super::headers;
use super::key;
use super::pool::{Asked, Place, Pool};
use super::replay::Replay;
use super::sticky::Sticky;
use super::upload::{Lease, Pace, Upload};
use super::upstream::{Hold, Upstream};
use crate::balance::{Answer, Repeatable};
use crate::config;
use crate::request::{
    AnsweredBy, Body, BodyError, ClientFacts, Origin, Protocol, RequestError, Stage, clock, fields,
};

/// A request, and what is needed to send it more than once.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    pool: &'a Arc<Pool>,
    config: Arc<config::Pool>,
    /// When its response must have ended, if it must.
    deadline: Option<Instant>,
    client: &'a ClientFacts,
    parts: request::Parts,
    body: Replay,
    asked: Asked,
    sticky: Option<Sticky>,
    /// Whether the backend is still to be told that the request may be a replay (RFC 8470).
    early: Early,
}

/// Whether a request came in early data whose handshake is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    No,
    Maybe,
}

/// What one try came to.
type Tried = Result<Begun, RequestError>;

/// A response that has begun.
#[derive(Debug)]
struct Begun {
    response: Response<Incoming>,
    place: Place,
    lease: Lease,
    hold: Hold,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        pool: &'a Arc<Pool>,
        request: Request<Body>,
        client: &'a ClientFacts,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let config = pool.config();
        let retry = &config.retry;
        let sticky = config.sticky_cookie.as_deref();
        let sticky = sticky.map(|name| Sticky::of(name, &parts));
        let early = if client.early_data {
            Early::Maybe
        } else {
            Early::No
        };
        Self {
            asked: Asked {
                before: sticky.as_ref().and_then(Sticky::before),
                ..asked(&config, &parts, client)
            },
            body: Replay::new(
                body,
                usize::try_from(retry.body_bytes).unwrap_or(usize::MAX),
            ),
            deadline: time(&config, &parts.headers).map(|time| clock::now() + time),
            pool,
            config,
            client,
            parts,
            sticky,
            early,
        }
    }

    /// Sends the request until a backend answers it, or it must not be sent again.
    pub(super) async fn run(self) -> Result<Response<Body>, RequestError> {
        match self.deadline {
            None => self.deliver().await,
            Some(deadline) => {
                // Boxed, because every request would carry the space for what few of them have.
                let delivered = timeout_at(deadline, Box::pin(self.deliver())).await;
                delivered.unwrap_or(Err(RequestError::DeadlinePassed))
            }
        }
    }

    async fn deliver(mut self) -> Result<Response<Body>, RequestError> {
        self.pool.begin();
        let mut tries = 0;
        let mut sent = None;
        loop {
            let place = match self.pool.place(&self.asked).await {
                Ok(place) => place,
                Err(error) => return Err(sent.unwrap_or(error)),
            };
            let backend = place.backend();
            let tried = self.attempt(place).await;
            if self.is_early_refused(&tried) {
                // It was not executed, so this is no retry.
                self.wait_for_handshake().await?;
                continue;
            }
            match self.another(&tried) {
                Some(reason)
                    if tries < self.config.retry.attempts && self.pool.may_retry(reason) =>
                {
                    sent =
                        sent.or_else(|| tried.err().filter(|error| error.stage() == Stage::Sent));
                    self.asked.tried.push(backend);
                    self.back_off(tries).await;
                    tries += 1;
                }
                // Once a try was sent, nobody may take the request for unsent.
                _ => {
                    let unsent = |error: RequestError| match sent {
                        Some(earlier) if error.stage() != Stage::Sent => earlier,
                        _ => error,
                    };
                    return tried.map(|begun| self.answer(begun)).map_err(unsent);
                }
            }
        }
    }

    /// Sends the request once. Dropping the future cancels it at the backend.
    async fn attempt(&self, place: Place) -> Tried {
        let upstream = &place.upstream;
        self.client.count_try();
        let (mut upload, lease, pace) = Upload::new(self.body.body());
        let is_mostly_empty = is_mostly_empty(&self.parts.method);
        if is_mostly_empty {
            // Content that is declared and does not come is found before anything is sent.
            upload.settle().await?;
        }
        let undeclared =
            is_mostly_empty && !self.parts.headers.contains_key(header::CONTENT_LENGTH);
        let sent = tokio::select! {
            biased;
            sent = self.send(upstream, (upload, undeclared), &pace) => sent,
            error = self.too_late(&pace) => Err(error),
        };
        if !self.is_excused(&sent, &pace) {
            tell(&place, &sent);
        }
        let (response, hold) = sent.inspect_err(|error| {
            tracing::debug!(upstream = %upstream.name, %error, "no response");
        })?;
        Ok(Begun {
            response,
            place,
            lease,
            hold,
        })
    }

    /// Ends when this try, or the whole request, has taken longer than it may.
    async fn too_late(&self, pace: &Pace) -> RequestError {
        let try_is_over = async {
            match self.config.try_timeout {
                Duration::ZERO => pending().await,
                limit => pace.upstream_idle(limit).await,
            }
        };
        let all_is_over = async {
            match self.deadline {
                None => pending().await,
                Some(deadline) => sleep_until(deadline).await,
            }
        };
        tokio::select! {
            biased;
            () = all_is_over => RequestError::DeadlinePassed,
            () = try_is_over => RequestError::UpstreamTimeout,
        }
    }

    /// Whether the deadline has passed and this backend is not to blame: its client was waited for, or
    /// others had taken of the time.
    fn is_excused<T>(&self, tried: &Result<T, RequestError>, pace: &Pace) -> bool {
        matches!(tried, Err(RequestError::DeadlinePassed))
            && (pace.waits_for_client() || !self.asked.tried.is_empty())
    }

    /// Sends the request on a connection to this backend, in the form of the protocol that is spoken
    /// there.
    async fn send(
        &self,
        upstream: &Upstream,
        (upload, undeclared): (Upload, bool),
        pace: &Pace,
    ) -> Result<(Response<Incoming>, Hold), RequestError> {
        let ready = upstream.ready(self.client).await?;
        let way = upstream.way(ready.protocol());
        let mut parts = self.parts.clone();
        headers::to_upstream(&mut parts, self.client, &way)?;
        if self.early == Early::No {
            parts.headers.remove(headers::EARLY_DATA);
        }
        if way.protocol == Protocol::Http1 && undeclared && !upload.is_end_stream() {
            // hyper takes a request with these methods to have no body unless it is told.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let request = Request::from_parts(parts, upload);
        let (response, hold) = upstream.send(ready, request, pace, self.client).await?;
        let (mut parts, body) = response.into_parts();
        headers::from_upstream(&mut parts, way.protocol)?;
        hold.pass();
        Ok((Response::from_parts(parts, body), hold))
    }

    /// Why the request may be sent again, if it may.
    fn another(&self, tried: &Tried) -> Option<&'static str> {
        let (reason, safe) = match tried {
            Ok(begun) if is_unable(begun.response.status()) => ("unavailable", false),
            Err(error) if error.retryable() => ("connect", true),
            Err(RequestError::UpstreamBroken) => ("broken", false),
            Err(RequestError::UpstreamTimeout) => ("timeout", false),
            Ok(_) | Err(_) => return None,
        };
        let may = safe || self.asked.repeatable == Repeatable::Yes;
        (may && self.body.is_whole()).then_some(reason)
    }

    fn is_early_refused(&self, tried: &Tried) -> bool {
        let refused = |begun: &Begun| begun.response.status() == StatusCode::TOO_EARLY;
        self.early == Early::Maybe && tried.as_ref().is_ok_and(refused) && self.body.is_whole()
    }

    /// Waits until the request cannot be a replay any more (RFC 8470, section 5.2).
    async fn wait_for_handshake(&mut self) -> Result<(), RequestError> {
        let completed = self.client.handshake.completed().await;
        completed.map_err(|_failed| RequestError::Body(BodyError::ClientGone))?;
        self.early = Early::No;
        Ok(())
    }

    /// Waits before a request is sent again: not the first time, since another backend is tried then.
    async fn back_off(&self, tries: u8) {
        if tries == 0 {
            return;
        }
        let doubled = self.config.retry.backoff * (1 << (tries - 1).min(10));
        tokio::time::sleep(doubled.mul_f64(self.pool.part())).await;
    }

    fn answer(&self, begun: Begun) -> Response<Body> {
        let upstream = &begun.place.upstream;
        let (mut parts, body) = begun.response.into_parts();
        let name = Arc::clone(&upstream.name);
        parts.extensions.insert(AnsweredBy(Arc::clone(&name)));
        if let Some(sticky) = &self.sticky {
            sticky.remember(&mut parts, upstream.identity);
        }
        let held = Held {
            _lease: begun.lease,
            hold: begun.hold,
            _place: begun.place,
        };
        let body = Body::new(Download::new(body, held, name).until(self.deadline));
        Response::from_parts(parts, body)
    }
}

/// How long the request may take with everything, by the configuration and by what a caller of gRPC says.
fn time(config: &config::Pool, fields: &HeaderMap) -> Option<Duration> {
    let configured = config.total.filter(|total| !total.is_zero());
    let called = fields::is_grpc(fields).then(|| grpc::timeout(fields));
    [configured, called.flatten()].into_iter().flatten().min()
}

/// What a request that no backend has failed yet is sent by.
pub(super) fn asked(pool: &config::Pool, parts: &request::Parts, client: &ClientFacts) -> Asked {
    Asked {
        key: key::of(pool, parts, client),
        before: None,
        tried: Vec::new(),
        repeatable: match pool.retry.attempts {
            0 => Repeatable::No,
            _ => repeatable(parts),
        },
    }
}

/// Tells the pool what a try came to, unless it was the client that failed.
fn tell(place: &Place, sent: &Result<(Response<Incoming>, Hold), RequestError>) {
    let took = place.age();
    match sent {
        Ok((response, _)) if is_unable(response.status()) => place.tell(Answer::Failed),
        Ok((response, _)) if response.status().is_server_error() => {
            place.tell(Answer::Error(took));
        }
        Ok(_) => place.tell(Answer::Good(took)),
        Err(error) if error.origin() == Origin::Upstream => {
            place.tell(Answer::Failed);
        }
        Err(_) => {}
    }
}

/// Whether a status says that the backend could not serve the request, and not that the request failed.
fn is_unable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether executing a request twice does no more than executing it once: by its method (RFC 9110,
/// section 9.2.2), or since its client says so.
fn repeatable(parts: &request::Parts) -> Repeatable {
    if parts.method.is_idempotent() || parts.headers.contains_key(IDEMPOTENCY_KEY) {
        Repeatable::Yes
    } else {
        Repeatable::No
    }
}

/// Whether a method's requests hardly ever have a body. HTTP/2 and HTTP/3 may tell the end of such a
/// request a moment after its header section; an HTTP/1.1 upstream would be told of a body then.
fn is_mostly_empty(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
    )
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
