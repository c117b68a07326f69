use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::error;
use super::headers;
use super::http2::{Busy, Link};
use super::upload::{Pace, Upload};
use crate::config::{self, Limits, Timeouts, UpstreamProtocol};
use crate::request::{Informational, RequestError};

/// One backend, with the requests under way to it and its connections.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it is reached.
    pub(super) name: Arc<str>,
    /// What it is called: `host:port` of the configuration, or of the record of a service.
    pub(super) host: Arc<str>,
    pub(super) authority: Authority,
    pub(super) protocol: UpstreamProtocol,
    /// What every node knows it by.
    pub(super) identity: u64,
    channel: Channel,
    pub(super) tasks: Tasks,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) tunnel_idle: Duration,
}

#[derive(Debug)]
enum Channel {
    Http1(Box<Pool>),
    Http2(Link),
}

/// The connections to every HTTP/1.1 upstream.
pub(super) type Pool = Client<HttpConnector, Upload>;

impl Upstream {
    pub(super) fn new(
        (upstream, identity): (&config::Upstream, u64),
        authority: Authority,
        pool: &Pool,
        tasks: &Tasks,
        timeouts: &Timeouts,
    ) -> Self {
        let name: Arc<str> = authority.as_str().into();
        let channel = match upstream.protocol {
            UpstreamProtocol::Http1 => Channel::Http1(Box::new(pool.clone())),
            UpstreamProtocol::Http2 => Channel::Http2(Link::new(
                Arc::clone(&name),
                tasks.clone(),
                timeouts.connect,
                timeouts.upstream_idle,
            )),
        };
        Self {
            name,
            host: upstream.authority.as_str().into(),
            authority,
            protocol: upstream.protocol,
            channel,
            identity,
            tasks: tasks.clone(),
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
            tunnel_idle: timeouts.tunnel_idle,
        }
    }

    /// Makes a connection that is for one request alone.
    pub(super) async fn connect(&self) -> Result<TcpStream, RequestError> {
        let connecting = async {
            let stream = TcpStream::connect(&*self.name).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        timeout(self.connect, connecting)
            .await
            .map_err(|_elapsed| RequestError::UpstreamConnectTimeout)?
            .map_err(|error: io::Error| {
                tracing::debug!(upstream = %self.name, %error, "cannot connect");
                RequestError::UpstreamConnect
            })
    }

    /// Sends a request and waits for the header section of the response. What an HTTP/1.1 upstream says
    /// ahead of it goes to the client; hyper does not tell what an HTTP/2 upstream does.
    ///
    /// Dropping the future cancels the request at the upstream.
    pub(super) async fn send(
        &self,
        mut request: Request<Upload>,
        pace: &Pace,
        informational: &Informational,
    ) -> Result<(Response<Incoming>, Option<Busy>), RequestError> {
        match &self.channel {
            Channel::Http1(pool) => {
                let informational = informational.clone();
                on_informational(&mut request, move |response| {
                    headers::inform(&informational, response.status(), response.headers());
                });
                let mut captured = capture_connection(&mut request);
                let mut response = pool.request(request);
                let connected = async {
                    captured.wait_for_connection_metadata().await;
                };
                let response = tokio::select! {
                    biased;
                    response = &mut response => response,
                    connected = timeout(self.connect, connected) => {
                        connected.map_err(|_elapsed| RequestError::UpstreamConnectTimeout)?;
                        self.in_time(pace, response).await?
                    }
                };
                response
                    .map(|response| (response, None))
                    .map_err(|error| error::classify(&error))
            }
            Channel::Http2(link) => {
                let ready = link.ready().await?;
                let (response, busy) = self.in_time(pace, link.send(ready, request)).await??;
                Ok((response, Some(busy)))
            }
        }
    }

    async fn in_time<F: Future>(
        &self,
        pace: &Pace,
        response: F,
    ) -> Result<F::Output, RequestError> {
        tokio::select! {
            biased;
            response = response => Ok(response),
            () = pace.upstream_idle(self.first_byte) => Err(RequestError::UpstreamTimeout),
        }
    }
}

/// Makes the pool of HTTP/1.1 connections.
pub(super) fn pool(tasks: &Tasks, limits: &Limits, timeouts: &Timeouts) -> Pool {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // Shared out among the addresses of a name, so that one dead address does not use it up.
    connector.set_connect_timeout(Some(timeouts.connect));
    Client::builder(tasks.clone())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(timeouts.upstream_idle)
        .pool_max_idle_per_host(usize::try_from(limits.upstream_idle).unwrap_or(usize::MAX))
        .http1_max_buf_size(BUFFER)
        .set_host(false)
        // hyper gives a request back only if it has written none of it, as when the upstream had
        // closed the pooled connection; sending that again cannot run it twice, whatever its method.
        .retry_canceled_requests(true)
        .build(connector)
}

/// Spawns the tasks of upstream connections, and knows when all have ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(TaskTracker);

impl Tasks {
    pub(super) fn spawn<F>(&self, task: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.spawn(task);
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Bytes that a connection reads ahead; also the largest header section of a response.
pub(super) const BUFFER: usize = 64 << 10;
