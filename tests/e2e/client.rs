//! Claims about the HTTP/3 and HTTP/2 clients, against servers that are not wayhold.

use std::net::UdpSocket;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use wayhold::client::{
    ClientError, Http3Client, Patience, ResponseBody, Stage, TcpClient, Trust, tls_config,
};
use wayhold::request::{Body, BodyError, ClientFacts, Handler, RequestError};

use crate::plain::Plain;

/// `/echo` gives the body back, `/bytes` four megabytes; the others misbehave as they are called.
pub(crate) struct Odd;

impl Handler for Odd {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let response = Response::builder();
        let response = match request.uri().path() {
            "/echo" => response.body(request.into_body()),
            "/bytes" => response.body(Body::full(vec![7; BYTES])),
            "/early" => response.status(413).body(Body::full("early")),
            "/short" => response
                .header("content-length", "10")
                .body(four_then(Poll::Ready(None))),
            "/broken" => response.body(four_then(Poll::Ready(Some(BodyError::UpstreamGone)))),
            "/stalled" => response.body(four_then(Poll::Pending)),
            _ => std::future::pending().await,
        };
        Ok(response.unwrap())
    }
}

pub(crate) const BYTES: usize = 4 << 20;

/// A body of the word "four" and how it ends, if it does.
struct Four {
    sent: bool,
    end: Poll<Option<BodyError>>,
}

fn four_then(end: Poll<Option<BodyError>>) -> Body {
    Body::new(Four { sent: false, end })
}

impl http_body::Body for Four {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !std::mem::replace(&mut self.sent, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"four")))));
        }
        self.end.map(|error| error.map(Err))
    }
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::empty())
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://gw.test{path}"))
        .body(body)
        .unwrap()
}

fn impatient() -> Patience {
    Patience {
        response: Duration::from_millis(50),
        idle: Duration::from_millis(50),
        ..Patience::default()
    }
}

async fn http3(server: &Plain, patience: Patience) -> Http3Client {
    let tls = tls_config(&server.trust).unwrap();
    Http3Client::connect(&server.target(), &tls, patience)
        .await
        .unwrap()
}

async fn http2(server: &Plain, patience: Patience) -> TcpClient {
    let tls = tls_config(&server.trust).unwrap();
    TcpClient::connect(&server.target(), &tls, patience)
        .await
        .unwrap()
}

async fn rest(
    response: Result<Response<ResponseBody>, ClientError>,
) -> Result<Vec<u8>, ClientError> {
    response?.body_mut().collect(BYTES).await
}

