use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::datagrams::{Receiver, Receivers};
use super::incoming::Incoming;
use super::var_int;
use super::writer::Writer;
use crate::connect_udp;
use crate::edge::quic::transport::{Connection, RecvStream, SendStream, VarInt, WriteError};
use crate::http3::{
    self, Admission, Code, Consequence, OneWay, Priority, Step, StreamId, Terms, Violation,
};
use crate::request::{ConnectProtocol, Datagrams};

/// A connection as all of its streams see it.
pub(super) struct Shared {
    connection: Connection,
    engine: Mutex<Engine>,
}

pub(super) struct Engine {
    pub(super) connection: http3::Connection,
    /// Where each open request looks for its priority.
    urgencies: HashMap<StreamId, Arc<Urgency>>,
    pub(super) receivers: Receivers,
}

/// The priority of a response in quinn's terms: streams with a higher one are sent first, and those with
/// the same one by turns.
#[derive(Debug, Default)]
pub(super) struct Urgency(AtomicI32);

/// Both sides of a request stream.
pub(super) struct Streams {
    pub(super) incoming: Incoming,
    pub(super) writer: Writer,
    pub(super) place: Arc<RequestPlace>,
}

/// What became of a stream that the client opened.
pub(super) enum Opened {
    Request(Box<Streams>),
    Rejected,
}

/// A request's place among the open ones, until it is dropped.
pub(super) struct RequestPlace {
    id: StreamId,
    pub(super) shared: Arc<Shared>,
    pub(super) urgency: Arc<Urgency>,
    /// Whether a frame gave the priority before the request came.
    updated: bool,
    /// None where the connection has no datagrams.
    receiver: Option<Arc<Receiver>>,
}

