use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AsyncUdpSocket, ClientConfig, Connecting, Connection, Endpoint, EndpointConfig,
    MtuDiscoveryConfig, NoneTokenStore, RecvStream, SendStream, TokenStore, TokioRuntime,
    TransportConfig,
};
use tokio::task::yield_now;

use super::observed::Observed;
use super::response::first_byte;
use super::tls::{ClientTls, Resuming};
use super::tokens::Tokens;
use super::{DialError, Factors, Flip, Way, http, within};
use crate::bench::Mode;
use crate::bench::clock::now;
use crate::bench::trace::Marks;
use crate::client::pad_after_move;

/// Connects over QUIC and asks over HTTP/3.
#[derive(Debug)]
pub(super) struct QuicDialer {
    way: Arc<Way>,
    mode: Mode,
    tls: ClientTls,
    config: ClientConfig,
    tokens: Arc<Tokens>,
    request: Vec<u8>,
}

/// An endpoint that has sent nothing, or a connection that is about to move.
#[derive(Debug)]
pub(super) enum ReadyQuic {
    New(Endpoint, Arc<Observed>),
    Open(QuicConnection),
}

/// A connection, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct QuicConnection {
    endpoint: Endpoint,
    socket: Arc<Observed>,
    connection: Connection,
    /// Must stay open (RFC 9114, section 6.2.1).
    control: SendStream,
    /// Where it moves to, if it does.
    next: Option<Arc<Observed>>,
}

