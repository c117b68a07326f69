//! HTTP/3 (RFC 9114) on an accepted connection: the engine in [`crate::http3`] between quinn's streams
//! and the service.

mod body;
mod datagrams;
mod incoming;
mod one_way;
mod request;
mod shared;
mod usage;
mod writer;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::one_way::Tended;
use self::request::Exchange;
use self::shared::{Opened, Shared};
use super::course::{Course, Phase};
use super::pace::PaceTerms;
use super::quic::transport::{self, RecvStream, SendStream};
use super::service::Service;
use crate::http3::{Code, Limits, Violation};
use crate::request::ClientFacts;
use crate::telemetry::{Metrics, Reason};

/// What every connection's HTTP/3 layer needs.
#[derive(Clone, Debug)]
pub(crate) struct Http3 {
    /// Answers requests.
    pub(crate) service: Arc<Service>,
    /// Bounds and times.
    pub(crate) rules: Rules,
    /// Counts panics.
    pub(crate) metrics: Metrics,
}

/// The bounds of one connection's HTTP/3 layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Sizes.
    pub(crate) limits: Limits,
    /// From the start of a request stream to its complete header section.
    pub(crate) header_timeout: Duration,
    /// The most that is held until the client acknowledges it.
    pub(crate) send_window: u32,
    /// While the client takes nothing of a body.
    pub(crate) body_idle: Duration,
    /// How fast it has to take it, while it is waited for.
    pub(crate) body_rate: PaceTerms,
    /// Without a request, until the client is told to go.
    pub(crate) idle: Duration,
    /// HTTP datagrams that may wait for one request; none if they are not offered.
    pub(crate) datagrams: Option<usize>,
    /// When the process ends, from the last answer to the end of the connection.
    pub(crate) linger: Duration,
}

impl Http3 {
    /// Serves one connection until it ends or, once it is told to go, until its last request was
    /// answered and the client has closed it. `facts` is asked once for each request.
    ///
    /// It is told when it has not asked for anything for too long, when the process ends, and while the
    /// node drains as soon as it has been of use: a client that was accepted meanwhile gets its first
    /// answer and then connects elsewhere.
    pub(crate) async fn serve<F>(&self, connection: transport::Connection, facts: F, course: Course)
    where
        F: Fn() -> ClientFacts,
    {
        let referring = self.metrics.qpack_references.clone();
        let shared = Arc::new(Shared::new(connection, self.rules, referring));
        let opening = tokio::time::timeout(self.rules.header_timeout, shared.open_control()).await;
        let Ok(Ok(control)) = opening else {
            return;
        };
        let tending = one_way::tend(&shared, control.stopped());
        let tending = async {
            tokio::select! {
                tended = tending => tended,
                tended = datagrams::receive(&shared, &self.metrics.udp) => tended,
            }
        };
        let answering = one_way::answer(&shared);
        let serving = self.serve_requests(Arc::clone(&shared), control, facts, course);
        let ended = tokio::select! {
            () = serving => Tended::Lost,
            ended = tending => ended,
            ended = answering => ended,
        };
        if let Tended::Broken(violation) = ended {
            shared.close(violation);
        }
        if let Some(violation) = shared.broken() {
            let reason = match violation {
                Violation::Cancellations => "rapid_reset",
                Violation::Glitches | Violation::Insertions | Violation::UnreadAnswers => "noise",
                _ => "protocol",
            };
            let refused = &self.metrics.connections_refused;
            refused.get_or_create(&Reason { reason }).inc();
        }
        // Does nothing where it is closed already.
        shared.connection().close(var_int(Code::NoError), NO_REASON);
    }

    async fn serve_requests<F>(
        &self,
        shared: Arc<Shared>,
        control: SendStream,
        facts: F,
        course: Course,
    ) where
        F: Fn() -> ClientFacts,
    {
        let used = Arc::new(Notify::new());
        let known = Arc::clone(&shared);
        let mut open = Open {
            shared,
            control,
            facts,
            requests: JoinSet::new(),
            used: Arc::clone(&used),
        };
        let told = async {
            let draining = async {
                used.notified().await;
                course.reached(Phase::Draining).await;
            };
            tokio::select! {
                () = draining => {}
                () = course.reached(Phase::Ending) => {}
                () = known.usage().unused(self.rules.idle) => {}
            }
        };
        let mut halt = self.accept_until(told, &mut open).await;
        if halt == Halt::Due {
            halt = self.announce_end(&mut open).await;
        }
        if halt == Halt::Due {
            self.finish(open, course).await;
        }
    }

