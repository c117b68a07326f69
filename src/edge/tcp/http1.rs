use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::activity::{Phase, Progress, Watched};
use super::closing::say_goodbye;
use super::connection::{Connection, End, in_order};
use super::exchange::{Exchanges, PROGRESS};
use super::tunnel::{self, Ended, Tunnels};
use crate::config::Limits;
use crate::edge::course;
use crate::edge::tls::TlsStream;
use crate::request::RequestError;

/// Serves HTTP/1.1 (RFC 9112) until the client, a limit or the shutdown ends the connection.
pub(super) async fn serve(
    connection: &Connection,
    stream: &mut TlsStream,
    exchanges: Exchanges,
) -> hyper::Result<End> {
    let progress = Arc::new(Progress::default());
    let stalled = progress.stalled(connection.parts.timeouts.body_idle);
    let served = PROGRESS.scope(Arc::clone(&progress), drive(connection, stream, exchanges));
    tokio::select! {
        ended = served => ended,
        () = stalled => Ok(End::Cut),
    }
}

async fn drive(
    connection: &Connection,
    stream: &mut TlsStream,
    exchanges: Exchanges,
) -> hyper::Result<End> {
    let timeouts = &connection.parts.timeouts;
    let activity = exchanges.activity.clone();
    let tunnels = exchanges.tunnels.clone();
    let stream = TokioIo::new(Watched::new(stream, activity.clone()));
    let answer = service_fn(move |request| exchanges.answer(request));
    let mut http = builder(&connection.parts.limits).serve_connection(stream, answer);
    let overdue = tokio::select! {
        ended = &mut http => {
            return match ended {
                Ok(()) => Ok(go_on(connection, http, &tunnels).await),
                Err(error) => {
                    count(connection, &error);
                    Err(error)
                }
            };
        }
        () = connection.course.reached(course::Phase::Ending) => None,
        phase = activity.overdue(timeouts) => Some(phase),
    };
    match overdue {
        None => {
            Pin::new(&mut http).graceful_shutdown();
            (&mut http).await?;
            Ok(go_on(connection, http, &tunnels).await)
        }
        Some(Phase::Head) => {
            connection.failed(RequestError::RequestTimeout);
            if let Some(stream) = http.into_parts().io.into_inner().into_flushed() {
                say_goodbye(stream, TIMEOUT_REPLY).await;
            }
            Ok(End::Cut)
        }
        Some(_) => {
            Pin::new(&mut http).graceful_shutdown();
            timeout(CLOSING_TIME, http)
                .await
                .map_or(Ok(End::Cut), in_order)
        }
    }
}

/// Carries the tunnel for which hyper has let go of the connection, if that is why.
async fn go_on<S>(
    connection: &Connection,
    http: http1::Connection<TokioIo<Watched<&mut TlsStream>>, S>,
    tunnels: &Tunnels,
) -> End
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::ResBody: Body + 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(tunnel) = tunnels.take() else {
        return End::InOrder;
    };
    let parts = http.into_parts();
    let stream = parts.io.into_inner().into_inner();
    let idle = connection.parts.timeouts.body_idle;
    match tunnel::carry(&mut *stream, parts.read_buf, tunnel, idle).await {
        Ended::Whole => End::InOrder,
        Ended::Broken => {
            stream.reset_when_dropped();
            End::Cut
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .half_close(false)
        .pipeline_flush(false)
        .max_headers(usize::try_from(limits.header_fields).unwrap_or(usize::MAX))
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes.max(BUFFER));
    builder
}

fn count(connection: &Connection, error: &hyper::Error) {
    if error.is_parse_too_large() {
        connection.failed(RequestError::HeadersTooLarge);
    } else if error.is_parse() {
        connection.failed(RequestError::Malformed("HTTP/1.1 syntax"));
    }
}

/// Bytes that one connection may buffer in each direction, beyond which a side waits. hyper's own
/// default of 400 KiB is a gigabyte for 1,250 slow clients.
const BUFFER: usize = 64 << 10;
/// How long a client may take to receive the end of what was sent on an idle connection.
const CLOSING_TIME: Duration = Duration::from_secs(5);
const TIMEOUT_REPLY: &str = "HTTP/1.1 408 Request Timeout\r\n\
    Content-Length: 0\r\n\
    Connection: close\r\n\
    \r\n";
