use std::sync::Arc;

use http::{Method, Request, Response};

use super::delivery::Delivery;
use super::gate::Gate;
use super::pool::Pool;
use super::tunnel;
use super::udp::{UdpProxy, UdpRoute};
use crate::request::{Body, ClientFacts, RequestError};

/// What becomes of the requests that match one route.
#[derive(Debug)]
pub(super) struct Route {
    gate: Gate,
    destination: Destination,
}

/// Where the requests of a route go.
#[derive(Debug)]
pub(super) enum Destination {
    Pool(Arc<Pool>),
    Udp(UdpRoute),
}

impl Route {
    pub(super) fn new(gate: Gate, destination: Destination) -> Self {
        Self { gate, destination }
    }

    /// The bytes that request bodies may have, if the route says so.
    pub(super) fn body_bytes(&self) -> Option<u64> {
        self.gate.body_bytes()
    }

    pub(super) async fn handle(
        &self,
        udp: &UdpProxy,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let request = self.gate.admit(request, &client)?;
        let method = request.method().clone();
        let response = self.pass_on(udp, request, client).await?;
        self.gate.measure(&method, response)
    }

    async fn pass_on(
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
