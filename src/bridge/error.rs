use std::error::Error;

use crate::request::RequestError;

/// Says what a failure of the HTTP client means for a request.
pub(super) fn classify(error: &(dyn Error + 'static)) -> RequestError {
    let http2 = chain(error).find_map(|error| error.downcast_ref::<h2::Error>());
    if let Some(error) = http2
        && let Some(reason) = error.reason()
    {
        // Requests beyond the last one that a GOAWAY names were not begun with (RFC 9113, section 6.8).
        let refused = reason == h2::Reason::REFUSED_STREAM || error.is_go_away();
        return match (error.is_remote(), refused) {
            (true, true) => RequestError::UpstreamRefused,
            (true, false) => RequestError::UpstreamBroken,
            (false, _) => RequestError::UpstreamMalformed,
        };
    }
    let parsing = chain(error)
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .find(|error| error.is_parse());
    match parsing {
        Some(error) if error.is_parse_too_large() => RequestError::UpstreamHeaders,
        Some(_) => RequestError::UpstreamMalformed,
        None => RequestError::UpstreamBroken,
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
