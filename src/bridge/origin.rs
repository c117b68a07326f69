use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};

use crate::request::{Body, BodyError, ClientFacts, Handler, RequestError};

/// The built-in stateless backend, which answers where no route is configured.
///
/// - `GET /` names the client's address and protocol.
/// - `GET /bytes/{n}?seed={s}` streams `n` bytes, at most 1 GiB, of [`pattern`] with the seed `s`,
///   default 0, which it repeats in `x-seed`.
/// - `POST` or `PUT /upload` reads the body and answers `{"bytes":N,"sha256":"HEX"}`.
/// - `POST` or `PUT /echo` sends the body back as it arrives, with its trailers.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Origin;

impl Origin {
    /// Makes the origin; every one is the same.
    pub fn new() -> Self {
        Self
    }
}

impl Handler for Origin {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        if *request.method() == Method::CONNECT {
            return Err(RequestError::NotImplemented);
        }
        let path = request.uri().path();
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        let write = matches!(*request.method(), Method::POST | Method::PUT);
        Ok(match path {
            "/" if read => text(StatusCode::OK, &greeting(&client)),
            "/upload" if write => return upload(request.into_body()).await,
            "/echo" if write => echo(request),
            "/" => refuse_method("GET, HEAD"),
            "/upload" | "/echo" => refuse_method("POST, PUT"),
            _ => match path.strip_prefix("/bytes/") {
                Some(count) if read => bytes(count, request.uri().query()),
                Some(_) => refuse_method("GET, HEAD"),
                None => text(StatusCode::NOT_FOUND, "nothing here\n"),
            },
        })
    }
}

/// Fills `buffer` with the bytes from `offset` on of the endless sequence that `seed` names.
///
/// The sequence is a hash of the position, eight bytes at a time: it tells a byte that is lost,
/// repeated or out of place, any slice of it can be checked alone, and it hides nothing.
pub fn pattern(seed: u64, offset: u64, buffer: &mut [u8]) {
    let mut index = offset / 8;
    let skip = usize::try_from(offset % 8).unwrap_or_default();
    let (head, body) = buffer.split_at_mut(buffer.len().min((8 - skip) % 8));
    if !head.is_empty() {
        head.copy_from_slice(&word(seed, index)[skip..skip + head.len()]);
        index += 1;
    }
    for piece in body.chunks_mut(8) {
        piece.copy_from_slice(&word(seed, index)[..piece.len()]);
        index += 1;
    }
}

/// One step of the `SplitMix64` generator, little-endian.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

fn greeting(client: &ClientFacts) -> String {
    format!(
        "wayhold: you are {} over {}\n",
        client.address, client.protocol
    )
}

fn bytes(count: &str, query: Option<&str>) -> Response<Body> {
    let seed = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("seed="))
        .map_or(Ok(0), str::parse);
    match (count.parse(), seed) {
        (Ok(count @ 0..=MAX_BYTES), Ok(seed)) => {
            let mut response = Response::new(Body::new(Sequence {
                seed,
                offset: 0,
                end: count,
            }));
            let fields = response.headers_mut();
            fields.insert(header::CONTENT_LENGTH, count.into());
            fields.insert(header::CONTENT_TYPE, OCTETS);
            fields.insert(HeaderName::from_static("x-seed"), seed.into());
            response
        }
        _ => text(
            StatusCode::BAD_REQUEST,
            "count is 0 to 1073741824, seed is 64 bits\n",
        ),
    }
}

async fn upload(mut body: Body) -> Result<Response<Body>, RequestError> {
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut count = 0_u64;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            count += u64::try_from(data.len()).unwrap_or(u64::MAX);
            digest.update(&data);
        }
    }
    let mut answer = format!("{{\"bytes\":{count},\"sha256\":\"");
    for byte in digest.finish().as_ref() {
        write!(answer, "{byte:02x}").expect("a string takes every write");
    }
    answer.push_str("\"}\n");
    let mut response = text(StatusCode::OK, &answer);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn echo(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body);
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRAILER,
    ] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn refuse_method(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_LENGTH, text.len().into());
    fields.insert(header::CONTENT_TYPE, TEXT);
    let mut response = Response::new(Body::full(text.to_owned()));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// The bytes of [`pattern`] from `offset` to `end`.
#[derive(Debug)]
struct Sequence {
    seed: u64,
    offset: u64,
    end: u64,
}

impl http_body::Body for Sequence {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let left = self.end - self.offset;
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        pattern(self.seed, self.offset, &mut chunk);
        self.offset += u64::try_from(chunk.len()).unwrap_or(left);
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.offset)
    }
}

const MAX_BYTES: u64 = 1 << 30;

/// Large enough that the cost of a piece does not show, small enough to interleave streams.
const CHUNK: usize = 32 << 10;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;

    async fn ask(method: &str, target: &str, body: Body) -> Response<Body> {
        let request = Request::builder().method(method).uri(target).body(body);
        let address = "192.0.2.7:5000".parse().unwrap();
        let client = ClientFacts::new(Arc::default(), address, address);
        Origin::new()
            .handle(request.unwrap(), client)
            .await
            .unwrap()
    }

    async fn read(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[test]
    fn every_slice_of_the_pattern_can_be_made_alone() {
        let mut whole = [0; 100];
        pattern(7, 0, &mut whole);
        for start in 0..30 {
            for length in 0..30 {
                let mut slice = vec![0; length];
                pattern(7, start as u64, &mut slice);
                assert_eq!(slice, whole[start..start + length], "{start} {length}");
            }
        }
        let mut other = [0; 100];
        pattern(8, 0, &mut other);
        assert_ne!(whole, other);
    }

    #[tokio::test]
    async fn bytes_are_the_pattern_of_their_seed() {
        let response = ask("GET", "/bytes/100000?x=1&seed=42", Body::empty()).await;
        assert_eq!(response.headers()["x-seed"], "42");
        assert_eq!(response.headers()["content-length"], "100000");
        let mut expected = vec![0; 100_000];
        pattern(42, 0, &mut expected);
        assert_eq!(read(response).await, expected);
    }

    #[tokio::test]
    async fn an_upload_is_counted_and_hashed() {
        let response = ask("POST", "/upload", Body::full("abc")).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(
            read(response).await,
            "{\"bytes\":3,\"sha256\":\"ba7816bf8f01cfea414140de5dae2223\
             b00361a396177a9cb410ff61f20015ad\"}\n"
        );
    }

    #[tokio::test]
    async fn an_echo_is_what_was_sent() {
        assert_eq!(
            read(ask("PUT", "/echo", Body::full("abc")).await).await,
            "abc"
        );
    }

    #[tokio::test]
    async fn other_requests_get_their_status() {
        for (method, target, status) in [
            ("GET", "/", 200),
            ("POST", "/", 405),
            ("GET", "/echo", 405),
            ("GET", "/upload", 405),
            ("POST", "/bytes/1", 405),
            ("GET", "/bytes/1073741824", 200),
            ("GET", "/bytes/1073741825", 400),
            ("GET", "/bytes/-1", 400),
            ("GET", "/bytes/1?seed=x", 400),
            ("GET", "/other", 404),
        ] {
            let response = ask(method, target, Body::empty()).await;
            assert_eq!(response.status(), status, "{method} {target}");
        }
        let greeting = read(ask("GET", "/", Body::empty()).await).await;
        assert_eq!(greeting, "wayhold: you are 192.0.2.7:5000 over h3\n");
    }
}
