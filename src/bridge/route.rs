use std::sync::Arc;

use http::{Method, Request, Response, Uri, request};

use super::answer::Answer;
use super::delivery::Delivery;
use super::dressing::Dressing;
use super::gate::Gate;
use super::headers;
use super::pool::Pool;
use super::template::Scene;
use super::tunnel;
use super::udp::{UdpProxy, UdpRoute};
use crate::request::{Body, ClientFacts, RequestError};

/// What becomes of the requests that match one route.
#[derive(Debug)]
pub(super) struct Route {
    name: Arc<str>,
    /// Of its path, without a closing slash.
    prefix: String,
    gate: Gate,
    destination: Destination,
    dressing: Option<Box<Dressing>>,
}

/// Where the requests of a route go.
#[derive(Debug)]
pub(super) enum Destination {
    /// To backends, whose pool has this name.
    Pool(Arc<Pool>, Arc<str>),
    Udp(UdpRoute),
    /// Nowhere; they are answered here.
    Answer(Answer),
}

impl Route {
    /// `name` is what logs call it, and `path` the configured one.
    pub(super) fn new(
        name: &str,
        path: &str,
        gate: Gate,
        destination: Destination,
        dressing: Option<Box<Dressing>>,
    ) -> Self {
        Self {
            name: name.into(),
            prefix: path.trim_end_matches('/').to_owned(),
            gate,
            destination,
            dressing,
        }
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
        self.lead(&client);
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
            Destination::Pool(pool, _) => pool,
            // Boxed, because every request would carry the space for what few of them do.
            Destination::Udp(route) => {
                return Box::pin(udp.handle(route, request, &client)).await;
            }
            Destination::Answer(answer) => return self.answer(answer, &request, &client),
        };
        let tunnel = *request.method() == Method::CONNECT;
        if tunnel && !tunnel::is_passed_on(&request) {
            return Err(RequestError::NotImplemented);
        }
        let (mut parts, body) = request.into_parts();
        headers::own(&mut parts, &client)?;
        let asked = self.dress_request(&mut parts, &client)?;
        let request = Request::from_parts(parts, body);
        let response = if tunnel {
            Box::pin(tunnel::handle(pool, request, client.clone())).await
        } else {
            Delivery::new(pool, request, &client).run().await
        };
        self.dress_response(response?, asked.as_ref(), &client)
    }

    /// Answers a request here.
    fn answer(
        &self,
        answer: &Answer,
        request: &Request<Body>,
        client: &ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        if *request.method() == Method::CONNECT {
            // A response that is always the same would be taken for an open tunnel.
            return Err(RequestError::NotImplemented);
        }
        let response = answer.respond(&self.scene(request.uri(), client))?;
        self.dress_response(response, Some(request.uri()), client)
    }

    /// Gives what the client asked for, if the response is to be dressed too.
    fn dress_request(
        &self,
        parts: &mut request::Parts,
        client: &ClientFacts,
    ) -> Result<Option<Uri>, RequestError> {
        let Some(dressing) = &self.dressing else {
            return Ok(None);
        };
        let asked = parts.uri.clone();
        dressing.dress_request(parts, &self.scene(&asked, client))?;
        Ok(Some(asked))
    }

    fn dress_response(
        &self,
        response: Response<Body>,
        asked: Option<&Uri>,
        client: &ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let (Some(dressing), Some(asked)) = (&self.dressing, asked) else {
            return Ok(response);
        };
        let (mut parts, body) = response.into_parts();
        dressing.dress_response(&mut parts, &self.scene(asked, client))?;
        Ok(Response::from_parts(parts, body))
    }

    fn scene<'a>(&'a self, uri: &'a Uri, client: &'a ClientFacts) -> Scene<'a> {
        Scene {
            client,
            uri,
            prefix: &self.prefix,
        }
    }

    fn lead(&self, client: &ClientFacts) {
        if let Some(account) = client.account() {
            let pool = match &self.destination {
                Destination::Pool(_, name) => Some(name),
                Destination::Udp(_) | Destination::Answer(_) => None,
            };
            account.lead(&self.name, pool);
        }
    }
}
