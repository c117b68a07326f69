use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::sync::oneshot;

use super::Rules;
use super::body::RequestBody;
use super::incoming::{Failure, Incoming};
use super::shared::{RequestPlace, Streams};
use super::writer::{CutShort, Writer};
use crate::edge::service::{Reply, Service};
use crate::http3::{Code, Consequence, Head, Part};
use crate::request::{
    Body, BodyError, ClientFacts, ConnectProtocol, HandshakeFailed, Interim, RequestError, Section,
};
use crate::telemetry::Early;

/// One request and its response.
pub(super) struct Exchange {
    service: Arc<Service>,
    rules: Rules,
    client: ClientFacts,
}

/// What an exchange came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The response was written to its end.
    Answered,
    /// The client broke a rule, was too slow, or has gone.
    Wasted,
    /// It failed for another reason.
    Failed,
}

impl Exchange {
    pub(super) fn new(service: Arc<Service>, rules: Rules, client: ClientFacts) -> Self {
        Self {
            service,
            rules,
            client,
        }
    }

    /// Reads the request, has it answered, and writes the response. Everything is dropped, and the
    /// upstream with it, as soon as the client no longer wants the response.
    pub(super) async fn run(self, streams: Box<Streams>) {
        let Streams {
            incoming,
            mut writer,
            place,
        } = *streams;
        let mut stopped = pin!(writer.stopped());
        let body_idle = self.rules.body_idle;
        let (open, over) = oneshot::channel();
        let outcome = tokio::select! {
            biased;
            // Most of the task by far, which is moved several times on its way to the runtime.
            outcome = Box::pin(self.answer(incoming, &mut writer, &place, open)) => Ok(outcome),
            () = &mut stopped => Ok(Outcome::Wasted),
            code = place.struck() => Err(code),
        };
        let outcome = outcome.unwrap_or_else(|code| {
            writer.reset(code.value());
            Outcome::Wasted
        });
        match outcome {
            Outcome::Answered => {
                place.shared.count_answered();
                let waiting = place.shared.usage().wait();
                // The client has the end of the response when its last byte is acknowledged.
                drop(tokio::time::timeout(body_idle, stopped).await);
                drop(waiting);
                // The client's direction of a tunnel may go on.
                drop(over.await);
            }
            Outcome::Wasted => place.shared.count_cancelled(),
            Outcome::Failed => {}
        }
    }

    async fn answer(
        self,
        mut incoming: Incoming,
        writer: &mut Writer,
        place: &RequestPlace,
        open: oneshot::Sender<Infallible>,
    ) -> Outcome {
        let head = tokio::time::timeout(self.rules.header_timeout, head(&mut incoming)).await;
        let head = match head {
            Ok(Ok(head)) => head,
            Ok(Err(failure)) => return self.refuse(failure, writer).await,
            Err(_) => {
                self.service.never_began(RequestError::RequestTimeout);
                writer.reset(RequestError::RequestTimeout.reset().http3());
                return Outcome::Wasted;
            }
        };
        place.prioritise(head.priority);
        let protocol = head.protocol.as_ref();
        let protocol = protocol.and_then(|name| ConnectProtocol::new(name));
        let datagrams = place.datagrams(protocol.as_ref());
        let broken = incoming.broken();
        let mut body = RequestBody::new(incoming);
        if let Err(failure) = body.peek().await {
            return self.refuse(failure, writer).await;
        }
        let Self {
            service,
            mut client,
            ..
        } = self;
        if !client.handshake.is_complete() {
            let Ok(answered) = early(&client, &head.method, &mut body).await else {
                service.never_began(RequestError::Body(BodyError::ClientGone));
                return Outcome::Wasted;
            };
            service.count_early(answered);
            client.early_data = answered == Early::AT_ONCE;
        }
        let interim = Arc::new(Interim::new());
        client.informational = service.informational(Arc::clone(&interim));
        if expects_continue(&head.fields) {
            body.proceed_when_wanted(Arc::clone(&interim));
        }
        let mut request = into_request(head, body, open);
        datagrams.and_then(|datagrams| request.extensions_mut().insert(datagrams));
        let tunnel = request.extensions().get::<ConnectProtocol>().is_some();
        let written = async {
            let replying = service.respond(request, client);
            match reply(&service, replying, &interim, writer).await? {
                Reply::Response(response, blame) => {
                    if tunnel && response.status().is_success() {
                        writer.unpaced();
                    }
                    writer.respond(response, &broken, &blame).await
                }
                Reply::Reset(reset) => {
                    let code = broken.code().map(Code::value);
                    writer.reset(code.unwrap_or_else(|| reset.http3()));
                    Err(CutShort::Failed(BodyError::ClientGone.into()))
                }
            }
        };
        let written = written.await;
        conclude(written, writer)
    }

