use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::TRAILER;
use http::{Request, Response};
use http_body::Frame;
use tokio::sync::Semaphore;

use crate::request::{Body, BodyError, ClientFacts, Handler, RequestError};

/// A handler whose paths do what their names say.
#[derive(Clone, Default)]
pub(super) struct Origin(Arc<State>);

struct State {
    held: AtomicU32,
    release: Semaphore,
}

impl Default for State {
    fn default() -> Self {
        Self {
            held: AtomicU32::new(0),
            release: Semaphore::new(0),
        }
    }
}

impl Origin {
    /// How many requests for `/hold` wait.
    pub(super) fn held(&self) -> u32 {
        self.0.held.load(Ordering::SeqCst)
    }

    /// Answers the requests for `/hold`.
    pub(super) fn release(&self) {
        self.0.release.add_permits(1000);
    }

    async fn hold(&self) -> Body {
        let _held = Held::new(self);
        self.0.release.acquire().await.unwrap().forget();
        Body::full("held")
    }
}

impl Handler for Origin {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let body = match request.uri().path() {
            "/facts" => Body::full(format!(
                "{} {} {} node {}",
                client.protocol,
                client.address.ip(),
                client.local,
                client.owner
            )),
            "/echo" => return Ok(echo(request)),
            "/hold" => self.hold().await,
            "/broken" => Body::new(Script::new([
                Ok(Frame::data(Bytes::from("begun"))),
                Err(BodyError::UpstreamGone),
            ])),
            "/reset" => return Err(RequestError::Body(BodyError::ClientGone)),
            "/panic" => panic!("a handler that panics"),
            "/endless" => Body::new(Endless),
            path => {
                let length = path.trim_start_matches("/pattern/").parse();
                Body::full(pattern(length.map_err(|_other| RequestError::NoRoute)?))
            }
        };
        Ok(Response::new(body))
    }
}

/// Names the trailers of the request, which HTTP/1.1 sends only if they were named.
fn echo(request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body);
    if let Some(names) = head.headers.get(TRAILER) {
        response.headers_mut().insert(TRAILER, names.clone());
    }
    response
}

/// Bytes in which a missing or repeated piece shows.
pub(super) fn pattern(length: u32) -> Bytes {
    (0..length.div_ceil(4))
        .flat_map(u32::to_be_bytes)
        .take(usize::try_from(length).unwrap())
        .collect()
}

struct Held(Origin);

impl Held {
    fn new(origin: &Origin) -> Self {
        origin.0.held.fetch_add(1, Ordering::SeqCst);
        Self(origin.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body of these frames, whose length nobody knows before its end.
pub(super) struct Script(VecDeque<Result<Frame<Bytes>, BodyError>>);

impl Script {
    pub(super) fn new<const N: usize>(frames: [Result<Frame<Bytes>, BodyError>; N]) -> Self {
        Self(frames.into())
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'.'; 4096])))))
    }
}
