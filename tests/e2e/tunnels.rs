//! Claims about tunnels, which extended CONNECT opens (RFC 8441; RFC 9220).

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use quinn::{RecvStream, VarInt};
use tokio::time::timeout;
use wayhold::request::{Body, ClientFacts, ConnectProtocol, Handler, RequestError};

use crate::raw::{CONTROL, DATA, Ended, HEADERS, Raw, ended, frame, head, status, take_varint};
use crate::stage::{PATIENCE, Solo, until};

const H3_REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// Sends back what comes through a tunnel for the protocol `echo`.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl Handler for Echo {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let protocol = request.extensions().get::<ConnectProtocol>();
        if protocol.is_none_or(|protocol| protocol.as_str() != "echo") {
            return Err(RequestError::NotImplemented);
        }
        assert_eq!(*request.method(), Method::CONNECT);
        assert_eq!(request.uri(), "https://localhost/chat?a=b");
        let mut response = Response::new(request.into_body());
        *response.status_mut() = StatusCode::OK;
        Ok(response)
    }
}

/// Reads frames off a response stream.
pub(crate) struct Frames {
    stream: RecvStream,
    held: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            held: Vec::new(),
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> (u64, Vec<u8>) {
        let next = timeout(PATIENCE, self.frame()).await;
        next.unwrap().unwrap().expect("the stream ended")
    }

    /// The payload of the next frame of content; nothing at the end, and an error if it was reset.
    pub(crate) async fn piece(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let frame = self.frame().await?;
        Ok(frame.map(|(kind, payload)| {
            assert_eq!(kind, DATA);
            payload
        }))
    }

    async fn frame(&mut self) -> Result<Option<(u64, Vec<u8>)>, ()> {
        loop {
            if let Some((kind, payload, used)) = whole_frame(&self.held) {
                self.held.drain(..used);
                return Ok(Some((kind, payload)));
            }
            let piece = self.stream.read_chunk(1 << 16, true).await.map_err(drop)?;
            let Some(chunk) = piece else {
                assert!(self.held.is_empty(), "the stream ended within a frame");
                return Ok(None);
            };
            self.held.extend_from_slice(&chunk.bytes);
        }
    }
}

fn whole_frame(bytes: &[u8]) -> Option<(u64, Vec<u8>, usize)> {
    let varint = |bytes: &[u8]| {
        let len = 1 << (bytes.first()? >> 6);
        (bytes.len() >= len).then(|| (take_varint(bytes).0, len))
    };
    let (kind, first) = varint(bytes)?;
    let (len, second) = varint(&bytes[first..])?;
    let begin = first + second;
    let end = begin + usize::try_from(len).unwrap();
    (bytes.len() >= end).then(|| (kind, bytes[begin..end].to_vec(), end))
}

fn open(protocol: &str) -> Vec<u8> {
    head("CONNECT", "/chat?a=b", &[(":protocol", protocol)])
}

async fn start() -> (Solo, Raw) {
    let solo = Solo::start("", Echo).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    (solo, raw)
}

#[tokio::test]
async fn extended_connect_opens_a_tunnel_over_http3() {
    let (solo, raw) = start().await;
    let (mut send, receive) = raw.begin(&open("echo")).await;
    let mut frames = Frames::new(receive);
    assert_eq!(frames.next().await.0, HEADERS);
    assert_eq!(solo.node.metrics.connect_tunnels.get(), 1);
    for piece in [&b"one"[..], b"two"] {
        send.write_all(&frame(DATA, piece)).await.unwrap();
        assert_eq!(frames.next().await, (DATA, piece.to_vec()));
    }
    send.finish().unwrap();
    assert_eq!(ended(frames.stream).await, Ended::Cleanly(vec![]));
    until(|| solo.node.metrics.connect_tunnels.get() == 0).await;
    assert_eq!(solo.node.failed("client_gone"), 0);
}

#[tokio::test]
async fn a_tunnel_that_its_client_resets_is_reset() {
    let (solo, raw) = start().await;
    let (mut send, receive) = raw.begin(&open("echo")).await;
    let mut frames = Frames::new(receive);
    assert_eq!(frames.next().await.0, HEADERS);
    send.reset(H3_REQUEST_CANCELLED).unwrap();
    let cancelled = Ended::Reset(H3_REQUEST_CANCELLED.into_inner());
    assert_eq!(ended(frames.stream).await, cancelled);
    until(|| solo.node.failed("client_gone") == 1).await;
    assert_eq!(solo.node.metrics.connect_tunnels.get(), 0);
}

#[tokio::test]
async fn a_protocol_that_nobody_serves_is_not_implemented() {
    let (solo, raw) = start().await;
    let (_send, receive) = raw.begin(&open("other")).await;
    assert_eq!(
        timeout(Duration::from_secs(20), status(receive)).await,
        Ok(501)
    );
    assert_eq!(solo.node.metrics.connect_tunnels.get(), 0);
}
