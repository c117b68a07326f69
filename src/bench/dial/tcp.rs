use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::tls::{ClientTls, Resuming};
use super::{DialError, Way, http, within};
use crate::bench::clock::now;
use crate::bench::trace::Marks;
use crate::bench::{KeyExchange, Mode};
use crate::sys::socket::connect_with_data;

/// Connects over TCP with TLS 1.3 and asks over HTTP/1.1, which needs the fewest bytes.
///
/// TLS is driven by hand, so that early data leaves with the `ClientHello`, and the request with the end
/// of the handshake.
#[derive(Debug)]
pub(super) struct TcpDialer {
    way: Arc<Way>,
    tls: ClientTls,
    config: Arc<ClientConfig>,
    key_exchange: KeyExchange,
    entry: Entry,
    fast_open: bool,
    request: Vec<u8>,
}

/// How a client comes back, or that it comes for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Full,
    Resumed,
    EarlyData,
}

/// A socket and a session, if one is wanted; nothing was sent.
#[derive(Debug)]
pub(super) struct ReadyTcp {
    socket: TcpSocket,
    /// Of the connection that the client has lost.
    before: Option<TcpConnection>,
}

/// A connection whose response has begun.
#[derive(Debug)]
pub(super) struct TcpConnection {
    stream: TcpStream,
    tls: ClientConnection,
    received: Vec<u8>,
}

impl TcpDialer {
    pub(super) fn new(
        way: &Arc<Way>,
        mode: Mode,
        key_exchange: KeyExchange,
    ) -> Result<Self, DialError> {
        let entry = match mode {
            Mode::TcpFull | Mode::TcpFastOpen | Mode::TcpReconnect => Entry::Full,
            Mode::TcpResumed | Mode::TcpReconnectResumed => Entry::Resumed,
            Mode::Tcp0Rtt | Mode::TcpReconnect0Rtt => Entry::EarlyData,
            other => return Err(DialError::NoClient(other)),
        };
        let resuming = match entry {
            Entry::Full => Resuming::No,
            Entry::Resumed | Entry::EarlyData => Resuming::Yes,
        };
        let tls = ClientTls::new(&way.trust, key_exchange, resuming)?;
        let mut config = tls.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.enable_early_data = entry == Entry::EarlyData;
        Ok(Self {
            way: Arc::clone(way),
            tls,
            config: Arc::new(config),
            key_exchange,
            entry,
            fast_open: mode == Mode::TcpFastOpen,
            request: http::http1_request(&way.authority, &way.path),
        })
    }

    /// Gets the session that the attempt needs. One that `reconnects` keeps the connection open that it
    /// is going to replace.
    pub(super) async fn prepare(&self, reconnects: bool) -> Result<ReadyTcp, DialError> {
        let sessions = &self.tls.sessions;
        let mut before = None;
        let wanted = self.entry != Entry::Full && sessions.len() == 0;
        if reconnects || wanted || self.fast_open {
            let visit = self.visit(wanted);
            before = Some(within(self.way.limit, "the visit before", visit).await??);
        }
        let socket = self.socket()?;
        if self.fast_open {
            connect_with_data(&socket).map_err(DialError::Socket)?;
        }
        if !reconnects && let Some(connection) = before.take() {
            connection.close().await;
        }
        Ok(ReadyTcp { socket, before })
    }

    /// Connects and asks, up to the first byte of the answer.
    pub(super) async fn dial(
        &self,
        ready: ReadyTcp,
    ) -> Result<(Marks, TcpConnection, Option<TcpConnection>), DialError> {
        let dialing = self.connect(ready.socket, self.entry);
        let (marks, connection) = within(self.way.limit, "the attempt", dialing).await??;
        self.judge(&connection.tls)?;
        Ok((marks, connection, ready.before))
    }

    async fn connect(
        &self,
        socket: TcpSocket,
        entry: Entry,
    ) -> Result<(Marks, TcpConnection), DialError> {
        let name = ServerName::try_from(self.way.name.clone())
            .map_err(|_invalid| DialError::Name(self.way.name.clone()))?;
        let start = now();
        let stream = socket
            .connect(self.way.node)
            .await
            .map_err(DialError::Tcp)?;
        let connected = now();
        let tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut connection = TcpConnection {
            stream,
            tls,
            received: vec![0; BUFFER],
        };
        let mut early = None;
        if entry == Entry::EarlyData {
            connection.write_early(&self.request)?;
            early = Some(now());
        }
        connection.send().await?;
        while connection.tls.is_handshaking() {
            connection.receive().await?;
            if connection.tls.is_handshaking() {
                connection.send().await?;
            }
        }
        let handshake = now();
        if early.is_none() {
            connection.write(&self.request)?;
        } else if !connection.tls.is_early_data_accepted() {
            return Err(DialError::EarlyDataRefused);
        }
        connection.send().await?;
        let first_byte = connection.response().await?;
        let marks = Marks {
            start,
            connect: Some(connected),
            ready: Some(early.unwrap_or(handshake)),
            handshake: Some(handshake),
            confirmed: None,
            first_byte: Some(first_byte),
        };
        Ok((marks, connection))
    }

