//! Sends rows to a gateway.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream,
    TransportConfig,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wayhold::client::{Trust, tls_config};
use wayhold::config::{self, Sources};
use wayhold::http3::Code;
use wayhold::telemetry::{Metrics, Reason};
use wayhold::{Gateway, GatewayError};

use crate::recorder::{Recorder, Speaks};
use crate::row::{CONTROL, End, Expect, HOST, Row, Step, get};

/// A gateway before a recorder.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    client: Endpoint,
    trust: Trust,
    stop: CancellationToken,
    serving: JoinSet<Result<(), GatewayError>>,
    _directory: TempDir,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    Reset(u64),
    Close(u64),
}

impl From<Expect> for Outcome {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Status(status) => Self::Status(status),
            Expect::Reset(code) => Self::Reset(code.value().into()),
            Expect::Close(code) => Self::Close(code.value().into()),
        }
    }
}

impl Target {
    /// Starts a gateway with `more` in its configuration.
    pub(crate) async fn start(speaks: Speaks, more: &str) -> Self {
        let recorder = Recorder::start(speaks).await;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        fs::write(file("tls.pem"), made.cert.pem()).unwrap();
        fs::write(file("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let scheme = match speaks {
            Speaks::Http1 => "http",
            Speaks::Http2 => "h2",
        };
        let text = format!(
            "state_dir = \"state\"\nadmin.listen = \"off\"\nlog.access = false\n\
             listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
             {more}[[route]]\nto = [\"{scheme}://{}\"]\n\
             [[route]]\nconnect_udp = [\"127.0.0.1:9\"]\n",
            recorder.address
        );
        fs::write(file("wayhold.toml"), text).unwrap();
        let sources = Sources {
            file: Some(file("wayhold.toml")),
            environment: vec![],
            settings: vec![],
        };
        let config = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let gateway = Gateway::builder().config(config).bind().unwrap();
        let (address, metrics) = (gateway.local_addresses()[0], gateway.metrics());
        let mut serving = JoinSet::new();
        let stop = CancellationToken::new();
        serving.spawn(gateway.serve(stop.clone().cancelled_owned()));
        let client = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            address,
            metrics,
            recorder,
            client,
            trust: Trust::File(file("tls.pem")),
            stop,
            serving,
            _directory: directory,
        }
    }

    /// Ends the gateway as a signal would, and gives its verdict.
    pub(crate) async fn end(&mut self) -> Result<(), GatewayError> {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.serving.join_next()).await;
        ended.unwrap().unwrap().unwrap()
    }

    /// How many connections ended for this reason.
    pub(crate) fn refused(&self, reason: &'static str) -> u64 {
        let refused = &self.metrics.connections_refused;
        refused.get_or_create(&Reason { reason }).get()
    }

    /// How many requests failed for this reason.
    pub(crate) fn failed(&self, reason: &'static str) -> u64 {
        let failed = &self.metrics.requests_failed;
        failed.get_or_create(&Reason { reason }).get()
    }

    /// Plays a row on a connection of its own.
    pub(crate) async fn attack(&self, row: &Row) -> Outcome {
        let pings = row.steps.iter().any(|step| matches!(step, Step::Pings(_)));
        let deaf = row.steps.iter().any(|step| matches!(step, Step::Deaf));
        let window = if deaf { DEAF_WINDOW } else { WINDOW };
        let config = client_config(&self.trust, pings.then_some(PING_INTERVAL), window);
        let connecting = self
            .client
            .connect_with(config, self.address, HOST)
            .unwrap();
        let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
        let mut attack = Attack {
            connection,
            open: vec![],
            responses: vec![],
            taken: Taken::AsItComes,
            decoder: None,
            read_only: vec![],
            drips: JoinSet::new(),
        };
        let outcome = timeout(PATIENCE, attack.play(row)).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{}: nothing came of it", row.name));
        attack.connection.close(Code::NoError.value().into(), b"");
        outcome
    }
}

fn client_config(trust: &Trust, pings: Option<Duration>, window: u32) -> ClientConfig {
    let mut tls = Arc::unwrap_or_clone(tls_config(trust).unwrap());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(window.into())
        .keep_alive_interval(pings);
    config.transport_config(Arc::new(transport));
    config
}

