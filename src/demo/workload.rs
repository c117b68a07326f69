use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use http::{Method, Request};
use tokio_util::sync::CancellationToken;

use super::plan::Event;
use super::tally::{Direction, Failure, Moves, Recovery, Tally};
use crate::bridge::pattern;
use crate::client::{Client, ClientError, Patience, Target};
use crate::request::{Body, Protocol};
use crate::testbed::now;

/// What a client does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Downloads of 256 KiB.
    Download,
    /// Uploads of 256 KiB.
    Upload,
    /// Downloads of 64 bytes.
    Small,
}

/// What all clients of one transport share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) tally: Tally,
    moves: Arc<Moves>,
    samples: Arc<Samples>,
    delay: Duration,
    deadline: Duration,
    stop: CancellationToken,
}

/// One client that repeats one kind of request.
#[derive(Debug)]
pub(super) struct Worker {
    client: Client,
    dial: Arc<Dial>,
    role: Role,
    work: Arc<Work>,
    recovery: Recovery,
    seed: usize,
}

/// Whom a client connects to, and how.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) target: Target,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) patience: Patience,
}

impl Dial {
    /// Makes a connection, and sends a request that is not counted: its response confirms the
    /// handshake (RFC 9001, section 4.1.2), before which the client must not move.
    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Client, ClientError> {
        let client = Client::connect(protocol, &self.target, &self.tls, self.patience).await?;
        let mut response = client.send(download(SMALL, 0)).await?;
        response.body_mut().collect(SMALL).await?;
        Ok(client)
    }
}

impl Work {
    /// `delay` is the relay's, one way; a request that takes longer than `deadline` is lost; `stop`
    /// ends the clients, each after its request.
    pub(super) fn new(
        moves: Arc<Moves>,
        samples: Arc<Samples>,
        delay: Duration,
        deadline: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self {
            tally: Tally::default(),
            moves,
            samples,
            delay,
            deadline,
            stop,
        }
    }
}

impl Worker {
    /// `number` tells the workers of a transport apart: neighbours never ask for the same bytes.
    pub(super) fn new(
        client: Client,
        dial: Arc<Dial>,
        role: Role,
        number: usize,
        work: Arc<Work>,
    ) -> Self {
        Self {
            client,
            dial,
            role,
            recovery: Recovery::new(work.delay),
            work,
            seed: number,
        }
    }

    /// Repeats its request until told to stop, then closes the connection.
    ///
    /// An HTTP/3 client that was told to go connects again, and sends there what was not processed.
    /// Otherwise its requests are sent once, and when one fails the next goes out on the same
    /// connection; but after a node was killed, a request that fails is sent once more on a new one.
    /// A TCP client connects again and repeats the request from its start until it succeeds.
    pub(super) async fn run(mut self) {
        let stop = self.work.stop.clone();
        while !stop.is_cancelled() {
            self.seed = (self.seed + 1) % SEEDS;
            self.work.tally.sent();
            let mut retried = false;
            while let Err(failure) = self.attempt().await {
                match self.course(&failure, retried) {
                    Course::SendAgain(event) => {
                        if !self.reconnect(event).await {
                            self.work.tally.failed(failure, event);
                            break;
                        }
                    }
                    Course::Retry(event) => {
                        self.work.tally.retried(event);
                        self.work.tally.sent();
                        retried = true;
                        if !self.reconnect(Some(event)).await {
                            self.work.tally.failed(failure, Some(event));
                            break;
                        }
                    }
                    Course::Repeat => {
                        let last = self.work.moves.last();
                        self.work.tally.failed(failure, last);
                        if stop.is_cancelled() || !self.reconnect(last).await {
                            break;
                        }
                        self.work.tally.sent();
                    }
                    Course::GiveUp => {
                        self.work.tally.failed(failure, self.work.moves.last());
                        tokio::time::sleep(PAUSE).await;
                        break;
                    }
                }
            }
        }
        self.client.close().await;
    }

    fn course(&self, failure: &Failure, retried: bool) -> Course {
        let moves = &self.work.moves;
        match (&self.client, failure) {
            (Client::Http2(_), _) => Course::Repeat,
            (Client::Http3(_), Failure::Unprocessed(_)) => {
                Course::SendAgain(moves.last_of(Event::sends_clients_away))
            }
            (Client::Http3(_), _) if moves.last() == Some(Event::Kill) && !retried => {
                Course::Retry(Event::Kill)
            }
            (Client::Http3(_), _) => Course::GiveUp,
        }
    }

    /// Connects again, as often as it takes: a handshake that a move falls into cannot succeed, and
    /// that is known only when it takes too long. Answers whether it succeeded before its time was
    /// over.
    async fn reconnect(&mut self, after: Option<Event>) -> bool {
        let protocol = match self.client {
            Client::Http3(_) => Protocol::Http3,
            Client::Http2(_) => Protocol::Http2,
        };
        let connecting = async {
            loop {
                let attempt = tokio::time::timeout(RECONNECT_LIMIT, self.dial.connect(protocol));
                match attempt.await {
                    Ok(Ok(client)) => return client,
                    Ok(Err(_)) => tokio::time::sleep(RECONNECT_PAUSE).await,
                    Err(_elapsed) => {}
                }
            }
        };
        let Ok(client) = tokio::time::timeout(self.work.deadline, connecting).await else {
            return false;
        };
        self.client = client;
        self.work.tally.reconnected(after);
        true
    }

