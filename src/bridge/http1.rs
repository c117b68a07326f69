//! The HTTP/1.1 connections to one backend.
//!
//! A connection serves one request after the other. It is kept for the next one only if the response was
//! whole and flawless, the request before it was sent to its end, and nothing followed the response.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};

use super::dial::{Dialer, Permit, Stream};
use super::error;
use super::proxy_protocol::Origin;
use super::tls::Purpose;
use super::upload::Upload;
use super::upstream::{BUFFER, Tasks};
use crate::request::{Protocol, RequestError, clock};

/// Makes connections when requests need them, and keeps those that can be used again.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    tasks: Tasks,
    keep: Keep,
    /// The last one was used last, and is used next: those that are not needed grow old.
    idle: Mutex<Vec<Arc<Lane>>>,
}

/// Which idle connections are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// This many at most.
    pub(super) idle: usize,
    /// Each so long.
    pub(super) time: Duration,
}

/// A connection for one request: one that was kept, or a new one.
#[derive(Debug)]
pub(super) enum Ready {
    Kept(Lent),
    New(Box<Stream>, Option<Origin>, Permit),
}

/// A connection that serves one request. Dropping it before [`Lent::pass`] closes the connection.
#[derive(Debug)]
pub(super) struct Lent {
    lane: Arc<Lane>,
    turn: u64,
}

/// One connection.
#[derive(Debug)]
struct Lane {
    shared: Weak<Shared>,
    /// Whom it serves, if not everybody.
    origin: Option<Origin>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None once the connection is to end.
    sender: Option<SendRequest<Upload>>,
    phase: Phase,
    /// The number of its request, which may have its response long after the next has begun.
    turn: u64,
    permit: Permit,
    /// Wakes the task that drives the connection.
    driver: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle(Instant),
    /// A request is under way, whose response may turn out to be such that nothing is to follow it.
    Sent,
    /// The response may be passed on; when it is whole, the connection may be used again.
    Passed,
    /// Nobody waits for the rest of the response.
    Over,
}

impl Connections {
    pub(super) fn new(dialer: Dialer, tasks: Tasks, keep: Keep) -> Self {
        Self(Arc::new(Shared {
            dialer,
            tasks,
            keep,
            idle: Mutex::default(),
        }))
    }

    /// Takes a connection that was kept, or makes one.
    pub(super) async fn ready(&self, origin: Option<Origin>) -> Result<Ready, RequestError> {
        let permit = self.0.dialer.bound.enter().await?;
        match self.0.take(origin, permit) {
            Ok(lent) => Ok(Ready::Kept(lent)),
            Err(permit) => {
                self.make_room();
                // Boxed, because every request would carry the space for what few of them do.
                Box::pin(self.open(origin, permit)).await
            }
        }
    }

    /// Closes the oldest idle connection if one that is about to be made would be one too many.
    pub(super) fn make_room(&self) {
        let Some(free) = self.0.dialer.bound.free() else {
            return;
        };
        let oldest = {
            let mut idle = self.0.idle();
            (idle.len() > free).then(|| idle.remove(0))
        };
        if let Some(lane) = oldest {
            lane.lock().sender = None;
        }
    }

    /// Makes a connection although others may be kept.
    pub(super) async fn open(
        &self,
        origin: Option<Origin>,
        permit: Permit,
    ) -> Result<Ready, RequestError> {
        let stream = self.0.dialer.connect(origin, Purpose::Requests).await?;
        Ok(Ready::New(Box::new(stream), origin, permit))
    }

    /// Sends a request and waits for the header section of the response. One that a kept connection gave
    /// back unsent, because the backend had closed it, comes back with the connection's place.
    ///
    /// Dropping the future cancels the request at the backend, by closing the connection.
    pub(super) async fn send(
        &self,
        ready: Ready,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lent), NotSent> {
        let (lent, sent) = match ready {
            Ready::Kept(lent) => {
                let mut state = lent.lane.lock();
                let Some(sender) = &mut state.sender else {
                    drop(state);
                    return Err(NotSent::Returned(Box::new(request), lent.permit()));
                };
                let sent = sender.try_send_request(request);
                drop(state);
                (lent, sent)
            }
            // The backend chose otherwise than before.
            Ready::New(stream, ..) if stream.protocol() != Protocol::Http1 => {
                return Err(NotSent::Failed(RequestError::UpstreamTls));
            }
            Ready::New(stream, origin, permit) => {
                let (mut sender, connection) = Builder::new()
                    .max_buf_size(BUFFER)
                    .handshake(TokioIo::new(*stream))
                    .await
                    .map_err(|error| NotSent::Failed(error::classify(&error)))?;
                // Before the connection is driven, which would take it for idle.
                let sent = sender.try_send_request(request);
                (self.start(sender, connection, (origin, permit)), sent)
            }
        };
        match sent.await {
            Ok(response) => Ok((response, lent)),
            Err(mut failed) => Err(match failed.take_message() {
                Some(request) => NotSent::Returned(Box::new(request), lent.permit()),
                None => NotSent::Failed(error::classify(&failed.into_error())),
            }),
        }
    }

