//! What is taken for true of where requests come from, and what they are called.

use http::HeaderName;

use crate::connect_udp::Network;

/// Proxies before the gateway whose word about their clients counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// Where they are. Default nowhere.
    pub trusted: Vec<Network>,
    /// How they say it. Default `x-forwarded-for`.
    pub field: ForwardedField,
}

/// The field by which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    #[default]
    ForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How requests are followed through everything that handles them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The field with the name that the gateway gives to each request; none if it gives none. Default
    /// `x-request-id`.
    pub request_id: Option<HeaderName>,
    /// What becomes of a request without a trace. Default `pass`.
    pub context: TraceContext,
    /// Of 100 traces that the gateway starts, how many are to be recorded. Default 100.
    pub sampled_percent: u8,
}

/// What becomes of a request that brings no trace context (W3C Trace Context).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceContext {
    /// It has none.
    #[default]
    Pass,
    /// It gets one.
    Start,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            request_id: Some(HeaderName::from_static("x-request-id")),
            context: TraceContext::default(),
            sampled_percent: 100,
        }
    }
}
