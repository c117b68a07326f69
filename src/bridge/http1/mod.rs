//! The HTTP/1.1 connections to one backend.
//!
//! A connection serves one request after the other. It is kept for the next one only if the response was
//! whole and flawless, the request before it was sent to its end, and nothing followed the response.

mod lane;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use self::lane::Lane;
use super::dial::{Dialer, Permit, Stream};
use super::error;
use super::proxy_protocol::Origin;
use super::tls::Purpose;
use super::upload::Upload;
use super::upstream::{BUFFER, Tasks};
use crate::request::{Protocol, RequestError};

pub(super) use self::lane::Lent;

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
            lane.end();
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
                let mut builder = Builder::new();
                builder.max_buf_size(BUFFER);
                // Boxed, as above.
                let made = Box::pin(builder.handshake(TokioIo::new(*stream))).await;
                let (mut sender, connection) =
                    made.map_err(|error| NotSent::Failed(error::classify(&error)))?;
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
        place: (Option<Origin>, Permit),
    ) -> Lent {
        let lent = Lane::lend(&self.0, sender, place);
        let drive = lane::drive(Arc::clone(&lent.lane), connection, self.0.keep.time);
        self.0.tasks.spawn(drive);
        lent
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
    fn take(&self, origin: Option<Origin>, mut permit: Permit) -> Result<Lent, Permit> {
        while let Some(lane) = self.last(origin) {
            match lane.lend_again(permit) {
                Ok(lent) => return Ok(lent),
                Err(unused) => permit = unused,
            }
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
            lane.end();
        }
    }
}
