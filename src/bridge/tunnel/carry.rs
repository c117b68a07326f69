//! What goes through a tunnel between a client and a backend, each direction by itself.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::bridge::pool::Place;
use crate::bridge::upstream::Tasks;
use crate::request::{Body, BodyError};

/// The end of a direction towards a backend.
pub(super) trait Sink: Send + 'static {
    /// Sends a piece, when there is room for it.
    fn send(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Broke>> + Send;

    /// Ends the direction.
    fn finish(&mut self) -> impl Future<Output = Result<(), Broke>> + Send;

    /// Breaks it off, so that the backend does not take it for ended.
    fn abort(self);
}

/// The beginning of a direction from a backend.
pub(super) trait Source: Send + Unpin + 'static {
    /// The next piece; none at the end of the direction.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broke>>>;
}

/// The backend broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broke;

/// What a tunnel needs on the gateway's side.
#[derive(Debug)]
pub(super) struct Side {
    /// What the client sends.
    pub(super) body: Body,
    /// The place among the backend's requests, which a tunnel takes until both directions have ended.
    pub(super) place: Arc<Place>,
    /// How long the backend may take to make room for a piece.
    pub(super) idle: Duration,
    /// Runs the client's direction.
    pub(super) tasks: Tasks,
}

/// Starts the direction to the backend, and gives the one to the client. Each that breaks off breaks
/// the other off.
pub(super) fn start(source: impl Source, sink: impl Sink, side: Side) -> Body {
    let Side {
        body,
        place,
        idle,
        tasks,
    } = side;
    let (ended, download_ended) = oneshot::channel();
    let (broken, upload_broken) = oneshot::channel();
    let upload = Upload {
        body,
        sink,
        idle,
        place: Arc::clone(&place),
    };
    tasks.spawn(upload.run(download_ended, broken));
    Body::new(Download(Some(Open {
        source,
        upload_broken,
        ended,
        _place: place,
    })))
}

/// The client's direction.
struct Upload<S> {
    body: Body,
    sink: S,
    idle: Duration,
    place: Arc<Place>,
}

impl<S: Sink> Upload<S> {
    /// Goes on to its end, even if the other direction has ended, but not if that broke off.
    async fn run(self, download_ended: oneshot::Receiver<()>, broken: oneshot::Sender<BodyError>) {
        let Self {
            mut body,
            mut sink,
            idle,
            place: _place,
        } = self;
        let broke = tokio::select! {
            passed = pass(&mut body, &mut sink, idle) => passed.err(),
            Err(_gone) = download_ended => Some(BodyError::ClientGone),
        };
        if let Some(error) = broke {
            sink.abort();
            // Nobody listens if the other direction is over.
            let _unheard = broken.send(error);
        }
    }
}

async fn pass(body: &mut Body, sink: &mut impl Sink, idle: Duration) -> Result<(), BodyError> {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let data = frame?
            .into_data()
            .map_err(|_trailers| BodyError::Malformed)?;
        in_time(idle, sink.send(data)).await?;
    }
    in_time(idle, sink.finish()).await
}

async fn in_time(
    idle: Duration,
    sending: impl Future<Output = Result<(), Broke>>,
) -> Result<(), BodyError> {
    match timeout(idle, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Broke)) => Err(BodyError::UpstreamGone),
        Err(_elapsed) => Err(BodyError::TimedOut),
    }
}

/// The backend's direction; nothing once it has ended.
struct Download<S>(Option<Open<S>>);

struct Open<S> {
    source: S,
    upload_broken: oneshot::Receiver<BodyError>,
    /// Dropped without a word, it breaks off the other direction.
    ended: oneshot::Sender<()>,
    _place: Arc<Place>,
}

impl<S: Source> http_body::Body for Download<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(open) = &mut self.0 else {
            return Poll::Ready(None);
        };
        // It is dropped without a word when the other direction has ended.
        if let Poll::Ready(Ok(error)) = poll_once(&mut open.upload_broken, cx) {
            self.0 = None;
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(open.source.poll_piece(cx)) {
            Some(Ok(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(Broke)) => {
                self.0 = None;
                Poll::Ready(Some(Err(BodyError::UpstreamGone)))
            }
            None => {
                if let Some(open) = self.0.take() {
                    // Nobody listens if the other direction is over.
                    let _unheard = open.ended.send(());
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// A receiver may not be polled again once it was ready.
fn poll_once(
    receiver: &mut oneshot::Receiver<BodyError>,
    cx: &mut Context<'_>,
) -> Poll<Result<BodyError, oneshot::error::RecvError>> {
    if receiver.is_terminated() {
        return Poll::Pending;
    }
    Pin::new(receiver).poll(cx)
}
