//! One HTTP/2 connection with prior knowledge to one upstream (RFC 9113, section 3.3).
//!
//! The pool of hyper-util opens a connection for every authority that requests name, and a request
//! must keep the authority its client named; here the connection belongs to the upstream.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::dial::{Dialer, Stream};
use super::error;
use super::tls::Purpose;
use super::upload::Upload;
use super::upstream::Tasks;
use crate::request::{Protocol, RequestError};

/// Keeps at most one connection to an upstream, made when a request needs it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    dialer: Dialer,
    tasks: Tasks,
    idle: Duration,
    current: Arc<Mutex<Arc<Session>>>,
    /// Whether the backend was last found to speak HTTP/1.1, by its own choice.
    speaks_http1: Arc<AtomicBool>,
}

/// Why there is no connection of HTTP/2.
#[derive(Debug)]
pub(super) enum NotReady {
    Failed(RequestError),
    /// The backend speaks HTTP/1.1; this is a connection to it, if one was made.
    Http1(Option<Box<Stream>>),
}

/// Marks the connection as used while a request is under way.
#[derive(Clone, Debug)]
pub(super) struct Busy {
    _requests: Arc<AtomicU64>,
}

/// A connection, or the place where the first request makes it and the others wait.
#[derive(Debug, Default)]
struct Session {
    sender: OnceCell<SendRequest<Upload>>,
    requests: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn new(dialer: Dialer, tasks: Tasks, idle: Duration) -> Self {
        Self {
            dialer,
            tasks,
            idle,
            current: Arc::default(),
            speaks_http1: Arc::default(),
        }
    }

    /// Whether the backend was last found to speak HTTP/1.1.
    pub(super) fn speaks_http1(&self) -> bool {
        self.speaks_http1.load(Ordering::Relaxed)
    }

    /// Speaks HTTP/2 on a connection that was made for HTTP/1.1, and from here on.
    pub(super) async fn adopt(&self, stream: Stream) -> Result<Ready, RequestError> {
        let session = Arc::<Session>::default();
        let sender = self.handshake(stream, &session).await?;
        self.speaks_http1.store(false, Ordering::Relaxed);
        // Nobody else knows the session yet.
        let _first = session.sender.set(sender.clone());
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&session);
        Ok(Ready::new(sender, session))
    }

    /// Makes a connection unless there is one. Cancel safe: another waiting request goes on.
    pub(super) async fn ready(&self) -> Result<Ready, NotReady> {
        let session = self.session();
        // Boxed, because every request would carry the space for what few of them do.
        let open = || Box::pin(self.open(&session));
        let connecting = session.sender.get_or_try_init(open);
        let sender = timeout(self.dialer.connect, connecting)
            .await
            .map_err(|_elapsed| NotReady::Failed(RequestError::UpstreamConnectTimeout))??
            .clone();
        Ok(Ready::new(sender, session))
    }

    /// Sends a request. One that the connection gave back unsent, because it was about to close,
    /// goes to a new connection once; nothing of it was written, so it cannot run twice.
    pub(super) async fn send(
        &self,
        mut ready: Ready,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Busy), RequestError> {
        let mut failed = match ready.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, ready.busy)),
            Err(failed) => failed,
        };
        let Some(request) = failed.take_message() else {
            return Err(error::classify(&failed.into_error()));
        };
        forget(&self.current, &ready.session);
        let mut ready = match self.ready().await {
            Ok(ready) => ready,
            Err(NotReady::Failed(error)) => return Err(error),
            Err(NotReady::Http1(_)) => return Err(RequestError::UpstreamConnect),
        };
        match ready.sender.try_send_request(request).await {
            Ok(response) => Ok((response, ready.busy)),
            Err(failed) => Err(error::classify(&failed.into_error())),
        }
    }

    fn session(&self) -> Arc<Session> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.sender.get().is_some_and(SendRequest::is_closed) {
            *current = Arc::default();
        }
        Arc::clone(&current)
    }

    async fn open(&self, session: &Arc<Session>) -> Result<SendRequest<Upload>, NotReady> {
        // Whoever waited for the place has been told so meanwhile.
        if self.speaks_http1() {
            return Err(NotReady::Http1(None));
        }
        let stream = self
            .dialer
            .connect(None, Purpose::Requests)
            .await
            .map_err(NotReady::Failed)?;
        if stream.protocol() == Protocol::Http1 {
            self.speaks_http1.store(true, Ordering::Relaxed);
            return Err(NotReady::Http1(Some(Box::new(stream))));
        }
        self.handshake(stream, session)
            .await
            .map_err(NotReady::Failed)
    }

    async fn handshake(
        &self,
        stream: Stream,
        session: &Arc<Session>,
    ) -> Result<SendRequest<Upload>, RequestError> {
        let mut builder = Builder::new(self.tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error::classify(&error))?;
        let keeper = Keeper {
            current: Arc::downgrade(&self.current),
            session: Arc::downgrade(session),
            idle: self.idle,
        };
        self.tasks.spawn(keeper.drive(connection));
        Ok(sender)
    }
}

/// Lets the next request make a new connection; the old one ends with its last request.
fn forget(current: &Mutex<Arc<Session>>, session: &Arc<Session>) {
    let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
    if Arc::ptr_eq(&current, session) {
        *current = Arc::default();
    }
}

/// A connection that can take a request.
#[derive(Debug)]
pub(super) struct Ready {
    sender: SendRequest<Upload>,
    session: Arc<Session>,
    busy: Busy,
}

impl Ready {
    fn new(sender: SendRequest<Upload>, session: Arc<Session>) -> Self {
        session.requests.fetch_add(1, Ordering::Relaxed);
        let requests = Arc::clone(&session.requests);
        Self {
            sender,
            session,
            busy: Busy {
                _requests: requests,
            },
        }
    }
}

/// Runs a connection without keeping it: what it runs for is held by the [`Link`] and by requests.
#[derive(Debug)]
struct Keeper {
    current: Weak<Mutex<Arc<Session>>>,
    session: Weak<Session>,
    idle: Duration,
}

impl Keeper {
    async fn drive(self, connection: Connection<TokioIo<Stream>, Upload, Tasks>) {
        let mut connection = pin!(connection);
        let mut seen = 0;
        loop {
            tokio::select! {
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "upstream connection broke");
                    }
                    return;
                }
                () = sleep(self.idle) => seen = self.look(seen),
            }
        }
    }

    /// Lets go of the connection if it has had no request between two looks: after one to two times
    /// the idle time.
    fn look(&self, seen: u64) -> u64 {
        let (Some(current), Some(session)) = (self.current.upgrade(), self.session.upgrade())
        else {
            return seen;
        };
        let requests = session.requests.load(Ordering::Relaxed);
        let under_way = Arc::strong_count(&session.requests) > 1;
        if requests == seen && !under_way {
            forget(&current, &session);
        }
        requests
    }
}

/// What one response may have in flight: at a round trip of 0.5 ms, 2 Gbit/s. It bounds what a client
/// that reads slowly makes the gateway hold.
pub(super) const STREAM_WINDOW: u32 = 128 << 10;

/// As large as HTTP/2 allows: with less, a few clients that do not read would use up the window of
/// all the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Bytes of one request body that wait for the upstream.
const SEND_BUFFER: usize = 128 << 10;

/// The largest header section of a response.
pub(super) const HEADER_BYTES: u32 = 64 << 10;

/// A connection under whose requests the upstream's machine has vanished would take new requests
/// until the kernel gives up, after 15 minutes; with this, for 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