/// A row that is being played. Streams stay open until its end.
struct Attack {
    connection: Connection,
    open: Vec<SendStream>,
    responses: Vec<RecvStream>,
    taken: Taken,
    /// The gateway's, once it was looked for.
    decoder: Option<RecvStream>,
    /// The gateway's others, which would be stopped if they were dropped.
    read_only: Vec<RecvStream>,
    drips: JoinSet<()>,
}

/// How the last response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    AsItComes,
    InSips,
    NotAtAll,
}

/// The connection has ended.
struct Over;

impl Attack {
    async fn play(&mut self, row: &Row) -> Outcome {
        let own_control = row.steps.iter().any(|step| match step {
            Step::OneWay(bytes, _) | Step::DripOneWay(bytes) => is_control(bytes),
            _ => false,
        });
        if !own_control {
            drop(self.one_way(&CONTROL, End::Open).await);
        }
        for step in &row.steps {
            if self.step(step).await.is_err() {
                break;
            }
        }
        match row.expect {
            Expect::Close(_) => self.closed().await,
            Expect::Status(_) | Expect::Reset(_) => match self.responses.pop() {
                Some(response) => self.answered(response).await,
                None => self.closed().await,
            },
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Over> {
        match step {
            Step::OneWay(bytes, end) => self.one_way(bytes, *end).await,
            Step::Request(pieces, end) => self.request(pieces, *end).await,
            Step::Datagram(frame) => {
                let sent = self.connection.send_datagram(frame.clone().into());
                sent.map_err(|_closed| Over)
            }
            Step::StopControl => {
                let mut control = self.connection.accept_uni().await.map_err(|_closed| Over)?;
                control.stop(0_u32.into()).map_err(|_closed| Over)
            }
            Step::Answers(expected) => self.answers(expected).await,
            Step::Deaf => Ok(()),
            Step::Pings(count) => {
                while self.connection.stats().frame_tx.ping < *count {
                    tokio::time::sleep(PING_INTERVAL).await;
                }
                Ok(())
            }
            Step::Open(count) => {
                for _ in 0..*count {
                    let opened = self.connection.open_bi().await.map_err(|_closed| Over)?;
                    self.open.push(opened.0);
                    self.responses.push(opened.1);
                }
                Ok(())
            }
            Step::Drip(at_once, then) => {
                let (mut send, receive) =
                    self.connection.open_bi().await.map_err(|_closed| Over)?;
                drop(send.write_all(at_once).await);
                self.responses.push(receive);
                self.drips.spawn(drip(send, then.clone()));
                Ok(())
            }
            Step::DripOneWay(bytes) => {
                let send = self.connection.open_uni().await.map_err(|_closed| Over)?;
                self.drips.spawn(drip(send, bytes.clone()));
                Ok(())
            }
            Step::Unread(bytes) => {
                self.taken = Taken::NotAtAll;
                self.request(std::slice::from_ref(bytes), End::Finished)
                    .await
            }
            Step::Sip(bytes) => {
                self.taken = Taken::InSips;
                self.request(std::slice::from_ref(bytes), End::Finished)
                    .await
            }
        }
    }

    /// Reads what the gateway's decoder stream says.
    async fn answers(&mut self, expected: &[u8]) -> Result<(), Over> {
        while self.decoder.is_none() {
            let mut stream = self.connection.accept_uni().await.map_err(|_closed| Over)?;
            let mut kind = [0];
            stream.read_exact(&mut kind).await.map_err(|_closed| Over)?;
            if kind == [3] {
                self.decoder = Some(stream);
            } else {
                self.read_only.push(stream);
            }
        }
        let mut said = vec![0; expected.len()];
        let decoder = self.decoder.as_mut().unwrap();
        let read = decoder.read_exact(&mut said).await;
        read.map_err(|_closed| Over)?;
        assert_eq!(said, expected);
        Ok(())
    }

    async fn one_way(&mut self, bytes: &[u8], end: End) -> Result<(), Over> {
        let mut stream = self.connection.open_uni().await.map_err(|_closed| Over)?;
        drop(stream.write_all(bytes).await);
        if end == End::Reset {
            // What was written has to come before the reset, which would take its place.
            self.round_trip().await?;
        }
        finish(&mut stream, end);
        self.open.push(stream);
        Ok(())
    }

    async fn request(&mut self, pieces: &[Vec<u8>], end: End) -> Result<(), Over> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|_closed| Over)?;
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                self.round_trip().await?;
            }
            drop(send.write_all(piece).await);
        }
        if end == End::Stopped {
            drop(send.finish());
            drop(receive.stop(Code::RequestCancelled.value().into()));
        } else {
            finish(&mut send, end);
        }
        self.open.push(send);
        self.responses.push(receive);
        Ok(())
    }

    /// Waits until everything that was sent has come: its own datagram went out behind it.
    async fn round_trip(&self) -> Result<(), Over> {
        let before = self.connection.stats().frame_rx.acks;
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|_closed| Over)?;
        drop(send.write_all(&get(&[("x-round-trip", "")])).await);
        drop(send.finish());
        drop(receive.read_to_end(1 << 16).await);
        assert!(self.connection.stats().frame_rx.acks >= before);
        Ok(())
    }

    async fn closed(&self) -> Outcome {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                Outcome::Close(close.error_code.into_inner())
            }
            other => panic!("{other}"),
        }
    }

    async fn answered(&self, mut response: RecvStream) -> Outcome {
        if self.taken == Taken::NotAtAll {
            return match response.received_reset().await {
                Ok(Some(code)) => Outcome::Reset(code.into_inner()),
                Ok(None) => panic!("nobody could have acknowledged it"),
                Err(_) => self.closed().await,
            };
        }
        let mut received = Vec::new();
        loop {
            if self.taken == Taken::InSips {
                tokio::time::sleep(OFTEN).await;
            }
            match response.read_chunk(4 << 10, true).await {
                Ok(Some(chunk)) => received.extend_from_slice(&chunk.bytes),
                Ok(None) => return Outcome::Status(status(&received)),
                Err(ReadError::Reset(code)) => return Outcome::Reset(code.into_inner()),
                Err(_) => return self.closed().await,
            }
        }
    }
}

