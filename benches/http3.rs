//! What HTTP/3 costs on top of QUIC: `cargo bench --bench http3`.
//!
//! Three servers answer the same client in the same thread: one with the engine of this crate, one with
//! the h3 crate, and one that moves equal bytes over bare QUIC streams and understands nothing. What is
//! measured is the processor time of that thread, with the client's part, which is the same for all. So
//! what HTTP/3 adds is the difference to the bare server. Allocations are counted in the same way.

use std::fs;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::pki_types::PrivateKeyDer;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use wayhold::client::{Trust, tls_config};
use wayhold::http3::{self, Admission, Part, RequestStream, ResponseStream, StreamId, Terms};
use wayhold::sys::allocation::{Allocations, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How a server speaks.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bare,
    Engine,
    H3,
}

/// What every request is answered with.
#[derive(Clone, Debug)]
struct Answer {
    fields: HeaderMap,
    content: Vec<Bytes>,
}

impl Answer {
    fn of(pieces: usize, length: usize) -> Self {
        let mut fields = HeaderMap::new();
        let total = (pieces * length).to_string();
        for (name, value) in [
            ("date", "Sun, 29 Nov 2026 15:01:20 GMT"),
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", &total),
            ("cache-control", "private, max-age=300"),
            ("etag", "\"66f0c3a1-1d2b\""),
            ("vary", "accept-encoding"),
            ("strict-transport-security", "max-age=31536000"),
            ("via", "1.1 wayhold"),
        ] {
            fields.insert(name, HeaderValue::from_str(value).expect("it is legal"));
        }
        let piece = Bytes::from(vec![b'x'; length]);
        Self {
            fields,
            content: vec![piece; pieces],
        }
    }

    fn len(&self) -> u64 {
        self.content.iter().map(|piece| piece.len() as u64).sum()
    }
}

async fn serve(endpoint: Endpoint, kind: Kind, answer: Answer) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else {
            continue;
        };
        let answer = answer.clone();
        // One client connects once.
        let served = match kind {
            Kind::Bare => serve_bare(connection, answer).await,
            Kind::Engine => serve_engine(connection, answer).await,
            Kind::H3 => serve_h3(connection, answer).await,
        };
        drop(served);
    }
}

async fn serve_bare(connection: Connection, answer: Answer) -> Result<()> {
    let mut requests = JoinSet::new();
    let head = ResponseStream::default().head(StatusCode::OK, &answer.fields, Some(answer.len()));
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let (head, answer) = (head.clone(), answer.clone());
        requests.spawn(async move {
            while receive.read_chunk(usize::MAX, true).await?.is_some() {}
            write(&mut send, head, answer.content).await
        });
        while requests.try_join_next().is_some() {}
    }
}

async fn serve_engine(connection: Connection, answer: Answer) -> Result<()> {
    let terms = Terms::default();
    let engine = Mutex::new(http3::Connection::new(terms, now()));
    let mut control = connection.open_uni().await?;
    let opening = engine.lock().expect("no holder panics").opening();
    control.write_chunk(opening).await?;
    let mut requests = JoinSet::new();
    loop {
        let (send, receive) = connection.accept_bi().await?;
        let id = StreamId::new(quinn::VarInt::from(send.id()).into_inner());
        let admitted = engine.lock().expect("no holder panics").admit(id);
        if let Admission::Accepted(stream, _) = admitted {
            requests.spawn(answer_engine(*stream, send, receive, answer.clone()));
        }
        while requests.try_join_next().is_some() {
            engine.lock().expect("no holder panics").count_answered();
        }
    }
}

async fn answer_engine(
    mut stream: RequestStream,
    mut send: SendStream,
    mut receive: RecvStream,
    answer: Answer,
) -> Result<()> {
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        let mut input = chunk.bytes;
        while let Some(part) = stream.next(&mut input)? {
            if let Part::Head(head) = part {
                black_box(head.into_request());
            }
        }
    }
    stream.finish()?;
    let mut response = ResponseStream::default();
    let head = response.head(StatusCode::OK, &answer.fields, Some(answer.len()));
    for piece in &answer.content {
        response.data(piece.len())?;
    }
    write(&mut send, head, answer.content).await
}

async fn write(send: &mut SendStream, head: Bytes, content: Vec<Bytes>) -> Result<()> {
    let mut first = Some(head);
    for piece in content {
        match first.take() {
            Some(head) => send.write_all_chunks(&mut [head, piece]).await?,
            None => send.write_chunk(piece).await?,
        }
    }
    send.finish()?;
    Ok(())
}

async fn serve_h3(connection: Connection, answer: Answer) -> Result<()> {
    let connection = h3_quinn::Connection::new(connection);
    let mut connection: h3::server::Connection<_, Bytes> =
        h3::server::Connection::new(connection).await?;
    let mut requests = JoinSet::new();
    while let Some(resolver) = connection.accept().await? {
        let answer = answer.clone();
        requests.spawn(async move {
            let (request, mut stream) = resolver.resolve_request().await?;
            black_box(request);
            while let Some(data) = stream.recv_data().await? {
                black_box(data.remaining());
            }
            let mut response = Response::new(());
            *response.headers_mut() = answer.fields;
            stream.send_response(response).await?;
            for piece in answer.content {
                stream.send_data(piece).await?;
            }
            stream.finish().await?;
            Result::Ok(())
        });
        while requests.try_join_next().is_some() {}
    }
    Ok(())
}

