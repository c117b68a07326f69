//! Transfers in both directions that stop halfway until the test goes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use wayhold::bridge::pattern;
use wayhold::client::{
    ClientError, Http3Client, Patience, ResponseBody, Target, Trust, tls_config,
};
use wayhold::request::{Body, BodyError};

use crate::stage::{Directory, PATIENCE};

/// Connects with the certificate of a directory.
pub(crate) async fn connect(directory: &Directory, target: &Target) -> Http3Client {
    try_connect(directory, target).await.unwrap()
}

pub(crate) async fn try_connect(
    directory: &Directory,
    target: &Target,
) -> Result<Http3Client, ClientError> {
    let tls = tls_config(&Trust::File(directory.file("tls.pem"))).unwrap();
    Http3Client::connect(target, &tls, Patience::default()).await
}

pub(crate) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .body(body)
        .unwrap()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::empty())
}

/// The response as text.
pub(crate) async fn text(client: &Http3Client, path: &str) -> String {
    let mut response = client.send(get(path)).await.unwrap();
    let body = response.body_mut().collect(1 << 20).await.unwrap();
    String::from_utf8(body).unwrap()
}

/// SHA-256 of the pattern, in hex.
pub(crate) fn digest(seed: u64, len: usize) -> String {
    let mut bytes = vec![0; len];
    pattern(seed, 0, &mut bytes);
    sha256(&bytes)
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        hex.extend([byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap()));
    }
    hex
}

/// A download of which only the beginning was read; flow control holds the rest back.
pub(crate) struct Download {
    response: Response<ResponseBody>,
    seed: u64,
    expected: u64,
    received: u64,
}

impl Download {
    pub(crate) async fn begin(client: &Http3Client, seed: u64, len: u64) -> Self {
        let path = format!("/bytes/{len}?seed={seed}");
        let response = client.send(get(&path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut begun = Self {
            response,
            seed,
            expected: len,
            received: 0,
        };
        assert!(begun.take().await, "the body is in flight");
        begun
    }

    /// Reads a piece and compares it; false at the end.
    pub(crate) async fn take(&mut self) -> bool {
        let Some(chunk) = self.response.body_mut().chunk().await.unwrap() else {
            return false;
        };
        let mut expected = vec![0; chunk.len()];
        pattern(self.seed, self.received, &mut expected);
        assert!(chunk == expected, "at {}", self.received);
        self.received += u64::try_from(chunk.len()).unwrap();
        true
    }

    /// Reads on to this many bytes.
    pub(crate) async fn read_to(&mut self, bytes: u64) {
        while self.received < bytes {
            assert!(self.take().await, "ended at {}", self.received);
        }
    }

    pub(crate) async fn finish(mut self) {
        while self.take().await {}
        assert_eq!(self.received, self.expected);
    }
}

/// An upload whose body is sent as the test says.
pub(crate) struct Upload<'a> {
    pieces: mpsc::Sender<Bytes>,
    response: Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send + 'a>>,
    seed: u64,
    sent: usize,
}

impl<'a> Upload<'a> {
    pub(crate) fn begin(client: &'a Http3Client, seed: u64) -> Self {
        let (pieces, queue) = mpsc::channel(1);
        let body = Body::new(Pieces(queue));
        let response = async move {
            let request = request(Method::POST, "/upload", body);
            client.send(request).await.unwrap()
        };
        Self {
            pieces,
            response: Box::pin(response),
            seed,
            sent: 0,
        }
    }

    /// Sends the next bytes of the pattern.
    pub(crate) async fn send(&mut self, bytes: usize) {
        let end = self.sent + bytes;
        while self.sent < end {
            let mut piece = vec![0; (end - self.sent).min(PIECE)];
            pattern(self.seed, self.sent as u64, &mut piece);
            self.sent += piece.len();
            tokio::select! {
                taken = self.pieces.send(piece.into()) => taken.unwrap(),
                response = &mut self.response => panic!("ended early with {}", response.status()),
            }
        }
    }

    /// Ends the body and compares what arrived.
    pub(crate) async fn finish(self) {
        drop(self.pieces);
        let response = tokio::time::timeout(PATIENCE, self.response).await;
        let mut response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.body_mut().collect(1000).await.unwrap();
        let seen: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(seen["bytes"], self.sent);
        assert_eq!(seen["sha256"], digest(self.seed, self.sent));
    }
}

/// A body that comes through a channel.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

const PIECE: usize = 64 << 10;