#[tokio::test]
async fn a_body_comes_back_over_http3_and_http2() {
    let body = vec![3; 300_000];
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let echo = |body: &Vec<u8>| request(Method::POST, "/echo", Body::full(body.clone()));
    let response = client.send(echo(&body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(rest(Ok(response)).await.unwrap() == body);
    client.close().await;

    let server = Plain::http2(Odd).await;
    let client = http2(&server, Patience::default()).await;
    let response = client.send(echo(&body)).await.unwrap();
    assert!(rest(Ok(response)).await.unwrap() == body);
    client.close().await;
}

#[tokio::test]
async fn a_download_goes_on_when_the_client_rebinds() {
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let mut response = client.send(get("/bytes")).await.unwrap();
    let mut received = 0;
    let mut ports = vec![client.local_address().unwrap().port()];
    while let Some(chunk) = response.body_mut().chunk().await.unwrap() {
        let before = received / (1 << 20);
        received += chunk.len();
        if received / (1 << 20) > before {
            client
                .rebind(UdpSocket::bind("0.0.0.0:0").unwrap())
                .unwrap();
            ports.push(client.local_address().unwrap().port());
        }
    }
    assert_eq!(received, BYTES);
    assert_eq!(response.body().progress().received, BYTES as u64);
    ports.dedup();
    assert!(ports.len() > 4, "{ports:?}");
}

#[tokio::test]
async fn requests_share_one_connection() {
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let (one, two) = tokio::join!(client.send(get("/bytes")), client.send(get("/early")));
    assert_eq!(rest(two).await.unwrap(), b"early");
    assert_eq!(rest(one).await.unwrap().len(), BYTES);
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_received() {
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let never = request(Method::POST, "/early", four_then(Poll::Pending));
    let response = client.send(never).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(rest(Ok(response)).await.unwrap(), b"early");
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let short = rest(client.send(get("/short")).await).await;
    assert!(
        matches!(
            short,
            Err(ClientError::Length {
                announced: 10,
                received: 4
            })
        ),
        "{short:?}"
    );
    let broken = rest(client.send(get("/broken")).await).await;
    assert!(matches!(broken, Err(ClientError::Http3(_))), "{broken:?}");

    let server = Plain::http2(Odd).await;
    let client = http2(&server, Patience::default()).await;
    let broken = rest(client.send(get("/broken")).await).await;
    assert!(matches!(broken, Err(ClientError::Http2(_))), "{broken:?}");
}

#[tokio::test]
async fn every_wait_for_the_other_side_has_an_end() {
    let server = Plain::http3(Odd);
    let client = http3(&server, impatient()).await;
    let stalled = rest(client.send(get("/stalled")).await).await;
    assert_timed_out(stalled, Stage::Body);
    assert_timed_out(client.send(get("/silent")).await, Stage::Response);

    let server = Plain::http2(Odd).await;
    let client = http2(&server, impatient()).await;
    let stalled = rest(client.send(get("/stalled")).await).await;
    assert_timed_out(stalled, Stage::Body);
    assert_timed_out(client.send(get("/silent")).await, Stage::Response);

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Patience {
        connect: Duration::from_millis(50),
        ..Patience::default()
    };
    let tls = tls_config(&server.trust).unwrap();
    let nobody = crate::plain::target(silent.local_addr().unwrap());
    let connected = Http3Client::connect(&nobody, &tls, patience).await;
    assert_timed_out(connected, Stage::Connect);
}

fn assert_timed_out<T: std::fmt::Debug>(result: Result<T, ClientError>, expected: Stage) {
    match result {
        Err(ClientError::TimedOut { stage, .. }) => assert_eq!(stage, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_body_that_fails_fails_the_request() {
    let server = Plain::http3(Odd);
    let client = http3(&server, Patience::default()).await;
    let failing = four_then(Poll::Ready(Some(BodyError::TooLarge)));
    let failed = client.send(request(Method::POST, "/echo", failing)).await;
    assert!(
        matches!(failed, Err(ClientError::Source(BodyError::TooLarge))),
        "{failed:?}"
    );
}

#[tokio::test]
async fn only_trusted_certificates_are_accepted() {
    let server = Plain::http3(Odd);
    let other = Plain::http3(Odd);
    let tls = tls_config(&other.trust).unwrap();
    let refused = Http3Client::connect(&server.target(), &tls, Patience::default()).await;
    assert!(matches!(refused, Err(ClientError::Quic(_))), "{refused:?}");

    let tls = tls_config(&Trust::DangerousAnything).unwrap();
    let client = Http3Client::connect(&server.target(), &tls, Patience::default())
        .await
        .unwrap();
    assert_eq!(client.send(get("/bytes")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_tcp_client_resumes_when_it_reconnects() {
    let server = Plain::http2(Odd).await;
    let mut client = http2(&server, Patience::default()).await;
    assert!(!client.connected().resumed);
    assert_eq!(client.send(get("/bytes")).await.unwrap().status(), 200);
    client.reconnect().await.unwrap();
    assert!(client.connected().resumed);
    assert_eq!(client.send(get("/bytes")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn http2_is_not_mistaken_for_anything_else() {
    let server = Plain::http3(Odd);
    let tls = tls_config(&server.trust).unwrap();
    let refused = TcpClient::connect(&server.target(), &tls, Patience::default()).await;
    assert!(
        matches!(refused, Err(ClientError::Connect(_))),
        "{refused:?}"
    );
}

#[test]
fn a_file_without_certificates_is_refused() {
    let missing = Trust::File("does/not/exist.pem".into());
    let refused = tls_config(&missing);
    assert!(
        matches!(refused, Err(ClientError::Certificates { .. })),
        "{refused:?}"
    );
}
