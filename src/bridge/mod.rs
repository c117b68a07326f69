//! From requests to backends: routes, upstream connections, streaming both ways.
//!
//! Bodies are never collected. A client that does not read stops the upstream by flow control, and
//! one that goes away takes its request from the upstream at once.

mod download;
mod error;
mod headers;
mod http2;
mod origin;
mod routes;
#[cfg(test)]
mod tests;
mod upload;
mod upstream;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use self::download::{Download, Held};
use self::http2::Busy;
use self::routes::Routes;
use self::upload::Upload;
use self::upstream::{Tasks, Upstream};
use crate::balance::RoundRobin;
use crate::config::{self, Limits, Timeouts, UpstreamProtocol};
use crate::request::{AnsweredBy, Body, BodyError, ClientFacts, Handler, RequestError};

pub use origin::{Origin, pattern};

/// The [`Handler`] that passes requests to backends.
///
/// Connections are made when a request needs them and kept for the next one. Dropping the bridge
/// closes them when their requests have ended.
#[derive(Debug)]
pub struct Bridge {
    routes: Routes<Group>,
}

/// The upstreams of one route, and whose turn it is.
#[derive(Debug)]
struct Group {
    upstreams: Vec<Arc<Upstream>>,
    count: NonZeroUsize,
    turn: RoundRobin,
}

/// Why routes cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// A route names no backend; give it one in `to`.
    #[error("route {0} has no upstream")]
    NoUpstream(usize),
    /// Two routes match the same requests; remove one or join their backends.
    #[error("route {0} has the host and path of an earlier one")]
    Duplicate(usize),
    /// A backend is not `host:port`.
    #[error("upstream {0} is not host:port")]
    Authority(String),
}

impl Bridge {
    /// Makes the routes; connects to nothing. Routes are numbered from 0 in errors.
    pub fn new(
        routes: &[config::Route],
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Result<Self, BridgeError> {
        let tasks = Tasks::default();
        let pool = upstream::pool(&tasks, limits, timeouts);
        let mut known: HashMap<config::Upstream, Arc<Upstream>> = HashMap::new();
        let mut table = Routes::new();
        for (number, route) in routes.iter().enumerate() {
            let mut upstreams = Vec::with_capacity(route.to.len());
            for to in &route.to {
                let authority = authority(&to.authority)?;
                let upstream = known.entry(to.clone()).or_insert_with(|| {
                    let upstream = Upstream::new(to, authority, &pool, &tasks, (limits, timeouts));
                    Arc::new(upstream)
                });
                upstreams.push(Arc::clone(upstream));
            }
            let group = Group::new(upstreams).ok_or(BridgeError::NoUpstream(number))?;
            if !table.add(route.host.as_deref(), &route.path, group) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        Ok(Self { routes: table })
    }
}

impl Handler for Bridge {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let group = self
            .routes
            .find(host, uri.path())
            .ok_or(RequestError::NoRoute)?;
        let (upstream, permit) = group.admit().ok_or(RequestError::Overloaded)?;

        let (mut parts, body) = request.into_parts();
        headers::to_upstream(&mut parts, &client, upstream.protocol, &upstream.authority)?;
        let (mut upload, lease, pace) = Upload::new(body);
        if !parts.headers.contains_key(header::CONTENT_LENGTH) && is_mostly_empty(&parts.method) {
            upload.settle().await?;
            if upstream.protocol == UpstreamProtocol::Http1 && !upload.is_end_stream() {
                // hyper takes a request with these methods to have no body unless it is told.
                let chunked = HeaderValue::from_static("chunked");
                parts.headers.insert(header::TRANSFER_ENCODING, chunked);
            }
        }
        let again = (parts.method.is_safe() && upload.is_end_stream()).then(|| parts.clone());
        let mut answer = upstream
            .send(
                Request::from_parts(parts, upload),
                &pace,
                &client.informational,
            )
            .await;
        if let (Err(RequestError::UpstreamBroken), Some(parts)) = (&answer, &again) {
            answer = send_again(upstream, parts.clone(), &client).await;
        }
        if let (Ok((response, _)), Some(parts)) = (&answer, again)
            && client.early_data
            && response.status() == StatusCode::TOO_EARLY
        {
            answer = send_later(upstream, parts, &client).await;
        }
        let (response, busy) = answer.inspect_err(|error| {
            tracing::debug!(upstream = %upstream.name, %error, "no response");
        })?;

        let (mut parts, body) = response.into_parts();
        headers::from_upstream(&mut parts, upstream.protocol)?;
        parts
            .extensions
            .insert(AnsweredBy(Arc::clone(&upstream.name)));
        let held = Held {
            _permit: permit,
            _lease: lease,
            _busy: busy,
        };
        let body = Body::new(Download::new(body, held, Arc::clone(&upstream.name)));
        Ok(Response::from_parts(parts, body))
    }
}

impl Group {
    fn new(upstreams: Vec<Arc<Upstream>>) -> Option<Self> {
        Some(Self {
            count: NonZeroUsize::new(upstreams.len())?,
            upstreams,
            turn: RoundRobin::default(),
        })
    }

    /// Takes a place at the upstream whose turn it is, or at the next one that has any.
    fn admit(&self) -> Option<(&Upstream, OwnedSemaphorePermit)> {
        let first = self.turn.pick(self.count);
        let (before, after) = self.upstreams.split_at(first);
        after
            .iter()
            .chain(before)
            .find_map(|upstream| upstream.admit().map(|permit| (&**upstream, permit)))
    }
}

/// Sends a safe request without a body once more, when its connection broke before a response: most
/// often it had been kept, and the upstream closed it while the request was on its way (RFC 9112,
/// section 9.3.1).
async fn send_again(
    upstream: &Upstream,
    parts: request::Parts,
    client: &ClientFacts,
) -> Result<(Response<Incoming>, Option<Busy>), RequestError> {
    let (upload, _lease, pace) = Upload::new(Body::empty());
    upstream
        .send(
            Request::from_parts(parts, upload),
            &pace,
            &client.informational,
        )
        .await
        .map_err(|error| match error {
            // The first attempt was sent, so nobody may take the request for unsent.
            RequestError::UpstreamConnect => RequestError::UpstreamBroken,
            error => error,
        })
}

/// Sends a request once more that an upstream would not answer while it might be a replay: when the
/// handshake shows that it is none (RFC 8470, section 5.2).
async fn send_later(
    upstream: &Upstream,
    mut parts: request::Parts,
    client: &ClientFacts,
) -> Result<(Response<Incoming>, Option<Busy>), RequestError> {
    let completed = client.handshake.completed().await;
    completed.map_err(|_failed| RequestError::Body(BodyError::ClientGone))?;
    parts.headers.remove(headers::EARLY_DATA);
    send_again(upstream, parts, client).await
}

fn authority(text: &str) -> Result<Authority, BridgeError> {
    Authority::try_from(text)
        .ok()
        .filter(|authority| authority.port_u16().is_some() && !text.contains('@'))
        .ok_or_else(|| BridgeError::Authority(text.to_owned()))
}

/// Whether a method's requests hardly ever have a body. HTTP/2 and HTTP/3 may tell the end of such a
/// request a moment after its header section; an HTTP/1.1 upstream would be told of a body then.
fn is_mostly_empty(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
    )
}
