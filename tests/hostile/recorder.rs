//! Backends that keep what they are sent.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::row::Message;

/// A backend of one protocol. It answers 200 without content, with a megabyte at `/large`, and says nothing
/// at all to `/forever`.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Log {
    seen: Vec<Recorded>,
    begun: usize,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) message: Message,
    /// Whether its end came too.
    pub(crate) whole: bool,
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

impl Recorder {
    pub(crate) async fn start(speaks: Speaks) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, speaks, Arc::clone(&log)));
        Self {
            address,
            log,
            _tasks: tasks,
        }
    }

    /// Takes everything that was sent so far, unless a request is still under way.
    pub(crate) fn take(&self) -> Option<Vec<Recorded>> {
        let mut log = self.log.lock().unwrap();
        (log.begun == log.seen.len()).then(|| {
            log.begun = 0;
            std::mem::take(&mut log.seen)
        })
    }
}

async fn accept(listener: TcpListener, speaks: Speaks, log: Arc<Mutex<Log>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let log = Arc::clone(&log);
        match speaks {
            Speaks::Http1 => connections.spawn(http1(stream, log)),
            Speaks::Http2 => connections.spawn(http2(stream, log)),
        };
    }
}

fn begin(log: &Mutex<Log>) {
    log.lock().unwrap().begun += 1;
}

fn end(log: &Mutex<Log>, message: Message, whole: bool) {
    log.lock().unwrap().seen.push(Recorded { message, whole });
}

/// Reads requests byte by byte, with nothing between the socket and the record.
async fn http1(mut stream: TcpStream, log: Arc<Mutex<Log>>) {
    loop {
        let mut head = Vec::new();
        if !read_until(&mut stream, &mut head, b"\r\n\r\n").await {
            return;
        }
        begin(&log);
        let (mut message, framing) = read_head(&head);
        let whole = read_content(&mut stream, framing, &mut message).await;
        let forever = message.target == "/forever";
        let length = length(&message);
        if forever {
            // Nothing comes any more until the gateway gives the request up.
            drop(stream.read(&mut [0]).await);
        }
        end(&log, message, whole && !forever);
        if !whole || forever {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let answer = [answer.into_bytes(), vec![b'x'; length]].concat();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// How long the response is.
fn length(message: &Message) -> usize {
    usize::from(message.target == "/large") << 20
}

enum Framing {
    Length(u64),
    Chunked,
}

/// Takes a head apart, and from it what the gateway itself has to say there.
fn read_head(head: &[u8]) -> (Message, Framing) {
    let head = head.strip_suffix(b"\r\n\r\n").unwrap();
    let mut lines = split(head, b"\r\n").into_iter();
    let start = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let parts: Vec<&str> = start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        panic!("{start:?}");
    };
    let mut message = Message::new(method, target);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap();
        let (name, value) = (&line[..colon], line[colon..].strip_prefix(b": ").unwrap());
        let name = String::from_utf8(name.to_vec()).unwrap();
        message.fields.push((name, value.to_vec()));
    }
    message.authority = take(&mut message, "host");
    take_forwarding(&mut message);
    if has(&message, "te") {
        assert_eq!(take(&mut message, "connection"), "te");
    }
    let framing = if has(&message, "transfer-encoding") {
        assert!(!has(&message, "content-length"), "{start}");
        assert_eq!(take(&mut message, "transfer-encoding"), "chunked");
        Framing::Chunked
    } else {
        let length = message
            .fields
            .iter()
            .find(|(name, _)| name == "content-length");
        let length = length.map_or("0", |(_, value)| std::str::from_utf8(value).unwrap());
        Framing::Length(length.parse().unwrap())
    };
    (message, framing)
}

async fn read_content(stream: &mut TcpStream, framing: Framing, message: &mut Message) -> bool {
    match framing {
        Framing::Length(length) => read_exactly(stream, &mut message.body, length).await,
        Framing::Chunked => loop {
            let mut line = Vec::new();
            if !read_until(stream, &mut line, b"\r\n").await {
                return false;
            }
            let size = std::str::from_utf8(&line).unwrap().trim_end();
            let size = u64::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return read_trailers(stream, message).await;
            }
            let mut ending = Vec::new();
            if !read_exactly(stream, &mut message.body, size).await
                || !read_exactly(stream, &mut ending, 2).await
            {
                return false;
            }
            assert_eq!(ending, b"\r\n");
        },
    }
}

