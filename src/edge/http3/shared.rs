use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::Rules;
use super::datagrams::{Receiver, Receivers};
use super::incoming::Incoming;
use super::usage::Usage;
use super::var_int;
use super::writer::Writer;
use crate::connect_udp;
use crate::edge::quic::FIRST_SEND_WINDOW;
use crate::edge::quic::transport::{Connection, RecvStream, SendStream, VarInt, WriteError};
use crate::http3::{
    self, Admission, Code, Consequence, Offer, OneWay, Part, Priority, RequestStream, Step,
    StreamId, Terms, Violation,
};
use crate::request::{ConnectProtocol, Datagrams};

/// A connection as all of its streams see it.
pub(super) struct Shared {
    connection: Connection,
    rules: Rules,
    engine: Mutex<Engine>,
    /// Notified when there may be something for the decoder stream.
    answers: Notify,
    /// Counts sections that refer to the dynamic table.
    referring: Counter,
    usage: Usage,
    /// The first rule for which the connection was closed.
    broken: OnceLock<Violation>,
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
    pub(super) fn new(connection: Connection, rules: Rules, referring: Counter) -> Self {
        let mut terms = Terms::new(rules.limits);
        if rules.datagrams.is_some() {
            terms.datagrams = Offer::Yes;
        }
        let engine = Engine {
            connection: http3::Connection::new(terms, now()),
            urgencies: HashMap::new(),
            receivers: Receivers::new(rules.datagrams),
        };
        Self {
            connection,
            rules,
            engine: Mutex::new(engine),
            answers: Notify::new(),
            referring,
            usage: Usage::new(),
            broken: OnceLock::new(),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rule for which the connection was closed, if it was.
    pub(super) fn broken(&self) -> Option<Violation> {
        self.broken.get().copied()
    }

    /// Holds as much ahead of the acknowledgements as the path is known to carry: two congestion windows,
    /// of which one is under way while the next one is written.
    pub(super) fn fit_send_window(&self) {
        let most = u64::from(self.rules.send_window);
        if most > FIRST_SEND_WINDOW {
            let fitting = self.connection.stats().path.cwnd.saturating_mul(2);
            let fitting = fitting.clamp(FIRST_SEND_WINDOW, most);
            self.connection.set_send_window(fitting);
        }
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Resolves when the client is silent for so long although requests wait for it alone.
    pub(super) async fn forsaken(&self, limit: Duration) {
        let heard = || self.connection.stats().udp_rx.datagrams;
        self.usage.forsaken(limit, heard).await;
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

    /// Opens the gateway's decoder stream.
    pub(super) async fn open_decoder(&self) -> Result<SendStream, WriteError> {
        let mut decoder = self.connection.open_uni().await?;
        // Fails only when the stream has ended, which writing tells as well.
        drop(decoder.set_priority(CONTROL_PRIORITY));
        decoder
            .write_chunk(http3::Connection::opening_decoder())
            .await?;
        Ok(decoder)
    }

    /// Waits for something to write to the decoder stream. Cancel safe.
    pub(super) async fn answers(&self) -> Bytes {
        loop {
            let answers = self.engine().connection.take_answers();
            if let Some(answers) = answers {
                return answers;
            }
            self.answers.notified().await;
        }
    }

    /// Takes a request stream that the client opened, or rejects it.
    pub(super) fn admit(self: &Arc<Self>, mut send: SendStream, mut receive: RecvStream) -> Opened {
        let id = id_of(&send);
        let mut engine = self.engine();
        match engine.connection.admit(id) {
            Admission::Rejected(code) => {
                drop(engine);
                self.abandoned(id);
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
                self.usage.begin();
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
            self.abandoned(id_of(&send));
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
                drop(engine);
                self.answers.notify_one();
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

    fn abandoned(&self, id: StreamId) {
        let told = self.engine().connection.abandoned(id);
        self.answers.notify_one();
        told.unwrap_or_else(|violation| self.close(violation));
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
            self.broken.get_or_init(|| violation);
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

impl RequestPlace {
    /// Reads a section that refers to the dynamic table.
    pub(super) fn read_section(
        &self,
        stream: &mut RequestStream,
    ) -> Result<Option<Part>, Violation> {
        let read = self
            .shared
            .engine()
            .connection
            .read_section(self.id, stream);
        self.shared.referring.inc();
        self.shared.answers.notify_one();
        read
    }

    /// Takes that no more of the request is read although its end has not come.
    pub(super) fn abandoned(&self) {
        self.shared.abandoned(self.id);
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let mut engine = self.shared.engine();
        engine.urgencies.remove(&self.id);
        engine.receivers.close(self.id);
        engine.connection.close_request(self.id);
        drop(engine);
        self.shared.usage.end();
    }
}

fn id_of(stream: &SendStream) -> StreamId {
    StreamId::new(VarInt::from(stream.id()).into_inner())
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
