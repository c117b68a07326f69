use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use http::{Method, Request};
use tokio_util::sync::CancellationToken;

use super::tally::{Direction, Failure, Moves, Recovery, Tally};
use crate::bridge::pattern;
use crate::client::{Client, ClientError};
use crate::request::Body;
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
    role: Role,
    work: Arc<Work>,
    recovery: Recovery,
    seed: usize,
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
    pub(super) fn new(client: Client, role: Role, number: usize, work: Arc<Work>) -> Self {
        Self {
            client,
            role,
            recovery: Recovery::new(work.delay),
            work,
            seed: number,
        }
    }

    /// Sends a request before anything moves, which confirms the handshake (RFC 9001, section
    /// 4.1.2).
    pub(super) async fn warm_up(&self) -> Result<(), ClientError> {
        let mut response = self.client.send(download(SMALL, 0)).await?;
        response.body_mut().collect(SMALL).await?;
        Ok(())
    }

    /// Repeats its request until told to stop, then closes the connection.
    ///
    /// HTTP/3 requests are sent once; when one fails, the next goes out on the same connection. A
    /// TCP client connects again and repeats the request from its start until it succeeds.
    pub(super) async fn run(mut self) {
        let stop = self.work.stop.clone();
        while !stop.is_cancelled() {
            self.seed = (self.seed + 1) % SEEDS;
            loop {
                self.work.tally.sent();
                let Err(failure) = self.attempt().await else {
                    break;
                };
                self.work.tally.failed(failure);
                if stop.is_cancelled() || !self.again().await {
                    break;
                }
            }
        }
        self.client.close().await;
    }

    /// Makes ready for another attempt at the same request, if this transport has any.
    async fn again(&mut self) -> bool {
        let Client::Http2(client) = &mut self.client else {
            tokio::time::sleep(PAUSE).await;
            return false;
        };
        while !self.work.stop.is_cancelled() {
            if client.reconnect().await.is_ok() {
                self.work.tally.reconnected();
                return true;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        false
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
    let mut response = client
        .send(request)
        .await
        .map_err(|error| Failure::Lost(describe(&error)))?;
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
    request(Method::POST, &uri, Body::full(bytes.clone()))
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
fn describe(error: &dyn Error) -> String {
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
/// After a refused connection; short, because a TCP client that waits would only look worse.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
