use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};

use super::{BackendReport, Body, ClientFacts, RequestError};

/// Answers requests: the bridge to backends, or an embedder's own code.
///
/// The gateway calls a handler with a request that has passed the rules of RFC 9110 and RFC 9114
/// and the configured limits; its URI always has scheme, authority and path. One with the method CONNECT
/// asks for a tunnel, and has a [`ConnectProtocol`](super::ConnectProtocol) in its extensions; a handler
/// that does not know the protocol fails with [`RequestError::NotImplemented`]. Both bodies are streamed;
/// a handler that stops reading the request body stops the client by flow control. Trailers of a response
/// reach clients that ask for them with `te: trailers` (RFC 9110, section 10.1.4), and
/// [`ClientFacts::informational`] sends what is to reach the client ahead of a response. The future is
/// dropped when the client cancels the request, so every await in it must be cancel safe.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// A [`RequestError`] becomes the status of [`RequestError::status`] with a short body.
    fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> impl Future<Output = Result<Response<Body>, RequestError>> + Send;

    /// The bytes that the body of this request may have, in place of `limits.body_bytes`; 0 means no limit.
    /// It is asked before the request is handled, and must not block.
    fn body_bytes(&self, _request: &Request<Body>) -> Option<u64> {
        None
    }

    /// How the backends do that it passes requests to; none where it answers itself. It must not block.
    fn backends(&self) -> Vec<BackendReport> {
        Vec::new()
    }
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> impl Future<Output = Result<Response<Body>, RequestError>> + Send {
        H::handle(self, request, client)
    }

    fn backends(&self) -> Vec<BackendReport> {
        H::backends(self)
    }
}

/// The future of one call of a [`SharedHandler`].
pub type HandlerFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Body>, RequestError>> + Send + 'a>>;

/// A [`Handler`] of any type, shared by every connection.
#[derive(Clone)]
pub struct SharedHandler(Arc<dyn ErasedHandler>);

impl SharedHandler {
    /// Wraps a handler for sharing.
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }

    /// Answers one request; see [`Handler::handle`].
    pub fn handle(&self, request: Request<Body>, client: ClientFacts) -> HandlerFuture<'_> {
        self.0.handle_erased(request, client)
    }

    /// What the body of a request may have; see [`Handler::body_bytes`].
    pub fn body_bytes(&self, request: &Request<Body>) -> Option<u64> {
        self.0.body_bytes_erased(request)
    }

    /// How backends do; see [`Handler::backends`].
    pub fn backends(&self) -> Vec<BackendReport> {
        self.0.backends_erased()
    }
}

impl std::fmt::Debug for SharedHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedHandler").finish_non_exhaustive()
    }
}

trait ErasedHandler: Send + Sync {
    fn handle_erased(&self, request: Request<Body>, client: ClientFacts) -> HandlerFuture<'_>;
    fn body_bytes_erased(&self, request: &Request<Body>) -> Option<u64>;
    fn backends_erased(&self) -> Vec<BackendReport>;
}

impl<H: Handler> ErasedHandler for H {
    fn handle_erased(&self, request: Request<Body>, client: ClientFacts) -> HandlerFuture<'_> {
        Box::pin(self.handle(request, client))
    }

    fn body_bytes_erased(&self, request: &Request<Body>) -> Option<u64> {
        self.body_bytes(request)
    }

    fn backends_erased(&self) -> Vec<BackendReport> {
        self.backends()
    }
}
