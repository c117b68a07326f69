//! HTTP datagrams between quinn's frames and the requests that they are for (RFC 9297, section 2.1).

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::one_way::Tended;
use super::shared::Shared;
use crate::edge::quic::transport::{Connection, SendDatagramError as QuicError};
use crate::http3::{Code, Consequence, Fate, StreamId, Violation};
use crate::request::{DatagramQueue, Datagrams, SendDatagramError, SendDatagrams};
use crate::telemetry::{Reason, UdpMetrics};

/// The open requests of a connection that has datagrams, and their bound.
pub(super) struct Receivers {
    /// Datagrams that may wait for one request; none where they are not offered.
    queue: Option<usize>,
    open: HashMap<StreamId, Arc<Receiver>>,
}

/// What one request does with datagrams.
#[derive(Default)]
pub(super) struct Receiver {
    /// Gone when the handler has let go of it.
    queue: OnceLock<Weak<DatagramQueue>>,
    /// Why it is to be reset.
    violation: OnceLock<Violation>,
    struck: Notify,
}

impl Receivers {
    pub(super) fn new(queue: Option<usize>) -> Self {
        Self {
            queue,
            open: HashMap::new(),
        }
    }

    /// Adds a request whose head is not read yet, if there are datagrams at all.
    pub(super) fn open(&mut self, stream: StreamId) -> Option<Arc<Receiver>> {
        self.queue?;
        let receiver = Arc::new(Receiver::default());
        self.open.insert(stream, Arc::clone(&receiver));
        Some(receiver)
    }

    pub(super) fn close(&mut self, stream: StreamId) {
        self.open.remove(&stream);
    }

    fn of(&self, stream: StreamId) -> Option<&Arc<Receiver>> {
        self.open.get(&stream)
    }
}

impl Receiver {
    /// Resolves with the code for which the request is to be reset.
    pub(super) async fn struck(&self) -> Code {
        loop {
            self.struck.notified().await;
            if let Some(Consequence::Reset(code)) = self.violation.get().map(|v| v.consequence()) {
                return code;
            }
        }
    }

    fn strike(&self, violation: Violation) {
        self.violation.get_or_init(|| violation);
        self.struck.notify_one();
    }
}

/// Passes on the datagrams of a connection until it ends or its client breaks a rule.
pub(super) async fn receive(shared: &Arc<Shared>, metrics: &UdpMetrics) -> Tended {
    if !shared.has_datagrams() {
        return pending().await;
    }
    let mut taken = Taken {
        connection: shared.connection(),
        metrics,
        frames: 0,
    };
    while let Ok(frame) = shared.connection().read_datagram().await {
        taken.frames += 1;
        match shared.receive_datagram(&frame) {
            Ok(None) => {}
            Ok(Some(reason)) => metrics.drop_one(reason),
            Err(violation) => return Tended::Broken(violation),
        }
    }
    Tended::Lost
}

/// Counts at the end what quinn dropped because more came than was read, the oldest first.
struct Taken<'c> {
    connection: &'c Connection,
    metrics: &'c UdpMetrics,
    frames: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let came = self.connection.stats().frame_rx.datagram;
        let reason = Reason {
            reason: "connection_queue",
        };
        let dropped = self.metrics.dropped.get_or_create(&reason);
        dropped.inc_by(came.saturating_sub(self.frames));
    }
}

impl Shared {
    fn has_datagrams(&self) -> bool {
        self.engine().receivers.queue.is_some()
    }

    /// Gives the reason if the datagram was dropped.
    fn receive_datagram(&self, frame: &Bytes) -> Result<Option<&'static str>, Violation> {
        let mut engine = self.engine();
        let (stream, payload) = match engine.connection.receive_datagram(frame)? {
            Fate::Deliver(stream, payload) => (stream, payload),
            Fate::Held => return Ok(None),
            Fate::Displaced => return Ok(Some("early")),
            Fate::Late => return Ok(Some("late")),
            Fate::Refused(stream, violation) => {
                if let Some(receiver) = engine.receivers.of(stream) {
                    receiver.strike(violation);
                }
                return Ok(Some("useless"));
            }
        };
        let receiver = engine.receivers.of(stream).map(Arc::clone);
        drop(engine);
        let queue = receiver.and_then(|receiver| receiver.queue.get()?.upgrade());
        // A slice would keep the whole batch of packets that it came in.
        match queue.map(|queue| queue.put(Bytes::copy_from_slice(&payload))) {
            Some(true) => Ok(None),
            Some(false) => Ok(Some("queue")),
            None => Ok(Some("late")),
        }
    }

    /// Has a request take datagrams, if there are any.
    pub(super) fn take_datagrams(self: &Arc<Self>, stream: StreamId) -> Option<Datagrams> {
        let mut engine = self.engine();
        let most = engine.receivers.queue?;
        let receiver = Arc::clone(engine.receivers.of(stream)?);
        let early = engine.connection.take_datagrams(stream);
        let queue = Arc::new(DatagramQueue::new(most));
        receiver.queue.get_or_init(|| Arc::downgrade(&queue));
        for datagram in early {
            // There is room for all of them: at least 16.
            queue.put(datagram);
        }
        let sender = Sender {
            shared: Arc::clone(self),
            stream,
        };
        Some(Datagrams::new(queue, Arc::new(sender)))
    }

    /// Has a request refuse datagrams.
    pub(super) fn refuse_datagrams(&self, stream: StreamId) {
        let mut engine = self.engine();
        if let Some(receiver) = engine.receivers.of(stream).map(Arc::clone)
            && let Err(violation) = engine.connection.refuse_datagrams(stream)
        {
            receiver.strike(violation);
        }
    }
}

/// Sends the datagrams of a request.
struct Sender {
    shared: Arc<Shared>,
    stream: StreamId,
}

impl SendDatagrams for Sender {
    fn send(&self, payload: &[u8]) -> Result<(), SendDatagramError> {
        let connection = self.shared.connection();
        // Held to the end, so that nobody takes the room that is left.
        let engine = self.shared.engine();
        if !engine.connection.may_send_datagrams() {
            return Err(SendDatagramError::Unsupported);
        }
        let most = connection
            .max_datagram_size()
            .ok_or(SendDatagramError::Unsupported)?;
        let frame = crate::http3::datagram(self.stream, payload);
        if frame.len() > most {
            return Err(SendDatagramError::TooLarge);
        }
        // quinn would drop the oldest, and count nothing.
        if connection.datagram_send_buffer_space() < frame.len() {
            return Err(SendDatagramError::Full);
        }
        connection
            .send_datagram(frame)
            .map_err(|error| match error {
                QuicError::UnsupportedByPeer | QuicError::Disabled => {
                    SendDatagramError::Unsupported
                }
                QuicError::TooLarge => SendDatagramError::TooLarge,
                QuicError::ConnectionLost(_) => SendDatagramError::Gone,
            })
    }
}
