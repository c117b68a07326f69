use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{Activity, Phase, Progress};
use super::connection::{Connection, End, PanicCount, in_order};
use super::exchange::{Exchanges, PROGRESS};
use super::sending::{Http2Tunnel, Sending, Task};
use super::tunnel::{self, Tunnel, Tunnels};
use crate::config::Limits;
use crate::edge::course::{self, Course};
use crate::edge::last_in_line::LastInLine;
use crate::edge::tls::TlsStream;
use crate::request::RequestError;

/// Serves HTTP/2 (RFC 9113) until the client, a limit or the shutdown ends the connection.
pub(super) async fn serve(
    connection: &Connection,
    stream: &mut TlsStream,
    mut exchanges: Exchanges,
) -> hyper::Result<End> {
    let timeouts = &connection.parts.timeouts;
    let streams = StreamTasks {
        tasks: TaskTracker::new(),
        cut: CancellationToken::new(),
        patience: timeouts.body_idle,
        panics: connection.parts.metrics.panics.clone(),
    };
    let _cut_at_end = streams.cut.clone().drop_guard();
    exchanges.tunnels = Tunnels::Streams(streams.clone());
    let activity = exchanges.activity.clone();
    let answer = service_fn(move |request| exchanges.answer(request));
    let http =
        builder(&connection.parts.limits, streams).serve_connection(TokioIo::new(stream), answer);
    let mut http = pin!(http);
    let told = told_to_go(&connection.course, &activity);
    let overdue = tokio::select! {
        ended = LastInLine::new(http.as_mut()) => {
            return in_order(ended).inspect_err(|error| count(connection, error));
        }
        () = told => None,
        phase = activity.overdue(timeouts) => Some(phase),
    };
    match overdue {
        None => {
            http.as_mut().graceful_shutdown();
            in_order(http.await)
        }
        Some(Phase::Abusive) => {
            connection.refuse("rapid_reset");
            Ok(End::Cut)
        }
        Some(_) => {
            http.as_mut().graceful_shutdown();
            timeout(CLOSING_TIME, http)
                .await
                .map_or(Ok(End::Cut), in_order)
        }
    }
}

/// Resolves when the process ends, and while the node drains as soon as the connection has been of
/// use: a client that was accepted meanwhile gets its first answer and then connects elsewhere.
async fn told_to_go(course: &Course, activity: &Activity) {
    let draining = async {
        course.reached(course::Phase::Draining).await;
        activity.used().await;
    };
    tokio::select! {
        () = draining => {}
        () = course.reached(course::Phase::Ending) => {}
    }
}

fn builder(limits: &Limits, streams: StreamTasks) -> http2::Builder<StreamTasks> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn count(connection: &Connection, error: &hyper::Error) {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(h2::Error::is_library) {
        connection.failed(RequestError::Malformed("HTTP/2 framing"));
    }
}

/// Runs each stream of one connection as a task that does not outlive the connection.
#[derive(Clone, Debug)]
pub(super) struct StreamTasks {
    tasks: TaskTracker,
    cut: CancellationToken,
    patience: Duration,
    panics: Counter,
}

impl StreamTasks {
    /// Carries the tunnel that a stream becomes.
    pub(super) fn carry(&self, stream: OnUpgrade, sending: Sending, tunnel: Tunnel) {
        let Self {
            tasks,
            cut,
            patience,
            panics,
        } = self.clone();
        let carrying = async move {
            let _panics = PanicCount(panics);
            // It is an error only when the connection has ended.
            if let Ok(stream) = stream.await {
                let stream = Http2Tunnel::new(stream, sending);
                tunnel::carry(stream, Bytes::new(), tunnel, patience).await;
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = carrying => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        let Self {
            tasks,
            cut,
            patience,
            panics,
        } = self.clone();
        if let Ok(Some(sending)) = PROGRESS.try_with(|progress| progress.tunnel()) {
            // hyper asks for this one in the task of the stream that it belongs to.
            tasks.spawn(async move {
                let _panics = PanicCount(panics);
                tokio::select! {
                    () = Task::new(stream, sending) => {}
                    () = cut.cancelled() => {}
                }
            });
            return;
        }
        let progress = Arc::new(Progress::default());
        tasks.spawn(async move {
            let _panics = PanicCount(panics);
            tokio::select! {
                () = PROGRESS.scope(Arc::clone(&progress), stream) => {}
                () = progress.stalled(patience) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Streams that the client reset before they were looked at; one more ends the connection
/// (CVE-2023-44487). [`Phase::Abusive`] bounds those that were.
const PENDING_RESETS: usize = 20;
/// Streams that this side reset for the client's errors; one more ends the connection
/// (CVE-2025-8671).
const ERROR_RESETS: usize = 1024;
/// Bytes that a client may send ahead on one stream and on all.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes of a response that are held for one stream until the client takes them.
const SEND_BUFFER: usize = 64 << 10;
/// A client that vanished without a word is noticed after these two.
const PING_INTERVAL: Duration = Duration::from_secs(45);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to end an idle connection after it was told to.
const CLOSING_TIME: Duration = Duration::from_secs(5);
