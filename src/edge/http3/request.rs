use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;

use super::Rules;
use super::adapter::{Adapter, Sender, Stopped};
use super::body::RequestBody;
use crate::edge::service::{Reply, Service};
use crate::request::{Body, BodyError, ClientFacts, HandshakeFailed, RequestError};
use crate::telemetry::Early;

/// One request and its response.
pub(super) struct Exchange {
    service: Arc<Service>,
    rules: Rules,
    client: ClientFacts,
    stopped: Stopped,
}

/// A response that must not be ended cleanly.
struct CutShort(RequestError);

type Writer = RequestStream<Sender<Bytes>, Bytes>;

impl Exchange {
    pub(super) fn new(
        service: Arc<Service>,
        rules: Rules,
        client: ClientFacts,
        stopped: Stopped,
    ) -> Self {
        Self {
            service,
            rules,
            client,
            stopped,
        }
    }

    /// Reads the request, has it answered, and writes the response. Everything is dropped, and the
    /// upstream with it, as soon as the client no longer wants the response.
    pub(super) async fn run(self, resolver: RequestResolver<Adapter, Bytes>) {
        let Self {
            service,
            rules,
            client,
            mut stopped,
        } = self;
        let exchange = Self::answer(service, rules, client, resolver);
        tokio::select! {
            biased;
            finished = exchange => if finished {
                // The client has the end of the response when its last byte is acknowledged.
                drop(tokio::time::timeout(rules.body_idle, stopped).await);
            },
            () = &mut stopped => {}
        }
    }

    async fn answer(
        service: Arc<Service>,
        rules: Rules,
        mut client: ClientFacts,
        resolver: RequestResolver<Adapter, Bytes>,
    ) -> bool {
        let resolved = tokio::time::timeout(rules.header_timeout, resolver.resolve_request()).await;
        let (head, stream) = match resolved {
            Ok(Ok(resolved)) => resolved,
            // The library or the adapter answered it or reset it.
            Ok(Err(error)) => {
                service.never_began(cause(&error));
                return false;
            }
            Err(_) => {
                service.never_began(RequestError::RequestTimeout);
                return false;
            }
        };
        let (mut writer, reader) = stream.split();
        let mut body = RequestBody::new(reader);
        if !client.handshake.is_complete() {
            let Ok(answered) = early(&client, head.method(), &mut body).await else {
                service.never_began(RequestError::Body(BodyError::ClientGone));
                return false;
            };
            service.count_early(answered);
            client.early_data = answered == Early::AT_ONCE;
        }
        let request = head.map(|()| Body::new(body));
        match service.respond(request, client).await {
            Reply::Response(response) => match write(&mut writer, response, rules).await {
                Ok(()) => true,
                Err(CutShort(error)) => {
                    writer.stop_stream(code(error.reset()));
                    false
                }
            },
            Reply::Reset(reset) => {
                writer.stop_stream(code(reset));
                false
            }
        }
    }
}

/// Decides when a request is answered that came before the end of the handshake, and waits until then.
///
/// Somebody may have recorded and repeated it. So only what is safe and has no content is answered at
/// once (RFC 8470, section 4).
async fn early(
    client: &ClientFacts,
    method: &Method,
    body: &mut RequestBody,
) -> Result<Early, HandshakeFailed> {
    if method.is_safe() {
        tokio::select! {
            biased;
            completed = client.handshake.completed() => return completed.map(|()| Early::WAITED),
            empty = body.is_empty() => if empty {
                return Ok(Early::AT_ONCE);
            },
        }
    }
    client.handshake.completed().await.map(|()| Early::WAITED)
}

async fn write(
    writer: &mut Writer,
    response: Response<Body>,
    rules: Rules,
) -> Result<(), CutShort> {
    let (head, mut body) = response.into_parts();
    within(rules, writer.send_response(Response::from_parts(head, ()))).await?;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| CutShort(error.into()))?.into_data() {
            Ok(data) if data.has_remaining() => within(rules, writer.send_data(data)).await?,
            Ok(_) => {}
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    send_trailers(writer, trailers, rules).await?;
                    break;
                }
            }
        }
    }
    within(rules, writer.finish()).await
}

async fn send_trailers(
    writer: &mut Writer,
    trailers: HeaderMap,
    rules: Rules,
) -> Result<(), CutShort> {
    if trailers.is_empty() {
        Ok(())
    } else {
        within(rules, writer.send_trailers(trailers)).await
    }
}

/// Bounds the time that a client may take to make room for the next piece.
async fn within<F>(rules: Rules, step: F) -> Result<(), CutShort>
where
    F: Future<Output = Result<(), StreamError>>,
{
    match tokio::time::timeout(rules.body_idle, step).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(CutShort(RequestError::Body(BodyError::ClientGone))),
        Err(_) => Err(CutShort(RequestError::Body(BodyError::TimedOut))),
    }
}

/// Why there is no request.
fn cause(error: &StreamError) -> RequestError {
    match error {
        // The library has its own limit, and only the adapter's makes an undefined error.
        StreamError::HeaderTooBig { .. } | StreamError::Undefined { .. } => {
            RequestError::HeadersTooLarge
        }
        StreamError::RemoteTerminate { .. } | StreamError::ConnectionError { .. } => {
            RequestError::Body(BodyError::ClientGone)
        }
        _ => RequestError::Malformed("HTTP/3 message"),
    }
}

fn code(reset: crate::request::ResetCode) -> Code {
    Code::from(u64::from(reset.http3()))
}