/// Sends byte by byte until nobody wants them any more.
async fn drip(mut stream: SendStream, bytes: Vec<u8>) {
    for byte in bytes {
        tokio::time::sleep(OFTEN).await;
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

fn is_control(bytes: &[u8]) -> bool {
    let len = bytes.first().map_or(0, |first| 1 << (first >> 6));
    len > 0
        && bytes.len() >= len
        && bytes[0].trailing_zeros() >= 6
        && bytes[1..len].iter().all(|b| *b == 0)
}

fn finish(stream: &mut SendStream, end: End) {
    match end {
        End::Open | End::Stopped => {}
        End::Finished => drop(stream.finish()),
        End::Reset => drop(stream.reset(Code::RequestCancelled.value().into())),
    }
}

/// The status of the last header section that is no interim one (RFC 9204, appendix A).
fn status(response: &[u8]) -> u16 {
    let mut rest = response;
    loop {
        let (kind, after) = number(rest);
        let (len, after) = number(after);
        let (payload, next) = after.split_at(usize::try_from(len).unwrap());
        rest = next;
        assert_eq!(kind, 1, "HEADERS come first");
        let status = match payload {
            [0, 0, 0x5f, 9, 3, digits @ ..] => digits[..3]
                .iter()
                .fold(0, |status, digit| status * 10 + u16::from(*digit - b'0')),
            [0, 0, 0x5f, 9, 0x82, a, b, ..] => huffman_digits(&[*a, *b]),
            [0, 0, 0xff, more, ..] => match 63 + more {
                63 => 100,
                64 => 204,
                67 => 400,
                68 => 403,
                71 => 500,
                other => panic!("static entry {other}"),
            },
            [0, 0, 0xd9, ..] => 200,
            [0, 0, 0xdb, ..] => 404,
            [0, 0, 0xdc, ..] => 503,
            other => panic!("{other:x?}"),
        };
        if status >= 200 {
            return status;
        }
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

fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let len = 1 << (bytes[0] >> 6);
    let value = bytes[1..len]
        .iter()
        .fold(u64::from(bytes[0] & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    (value, &bytes[len..])
}

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two bytes of a client that takes its time: less than would count as standing still.
const OFTEN: Duration = Duration::from_millis(100);
/// What a client takes of a response that it does not read.
const WINDOW: u32 = 64 << 10;
const DEAF_WINDOW: u32 = 1024;
/// Between a client's last packet and its PING, where it floods.
const PING_INTERVAL: Duration = Duration::from_millis(1);
