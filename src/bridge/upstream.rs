use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use tokio_util::task::TaskTracker;

use super::dial::{Dialer, Stream, Way};
use super::headers;
use super::http1::{self, Connections, Keep, Lent, NotSent};
use super::http2::{self, Busy, Link, NotReady};
use super::proxy_protocol::Origin;
use super::tls::Purpose;
use super::upload::{Pace, Upload};
use crate::config::{self, Alpn, Timeouts, UpstreamProtocol};
use crate::request::{ClientFacts, Protocol, RequestError};

/// One backend, with the requests under way to it and its connections.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it is reached.
    pub(super) name: Arc<str>,
    /// What it is called: `host:port` of the configuration, or of the record of a service.
    pub(super) host: Arc<str>,
    /// What every node knows it by.
    pub(super) identity: u64,
    channel: Channel,
    dialer: Dialer,
    pub(super) tasks: Tasks,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) tunnel_idle: Duration,
}

#[derive(Debug)]
enum Channel {
    Http1(Connections),
    Http2(Link),
    /// Whichever the backend chooses.
    Either(Connections, Link),
}

/// A connection that can take a request.
#[derive(Debug)]
pub(super) enum Ready {
    Http1(http1::Ready),
    Http2(http2::Ready),
}

/// What a request holds of its connection until its response has ended.
#[derive(Debug)]
pub(super) enum Hold {
    Http1(Lent),
    Http2 { _busy: Busy },
}

impl Upstream {
    pub(super) fn new(
        (upstream, alpn, identity): (&config::Upstream, Alpn, u64),
        dialer: Dialer,
        keep: Keep,
        tasks: &Tasks,
        timeouts: &Timeouts,
    ) -> Self {
        let http1 = || Connections::new(dialer.clone(), tasks.clone(), keep);
        let http2 = || Link::new(dialer.clone(), tasks.clone(), keep.time);
        let channel = match (upstream.protocol, alpn) {
            (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Https, Alpn::Http1) => {
                Channel::Http1(http1())
            }
            (UpstreamProtocol::Http2, _) | (UpstreamProtocol::Https, Alpn::Http2) => {
                Channel::Http2(http2())
            }
            (UpstreamProtocol::Https, Alpn::Any) => Channel::Either(http1(), http2()),
        };
        Self {
            name: Arc::clone(&dialer.name),
            host: upstream.authority.as_str().into(),
            channel,
            dialer,
            identity,
            tasks: tasks.clone(),
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
            tunnel_idle: timeouts.tunnel_idle,
        }
    }

    /// Makes a connection for a tunnel of this client alone.
    pub(super) async fn connect(&self, client: &ClientFacts) -> Result<Stream, RequestError> {
        let permit = self.dialer.bound.enter().await?;
        if let Channel::Http1(connections) | Channel::Either(connections, _) = &self.channel {
            connections.make_room();
        }
        let origin = self.dialer.origin(client);
        let stream = self.dialer.connect(origin, Purpose::Tunnel).await?;
        Ok(stream.holding(permit))
    }

    /// Makes a connection of the gateway's own, which does not count beside those of requests.
    pub(super) async fn probe(&self) -> Result<Stream, RequestError> {
        self.dialer.connect(None, Purpose::Requests).await
    }

    /// How it is spoken to in this protocol.
    pub(super) fn way(&self, protocol: Protocol) -> Way {
        Way {
            protocol,
            scheme: self.dialer.scheme(),
        }
    }

    /// Finds or makes a connection that can take a request of this client.
    pub(super) async fn ready(&self, client: &ClientFacts) -> Result<Ready, RequestError> {
        let origin = self.dialer.origin(client);
        match &self.channel {
            Channel::Http1(connections) => connections.ready(origin).await.map(Ready::Http1),
            Channel::Http2(link) => match link.ready().await {
                Ok(ready) => Ok(Ready::Http2(ready)),
                Err(NotReady::Failed(error)) => Err(error),
                // It is offered no such choice.
                Err(NotReady::Http1(_)) => Err(RequestError::UpstreamTls),
            },
            Channel::Either(connections, link) => {
                Box::pin(self.either(connections, link, origin)).await
            }
        }
    }

    /// Goes by what the backend chose last, until it chooses otherwise.
    async fn either(
        &self,
        connections: &Connections,
        link: &Link,
        origin: Option<Origin>,
    ) -> Result<Ready, RequestError> {
        if !link.speaks_http1() {
            match link.ready().await {
                Ok(ready) => return Ok(Ready::Http2(ready)),
                Err(NotReady::Failed(error)) => return Err(error),
                Err(NotReady::Http1(Some(stream))) => {
                    let permit = self.dialer.bound.enter().await?;
                    return Ok(Ready::Http1(http1::Ready::New(stream, origin, permit)));
                }
                Err(NotReady::Http1(None)) => {}
            }
        }
        match connections.ready(origin).await? {
            http1::Ready::New(stream, ..) if stream.protocol() == Protocol::Http2 => {
                link.adopt(*stream).await.map(Ready::Http2)
            }
            ready => Ok(Ready::Http1(ready)),
        }
    }

    /// Sends a request and waits for the header section of the response. What an HTTP/1.1 upstream says
    /// ahead of it goes to the client; hyper does not tell what an HTTP/2 upstream does.
    ///
    /// Dropping the future cancels the request at the upstream.
    pub(super) async fn send(
        &self,
        ready: Ready,
        mut request: Request<Upload>,
        pace: &Pace,
        client: &ClientFacts,
    ) -> Result<(Response<Incoming>, Hold), RequestError> {
        match (&self.channel, ready) {
            (
                Channel::Http1(connections) | Channel::Either(connections, _),
                Ready::Http1(ready),
            ) => {
                let informational = client.informational.clone();
                on_informational(&mut request, move |response| {
                    headers::inform(&informational, response.status(), response.headers());
                });
                let sending = pin!(connections.send(ready, request));
                let sent = match self.in_time(pace, sending).await? {
                    Err(NotSent::Returned(request, permit)) => {
                        let origin = self.dialer.origin(client);
                        let ready = Box::pin(connections.open(origin, permit)).await?;
                        let mut again = Box::pin(connections.send(ready, *request));
                        self.in_time(pace, again.as_mut()).await?
                    }
                    sent => sent,
                };
                match sent {
                    Ok((response, lent)) => Ok((response, Hold::Http1(lent))),
                    Err(NotSent::Failed(error)) => Err(error),
                    Err(NotSent::Returned(..)) => Err(RequestError::UpstreamConnect),
                }
            }
            (Channel::Http2(link) | Channel::Either(_, link), Ready::Http2(ready)) => {
                let sending = pin!(link.send(ready, request));
                let (response, busy) = self.in_time(pace, sending).await??;
                Ok((response, Hold::Http2 { _busy: busy }))
            }
            _ => Err(RequestError::Internal),
        }
    }

    async fn in_time<F: Future>(
        &self,
        pace: &Pace,
        response: Pin<&mut F>,
    ) -> Result<F::Output, RequestError> {
        tokio::select! {
            biased;
            response = response => Ok(response),
            () = pace.upstream_idle(self.first_byte) => Err(RequestError::UpstreamTimeout),
        }
    }
}

impl Ready {
    /// The protocol that is spoken on the connection.
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
        }
    }
}

impl Hold {
    /// Lets the connection be used again, since nothing is wrong with the response so far.
    pub(super) fn pass(&self) {
        if let Self::Http1(lent) = self {
            lent.pass();
        }
    }
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
