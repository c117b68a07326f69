//! Requests for tunnels (RFC 8441; RFC 9220). Every route passes on those for a WebSocket.

mod carry;
mod http1;
mod http2;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, header, request, response};
use http_body::{Frame, SizeHint};

use self::carry::Side;
use super::delivery::asked;
use super::headers;
use super::pool::{Place, Pool};
use super::upstream::Upstream;
use crate::balance::Answer as Told;
use crate::request::{
    AnsweredBy, Body, BodyError, ClientFacts, ConnectProtocol, Origin, Protocol, RequestError,
};

/// What a backend answered: the head as it came, but with a 2xx status if it opens a tunnel, and what
/// follows it.
type Answer = (response::Parts, Body);

/// Whether backends are asked for what a request is for.
pub(super) fn is_passed_on(request: &Request<Body>) -> bool {
    let protocol = request.extensions().get::<ConnectProtocol>();
    protocol.is_some_and(|protocol| protocol.as_str() == ConnectProtocol::WEBSOCKET)
}

/// Asks a backend for a WebSocket. It is asked once, whatever becomes of that.
pub(super) async fn handle(
    pool: &Arc<Pool>,
    request: Request<Body>,
    client: ClientFacts,
) -> Result<Response<Body>, RequestError> {
    let (mut parts, body) = request.into_parts();
    let place = Arc::new(pool.place(&asked(&pool.config(), &parts, &client)).await?);
    let upstream = &place.upstream;
    client.count_try();
    // HTTP/2 and HTTP/3 have no use for them, and the gateway has a key of its own (RFC 8441, section 5).
    parts.headers.remove(header::SEC_WEBSOCKET_KEY);
    parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    let side = Side {
        body,
        place: Arc::clone(&place),
        idle: upstream.tunnel_idle,
        tasks: upstream.tasks.clone(),
    };
    let opened = open(upstream, parts, &client, side).await;
    match &opened {
        Ok(_) => place.tell(Told::Good(place.age())),
        Err(RequestError::NoTunnel) => {}
        Err(error) if error.origin() == Origin::Upstream => place.tell(Told::Failed),
        Err(_) => {}
    }
    let (mut head, body) = opened.inspect_err(|error| {
        tracing::debug!(upstream = %upstream.name, %error, "no tunnel");
    })?;
    let by = AnsweredBy(Arc::clone(&upstream.name));
    head.extensions.insert(by);
    Ok(Response::from_parts(head, body))
}

/// Asks on a connection of its own, which may last for days: what there is for other requests is not held
/// up by it.
async fn open(
    upstream: &Upstream,
    mut parts: request::Parts,
    client: &ClientFacts,
    side: Side,
) -> Result<Answer, RequestError> {
    let stream = upstream.connect(client).await?;
    let way = stream.way();
    headers::to_upstream(&mut parts, client, &way)?;
    let (mut head, body) = match way.protocol {
        Protocol::Http1 => Box::pin(http1::open(upstream, stream, parts, side)).await?,
        _ => Box::pin(http2::open(upstream, stream, parts, side)).await?,
    };
    headers::from_upstream(&mut head, way.protocol)?;
    Ok((head, body))
}

/// The body of a response that opens no tunnel.
fn refused<B>(body: B, place: Arc<Place>) -> Body
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
{
    Body::new(Refused {
        body: Body::new(body),
        _place: place,
    })
}

#[derive(Debug)]
struct Refused {
    body: Body,
    _place: Arc<Place>,
}

impl http_body::Body for Refused {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
