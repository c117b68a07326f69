//! The backend behind all gateways: plain HTTP/1.1 with keep-alive, on a thread of its own.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// What `/small` answers with.
pub(crate) const SMALL: usize = 100;
/// What `/large` answers with.
pub(crate) const LARGE: usize = 10_000_000;

/// Starts it and says where it listens; it ends with the process.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener);
            serve(listener.expect("it is a socket of this kind")).await;
        });
    });
    Ok(address)
}

async fn serve(listener: tokio::net::TcpListener) {
    let large = Bytes::from(vec![b'x'; LARGE]);
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let large = large.clone();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let content = match request.uri().path() {
                "/large" => large.clone(),
                _ => large.slice(..SMALL),
            };
            let response = Response::builder()
                .header("content-type", "application/octet-stream")
                .body(Full::new(content));
            async { Ok::<_, Infallible>(response.expect("the parts are good")) }
        });
        // Without it the answer waits for what else there might be to send.
        if stream.set_nodelay(true).is_ok() {
            connections.spawn(async move {
                let connection = http1::Builder::new();
                let served = connection.serve_connection(TokioIo::new(stream), service);
                // A connection that breaks is the gateway's business.
                drop(served.await);
            });
        }
    }
}