    /// Connects once for what the node gives to those who come back.
    async fn visit(&self, session: bool) -> Result<TcpConnection, DialError> {
        let (_, mut connection) = self.connect(self.socket()?, Entry::Full).await?;
        // Sessions come before the response, or not at all.
        if session && self.tls.sessions.len() == 0 {
            return Err(DialError::NoSession);
        }
        connection.stream.flush().await.map_err(DialError::Tcp)?;
        Ok(connection)
    }

    /// Whether the handshake was of the kind that is measured.
    fn judge(&self, tls: &ClientConnection) -> Result<(), DialError> {
        let guesses_wrong = self.key_exchange == KeyExchange::HelloRetryRequest;
        match (self.entry, tls.handshake_kind()) {
            (Entry::Full, Some(HandshakeKind::Resumed)) => Err(DialError::Resumed),
            (Entry::Full, Some(HandshakeKind::Full)) if guesses_wrong => {
                Err(DialError::NoHelloRetryRequest)
            }
            (Entry::Full, _) | (_, Some(HandshakeKind::Resumed)) => Ok(()),
            _ => Err(DialError::NotResumed),
        }
    }

    fn socket(&self) -> Result<TcpSocket, DialError> {
        let socket = match self.way.node {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(DialError::Socket)?;
        socket.set_nodelay(true).map_err(DialError::Socket)?;
        socket
            .bind(SocketAddr::new(self.way.local, 0))
            .map_err(DialError::Socket)?;
        Ok(socket)
    }
}

impl ReadyTcp {
    pub(super) fn port(&self) -> Option<u16> {
        let address = self.socket.local_addr().ok()?;
        Some(address.port())
    }
}

impl TcpConnection {
    /// The client's port.
    pub(super) fn port(&self) -> Option<u16> {
        self.stream.local_addr().ok().map(|address| address.port())
    }

    /// Ends the connection in order; waits for the other side at most a second.
    pub(super) async fn close(mut self) {
        self.tls.send_close_notify();
        let closing = async {
            self.send().await?;
            self.stream.shutdown().await.map_err(DialError::Tcp)?;
            while self
                .stream
                .read(&mut self.received)
                .await
                .is_ok_and(|n| n > 0)
            {}
            Ok::<_, DialError>(())
        };
        // An end that does not come in order is one all the same.
        drop(within(super::CLOSE_LIMIT, "the end", closing).await);
    }

    fn write_early(&mut self, request: &[u8]) -> Result<(), DialError> {
        let Some(mut early) = self.tls.early_data() else {
            return Err(DialError::NoSession);
        };
        std::io::Write::write_all(&mut early, request).map_err(DialError::Tcp)
    }

    fn write(&mut self, request: &[u8]) -> Result<(), DialError> {
        std::io::Write::write_all(&mut self.tls.writer(), request).map_err(DialError::Tcp)
    }

    /// Sends all that TLS has, in one piece.
    async fn send(&mut self) -> Result<(), DialError> {
        let mut flight = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut flight).map_err(DialError::Tcp)?;
        }
        self.stream.write_all(&flight).await.map_err(DialError::Tcp)
    }

    /// Receives what is there, at least one byte.
    async fn receive(&mut self) -> Result<(), DialError> {
        let received = self.stream.read(&mut self.received).await;
        let length = received.map_err(DialError::Tcp)?;
        if length == 0 {
            return Err(DialError::Ended);
        }
        let mut rest = &self.received[..length];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).map_err(DialError::Tcp)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert, for the other side's log.
                drop(self.send().await);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Waits for the response and gives the time of its first byte.
    async fn response(&mut self) -> Result<std::time::Instant, DialError> {
        let mut beginning = [0; BEGINNING];
        loop {
            match std::io::Read::read(&mut self.tls.reader(), &mut beginning) {
                Ok(0) => return Err(DialError::Ended),
                Ok(length) => {
                    let at = now();
                    let success = http::is_http1_success(&beginning[..length]);
                    return success.then_some(at).ok_or(DialError::Response);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.receive().await?;
                }
                Err(error) => return Err(DialError::Tcp(error)),
            }
        }
    }
}

/// More than a node sends in a handshake.
const BUFFER: usize = 32 << 10;
/// Enough of a response to tell whether it is one of success.
const BEGINNING: usize = 64;
