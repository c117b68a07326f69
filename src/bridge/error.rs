use std::error::Error;

use crate::request::RequestError;

/// Says what a failure of the HTTP client means for a request.
pub(super) fn classify(error: &(dyn Error + 'static)) -> RequestError {
    if chain(error)
        .filter_map(|error| error.downcast_ref::<h2::Error>())
        .any(|error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    {
        return RequestError::UpstreamRefused;
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