    /// Ends a request that no handler has seen.
    async fn refuse(&self, failure: Failure, writer: &mut Writer) -> Outcome {
        let error = RequestError::from(failure);
        self.service.never_began(error);
        match failure {
            Failure::Gone => writer.reset(error.reset().http3()),
            Failure::Broken(violation) => match violation.consequence() {
                Consequence::Reset(code) | Consequence::Close(code) => writer.reset(code.value()),
                Consequence::TooLarge => {
                    let written = writer.too_large().await;
                    conclude(written, writer);
                }
            },
        }
        Outcome::Wasted
    }
}

/// Joins a head and its body. A body that is one direction of a tunnel drops `open` when it is over.
fn into_request(
    mut head: Head,
    mut body: RequestBody,
    open: oneshot::Sender<Infallible>,
) -> Request<Body> {
    let protocol = head.protocol.take();
    let protocol = protocol.and_then(|name| ConnectProtocol::new(&name));
    if protocol.is_some() {
        body.hold_until_over(open);
    }
    let mut request = head.into_request().map(|()| Body::new(body));
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(protocol);
    }
    request
}

fn conclude(written: Result<(), CutShort>, writer: &mut Writer) -> Outcome {
    match written {
        Ok(()) => Outcome::Answered,
        Err(CutShort::Broken(code)) => {
            writer.reset(code.value());
            Outcome::Wasted
        }
        Err(CutShort::Failed(error)) => {
            writer.reset(error.reset().http3());
            if error == RequestError::Body(BodyError::ClientGone) {
                Outcome::Wasted
            } else {
                Outcome::Failed
            }
        }
    }
}

async fn head(incoming: &mut Incoming) -> Result<Head, Failure> {
    match poll_fn(|cx| incoming.poll_part(cx)).await? {
        Some(Part::Head(head)) => Ok(*head),
        // The first part is a head, and there is one unless the stream failed.
        Some(Part::Data(_) | Part::Trailers(_) | Part::Referring) | None => Err(Failure::Gone),
    }
}

/// Waits for the reply to a request, and sends on what is to be said ahead of it.
async fn reply(
    service: &Service,
    replying: impl Future<Output = Reply>,
    interim: &Interim,
    writer: &mut Writer,
) -> Result<Reply, CutShort> {
    let _closing = Closing(interim);
    let mut replying = pin!(replying);
    let reply = loop {
        let section = tokio::select! {
            biased;
            reply = &mut replying => break reply,
            section = interim.next() => section,
        };
        inform(service, section, writer).await?;
    };
    for section in interim.close() {
        inform(service, section, writer).await?;
    }
    Ok(reply)
}

/// Lets nothing be said ahead of a response that has begun or is no longer wanted.
struct Closing<'a>(&'a Interim);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn inform(service: &Service, section: Section, writer: &mut Writer) -> Result<(), CutShort> {
    let status = section.0;
    let outcome = writer.inform(section).await?;
    // What the gateway itself says is no response of a handler's.
    if status != StatusCode::CONTINUE {
        service.count_informed(outcome);
    }
    Ok(())
}

/// Whether the client waits for a word before it sends the content (RFC 9110, section 10.1.1). What else
/// it may expect, the service refuses.
fn expects_continue(fields: &HeaderMap) -> bool {
    fields.contains_key(header::EXPECT)
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
