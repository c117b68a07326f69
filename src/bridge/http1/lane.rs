//! One connection: when it is idle, when it serves a request, and when it ends.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};

use super::Shared;
use crate::bridge::dial::{Permit, Stream};
use crate::bridge::proxy_protocol::Origin;
use crate::bridge::upload::Upload;
use crate::request::clock;

/// A connection that serves one request. Dropping it before [`Lent::pass`] closes the connection.
#[derive(Debug)]
pub(in crate::bridge) struct Lent {
    pub(super) lane: Arc<Lane>,
    turn: u64,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Weak<Shared>,
    /// Whom it serves, if not everybody.
    pub(super) origin: Option<Origin>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// None once the connection is to end.
    pub(super) sender: Option<SendRequest<Upload>>,
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

impl Lane {
    /// A connection whose first request has been given to it.
    pub(super) fn lend(
        shared: &Arc<Shared>,
        sender: SendRequest<Upload>,
        (origin, permit): (Option<Origin>, Permit),
    ) -> Lent {
        let lane = Arc::new(Self {
            shared: Arc::downgrade(shared),
            origin,
            state: Mutex::new(State {
                sender: Some(sender),
                phase: Phase::Sent,
                turn: 0,
                permit,
                driver: None,
            }),
        });
        Lent { lane, turn: 0 }
    }

    /// Lends it to another request, or gives the permit back if it has ended.
    pub(super) fn lend_again(self: Arc<Self>, permit: Permit) -> Result<Lent, Permit> {
        let mut state = self.lock();
        if state.sender.as_ref().is_none_or(SendRequest::is_closed) {
            return Err(permit);
        }
        state.phase = Phase::Sent;
        state.turn += 1;
        state.permit = permit;
        let turn = state.turn;
        drop(state);
        Ok(Lent { lane: self, turn })
    }

    /// Ends it, if it is idle; else when its request has ended.
    pub(super) fn end(&self) {
        self.lock().sender = None;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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
            oldest.end();
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
    pub(in crate::bridge) fn pass(&self) {
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
    pub(super) fn permit(self) -> Permit {
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
pub(super) async fn drive(
    lane: Arc<Lane>,
    connection: Connection<TokioIo<Stream>, Upload>,
    keep: Duration,
) {
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