async fn read_trailers(stream: &mut TcpStream, message: &mut Message) -> bool {
    loop {
        let mut line = Vec::new();
        if !read_until(stream, &mut line, b"\r\n").await {
            return false;
        }
        let line = line.strip_suffix(b"\r\n").unwrap();
        if line.is_empty() {
            return true;
        }
        let text = String::from_utf8(line.to_vec()).unwrap();
        let (name, value) = text.split_once(": ").unwrap();
        message.trailers.push((name.to_owned(), value.into()));
    }
}

async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    last: &[u8],
) -> bool {
    while !into.ends_with(last) {
        match stream.read_u8().await {
            Ok(byte) => into.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn read_exactly(stream: &mut TcpStream, into: &mut Vec<u8>, count: u64) -> bool {
    let read = stream.take(count).read_to_end(into).await;
    read.is_ok_and(|read| read as u64 == count)
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(by.len()).position(|window| window == by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}

async fn http2(stream: TcpStream, log: Arc<Mutex<Log>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let log = Arc::clone(&log);
        async move {
            begin(&log);
            let record = Record(Some((log, read_http2(&request))));
            Ok::<_, Infallible>(record.complete(request).await)
        }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

/// Is entered as cut off where it is dropped.
struct Record(Option<(Arc<Mutex<Log>>, Message)>);

impl Record {
    async fn complete(mut self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Some((_, message)) = &mut self.0 else {
                break;
            };
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => message.body.extend_from_slice(&data),
                Ok(Err(frame)) => {
                    message.trailers = lines(&frame.into_trailers().unwrap());
                }
                Err(_) => return Response::default(),
            }
        }
        if self
            .0
            .as_ref()
            .is_some_and(|(_, message)| message.target == "/forever")
        {
            std::future::pending::<()>().await;
        }
        let mut response = Response::default();
        if let Some((log, message)) = self.0.take() {
            *response.body_mut() = vec![b'x'; length(&message)].into();
            end(&log, message, true);
        }
        response
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some((log, message)) = self.0.take() {
            end(&log, message, false);
        }
    }
}

fn read_http2(request: &Request<Incoming>) -> Message {
    let uri = request.uri();
    let target = uri.path_and_query().unwrap().as_str();
    let mut message = Message::new(request.method().as_str(), target);
    uri.authority()
        .unwrap()
        .as_str()
        .clone_into(&mut message.authority);
    message.fields = lines(request.headers());
    take_forwarding(&mut message);
    message
}

fn lines(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    fields.iter().map(line).collect()
}

/// Takes the fields that say how the request came, which are the same for all of them.
fn take_forwarding(message: &mut Message) {
    let authority = message.authority.clone();
    for (name, value) in [
        (
            "forwarded",
            format!("for=127.0.0.1;host=\"{authority}\";proto=https"),
        ),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-host", authority),
        ("x-forwarded-proto", "https".to_owned()),
        ("via", "3 wayhold".to_owned()),
    ] {
        assert_eq!(take(message, name), value, "{name}");
    }
    let id = take(message, "x-request-id");
    let is_digits = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(id.len() == 32 && is_digits, "x-request-id: {id}");
    // Names keep no order among each other.
    message.fields.sort_by(|left, right| left.0.cmp(&right.0));
}

fn has(message: &Message, name: &str) -> bool {
    message.fields.iter().any(|field| field.0 == name)
}

/// Takes the one field of a name.
fn take(message: &mut Message, name: &str) -> String {
    let mut taken = message.fields.extract_if(.., |field| field.0 == name);
    let (_, value) = taken.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(taken.next().is_none(), "{name} twice");
    String::from_utf8(value).unwrap()
}
