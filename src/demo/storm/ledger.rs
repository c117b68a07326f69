use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::bridge::Origin;
use crate::request::{Body, ClientFacts, Handler, RequestError};

/// A backend that writes down each `POST /once/{id}` that it runs. Everything else is the origin's.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<HashMap<u64, u32>>>);

impl Ledger {
    /// How often a request was run.
    pub(super) fn runs(&self, id: u64) -> u32 {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(&id).copied().unwrap_or_default()
    }

    /// Requests that were run more than once.
    pub(super) fn repeated(&self) -> usize {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.values().filter(|runs| **runs > 1).count()
    }

    fn run(&self, id: u64) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *runs.entry(id).or_default() += 1;
    }
}

impl Handler for Ledger {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let id = request.uri().path().strip_prefix(PATH).map(str::parse);
        match (request.method(), id) {
            (&Method::POST, Some(Ok(id))) => {
                self.run(id);
                let mut body = request.into_body();
                while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    frame?;
                }
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            _ => Origin.handle(request, client).await,
        }
    }
}

/// Before the ID in the path of a request that must not run twice.
pub(super) const PATH: &str = "/once/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_ran_twice_is_one_that_was_repeated() {
        let ledger = Ledger::default();
        for id in [1, 2, 2, 2] {
            ledger.run(id);
        }
        assert_eq!((ledger.runs(1), ledger.runs(2), ledger.runs(3)), (1, 3, 0));
        assert_eq!(ledger.repeated(), 1);
    }
}
