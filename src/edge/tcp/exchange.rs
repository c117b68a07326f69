use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::activity::{Activity, Busy, Progress};
use super::tunnel::{self, Asked, Tunnel, Tunnels};
use crate::edge::course::{Course, Phase};
use crate::edge::service::{Reply, Service};
use crate::request::{
    Body, BodyError, ClientFacts, HandshakeFailed, Protocol, RequestError, ResetCode,
};
use crate::telemetry::Early;

tokio::task_local! {
    /// The response that a task sends; one at a time in HTTP/1.1, one at all in a stream's task.
    pub(super) static PROGRESS: Arc<Progress>;
}

/// What every request of one connection is answered with.
#[derive(Clone, Debug)]
pub(super) struct Exchanges {
    pub(super) service: Arc<Service>,
    pub(super) client: ClientFacts,
    pub(super) activity: Activity,
    pub(super) course: Course,
    pub(super) tunnels: Tunnels,
}

impl Exchanges {
    /// Answers one request, in a task within the scope of [`PROGRESS`].
    ///
    /// # Errors
    /// The error carries the HTTP/2 code of the reset that the service asks for; HTTP/1.1 closes
    /// the connection without a response.
    pub(super) fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, h2::Error>> + use<> {
        let mut busy = self.activity.begin();
        let Self {
            service,
            client,
            course,
            tunnels,
            ..
        } = self.clone();
        let asked = Asked::take(&mut request);
        async move {
            let Ok(client) = proven(&service, client, &request).await else {
                let gone = RequestError::Body(BodyError::ClientGone);
                service.never_began(gone);
                return Err(reset(gone.reset()));
            };
            let (request, asked) = match asked {
                None => {
                    let body = |body: Incoming| body.map_err(|error| body_error(&error));
                    (request.map(|incoming| Body::new(body(incoming))), None)
                }
                Some(asked) => {
                    let (sender, body) = tunnel::channel();
                    (request.map(|_empty| body), Some((asked, sender)))
                }
            };
            let protocol = client.protocol;
            let reply = service.respond(request, client).await;
            busy.answered();
            match reply {
                Reply::Response(mut response, _blame) => {
                    if let Some((asked, sender)) = asked
                        && response.status().is_success()
                    {
                        let body = std::mem::take(response.body_mut());
                        let tunnel = Tunnel { body, sender, busy };
                        tunnels.open(asked, &mut response, tunnel);
                        return Ok(response.map(|body| ResponseBody::new(body, None)));
                    }
                    if protocol == Protocol::Http1 && course.phase() >= Phase::Draining {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(header::CONNECTION, close);
                    }
                    Ok(response.map(|body| ResponseBody::new(body, Some(busy))))
                }
                Reply::Reset(code) => Err(reset(code)),
            }
        }
    }
}

/// Lets a request that came before the end of the handshake wait for it, unless it is safe and has no
/// content: somebody may have recorded and repeated it (RFC 8470, section 4).
async fn proven(
    service: &Service,
    mut client: ClientFacts,
    request: &Request<Incoming>,
) -> Result<ClientFacts, HandshakeFailed> {
    if client.handshake.is_complete() {
        return Ok(client);
    }
    client.early_data = request.method().is_safe() && request.body().is_end_stream();
    if client.early_data {
        service.count_early(Early::AT_ONCE);
    } else {
        client.handshake.completed().await?;
        service.count_early(Early::WAITED);
    }
    Ok(client)
}

/// A response on its way to the client; its errors reset the stream or close the connection.
///
/// hyper takes a piece of any size at once, after which nobody would know how fast the client
/// does. So pieces are cut to [`PIECE`] bytes.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    rest: Bytes,
    progress: Arc<Progress>,
    _busy: Option<Busy>,
}

impl ResponseBody {
    /// In a task within the scope of [`PROGRESS`].
    fn new(body: Body, busy: Option<Busy>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            progress: PROGRESS.get(),
            _busy: busy,
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.progress.asked();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(reset(RequestError::from(error).reset()))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        let length = self.rest.len().min(PIECE);
        self.progress.handed();
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.progress.asked();
    }
}

/// hyper resets the stream with the code of the h2 error that it finds among an error's causes.
fn reset(code: ResetCode) -> h2::Error {
    h2::Error::from(h2::Reason::from(code.http2()))
}

fn body_error(error: &hyper::Error) -> BodyError {
    if error.is_timeout() {
        return BodyError::TimedOut;
    }
    let cause = error.source();
    let broken_chunk = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
    let broken_stream = cause
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(h2::Error::is_library);
    if broken_chunk || broken_stream || error.is_parse() {
        BodyError::Malformed
    } else {
        BodyError::ClientGone
    }
}

const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_large_piece_is_handed_over_in_small_ones() {
        let activity = Activity::new();
        let mut body = ResponseBody {
            body: Body::full(vec![7; 3 * PIECE + 1]),
            rest: Bytes::new(),
            progress: Arc::default(),
            _busy: Some(activity.begin()),
        };
        for (length, left) in [
            (PIECE, 2 * PIECE + 1),
            (PIECE, PIECE + 1),
            (PIECE, 1),
            (1, 0),
        ] {
            assert!(!body.is_end_stream());
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().len(), length);
            assert_eq!(body.size_hint().exact(), Some(left.try_into().unwrap()));
        }
        assert!(body.is_end_stream());
    }
}