impl Shared {
    /// `datagrams` may wait for one request, where the terms offer them.
    pub(super) fn new(connection: Connection, terms: Terms, datagrams: Option<usize>) -> Self {
        let engine = Engine {
            connection: http3::Connection::new(terms, now()),
            urgencies: HashMap::new(),
            receivers: Receivers::new(datagrams),
        };
        Self {
            connection,
            engine: Mutex::new(engine),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens the gateway's control stream.
    pub(super) async fn open_control(&self) -> Result<SendStream, WriteError> {
        let opening = self.engine().connection.opening();
        let mut control = self.connection.open_uni().await?;
        // Fails only when the stream has ended, which writing tells as well.
        drop(control.set_priority(CONTROL_PRIORITY));
        control.write_chunk(opening).await?;
        Ok(control)
    }

    /// Takes a request stream that the client opened, or rejects it.
    pub(super) fn admit(self: &Arc<Self>, mut send: SendStream, mut receive: RecvStream) -> Opened {
        let id = StreamId::new(VarInt::from(send.id()).into_inner());
        let mut engine = self.engine();
        match engine.connection.admit(id) {
            Admission::Rejected(code) => {
                drop(engine);
                reject(&mut send, &mut receive, code);
                Opened::Rejected
            }
            Admission::Accepted(stream, priority) => {
                let urgency = Arc::new(Urgency::default());
                if let Some(priority) = priority {
                    urgency.set(priority);
                }
                engine.urgencies.insert(id, Arc::clone(&urgency));
                let receiver = engine.receivers.open(id);
                drop(engine);
                let place = Arc::new(RequestPlace {
                    id,
                    shared: Arc::clone(self),
                    urgency,
                    updated: priority.is_some(),
                    receiver,
                });
                Opened::Request(Box::new(Streams {
                    incoming: Incoming::new(receive, *stream, Arc::clone(&place)),
                    writer: Writer::new(send, Arc::clone(&place)),
                    place,
                }))
            }
        }
    }

    /// Rejects every request stream (RFC 9114, section 5.2), until the connection ends.
    pub(super) async fn reject_new(&self) {
        while let Ok((mut send, mut receive)) = self.connection.accept_bi().await {
            reject(&mut send, &mut receive, Code::RequestRejected);
        }
    }

    /// The last GOAWAY.
    pub(super) fn end(&self) -> Bytes {
        self.engine().connection.end()
    }

    /// Takes what came on a stream of one direction.
    pub(super) fn receive(&self, stream: &mut OneWay, mut input: Bytes) -> Result<Step, Violation> {
        let mut engine = self.engine();
        loop {
            let step = engine.connection.receive(stream, &mut input, now())?;
            let Step::Reprioritise(id, priority) = step else {
                return Ok(step);
            };
            if let Some(urgency) = engine.urgencies.get(&id) {
                urgency.set(priority);
            }
        }
    }

    /// Takes the end of a stream of one direction.
    pub(super) fn one_way_ended(&self, stream: &OneWay) -> Result<(), Violation> {
        self.engine().connection.one_way_ended(stream)
    }

    pub(super) fn count_glitches(&self, count: u32) {
        let counted = self.engine().connection.count_glitches(count, now());
        counted.unwrap_or_else(|violation| self.close(violation));
    }

    pub(super) fn count_cancelled(&self) {
        let counted = self.engine().connection.count_cancelled(now());
        counted.unwrap_or_else(|violation| self.close(violation));
    }

    pub(super) fn count_answered(&self) {
        self.engine().connection.count_answered();
    }

    /// The largest field section that the client takes.
    pub(super) fn max_response_section(&self) -> Option<u64> {
        self.engine().connection.max_response_section()
    }

    /// Closes the connection for a violation that asks for it.
    pub(super) fn close(&self, violation: Violation) {
        if let Consequence::Close(code) = violation.consequence() {
            tracing::debug!(%violation, "the client broke a rule of HTTP/3");
            self.connection
                .close(var_int(code), violation.text().as_bytes());
        }
    }

    /// How long so many round trips take: at least 100 ms, at most a second.
    pub(super) fn round_trips(&self, count: u32) -> Duration {
        (self.connection.rtt() * count).clamp(LEAST_WAIT, MOST_WAIT)
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().expect("no holder panics")
    }
}

impl Urgency {
    /// The value for quinn.
    pub(super) fn get(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A response that its client wants whole goes before those of its urgency that are of use piece by
    /// piece (RFC 9218, section 10). A client that asks for nothing gets its responses by turns.
    fn set(&self, priority: Priority) {
        let whole = i32::from(!priority.is_incremental());
        let value = (DEFAULT_URGENCY - i32::from(priority.urgency())) * 2 + whole;
        self.0.store(value, Ordering::Relaxed);
    }
}

impl RequestPlace {
    /// Takes the Priority field, which counts for less than a frame that said the same.
    pub(super) fn prioritise(&self, priority: Option<Priority>) {
        if let (Some(priority), false) = (priority, self.updated) {
            self.urgency.set(priority);
        }
    }

    /// The datagrams of a request with this protocol, if there are any; of another the first is an error.
    pub(super) fn datagrams(&self, protocol: Option<&ConnectProtocol>) -> Option<Datagrams> {
        if protocol.is_some_and(|protocol| protocol.as_str() == connect_udp::PROTOCOL) {
            return self.shared.take_datagrams(self.id);
        }
        self.shared.refuse_datagrams(self.id);
        None
    }

    /// Resolves with a code when something beside the stream makes the request one to reset.
    pub(super) async fn struck(&self) -> Code {
        match &self.receiver {
            Some(receiver) => receiver.struck().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let mut engine = self.shared.engine();
        engine.urgencies.remove(&self.id);
        engine.receivers.close(self.id);
        engine.connection.close_request(self.id);
    }
}

/// Both fail only when the client ended the stream itself.
fn reject(send: &mut SendStream, receive: &mut RecvStream, code: Code) {
    drop(send.reset(var_int(code)));
    drop(receive.stop(var_int(code)));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this module reads a clock"
)]
fn now() -> Instant {
    Instant::now()
}

const DEFAULT_URGENCY: i32 = 3;
/// Before every response, whose priorities are from -8 to 7.
const CONTROL_PRIORITY: i32 = 100;
/// The estimate of a short round trip knows nothing of a busy machine at either end.
const LEAST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(1);
