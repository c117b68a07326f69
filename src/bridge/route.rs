use std::sync::Arc;

use http::{Method, Request, Response};

use super::delivery::Delivery;
use super::pool::Pool;
use super::tunnel;
use super::udp::{UdpProxy, UdpRoute};
use crate::request::{Body, ClientFacts, RequestError};

/// What becomes of the requests that match one route.
#[derive(Debug)]
pub(super) struct Route {
    destination: Destination,
}

/// Where the requests of a route go.
#[derive(Debug)]
pub(super) enum Destination {
    Pool(Arc<Pool>),
    Udp(UdpRoute),
}

impl Route {
    pub(super) fn new(destination: Destination) -> Self {
        Self { destination }
    }

    pub(super) async fn handle(
        &self,
        udp: &UdpProxy,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let pool = match &self.destination {
            Destination::Pool(pool) => pool,
            Destination::Udp(route) => return udp.handle(route, request, &client).await,
        };
        if *request.method() == Method::CONNECT && !tunnel::is_passed_on(&request) {
            return Err(RequestError::NotImplemented);
        }
        if *request.method() == Method::CONNECT {
            return Box::pin(tunnel::handle(pool, request, client)).await;
        }
        Delivery::new(pool, request, &client).run().await
    }
}
