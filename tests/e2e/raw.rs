//! An HTTP/3 client that sends any bytes it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use tokio::time::timeout;
use wayhold::client::{Trust, tls_config};

use crate::stage::{Directory, PATIENCE};

/// A connection on which nothing is sent but what a test sends.
pub(crate) struct Raw {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    one_way: Mutex<Vec<SendStream>>,
}

pub(crate) fn quic_config(directory: &Directory) -> ClientConfig {
    tls_quic_config(directory, false)
}

/// A client that sends early data where it can.
pub(crate) fn early_quic_config(directory: &Directory) -> ClientConfig {
    tls_quic_config(directory, true)
}

fn tls_quic_config(directory: &Directory, early_data: bool) -> ClientConfig {
    let trust = Trust::File(directory.file("tls.pem"));
    let mut tls = Arc::unwrap_or_clone(tls_config(&trust).unwrap());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = early_data;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

impl Raw {
    pub(crate) async fn connect(directory: &Directory, address: SocketAddr) -> Self {
        Self::try_connect(directory, address).await.unwrap()
    }

    pub(crate) async fn try_connect(
        directory: &Directory,
        address: SocketAddr,
    ) -> Result<Self, ConnectionError> {
        Self::connect_as(quic_config(directory), address).await
    }

    pub(crate) async fn connect_as(
        config: ClientConfig,
        address: SocketAddr,
    ) -> Result<Self, ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let connecting = endpoint.connect_with(config, address, "localhost");
        let connection = timeout(PATIENCE, connecting.unwrap()).await.unwrap()?;
        Ok(Self {
            endpoint,
            connection,
            one_way: Mutex::default(),
        })
    }

    /// Opens a stream of one direction and sends these bytes; the stream stays open.
    pub(crate) async fn one_way(&self, bytes: &[u8]) {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        self.one_way.lock().unwrap().push(stream);
    }

    /// Opens a request stream and sends these bytes; the stream stays open.
    pub(crate) async fn begin(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, receive)
    }

    /// Sends a whole request stream.
    pub(crate) async fn send(&self, bytes: &[u8]) -> RecvStream {
        let (mut send, receive) = self.begin(bytes).await;
        send.finish().unwrap();
        receive
    }

    /// The code with which the gateway closes the connection.
    pub(crate) async fn closed(&self) -> u64 {
        let reason = timeout(PATIENCE, self.connection.closed()).await.unwrap();
        match reason {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn close(self) {
        self.connection.close(VarInt::from_u32(0x100), b"");
        let idle = timeout(Duration::from_secs(1), self.endpoint.wait_idle());
        // A lost close costs the gateway its idle timeout, and this test nothing.
        drop(idle.await);
    }
}

/// How a response stream ended: with everything on it, or with a reset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Cleanly(Vec<u8>),
    Reset(u64),
}

/// Receives a response stream to its end.
pub(crate) async fn ended(mut stream: RecvStream) -> Ended {
    let mut received = Vec::new();
    loop {
        let piece = timeout(PATIENCE, stream.read_chunk(1 << 16, true)).await;
        match piece.unwrap() {
            Ok(Some(chunk)) => received.extend_from_slice(&chunk.bytes),
            Ok(None) => return Ended::Cleanly(received),
            Err(quinn::ReadError::Reset(code)) => return Ended::Reset(code.into_inner()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The status of a response that ended cleanly.
pub(crate) async fn status(stream: RecvStream) -> u16 {
    match ended(stream).await {
        Ended::Cleanly(bytes) => frame_status(&bytes),
        Ended::Reset(code) => panic!("reset with {code:#x}"),
    }
}

/// The status at the beginning of a response (RFC 9204, section 4.5 and appendix A).
pub(crate) fn frame_status(bytes: &[u8]) -> u16 {
    let (kind, _, rest) = split_frame(bytes);
    assert_eq!(kind, HEADERS);
    let indexed = |index: u8| match index {
        24 => 103,
        25 => 200,
        26 => 304,
        27 => 404,
        28 => 503,
        63 => 100,
        64 => 204,
        67 => 400,
        68 => 403,
        71 => 500,
        other => panic!("static entry {other}"),
    };
    match rest {
        [0, 0, 0x5f, 0x09, 3, a, b, c, ..] => [a, b, c]
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(**digit - b'0')),
        [0, 0, 0x5f, 0x09, 0x82, a, b, ..] => huffman_digits(&[*a, *b]),
        [0, 0, 0xff, more, ..] => indexed(63 + more),
        [0, 0, index, ..] if *index >= 0xc0 => indexed(index & 0x3f),
        other => panic!("{other:?}"),
    }
}

/// Three digits in the Huffman code, which has five bits for 0 to 2 and six for the others (RFC 7541,
/// appendix B).
fn huffman_digits(code: &[u8]) -> u16 {
    let mut bits = code
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut status = 0;
    for _ in 0..3 {
        let mut take = |count: usize| {
            bits.by_ref()
                .take(count)
                .fold(0, |code, bit| code << 1 | bit)
        };
        let short = take(5);
        let digit = if short < 3 {
            short
        } else {
            (short << 1 | take(1)) - 0x19 + 3
        };
        status = status * 10 + digit;
    }
    status
}

/// Type, length and what follows of the first frame.
pub(crate) fn split_frame(bytes: &[u8]) -> (u64, u64, &[u8]) {
    let (kind, rest) = take_varint(bytes);
    let (len, rest) = take_varint(rest);
    (kind, len, rest)
}

/// A number, and what follows.
pub(crate) fn take_varint(bytes: &[u8]) -> (u64, &[u8]) {
    let len = 1 << (bytes[0] >> 6);
    let value = bytes[1..len]
        .iter()
        .fold(u64::from(bytes[0] & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    (value, &bytes[len..])
}

/// A number of 62 bits in eight bytes (RFC 9000, section 16).
pub(crate) fn varint(value: u64) -> [u8; 8] {
    (value | 0b11 << 62).to_be_bytes()
}

/// A frame of this type.
pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len() as u64)[..], payload].concat()
}

/// A frame's type and length alone.
pub(crate) fn header(kind: u64, len: u64) -> Vec<u8> {
    [varint(kind), varint(len)].concat()
}

/// A HEADERS frame of a request to `localhost` with more fields.
pub(crate) fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    fields_frame(pseudo.iter().chain(fields))
}

/// A HEADERS frame of trailers.
pub(crate) fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    fields_frame(fields.iter())
}

fn fields_frame<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        // A literal name and a literal value, neither compressed (RFC 9204, section 4.5.6).
        integer(0x20, 3, name.len(), &mut section);
        section.extend_from_slice(name.as_bytes());
        integer(0, 7, value.len(), &mut section);
        section.extend_from_slice(value.as_bytes());
    }
    frame(HEADERS, &section)
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(flags: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if value < most {
        out.push(flags | u8::try_from(value).unwrap());
        return;
    }
    out.push(flags | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// A control stream's type and empty SETTINGS (RFC 9114, section 6.2.1).
pub(crate) const CONTROL: [u8; 3] = [0, 4, 0];
pub(crate) const DATA: u64 = 0;
pub(crate) const HEADERS: u64 = 1;