impl QuicDialer {
    pub(super) fn new(way: &Arc<Way>, factors: &Factors) -> Result<Self, DialError> {
        let resuming = if resumes(factors.mode) {
            Resuming::Yes
        } else {
            Resuming::No
        };
        let tls = ClientTls::new(&way.trust, factors.key_exchange, resuming)?;
        let mut crypto = tls.config.clone();
        crypto.alpn_protocols = vec![b"h3".to_vec()];
        crypto.enable_early_data = factors.mode == Mode::Quic0Rtt;
        let crypto = QuicClientConfig::try_from(crypto)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let tokens = Arc::new(Tokens::default());
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(factors)));
        if needs_token(factors.mode) {
            config.token_store(Arc::clone(&tokens) as Arc<dyn TokenStore>);
        } else {
            config.token_store(Arc::new(NoneTokenStore));
        }
        Ok(Self {
            way: Arc::clone(way),
            mode: factors.mode,
            tls,
            config,
            tokens,
            request: http::http3_request(&way.authority, &way.path),
        })
    }

    /// Gets what the attempt needs: a session, a token, or a connection that moves.
    pub(super) async fn prepare(&self) -> Result<ReadyQuic, DialError> {
        let sessions = &self.tls.sessions;
        let resumes = resumes(self.mode);
        if moves(self.mode) {
            let mut open = within(self.way.limit, "the connection before", self.open()).await??;
            open.next = self.next()?;
            return Ok(ReadyQuic::Open(open));
        }
        let lacks_session = resumes && sessions.len() == 0;
        if lacks_session || (needs_token(self.mode) && self.tokens.is_empty()) {
            let visit = within(self.way.limit, "the visit before", self.open()).await??;
            visit.close().await;
        }
        if resumes && sessions.len() == 0 {
            return Err(DialError::NoSession);
        }
        if needs_token(self.mode) && self.tokens.is_empty() {
            return Err(DialError::NoToken);
        }
        let (endpoint, socket) = self.endpoint(self.way.local)?;
        Ok(ReadyQuic::New(endpoint, socket))
    }

    /// Connects, or moves, and asks, up to the first byte of the answer.
    pub(super) async fn dial(
        &self,
        ready: ReadyQuic,
    ) -> Result<(Marks, QuicConnection), DialError> {
        let dialing = async {
            match ready {
                ReadyQuic::New(endpoint, socket) => self.connect(endpoint, socket).await,
                ReadyQuic::Open(connection) => self.go_on(connection).await,
            }
        };
        within(self.way.limit, "the attempt", dialing).await?
    }

    async fn connect(
        &self,
        endpoint: Endpoint,
        socket: Arc<Observed>,
    ) -> Result<(Marks, QuicConnection), DialError> {
        let checked = self.tls.certificates_checked();
        let start = now();
        let way = &self.way;
        let refused = self.tls.certificates_refused();
        let connecting = endpoint.connect_with(self.config.clone(), way.node, &way.name)?;
        let (marks, connection, control) = if self.mode == Mode::Quic0Rtt {
            let Ok((connection, accepted)) = connecting.into_0rtt() else {
                return Err(DialError::NoSession);
            };
            let ready = now();
            let (control, response) = self.ask_first(&connection).await?;
            let handshake = async { (accepted.await, now()) };
            let first = first_byte(response, &connection, &socket);
            let ((accepted, handshake), first) = tokio::join!(handshake, first);
            if !accepted {
                return Err(connection
                    .close_reason()
                    .map_or(DialError::EarlyDataRefused, Into::into));
            }
            (
                first?.marks(start, Some(ready), Some(handshake)),
                connection,
                control,
            )
        } else {
            let connection = self.connected(connecting, refused).await?;
            let handshake = now();
            let (control, response) = self.ask_first(&connection).await?;
            let first = first_byte(response, &connection, &socket).await?;
            (
                first.marks(start, Some(handshake), Some(handshake)),
                connection,
                control,
            )
        };
        let marks = Marks {
            connect: socket.seen().first,
            ..marks
        };
        self.judge(&socket, checked)?;
        let connection = QuicConnection {
            endpoint,
            socket,
            connection,
            control,
            next: None,
        };
        Ok((marks, connection))
    }

    /// Moves an open connection and asks again.
    async fn go_on(&self, mut open: QuicConnection) -> Result<(Marks, QuicConnection), DialError> {
        let start = now();
        if let Some(socket) = open.next.take() {
            let rebound = open
                .endpoint
                .rebind_abstract(Arc::clone(&socket) as Arc<dyn AsyncUdpSocket>);
            rebound.map_err(DialError::Socket)?;
            open.socket = socket;
            // Nothing is awaited before the request is written, so all of it leaves together.
            pad_after_move(&open.connection);
        } else {
            match &self.way.flip {
                Flip::Never => return Err(DialError::NoRoute(self.mode)),
                Flip::Destination(node) => open.socket.lead_to(*node),
                Flip::Route(route) => route.flip().map_err(DialError::Socket)?,
            }
        }
        let response = self.ask(&open.connection).await?;
        let first = first_byte(response, &open.connection, &open.socket).await?;
        let marks = Marks {
            confirmed: None,
            ..first.marks(start, None, None)
        };
        Ok((marks, open))
    }

    /// Connects and asks once, and waits until nothing more comes.
    async fn open(&self) -> Result<QuicConnection, DialError> {
        let (endpoint, socket) = self.endpoint(self.way.local)?;
        let way = &self.way;
        let refused = self.tls.certificates_refused();
        let connecting = endpoint.connect_with(self.config.clone(), way.node, &way.name)?;
        let connection = self.connected(connecting, refused).await?;
        let (control, response) = self.ask_first(&connection).await?;
        first_byte(response, &connection, &socket).await?;
        let open = QuicConnection {
            endpoint,
            socket,
            connection,
            control,
            next: None,
        };
        open.quiet(way.quiet).await;
        Ok(open)
    }

    /// `refused` is how many certificates were refused before this began: another thread may have
    /// done the whole handshake by now.
    async fn connected(
        &self,
        connecting: Connecting,
        refused: u64,
    ) -> Result<Connection, DialError> {
        connecting.await.map_err(|error| {
            if self.tls.certificates_refused() == refused {
                DialError::Quic(error)
            } else {
                DialError::Certificate(error)
            }
        })
    }

    /// The socket that a connection goes on with; none where the route moves and not the client.
    fn next(&self) -> Result<Option<Arc<Observed>>, DialError> {
        let local = match self.mode {
            Mode::QuicRebind => self.way.local,
            Mode::QuicAddress => self.way.other_local,
            _ => return Ok(None),
        };
        self.socket(local).map(Some)
    }

    fn endpoint(&self, local: IpAddr) -> Result<(Endpoint, Arc<Observed>), DialError> {
        let socket = self.socket(local)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            None,
            Arc::clone(&socket) as Arc<dyn AsyncUdpSocket>,
            Arc::new(TokioRuntime),
        );
        Ok((endpoint.map_err(DialError::Socket)?, socket))
    }

    fn socket(&self, local: IpAddr) -> Result<Arc<Observed>, DialError> {
        UdpSocket::bind(SocketAddr::new(local, 0))
            .and_then(|socket| Observed::new(socket, self.way.node))
            .map_err(DialError::Socket)
    }

    /// Opens the control stream and asks, with no packet between the two.
    async fn ask_first(
        &self,
        connection: &Connection,
    ) -> Result<(SendStream, RecvStream), DialError> {
        let mut control = connection.open_uni().await?;
        control
            .write_all(http::HTTP3_CONTROL)
            .await
            .map_err(DialError::stream)?;
        Ok((control, self.ask(connection).await?))
    }

    async fn ask(&self, connection: &Connection) -> Result<RecvStream, DialError> {
        let (mut send, receive) = connection.open_bi().await?;
        send.write_all(&self.request)
            .await
            .map_err(DialError::stream)?;
        send.finish().map_err(DialError::stream)?;
        Ok(receive)
    }

    /// Whether the handshake was of the kind that is measured.
    ///
    /// A `HelloRetryRequest` needs no proof: under the group that the client guesses no handshake ends.
    fn judge(&self, socket: &Observed, checked_before: u64) -> Result<(), DialError> {
        let resumed = self.tls.certificates_checked() == checked_before;
        match (resumes(self.mode), resumed) {
            (true, false) => return Err(DialError::NotResumed),
            (false, true) => return Err(DialError::Resumed),
            _ => {}
        }
        match (self.mode, socket.seen().retries) {
            (Mode::QuicRetry, 0) => Err(DialError::NoRetry),
            (Mode::QuicRetry, _) | (_, 0) => Ok(()),
            _ => Err(DialError::Retry),
        }
    }
}

