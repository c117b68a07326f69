//! What a request costs from the handler's call to the last byte of the response, with a backend in
//! the same process on loopback: `cargo bench --bench request`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use wayhold::bridge::{Bridge, Origin};
use wayhold::config::{Config, Route, Upstream, UpstreamProtocol};
use wayhold::request::{Body, BodyError, ClientFacts, SharedHandler};
use wayhold::telemetry::Metrics;

const SMALL: usize = 100;
const LARGE: usize = 1 << 20;

/// Serves HTTP/1.1 and HTTP/2: `/small` and `/large` answer, everything else echoes.
async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    let large = Bytes::from(vec![0; LARGE]);
    while let Ok((stream, _)) = listener.accept().await {
        let large = large.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let large = large.clone();
            async move {
                let body = match request.uri().path() {
                    "/small" => Full::new(large.slice(..SMALL)),
                    "/large" => Full::new(large),
                    _ => Full::new(request.into_body().collect().await?.to_bytes()),
                };
                Ok::<_, hyper::Error>(Response::new(body))
            }
        });
        connections.spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            server
                .serve_connection(TokioIo::new(stream), service)
                .await
                .is_ok()
        });
    }
}

fn bridge(address: SocketAddr, protocol: UpstreamProtocol) -> SharedHandler {
    let upstream = Upstream {
        protocol,
        authority: address.to_string(),
    };
    let mut config = Config::default();
    config.route = vec![Route::new(vec![upstream])];
    let bridge = Bridge::new(&config, &Metrics::default());
    SharedHandler::new(bridge.expect("the route is good"))
}

async fn ask(handler: &SharedHandler, path: &str, body: Body) -> Result<usize, BodyError> {
    let address = SocketAddr::from(([192, 0, 2, 7], 5000));
    let client = ClientFacts::new(Arc::default(), address, address);
    let request = Request::builder()
        .method(if path == "/echo" { "POST" } else { "GET" })
        .uri(format!("https://gw.test{path}"))
        .body(body)
        .expect("the parts are good");
    let response = handler
        .handle(request, client)
        .await
        .expect("the backend answers");
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, name: &str, handler: &SharedHandler) {
    let large = Bytes::from(vec![0; LARGE]);
    for (path, sent, bytes) in [
        ("/small", 0, SMALL),
        ("/large", 0, LARGE),
        ("/echo", LARGE, LARGE),
    ] {
        let mut group = criterion.benchmark_group(name);
        if bytes == LARGE {
            group.throughput(Throughput::Bytes(LARGE as u64));
        }
        group.bench_function(path, |bencher| {
            bencher.iter(|| {
                let body = Body::full(large.slice(..sent));
                let got = runtime.block_on(ask(handler, path, body));
                assert_eq!(black_box(got), Ok(bytes));
            });
        });
        group.finish();
    }
}

fn requests(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let mut backend = JoinSet::new();
    backend.spawn_on(serve(listener), runtime.handle());
    let _inside = runtime.enter();
    for (name, protocol) in [
        ("http1", UpstreamProtocol::Http1),
        ("http2", UpstreamProtocol::Http2),
    ] {
        let handler = bridge(address, protocol);
        measure(criterion, &runtime, name, &handler);
    }
    let origin = SharedHandler::new(Origin::new());
    criterion.bench_function("origin/bytes", |bencher| {
        bencher.iter(|| {
            let path = format!("/bytes/{LARGE}");
            let got = runtime.block_on(ask(&origin, &path, Body::empty()));
            assert_eq!(black_box(got), Ok(LARGE));
        });
    });
}

criterion_group!(benches, requests);
criterion_main!(benches);
