//! Who may pass to a route: the rates of clients and of the route, tokens, and the sizes of bodies.
//!
//! Rates come first: they cost little, and bound how many signatures anybody can have verified.

mod kept;
mod rates;
mod sized;
mod stripped;
mod token;

use std::sync::Arc;

use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::task::JoinSet;

use self::rates::Rates;
use self::sized::Sized;
use self::stripped::Stripped;
use super::BridgeError;
use crate::balance::ClientPrefixes;
use crate::config::{self, Config};
use crate::request::{Body, ClientFacts, RequestError, fields};
use crate::telemetry::Metrics;

pub(super) use kept::Kept;
pub(super) use token::Tokens;

/// What the requests of one route are held to before they are sent anywhere.
#[derive(Debug)]
pub(super) struct Gate {
    rates: Option<Arc<Rates>>,
    tokens: Option<Arc<Tokens>>,
    /// The fields that only the gateway writes.
    own_fields: Arc<[HeaderName]>,
    body_bytes: Option<u64>,
    response_bytes: Option<u64>,
}

/// Makes the gates of all routes.
pub(super) struct Gates<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    kept: &'a Kept,
    tokens: Vec<Arc<Tokens>>,
    own_fields: Arc<[HeaderName]>,
}

impl<'a> Gates<'a> {
    /// Reads the keys of tokens that are in files.
    pub(super) fn new(
        config: &'a Config,
        metrics: &'a Metrics,
        kept: &'a Kept,
    ) -> Result<Self, BridgeError> {
        let tokens = config.jwt.iter().map(|jwt| {
            Tokens::new(jwt, &metrics.gate, kept)
                .map(Arc::new)
                .map_err(|error| BridgeError::Tokens(jwt.name.clone(), error.to_string()))
        });
        let own_fields = config.jwt.iter().flat_map(|jwt| &jwt.claims_to);
        let own_fields = own_fields.filter_map(|to| HeaderName::try_from(&to.field).ok());
        Ok(Self {
            own_fields: own_fields.collect(),
            tokens: tokens.collect::<Result<_, _>>()?,
            config,
            metrics,
            kept,
        })
    }

    /// Makes the gate of the route with this number.
    pub(super) fn gate(&self, number: usize, route: &config::Route) -> Result<Gate, BridgeError> {
        let limit = |bytes: u64| (bytes > 0).then_some(bytes);
        let tokens = match &route.gate.jwt {
            None => None,
            Some(name) => {
                let found = self.tokens.iter().find(|tokens| tokens.name() == name);
                Some(Arc::clone(found.ok_or(BridgeError::UnknownTokens(number))?))
            }
        };
        let limits = &self.config.limits;
        let prefixes = ClientPrefixes {
            ipv4: limits.client_ipv4_prefix,
            ipv6: limits.client_ipv6_prefix,
        };
        Ok(Gate {
            rates: self
                .kept
                .rates(route, (prefixes, limits.client_rates), &self.metrics.gate)?,
            tokens,
            own_fields: Arc::clone(&self.own_fields),
            body_bytes: route.gate.body_bytes,
            response_bytes: limit(route.gate.response_bytes),
        })
    }

    /// Starts to keep the keys of all tokens up to date.
    pub(super) fn into_tokens(self) -> Vec<Arc<Tokens>> {
        self.tokens
    }
}

/// Keeps the keys of tokens up to date until the tasks are aborted.
pub(super) fn follow(tokens: &[Arc<Tokens>], tasks: &mut JoinSet<()>) {
    for tokens in tokens {
        tokens.follow(tasks);
    }
}

impl Gate {
    /// Lets a request pass, or not; takes from it what only the gateway says, and adds what its token
    /// says.
    pub(super) fn admit(
        &self,
        request: Request<Body>,
        client: &ClientFacts,
    ) -> Result<Request<Body>, RequestError> {
        if let Some(rates) = &self.rates {
            rates.count(client.origin())?;
        }
        let (mut parts, mut body) = request.into_parts();
        if !self.own_fields.is_empty() {
            stripped::strip(&mut parts.headers, &self.own_fields);
            if !body.is_end_stream() {
                body = Body::new(Stripped::new(body, Arc::clone(&self.own_fields)));
            }
        }
        if let Some(tokens) = &self.tokens {
            // Nobody takes away what is told to the backend by naming it as a field of the connection.
            fields::remove_nominated(&mut parts.headers);
            tokens.admit(&mut parts.headers)?;
        }
        Ok(Request::from_parts(parts, body))
    }

    /// The bytes that request bodies may have here, if the route says so.
    pub(super) fn body_bytes(&self) -> Option<u64> {
        self.body_bytes
    }

    /// Holds the response to a request with this method to the limit of the route. The content of a tunnel
    /// has none.
    pub(super) fn measure(
        &self,
        method: &Method,
        response: Response<Body>,
    ) -> Result<Response<Body>, RequestError> {
        let Some(limit) = self.response_bytes else {
            return Ok(response);
        };
        if *method == Method::CONNECT && response.status().is_success() {
            return Ok(response);
        }
        let has_content = *method != Method::HEAD && response.status() != StatusCode::NOT_MODIFIED;
        let declared = fields::declared_length(response.headers()).ok().flatten();
        if has_content && declared.is_some_and(|declared| declared > limit) {
            return Err(RequestError::ResponseTooLarge);
        }
        Ok(response.map(|body| Body::new(Sized::new(body, limit))))
    }
}