impl ReadyQuic {
    pub(super) fn port(&self) -> Option<u16> {
        let socket = match self {
            Self::New(_, socket) => socket,
            Self::Open(open) => open.next.as_ref().unwrap_or(&open.socket),
        };
        Some(socket.local_addr().ok()?.port())
    }
}

impl QuicConnection {
    /// The client's port.
    pub(super) fn port(&self) -> Option<u16> {
        self.endpoint
            .local_addr()
            .ok()
            .map(|address| address.port())
    }

    /// Ends the connection, and waits at most a second until that was sent.
    pub(super) async fn close(mut self) {
        // A stream that is gone already is closed.
        drop(self.control.finish());
        self.connection.close(NO_ERROR.into(), b"");
        let before = self.socket.seen().last;
        let sent = async {
            while self.socket.seen().last == before {
                yield_now().await;
            }
        };
        drop(within(super::CLOSE_LIMIT, "the end", sent).await);
    }

    /// Waits until nothing came or went for so long.
    async fn quiet(&self, silence: std::time::Duration) {
        while let Some(last) = self.socket.seen().last {
            let until = last + silence;
            if until <= now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

fn transport(factors: &Factors) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(factors.initial_mtu)
        .mtu_discovery_config(factors.mtu_discovery.then(MtuDiscoveryConfig::default))
        .initial_rtt(factors.initial_rtt);
    transport
}

fn resumes(mode: Mode) -> bool {
    matches!(mode, Mode::QuicResumed | Mode::Quic0Rtt)
}

/// Early data needs one too: the gateway takes none from an address that is not proven.
fn needs_token(mode: Mode) -> bool {
    matches!(mode, Mode::QuicToken | Mode::Quic0Rtt)
}

fn moves(mode: Mode) -> bool {
    matches!(mode, Mode::QuicRebind | Mode::QuicAddress | Mode::QuicFlip)
}

/// RFC 9114, section 8.1.
const NO_ERROR: u32 = 0x0100;