    async fn accept_until<F>(&self, due: impl Future<Output = ()>, open: &mut Open<F>) -> Halt
    where
        F: Fn() -> ClientFacts,
    {
        let mut due = pin!(due);
        loop {
            tokio::select! {
                accepted = open.shared.connection().accept_bi() => match accepted {
                    Ok((send, receive)) => self.start(open, send, receive),
                    Err(error) => {
                        tracing::debug!(%error, "the HTTP/3 connection ended");
                        while let Some(ended) = open.requests.try_join_next() {
                            self.count(ended);
                        }
                        return Halt::Ended;
                    }
                },
                Some(ended) = open.requests.join_next() => self.count(ended),
                () = &mut due => return Halt::Due,
            }
        }
    }

    fn start<F>(&self, open: &mut Open<F>, send: SendStream, receive: RecvStream)
    where
        F: Fn() -> ClientFacts,
    {
        match open.shared.admit(send, receive) {
            Opened::Request(streams) => {
                open.used.notify_one();
                let client = (open.facts)();
                let exchange = Exchange::new(Arc::clone(&self.service), self.rules, client);
                open.requests.spawn(exchange.run(streams));
            }
            Opened::Rejected => {}
        }
    }

    /// Tells the client to go, takes what it sends before it can know, and then tells it which
    /// requests that were (RFC 9114, section 5.2).
    async fn announce_end<F>(&self, open: &mut Open<F>) -> Halt
    where
        F: Fn() -> ClientFacts,
    {
        let warning = crate::http3::Connection::announce_end();
        if self.say(open, warning).await == Halt::Ended {
            return Halt::Ended;
        }
        let arriving = tokio::time::sleep(open.shared.round_trips(ARRIVAL));
        let halt = self.accept_until(arriving, open).await;
        if halt == Halt::Ended {
            return halt;
        }
        let last = open.shared.end();
        self.say(open, last).await
    }

    /// Writes a frame to the control stream. A client that leaves no room for ten bytes in all the time
    /// that it may take for a request has gone.
    async fn say<F>(&self, open: &mut Open<F>, frame: Bytes) -> Halt {
        let written = open.control.write_chunk(frame);
        match tokio::time::timeout(self.rules.header_timeout, written).await {
            Ok(Ok(())) => Halt::Due,
            Ok(Err(_)) | Err(_) => Halt::Ended,
        }
    }

    /// Answers the requests that were accepted, and rejects all others, until the client has learned
    /// from the GOAWAY which is which and closes the connection.
    ///
    /// A client that was not scheduled, or whose network is away, learns it late; a connection that is
    /// closed before leaves it with requests of which it does not know what became. So a node that
    /// drains, which loses nothing by it, waits long, and a process that ends less so. Nor does the end
    /// wait for a client that has vanished while responses wait for nobody but it.
    async fn finish<F>(&self, open: Open<F>, course: Course) {
        let Open {
            shared,
            control: _said,
            mut requests,
            ..
        } = open;
        let mut rejecting = pin!(shared.reject_new());
        let mut forsaken = pin!(async {
            course.reached(Phase::Ending).await;
            shared.forsaken(self.rules.linger).await;
        });
        loop {
            tokio::select! {
                ended = requests.join_next() => match ended {
                    Some(ended) => self.count(ended),
                    None => break,
                },
                () = &mut rejecting => return,
                () = &mut forsaken => return,
            }
        }
        let ending = async {
            course.reached(Phase::Ending).await;
            tokio::time::sleep(self.rules.linger).await;
        };
        tokio::select! {
            () = rejecting => {}
            () = ending => {}
            () = tokio::time::sleep(DRAIN_LINGER) => {}
        }
    }

    fn count(&self, ended: Result<(), tokio::task::JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.metrics.panics.inc();
            tracing::error!("a request task panicked");
        }
    }
}

/// A connection whose requests are accepted.
struct Open<F> {
    shared: Arc<Shared>,
    /// The gateway's own, which must stay open (RFC 9114, section 6.2.1).
    control: SendStream,
    facts: F,
    requests: JoinSet<()>,
    /// Notified when a request was accepted.
    used: Arc<Notify>,
}

/// Why no more requests are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// It was to be so.
    Due,
    /// The connection has ended.
    Ended,
}

/// Round trips between the first GOAWAY and the last: one for the GOAWAY and what the client sent
/// before it came, and two for a loss.
const ARRIVAL: u32 = 3;
/// From the last answer to the end of a connection while the node drains.
const DRAIN_LINGER: Duration = Duration::from_secs(10);

const NO_REASON: &[u8] = b"";

fn var_int(code: Code) -> transport::VarInt {
    transport::VarInt::from_u32(code.value())
}
