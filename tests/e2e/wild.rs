//! A handler that fails in the way that the path says.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use wayhold::bridge::Origin;
use wayhold::request::{Body, BodyError, ClientFacts, Handler, RequestError};

/// The origin on every path but its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wild {
    begun: Arc<AtomicU32>,
    running: Arc<AtomicU32>,
    gate: Gate,
}

/// Where `/wait` waits.
#[derive(Clone, Debug)]
struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

/// One request, until it is dropped.
struct Running(Arc<AtomicU32>);

/// What a body yields, piece by piece.
struct Pieces {
    pieces: Vec<Option<Result<&'static str, BodyError>>>,
    endless: Option<Running>,
}

impl Wild {
    /// Requests whose handler or endless body still lives.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// Requests that reached the handler.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Lets everybody at `/wait` go on.
    pub(crate) fn open_gate(&self) {
        self.gate.0.close();
    }

    fn begin(&self) -> Running {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Wild {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let running = self.begin();
        match request.uri().path() {
            "/panic" => panic!("as asked"),
            "/forever" => std::future::pending().await,
            "/wait" => {
                // Closed is open: nobody gets a permit, and everybody goes on.
                drop(self.gate.0.acquire().await);
                Ok(Response::new(Body::full("waited")))
            }
            "/read" => {
                let read = request.into_body().collect().await?;
                Ok(Response::new(Body::full(read.to_bytes())))
            }
            "/endless" => Ok(Response::new(Body::new(Pieces {
                pieces: vec![],
                endless: Some(running),
            }))),
            "/broken" => Ok(then(Some(Err(BodyError::UpstreamGone)))),
            "/panic-in-body" => Ok(then(None)),
            "/short" => {
                let short = Response::builder().header("content-length", "100");
                Ok(short.body(Body::full("short")).unwrap())
            }
            _ => Origin::new().handle(request, client).await,
        }
    }
}

/// A response that begins well.
fn then(last: Option<Result<&'static str, BodyError>>) -> Response<Body> {
    Response::new(Body::new(Pieces {
        pieces: vec![last, Some(Ok("well begun"))],
        endless: None,
    }))
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.endless.is_some() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16_384])))));
        }
        let piece = self.pieces.pop().map(|piece| piece.expect("as asked"));
        Poll::Ready(piece.map(|piece| piece.map(|text| Frame::data(text.into()))))
    }
}
