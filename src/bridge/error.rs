use std::error::Error;
use std::io;

use crate::request::RequestError;

/// Says what a failure of the HTTP client means for a request.
pub(super) fn classify(error: &(dyn Error + 'static)) -> RequestError {
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>()
        && error.is_connect()
    {
        return if chain(error).any(is_timeout) {
            RequestError::UpstreamConnectTimeout
        } else {
            RequestError::UpstreamConnect
        };
    }
    if chain(error)
        .filter_map(|error| error.downcast_ref::<h2::Error>())
        .any(|error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    {
        return RequestError::UpstreamRefused;
    }
    if chain(error)
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
    {
        RequestError::UpstreamMalformed
    } else {
        RequestError::UpstreamBroken
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
