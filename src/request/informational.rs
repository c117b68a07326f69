use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Notify;

use super::fields;
use crate::telemetry::Informed;

/// Sends informational responses (RFC 9110, section 15.2) ahead of the response to one request, such as
/// 103 with what its client may load meanwhile (RFC 8297). Cheap to clone.
///
/// Over HTTP/3 a request can have 16 of them with 16 KiB of fields in all. HTTP/2 and HTTP/1.1 have
/// none, because hyper's servers cannot send them.
#[derive(Clone, Debug, Default)]
pub struct Informational(Option<Sender>);

/// Why an informational response was not sent. A handler can ignore it: clients must do without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotInformed {
    /// The status is not from 102 to 199: the gateway itself says when a client may continue, and no
    /// protocol is switched by it.
    #[error("the status is none that a handler may inform with")]
    Status,
    /// The request came over HTTP/2 or HTTP/1.1.
    #[error("the protocol's server sends none")]
    Unsupported,
    /// The request has had as many, or as much of them, as it may.
    #[error("the request has had as many as it may")]
    Excess,
    /// The response itself has begun, or the request has ended.
    #[error("the response has begun")]
    Late,
}

/// What is to be sent ahead of a response, for the transport that sends it.
#[derive(Debug)]
pub(crate) struct Interim {
    changed: Notify,
    state: Mutex<State>,
}

/// The status and the fields of an informational response.
pub(crate) type Section = (StatusCode, HeaderMap);

/// How many informational responses became what.
pub(crate) type Outcomes = Family<Informed, Counter>;

#[derive(Clone, Debug)]
struct Sender {
    interim: Option<Arc<Interim>>,
    outcomes: Outcomes,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Section>,
    responses_left: usize,
    bytes_left: u64,
    closed: bool,
}

impl Informational {
    /// For a transport that sends what is put into `interim`.
    pub(crate) fn over(interim: Arc<Interim>, outcomes: Outcomes) -> Self {
        Self(Some(Sender {
            interim: Some(interim),
            outcomes,
        }))
    }

    /// For a transport that can send none, and counts those that it should have.
    pub(crate) fn unsupported(outcomes: Outcomes) -> Self {
        Self(Some(Sender {
            interim: None,
            outcomes,
        }))
    }

    /// Sends one ahead of the response, without those of its fields that belong to one connection or to
    /// content. Never waits.
    ///
    /// # Errors
    /// It was not sent; where that is not for its status, it is counted.
    pub fn send(&self, status: StatusCode, mut fields: HeaderMap) -> Result<(), NotInformed> {
        if !status.is_informational() || status < StatusCode::PROCESSING {
            return Err(NotInformed::Status);
        }
        let sender = self.0.as_ref().ok_or(NotInformed::Unsupported)?;
        fields::remove_hop_by_hop(&mut fields);
        fields.remove(header::CONTENT_LENGTH);
        let sent = match &sender.interim {
            Some(interim) => interim.put((status, fields)),
            None => Err(NotInformed::Unsupported),
        };
        let outcome = match sent {
            Ok(()) => return Ok(()),
            Err(NotInformed::Excess) => Informed::EXCESS,
            Err(NotInformed::Late) => Informed::LATE,
            Err(NotInformed::Unsupported | NotInformed::Status) => Informed::UNSUPPORTED,
        };
        sender.outcomes.get_or_create(&outcome).inc();
        sent
    }
}

