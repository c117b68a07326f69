use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::error::within;
use super::response::{ResponseBody, Source, announced};
use super::tls::with_alpn;
use super::{ClientError, Connected, Patience, Stage, Target, now};
use crate::request::Body;

/// One HTTP/2 connection over TLS 1.3 and TCP (RFC 9113).
///
/// Requests run concurrently on `&self`. TCP cannot move: when the connection is lost, the caller
/// [reconnects](TcpClient::reconnect), which resumes the TLS session where the other side lets it.
pub struct TcpClient {
    target: Target,
    tls: Arc<ClientConfig>,
    patience: Patience,
    requests: SendRequest<Body>,
    tasks: Tasks,
    connected: Connected,
}

impl TcpClient {
    /// Connects.
    ///
    /// # Errors
    /// The name, TCP, TLS or HTTP/2 failed, or took longer than `patience.connect` together.
    pub async fn connect(
        target: &Target,
        tls: &ClientConfig,
        patience: Patience,
    ) -> Result<Self, ClientError> {
        let tls = Arc::new(with_alpn(tls, "h2"));
        let tasks = Tasks::default();
        let link = open(target, &tls, patience, &tasks).await?;
        Ok(Self {
            target: target.clone(),
            tls,
            patience,
            requests: link.requests,
            tasks,
            connected: link.connected,
        })
    }

    /// Replaces a lost connection with a new one.
    ///
    /// # Errors
    /// As for [`TcpClient::connect`]; the client can be asked to reconnect again.
    pub async fn reconnect(&mut self) -> Result<(), ClientError> {
        let link = open(&self.target, &self.tls, self.patience, &self.tasks).await?;
        self.requests = link.requests;
        self.connected = link.connected;
        Ok(())
    }

    /// Sends a request and returns its response as soon as the header section is there.
    ///
    /// The request's URI must be absolute. Dropping the future cancels the request.
    ///
    /// # Errors
    /// The caller's body failed, the stream or the connection broke, or no response came within
    /// `patience.idle` and `patience.response` together.
    pub async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, ClientError> {
        let began = now();
        let method = request.method().clone();
        let mut requests = self.requests.clone();
        let limit = self.patience.idle + self.patience.response;
        let response = within(limit, Stage::Response, requests.send_request(request)).await??;
        let (head, incoming) = response.into_parts();
        let announced = announced(&method, head.status, &head.headers);
        let source = Source::Http2(incoming);
        let body = ResponseBody::new(source, self.patience.idle, announced, began);
        Ok(Response::from_parts(head, body))
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// How long the latest connecting took.
    pub fn connected(&self) -> Connected {
        self.connected
    }

    /// Closes the connection and waits, at most a second, until the other side was told.
    pub async fn close(self) {
        drop(self.requests);
        self.tasks.0.close();
        // Not hearing back in time changes nothing for the caller.
        drop(within(CLOSE_LIMIT, Stage::Connect, self.tasks.0.wait()).await);
    }
}

impl fmt::Debug for TcpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpClient")
            .field("target", &self.target)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// Runs hyper's tasks; each ends with the requests and responses that it serves.
#[derive(Clone, Debug, Default)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

struct Link {
    requests: SendRequest<Body>,
    connected: Connected,
}

async fn open(
    target: &Target,
    tls: &Arc<ClientConfig>,
    patience: Patience,
    tasks: &Tasks,
) -> Result<Link, ClientError> {
    within(patience.connect, Stage::Connect, async {
        let (stream, connected) = open_tls(target, tls).await?;
        let (requests, connection) = Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST)
            .handshake(TokioIo::new(stream))
            .await?;
        tasks.0.spawn(async move {
            // How the connection ended is told to each request, and to nobody else.
            drop(connection.await);
        });
        Ok(Link {
            requests,
            connected,
        })
    })
    .await?
}

async fn open_tls(
    target: &Target,
    tls: &Arc<ClientConfig>,
) -> Result<(TlsStream<TcpStream>, Connected), ClientError> {
    let Ok(name) = ServerName::try_from(target.name.clone()) else {
        return Err(ClientError::Name(target.name.clone()));
    };
    let began = now();
    let stream = TcpStream::connect(target.address)
        .await
        .map_err(ClientError::Connect)?;
    let connected = now();
    stream.set_nodelay(true).map_err(ClientError::Connect)?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(ClientError::Connect)?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"h2") {
        return Err(ClientError::Alpn("h2"));
    }
    let connected = Connected {
        transport: connected.saturating_duration_since(began),
        handshake: now().saturating_duration_since(connected),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    Ok((stream, connected))
}

const MAX_HEADER_LIST: u32 = 64 << 10;
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
