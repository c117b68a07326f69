//! What a client sees of a response that breaks the rules, whatever its protocol.

use super::*;

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client gets a status of the gateway, and this word in `Proxy-Status`.
    Refused(RequestError, &'static str),
    /// It has begun, and is broken off.
    Cut,
    /// It is passed on, without what does not belong there.
    Whole,
}

pub(super) const MALFORMED: Outcome =
    Outcome::Refused(RequestError::UpstreamMalformed, "http_protocol_error");
pub(super) async fn outcome(call: Call) -> Outcome {
    match call.answer().await {
        Err(error) => Outcome::Refused(error, error.proxy_error().unwrap()),
        Ok(response) => match within(response.into_body().collect()).await {
            Ok(_) => Outcome::Whole,
            Err(BodyError::UpstreamGone) => Outcome::Cut,
            Err(other) => panic!("{other}"),
        },
    }
}