impl Interim {
    pub(crate) fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            responses_left: MAX_RESPONSES,
            bytes_left: MAX_BYTES,
            closed: false,
        };
        Self {
            changed: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Asks the client for the content that it holds back (RFC 9110, section 10.1.1).
    pub(crate) fn proceed(&self) {
        let mut state = self.state();
        if !state.closed {
            let section = (StatusCode::CONTINUE, HeaderMap::new());
            state.waiting.push_back(section);
            self.changed.notify_one();
        }
    }

    /// The next one, as soon as there is one; cancel safe. For one task.
    pub(crate) async fn next(&self) -> Section {
        loop {
            let next = self.state().waiting.pop_front();
            match next {
                Some(section) => return section,
                None => self.changed.notified().await,
            }
        }
    }

    /// Takes no more, and gives those that were not sent.
    pub(crate) fn close(&self) -> VecDeque<Section> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }

    fn put(&self, section: Section) -> Result<(), NotInformed> {
        let bytes = fields::section_bytes(&section.1);
        let mut state = self.state();
        if state.closed {
            return Err(NotInformed::Late);
        }
        let responses_left = state.responses_left.checked_sub(1);
        let bytes_left = state.bytes_left.checked_sub(bytes);
        let (Some(responses_left), Some(bytes_left)) = (responses_left, bytes_left) else {
            return Err(NotInformed::Excess);
        };
        (state.responses_left, state.bytes_left) = (responses_left, bytes_left);
        state.waiting.push_back(section);
        self.changed.notify_one();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one request.
const MAX_RESPONSES: usize = 16;
/// Of the fields of all of them, as RFC 9114, section 4.2.2 counts them.
const MAX_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn open() -> (Arc<Interim>, Informational, Outcomes) {
        let outcomes = Outcomes::default();
        let interim = Arc::new(Interim::new());
        let informational = Informational::over(Arc::clone(&interim), outcomes.clone());
        (interim, informational, outcomes)
    }

    fn link(length: usize) -> HeaderMap {
        let value = HeaderValue::try_from("x".repeat(length)).unwrap();
        HeaderMap::from_iter([(header::LINK, value)])
    }

    #[tokio::test]
    async fn what_is_sent_comes_in_order_without_fields_of_a_connection() {
        let (interim, informational, _outcomes) = open();
        let mut fields = link(3);
        for (name, value) in [
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        interim.proceed();
        informational.send(StatusCode::EARLY_HINTS, fields).unwrap();
        let first = interim.next().await;
        assert_eq!(first, (StatusCode::CONTINUE, HeaderMap::new()));
        assert_eq!(interim.next().await, (StatusCode::EARLY_HINTS, link(3)));
    }

    #[test]
    fn neither_a_switch_of_protocols_nor_a_final_status_is_sent_ahead() {
        let (interim, informational, _outcomes) = open();
        for status in [100, 101, 200, 204, 404] {
            let status = StatusCode::from_u16(status).unwrap();
            let sent = informational.send(status, HeaderMap::new());
            assert_eq!(sent, Err(NotInformed::Status), "{status}");
        }
        assert!(interim.close().is_empty());
    }

    #[test]
    fn too_many_and_too_large_ones_are_dropped_and_counted() {
        let (interim, informational, outcomes) = open();
        let mut sent = Vec::new();
        for _ in 0..17 {
            sent.push(informational.send(StatusCode::PROCESSING, HeaderMap::new()));
        }
        assert_eq!(sent.pop(), Some(Err(NotInformed::Excess)));
        assert!(sent.iter().all(Result::is_ok));
        assert_eq!(interim.close().len(), 16);

        let (_interim, informational, _outcomes) = open();
        let large = informational.send(StatusCode::EARLY_HINTS, link(16 << 10));
        assert_eq!(large, Err(NotInformed::Excess));
        assert_eq!(informational.send(StatusCode::EARLY_HINTS, link(9)), Ok(()));
        assert_eq!(outcomes.get_or_create(&Informed::EXCESS).get(), 1);
    }

    #[test]
    fn one_that_comes_after_the_response_is_dropped_and_counted() {
        let (interim, informational, outcomes) = open();
        interim.close();
        interim.proceed();
        let late = informational.send(StatusCode::EARLY_HINTS, link(9));
        assert_eq!(late, Err(NotInformed::Late));
        assert!(interim.close().is_empty());
        assert_eq!(outcomes.get_or_create(&Informed::LATE).get(), 1);
    }

    #[test]
    fn where_none_can_be_sent_those_that_should_have_been_are_counted() {
        let outcomes = Outcomes::default();
        for informational in [
            Informational::unsupported(outcomes.clone()),
            Informational::default(),
        ] {
            let sent = informational.send(StatusCode::EARLY_HINTS, link(9));
            assert_eq!(sent, Err(NotInformed::Unsupported));
        }
        assert_eq!(outcomes.get_or_create(&Informed::UNSUPPORTED).get(), 1);
    }
}
