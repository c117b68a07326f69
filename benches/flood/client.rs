//! An HTTP/3 client of which every packet is decided here.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::NewRenoConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, ReadError, StreamId, TransportConfig, VarInt,
};
use wayhold::client::{Trust, tls_config};

use super::Result;

pub(crate) struct Client {
    socket: UdpSocket,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    connected: bool,
    lost: Option<ConnectionError>,
    out: Vec<u8>,
}

/// What is left of a connection after a flood.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left {
    Open,
    Closed { code: u64, after: u64 },
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut tls = Arc::unwrap_or_clone(tls_config(&Trust::DangerousAnything)?);
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut window = NewRenoConfig::default();
        // A flood does not hold back.
        window.initial_window(1 << 30);
        let mut transport = TransportConfig::default();
        transport
            .congestion_controller_factory(Arc::new(window))
            .mtu_discovery_config(None);
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let (handle, connection) = endpoint.connect(now(), config, address, "localhost")?;
        let mut client = Self {
            socket,
            endpoint,
            handle,
            connection,
            connected: false,
            lost: None,
            out: Vec::new(),
        };
        client.until(|client| client.connected)?;
        let control = client.open(Dir::Uni)?;
        client.write(control, &[0, 4, 0])?;
        client.requests(1)?;
        Ok(client)
    }

    /// Asks one request after the other.
    pub(crate) fn requests(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let stream = self.open(Dir::Bi)?;
            self.write(stream, REQUEST)?;
            self.connection.send_stream(stream).finish()?;
            self.until(|client| client.read(stream))?;
        }
        Ok(())
    }

    /// Asks requests and resets each as soon as it has been sent, as fast as there are streams.
    pub(crate) fn resets(&mut self, count: u64) -> Result<Left> {
        for after in 0..count {
            let mut opened = None;
            self.until(|client| {
                opened = client.connection.streams().open(Dir::Bi);
                opened.is_some() || client.lost.is_some()
            })?;
            if let Some(ConnectionError::ApplicationClosed(close)) = &self.lost {
                let code = close.error_code.into_inner();
                return Ok(Left::Closed { code, after });
            }
            let stream = opened.ok_or("the connection was lost")?;
            self.write(stream, REQUEST)?;
            self.send()?;
            self.connection.send_stream(stream).reset(CANCELLED)?;
            // Fails where the response has come meanwhile.
            drop(self.connection.recv_stream(stream).stop(CANCELLED));
            self.send()?;
            self.receive()?;
        }
        Ok(Left::Open)
    }

    /// Sends packets with nothing but a PING.
    pub(crate) fn pings(&mut self, count: u64) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        for index in 0..count {
            self.connection.ping();
            self.send()?;
            if index % 16 == 0 {
                self.receive()?;
            }
        }
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    fn open(&mut self, direction: Dir) -> Result<StreamId> {
        let mut opened = None;
        self.until(|client| {
            opened = client.connection.streams().open(direction);
            opened.is_some()
        })?;
        Ok(opened.ok_or("no stream")?)
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Result<()> {
        let written = self.connection.send_stream(stream).write(bytes)?;
        (written == bytes.len())
            .then_some(())
            .ok_or_else(|| "no room".into())
    }

    /// Whether a response has come to its end.
    fn read(&mut self, stream: StreamId) -> bool {
        let mut receive = self.connection.recv_stream(stream);
        let Ok(mut chunks) = receive.read(true) else {
            return true;
        };
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(_)) => {}
                Ok(None) | Err(ReadError::Reset(_)) => break true,
                Err(ReadError::Blocked) => break false,
            }
        };
        // What is to be sent now goes out with the next packet in any case.
        let _transmit = chunks.finalize();
        ended
    }

    fn until(&mut self, mut so: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let begun = now();
        while !so(self) {
            if begun.elapsed() > PATIENCE {
                return Err("the gateway does not answer".into());
            }
            self.send()?;
            self.receive()?;
        }
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        if self.connection.poll_timeout().is_some_and(|at| at <= now()) {
            self.connection.handle_timeout(now());
        }
        self.out.clear();
        while let Some(transmit) = self.connection.poll_transmit(now(), 1, &mut self.out) {
            self.socket
                .send_to(&self.out[..transmit.size], transmit.destination)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Takes what has come, and waits a millisecond for it at most.
    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let datagram = BytesMut::from(&buffer[..length]);
                let event = self
                    .endpoint
                    .handle(now(), from, None, None, datagram, &mut self.out);
                if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                    self.connection.handle_event(event);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                Event::HandshakeDataReady
                | Event::Stream(_)
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        Ok(())
    }
}

/// `GET https://localhost/bytes/64`: static entries, and two literals with names from the static table.
const REQUEST: &[u8] = b"\x01\x1a\0\0\xd1\xd7\x50\x09localhost\x51\x09/bytes/64";
const CANCELLED: VarInt = VarInt::from_u32(0x10c);
const PATIENCE: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "a benchmark keeps time")]
fn now() -> Instant {
    Instant::now()
}