/// A client that writes the same bytes to every server and only counts what comes back.
struct Client {
    connection: Connection,
    request: Bytes,
    _control: SendStream,
    _server: JoinSet<()>,
}

impl Client {
    async fn start(kind: Kind, answer: Answer) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicServerConfig::try_from(tls)?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), any)?;
        let address = server.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(server, kind, answer));

        let mut tls = Arc::unwrap_or_clone(tls_config(&Trust::Certificates(vec![certificate]))?);
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicClientConfig::try_from(tls)?;
        let mut endpoint = Endpoint::client(any)?;
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        let connection = endpoint.connect(address, "localhost")?.await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&[0, 4, 0]).await?;
        Ok(Self {
            connection,
            request: request(),
            _control: control,
            _server: tasks,
        })
    }

    async fn ask(&self) -> Result<usize> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_chunk(self.request.clone()).await?;
        send.finish()?;
        let mut received = 0;
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            received += chunk.bytes.len();
        }
        Ok(received)
    }
}

/// What a browser sends for a page's next resource.
fn request() -> Bytes {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("sec-ch-ua-platform", "\"Linux\""),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
        ),
        (
            "sec-ch-ua",
            "\"Chromium\";v=\"156\", \"Not;A=Brand\";v=\"8\"",
        ),
        ("sec-ch-ua-mobile", "?0"),
        (
            "accept",
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        ),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
        ("referer", "https://www.example.org/articles/2026/11/29"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        (
            "cookie",
            "session=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9; theme=dark; consent=1",
        ),
        ("priority", "u=2, i"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    // A HEADERS frame with a length of two bytes and the prefix of its section comes before the lines.
    let lines = ResponseStream::trailers(&fields).split_off(5);
    let mut section = vec![0, 0, 0xd1, 0xd7];
    section.extend_from_slice(b"\x50\x0fwww.example.org");
    section.extend_from_slice(b"\x51\x1e/static/img/header-large@2x.we");
    section.extend_from_slice(&lines);
    let length = u16::try_from(section.len()).expect("it is short") | 0x4000;
    [&[1][..], &length.to_be_bytes(), &section].concat().into()
}

fn measure(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for (name, answer) in [
        ("http3/request", Answer::of(1, 100)),
        ("http3/10MB", Answer::of(160, 1 << 16)),
    ] {
        let mut group = criterion.benchmark_group(name);
        for (server, kind) in [
            ("bare", Kind::Bare),
            ("engine", Kind::Engine),
            ("h3", Kind::H3),
        ] {
            let client = runtime.block_on(Client::start(kind, answer.clone()));
            let client = client.expect("the server listens");
            group.bench_function(server, |bencher| {
                bencher.iter_custom(|iterations| ask(&runtime, &client, iterations));
            });
            allocations(&format!("{name}/{server}"), || {
                ask(&runtime, &client, COUNTED);
            });
        }
        group.finish();
    }
    sections(criterion);
}

fn ask(runtime: &Runtime, client: &Client, iterations: u64) -> Duration {
    runtime.block_on(async {
        let before = processor_time();
        for _ in 0..iterations {
            black_box(client.ask().await.expect("the server answers"));
        }
        processor_time().saturating_sub(before)
    })
}

/// The engine alone, without QUIC.
fn sections(criterion: &mut Criterion) {
    let bytes = request();
    let fields = Answer::of(1, 100).fields;
    let mut group = criterion.benchmark_group("http3/section");
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut stream = RequestStream::new(Terms::default());
            black_box(stream.next(&mut bytes.clone())).expect("it is legal")
        });
    });
    group.bench_function("encode", |bencher| {
        bencher
            .iter(|| ResponseStream::default().head(StatusCode::OK, black_box(&fields), Some(100)));
    });
    group.finish();
}

/// Says how many allocations each of so many requests takes, at both ends.
#[expect(clippy::print_stdout, reason = "the report")]
fn allocations(name: &str, requests: impl FnOnce()) {
    let before = Allocations::own().expect("the allocator is installed");
    requests();
    let taken = Allocations::own().expect("the allocator is installed") - before;
    let (count, bytes) = (taken.count / COUNTED, taken.bytes / COUNTED);
    println!("{name}: {count} allocations of {bytes} bytes in all");
}

/// What the processor has spent on this thread.
fn processor_time() -> Duration {
    // The kernel brings the figure up to date when the thread gives its turn away.
    std::thread::yield_now();
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = statistics.split(' ').next().unwrap_or_default();
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

/// Requests whose allocations are counted.
const COUNTED: u64 = 50;

#[expect(clippy::disallowed_methods, reason = "a server has a clock")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, measure);
criterion_main!(benches);