    async fn attempt(&mut self) -> Result<(), Failure> {
        let _guard = (self.role != Role::Small).then(|| self.work.tally.body_in_flight());
        let limit = self.work.deadline;
        let exchange = exchange(
            &self.client,
            self.role,
            self.seed,
            &self.work,
            &mut self.recovery,
        );
        let late = |_elapsed| Err(Failure::Lost(format!("no end after {limit:?}")));
        let attempt = tokio::time::timeout(limit, exchange).await;
        let (direction, bytes) = attempt.unwrap_or_else(late)?;
        self.work.tally.answered(direction, bytes);
        Ok(())
    }
}

async fn exchange(
    client: &Client,
    role: Role,
    seed: usize,
    work: &Work,
    recovery: &mut Recovery,
) -> Result<(Direction, u64), Failure> {
    let sample = &work.samples.0[seed];
    let request = match role {
        Role::Download => download(LARGE, seed),
        Role::Upload => upload(&sample.bytes),
        Role::Small => download(SMALL, seed),
    };
    let mut response = client.send(request).await.map_err(|error| {
        let reason = describe(&error);
        if error.is_unprocessed() {
            Failure::Unprocessed(reason)
        } else {
            Failure::Lost(reason)
        }
    })?;
    if !response.status().is_success() {
        return Err(Failure::Lost(response.status().to_string()));
    }
    recovery.arrived(now(), &work.moves, &work.tally);
    match role {
        Role::Download | Role::Small => {
            let expected = if role == Role::Small {
                &sample.small
            } else {
                &sample.large
            };
            let mut hash = Context::new(&SHA256);
            while let Some(chunk) = response
                .body_mut()
                .chunk()
                .await
                .map_err(|error| truncated(&error))?
            {
                recovery.arrived(now(), &work.moves, &work.tally);
                hash.update(&chunk);
            }
            let received = response.body().progress().received;
            let matches = hash.finish().as_ref() == expected.as_slice();
            check(matches, "the hash of the download").map(|()| (Direction::Down, received))
        }
        Role::Upload => {
            let answer = response
                .body_mut()
                .collect(MAX_ANSWER)
                .await
                .map_err(|error| truncated(&error))?;
            check(confirms(&answer, &sample.large), "the hash of the upload")
                .map(|()| (Direction::Up, LARGE as u64))
        }
    }
}

/// What follows a request that failed.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// It was not processed: it goes out on a new connection as if for the first time.
    SendAgain(Option<Event>),
    /// It is sent once more, and that is counted.
    Retry(Event),
    /// It is lost and repeated.
    Repeat,
    /// It is lost.
    GiveUp,
}

/// The bodies that are sent and expected, made and hashed before the clock runs.
#[derive(Debug)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    bytes: Bytes,
    large: Vec<u8>,
    small: Vec<u8>,
}

impl Samples {
    pub(super) fn make() -> Self {
        let sample = |seed| {
            let mut bytes = vec![0; LARGE];
            pattern(seed, 0, &mut bytes);
            let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
            Sample {
                large: hash(&bytes),
                small: hash(&bytes[..SMALL]),
                bytes: bytes.into(),
            }
        };
        Self((0..SEEDS as u64).map(sample).collect())
    }
}

fn download(bytes: usize, seed: usize) -> Request<Body> {
    let uri = format!("https://{SERVICE_NAME}/bytes/{bytes}?seed={seed}");
    request(Method::GET, &uri, Body::empty())
}

fn upload(bytes: &Bytes) -> Request<Body> {
    let uri = format!("https://{SERVICE_NAME}/upload");
    request(Method::PUT, &uri, Body::full(bytes.clone()))
}

fn request(method: Method, uri: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .expect("the URI is valid")
}

/// Whether an origin's answer to an upload says that it got these bytes.
fn confirms(answer: &[u8], sha256: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Confirmation {
        bytes: u64,
        sha256: String,
    }
    serde_json::from_slice(answer).is_ok_and(|confirmation: Confirmation| {
        let confirmed = confirmation.sha256.to_ascii_lowercase();
        let expected = sha256.iter().flat_map(|byte| hex(*byte));
        confirmation.bytes == LARGE as u64 && confirmed.bytes().eq(expected)
    })
}

/// The two lower-case digits of a byte.
fn hex(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)])
}

fn check(matches: bool, what: &str) -> Result<(), Failure> {
    if matches {
        return Ok(());
    }
    Err(Failure::Truncated(format!("{what} is wrong")))
}

fn truncated(error: &ClientError) -> Failure {
    Failure::Truncated(describe(error))
}

/// An error with its causes.
pub(super) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The name in the demo's certificate.
pub(super) const SERVICE_NAME: &str = "demo.test";
/// Short enough that TCP, which starts again after each move, still gets through.
const LARGE: usize = 256 << 10;
const SMALL: usize = 64;
const SEEDS: usize = 16;
const MAX_ANSWER: usize = 1024;
/// After a failed HTTP/3 request, so that a dead connection is not asked a million times.
const PAUSE: Duration = Duration::from_millis(50);
/// A handshake that takes longer was broken by a move: it is four times the pause between two.
const RECONNECT_LIMIT: Duration = Duration::from_secs(1);
/// After a refused connection; short, because a TCP client that waits would only look worse.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
