//! Connections to one backend, from its name to bytes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::proxy_protocol::{self, Origin};
use super::tls::{BackendTls, Purpose, TlsStream};
use crate::config::ProxyProtocol;
use crate::request::{ClientFacts, Protocol, RequestError};

/// Connects to one backend, within a bound.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    /// Its `host:port`.
    pub(super) name: Arc<str>,
    /// How long a connection may take until it can be used.
    pub(super) connect: Duration,
    pub(super) bound: Bound,
    pub(super) security: Security,
    pub(super) announce: ProxyProtocol,
    /// Counts connections that are open.
    pub(super) open: Gauge,
}

/// What is between TCP and HTTP.
#[derive(Clone, Debug)]
pub(super) enum Security {
    /// Nothing, and this protocol is spoken.
    Cleartext(Protocol),
    Tls(Box<BackendTls>),
}

/// How many connections may be in use at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Bound {
    /// None if there is no bound but that of requests.
    pub(super) places: Option<Arc<Semaphore>>,
    /// How long a request waits for one.
    pub(super) wait: Duration,
}

/// The right to use one connection.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Stream {
    bytes: Bytes,
    way: Way,
    _open: Open,
    _permit: Permit,
}

#[derive(Debug)]
enum Bytes {
    Cleartext(TcpStream),
    Tls(Box<TlsStream>),
}

/// A direction of a connection.
#[derive(Clone, Debug)]
pub(super) struct Half(Arc<Mutex<Stream>>);

/// How a backend is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) protocol: Protocol,
    pub(super) scheme: Scheme,
}

/// Counts a connection as open.
#[derive(Debug)]
struct Open(Gauge);

impl Bound {
    /// At most so many, for each of which a request waits so long.
    pub(super) fn new(connections: Option<u32>, wait: Duration) -> Self {
        let places = connections.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        Self {
            places: places.map(|count| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))),
            wait,
        }
    }

    /// How many places are free, if there is a bound.
    pub(super) fn free(&self) -> Option<usize> {
        self.places
            .as_ref()
            .map(|places| places.available_permits())
    }

    /// Takes a place, and waits for one if all are taken.
    ///
    /// # Errors
    /// [`RequestError::UpstreamConnections`] if none has become free in time.
    pub(super) async fn enter(&self) -> Result<Permit, RequestError> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(Some(permit));
        }
        match timeout(self.wait, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) | Err(_) => Err(RequestError::UpstreamConnections),
        }
    }
}

impl Dialer {
    /// Makes a connection, in time or not at all. It is for this client alone, if backends are told of
    /// clients, and for nobody's requests if there is none.
    pub(super) async fn connect(
        &self,
        origin: Option<Origin>,
        purpose: Purpose,
    ) -> Result<Stream, RequestError> {
        timeout(self.connect, self.reach(origin, purpose))
            .await
            .map_err(|_elapsed| RequestError::UpstreamConnectTimeout)?
    }

    /// Whom a connection for this client is for, if that matters.
    pub(super) fn origin(&self, client: &ClientFacts) -> Option<Origin> {
        (self.announce == ProxyProtocol::V2).then(|| Origin::of(client))
    }

    /// The scheme of requests in forms that have one.
    pub(super) fn scheme(&self) -> Scheme {
        match self.security {
            Security::Cleartext(_) => Scheme::HTTP,
            Security::Tls(_) => Scheme::HTTPS,
        }
    }

    async fn reach(
        &self,
        origin: Option<Origin>,
        purpose: Purpose,
    ) -> Result<Stream, RequestError> {
        let failed = |error: io::Error| {
            tracing::debug!(upstream = %self.name, %error, "cannot connect");
            if error.kind() == io::ErrorKind::TimedOut {
                RequestError::UpstreamConnectTimeout
            } else {
                RequestError::UpstreamConnect
            }
        };
        let mut tcp = self.tcp().await.map_err(failed)?;
        let open = Open::new(&self.open);
        if self.announce == ProxyProtocol::V2 {
            let header = origin.map_or_else(proxy_protocol::local, |origin| origin.header());
            tcp.write_all(&header).await.map_err(failed)?;
        }
        let (bytes, protocol) = match &self.security {
            Security::Cleartext(protocol) => (Bytes::Cleartext(tcp), *protocol),
            Security::Tls(tls) => {
                let (stream, protocol) = tls.handshake(tcp, purpose).await?;
                (Bytes::Tls(Box::new(stream)), protocol)
            }
        };
        Ok(Stream {
            bytes,
            way: Way {
                protocol,
                scheme: self.scheme(),
            },
            _open: open,
            _permit: None,
        })
    }

    /// The time is shared out among the addresses of a name, so that one dead address does not use it up.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let addresses: Vec<_> = lookup_host(&*self.name).await?.collect();
        let share = self.connect / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            let connected = timeout(share, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    return Ok(tcp);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

impl Stream {
    /// Holds a permit until the connection is closed.
    pub(super) fn holding(self, permit: Permit) -> Self {
        Self {
            _permit: permit,
            ..self
        }
    }

    pub(super) fn way(&self) -> Way {
        self.way.clone()
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.way.protocol
    }

    fn tcp(&self) -> &TcpStream {
        match &self.bytes {
            Bytes::Cleartext(tcp) => tcp,
            Bytes::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl Half {
    /// Lets a connection be read in one place and written in another.
    pub(super) fn of(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Without a linger time the connection is reset when the last half is dropped.
    pub(super) fn reset_on_close(&self) {
        drop(self.lock().tcp().set_zero_linger());
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Cleartext(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Bytes::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Cleartext(tcp) => Pin::new(tcp).poll_write(cx, data),
            Bytes::Tls(tls) => Pin::new(tls).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Cleartext(tcp) => Pin::new(tcp).poll_write_vectored(cx, data),
            Bytes::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Cleartext(tcp) => tcp.is_write_vectored(),
            Bytes::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Cleartext(tcp) => Pin::new(tcp).poll_flush(cx),
            Bytes::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Cleartext(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Bytes::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
