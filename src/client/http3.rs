use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, StreamError};
use h3_quinn::{OpenStreams, RecvStream, SendStream};
use http::{Request, Response};
use http_body::Body as _;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::task::JoinSet;

use super::error::within;
use super::response::{ResponseBody, Source, announced};
use super::tls::with_alpn;
use super::{ClientError, Connected, Patience, Stage, Target, now, pad_after_move};
use crate::request::Body;

/// One HTTP/3 connection with a UDP socket of its own (RFC 9114).
///
/// Requests run concurrently on `&self`. Dropping the client closes the connection at once.
pub struct Http3Client {
    endpoint: Endpoint,
    connection: quinn::Connection,
    requests: SendRequest<OpenStreams, Bytes>,
    // Drives the control streams; aborted on drop.
    _driver: JoinSet<()>,
    connected: Connected,
    patience: Patience,
}

pub(super) type Http3Receiver = RequestStream<RecvStream, Bytes>;
pub(super) type Upload = Pin<Box<dyn Future<Output = Result<(), ClientError>> + Send>>;

impl Http3Client {
    /// Connects from a new socket.
    ///
    /// # Errors
    /// The name, the socket or the handshake failed, or took longer than `patience.connect`.
    pub async fn connect(
        target: &Target,
        tls: &rustls::ClientConfig,
        patience: Patience,
    ) -> Result<Self, ClientError> {
        let any = match target.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).map_err(ClientError::Connect)?;
        grow_buffers(&socket);
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            None,
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(ClientError::Connect)?;

        let began = now();
        let config = quic_config(tls, patience)?;
        let connecting = endpoint.connect_with(config, target.address, &target.name)?;
        let connection = within(patience.connect, Stage::Connect, connecting).await??;
        let connected = Connected {
            handshake: now().saturating_duration_since(began),
            ..Connected::default()
        };
        let (mut driver, requests) = h3::client::builder()
            .max_field_section_size(MAX_FIELD_SECTION)
            .send_grease(false)
            .build(h3_quinn::Connection::new(connection.clone()))
            .await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // How the connection ended is told to each request, and to nobody else.
            drop(driver.wait_idle().await);
        });
        Ok(Self {
            endpoint,
            connection,
            requests,
            _driver: tasks,
            connected,
            patience,
        })
    }

    /// Sends a request and returns its response as soon as the header section is there.
    ///
    /// The request's URI must be absolute. The body is streamed while the response is awaited; if
    /// the response comes first, the rest is sent while the response is read. Trailers are not
    /// sent. Dropping the future cancels the request.
    ///
    /// # Errors
    /// The caller's body failed, the stream or the connection broke, or a deadline passed.
    pub async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, ClientError> {
        let began = now();
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let mut requests = self.requests.clone();
        let opening = requests.send_request(Request::from_parts(head, ()));
        let stream = within(self.patience.idle, Stage::Request, opening).await??;
        let (sender, mut receiver) = stream.split();
        let mut upload = Some(upload(sender, body, self.patience.idle));
        let response = self.response(&mut receiver, &mut upload).await?;

        let (head, ()) = response.into_parts();
        let announced = announced(&method, head.status, &head.headers);
        let source = Source::Http3 {
            stream: receiver,
            upload,
        };
        let body = ResponseBody::new(source, self.patience.idle, announced, began);
        Ok(Response::from_parts(head, body))
    }

    /// Moves the client to another socket, as a change of network does, with enough
    /// [padding](super::pad_after_move) that the next answer does not wait for a proof of the new address.
    ///
    /// # Errors
    /// The socket cannot be used by the runtime; the old one stays in use.
    pub fn rebind(&self, socket: UdpSocket) -> io::Result<()> {
        grow_buffers(&socket);
        self.endpoint.rebind(socket)?;
        pad_after_move(&self.connection);
        Ok(())
    }

    /// The address of the client's socket.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// How long connecting took.
    pub fn connected(&self) -> Connected {
        self.connected
    }

    /// Closes the connection and waits, at most a second, until the other side was told.
    pub async fn close(self) {
        let code = VarInt::from_u32(H3_NO_ERROR);
        self.connection.close(code, b"");
        // Not hearing back in time changes nothing for the caller.
        drop(within(CLOSE_LIMIT, Stage::Connect, self.endpoint.wait_idle()).await);
    }

    async fn response(
        &self,
        receiver: &mut Http3Receiver,
        upload: &mut Option<Upload>,
    ) -> Result<Response<()>, ClientError> {
        let receive = receiver.recv_response();
        tokio::pin!(receive);
        if let Some(sending) = upload {
            tokio::select! {
                response = &mut receive => return Ok(response?),
                sent = sending => sent?,
            }
        }
        *upload = None;
        Ok(within(self.patience.response, Stage::Response, receive).await??)
    }
}

impl fmt::Debug for Http3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http3Client")
            .field("remote", &self.connection.remote_address())
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// Resets the stream unless the whole body was sent: quinn would end it cleanly on drop, and a
/// request cut short would look complete.
struct Sender {
    stream: RequestStream<SendStream<Bytes>, Bytes>,
    finished: bool,
}

impl Sender {
    async fn send(&mut self, mut body: Body, idle: Duration) -> Result<(), ClientError> {
        while let Some(frame) = next_frame(&mut body).await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let sent = within(idle, Stage::Request, self.stream.send_data(data)).await?;
            if stopped(sent)? {
                return Ok(());
            }
        }
        let finished = within(idle, Stage::Request, self.stream.finish()).await?;
        self.finished = !stopped(finished)?;
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.finished {
            self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}

fn upload(stream: RequestStream<SendStream<Bytes>, Bytes>, body: Body, idle: Duration) -> Upload {
    let mut sender = Sender {
        stream,
        finished: false,
    };
    Box::pin(async move { sender.send(body, idle).await })
}

/// Whether the other side wants no more of the request, which is no failure: its response follows
/// (RFC 9114, section 4.1).
fn stopped(sent: Result<(), StreamError>) -> Result<bool, ClientError> {
    match sent {
        Ok(()) => Ok(false),
        Err(StreamError::RemoteTerminate { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn next_frame(
    body: &mut Body,
) -> Option<Result<http_body::Frame<Bytes>, crate::request::BodyError>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn quic_config(
    tls: &rustls::ClientConfig,
    patience: Patience,
) -> Result<ClientConfig, ClientError> {
    let crypto = QuicClientConfig::try_from(with_alpn(tls, "h3"))
        .map_err(|error| ClientError::Tls(rustls::Error::General(error.to_string())))?;
    let mut transport = TransportConfig::default();
    let idle = u32::try_from(patience.idle.as_millis()).unwrap_or(u32::MAX);
    transport
        .keep_alive_interval(Some(patience.keep_alive))
        .max_idle_timeout(Some(VarInt::from_u32(idle).into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn grow_buffers(socket: &UdpSocket) {
    // The system may grant less; a client works with what it gets.
    let socket = socket2::SockRef::from(socket);
    drop(socket.set_recv_buffer_size(SOCKET_BUFFER));
    drop(socket.set_send_buffer_size(SOCKET_BUFFER));
}

/// Bytes of a response's header section that are accepted.
const MAX_FIELD_SECTION: u64 = 64 << 10;
/// At 50 ms of round trip, one stream can carry 40 MB/s.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const SOCKET_BUFFER: usize = 2 << 20;
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// RFC 9114, section 8.1.
const H3_NO_ERROR: u32 = 0x0100;