    fn start(
        &self,
        sender: SendRequest<Upload>,
        connection: Connection<TokioIo<Stream>, Upload>,
        (origin, permit): (Option<Origin>, Permit),
    ) -> Lent {
        let lane = Arc::new(Lane {
            shared: Arc::downgrade(&self.0),
            origin,
            state: Mutex::new(State {
                sender: Some(sender),
                phase: Phase::Sent,
                turn: 0,
                permit,
                driver: None,
            }),
        });
        let drive = drive(Arc::clone(&lane), connection, self.0.keep.time);
        self.0.tasks.spawn(drive);
        Lent { lane, turn: 0 }
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum NotSent {
    /// Nothing of the request was written, so sending it again cannot run it twice.
    Returned(Box<Request<Upload>>, Permit),
    Failed(RequestError),
}

impl Shared {
    /// Takes an idle connection, or gives the permit back if there is none.
    fn take(&self, origin: Option<Origin>, permit: Permit) -> Result<Lent, Permit> {
        while let Some(lane) = self.last(origin) {
            let mut state = lane.lock();
            if state.sender.as_ref().is_none_or(SendRequest::is_closed) {
                continue;
            }
            state.phase = Phase::Sent;
            state.turn += 1;
            state.permit = permit;
            let turn = state.turn;
            drop(state);
            return Ok(Lent { lane, turn });
        }
        Err(permit)
    }

    /// Adds an idle connection, and gives the oldest if there are too many.
    fn push(&self, lane: &Arc<Lane>) -> Option<Arc<Lane>> {
        let mut idle = self.idle();
        idle.push(Arc::clone(lane));
        (idle.len() > self.keep.idle).then(|| idle.remove(0))
    }

    fn last(&self, origin: Option<Origin>) -> Option<Arc<Lane>> {
        let mut idle = self.idle();
        let place = idle.iter().rposition(|lane| lane.origin == origin)?;
        Some(idle.remove(place))
    }

    /// Whether the connection was idle, and is not to be taken any more.
    fn forget(&self, lane: &Arc<Lane>) -> bool {
        let mut idle = self.idle();
        let place = idle.iter().position(|other| Arc::ptr_eq(other, lane));
        place.map(|place| idle.remove(place)).is_some()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for lane in self.idle().drain(..) {
            lane.lock().sender = None;
        }
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection whose response is whole, and says since when it is idle. The place is given back
    /// last, so that whoever waits for it finds the connection.
    fn keep(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Instant {
        let now = clock::now();
        state.phase = Phase::Idle(now);
        let shared = self.shared.upgrade();
        let surplus = match &shared {
            Some(shared) => shared.push(self),
            None => Some(Arc::clone(self)),
        };
        let own = surplus.as_ref().is_some_and(|lane| Arc::ptr_eq(lane, self));
        if own {
            state.sender = None;
        }
        let permit = state.permit.take();
        drop(state);
        drop(permit);
        if let Some(oldest) = surplus.filter(|_| !own) {
            oldest.lock().sender = None;
        }
        // It may be the last, and its end locks what is idle.
        drop(shared);
        now
    }

    /// What the connection does, after its task has had its turn.
    fn look(self: &Arc<Self>, cx: &Context<'_>) -> Look {
        let mut state = self.lock();
        let awaited = state.driver.as_ref();
        if !awaited.is_some_and(|driver| driver.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        match state.phase {
            Phase::Passed | Phase::Over if state.is_ready() => Look::Idle(self.keep(state)),
            Phase::Idle(since) => Look::Idle(since),
            Phase::Sent | Phase::Passed => Look::Busy,
            Phase::Over => Look::Over,
        }
    }
}

impl State {
    /// Whether request and response have both come to their ends.
    fn is_ready(&self) -> bool {
        self.sender.as_ref().is_some_and(SendRequest::is_ready)
    }
}

impl Lent {
    /// Lets the connection be used again when the response is whole.
    pub(super) fn pass(&self) {
        let mut state = self.lane.lock();
        if state.turn != self.turn || state.phase != Phase::Sent {
            return;
        }
        state.phase = Phase::Passed;
        if state.is_ready() {
            self.lane.keep(state);
        }
    }

    /// Ends the connection, and frees its place for another.
    fn permit(self) -> Permit {
        let mut state = self.lane.lock();
        state.sender = None;
        state.permit.take()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        if state.turn != self.turn {
            return;
        }
        match state.phase {
            Phase::Sent => state.sender = None,
            Phase::Passed if state.is_ready() => {
                self.lane.keep(state);
            }
            Phase::Passed => {
                state.phase = Phase::Over;
                if let Some(driver) = state.driver.take() {
                    driver.wake();
                }
            }
            Phase::Idle(_) | Phase::Over => {}
        }
    }
}

/// What a connection does.
#[derive(Clone, Copy, Debug)]
enum Look {
    Idle(Instant),
    Busy,
    Over,
}

/// Runs a connection until it ends, has been idle for so long, or lingers behind a response that is over.
async fn drive(lane: Arc<Lane>, connection: Connection<TokioIo<Stream>, Upload>, keep: Duration) {
    let mut connection = pin!(connection);
    // It fires once in this time and not for each request.
    let mut timer = pin!(sleep(keep));
    let mut lingering = false;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection broke");
            }
            return Poll::Ready(());
        }
        let look = lane.look(cx);
        if matches!(look, Look::Over) && !lingering {
            timer.as_mut().reset(clock::now() + LINGER);
        }
        lingering = matches!(look, Look::Over);
        while timer.as_mut().poll(cx).is_ready() {
            let now = clock::now();
            let due = match look {
                Look::Over => return Poll::Ready(()),
                Look::Busy => now + keep,
                Look::Idle(since) => since + keep,
            };
            if due <= now
                && lane
                    .shared
                    .upgrade()
                    .is_none_or(|shared| shared.forget(&lane))
            {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.max(now + keep / 16));
        }
        Poll::Pending
    })
    .await;
    let mut state = lane.lock();
    state.sender = None;
    state.permit = None;
    drop(state);
    if let Some(shared) = lane.shared.upgrade() {
        shared.forget(&lane);
    }
}

/// How long the rest of a request may take to be written once its response is over.
const LINGER: Duration = Duration::from_secs(1);
