//! A backend that serves so many requests at a time and takes so long for each. More wait for a slot.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Starts it on a thread of its own and says where it listens; it ends with the process.
pub(crate) fn start(slots: u32, delay: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener);
            let slots = Arc::new(Semaphore::new(usize::try_from(slots).unwrap_or(1)));
            serve(listener.expect("it is a socket of this kind"), slots, delay).await;
        });
    });
    Ok(address)
}

async fn serve(listener: tokio::net::TcpListener, slots: Arc<Semaphore>, delay: Duration) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let slots = Arc::clone(&slots);
        let service = service_fn(move |_request: Request<Incoming>| {
            let slots = Arc::clone(&slots);
            async move {
                let slot = slots.acquire().await;
                tokio::time::sleep(delay).await;
                drop(slot);
                let content = Full::new(Bytes::from_static(b"served"));
                Ok::<_, Infallible>(Response::new(content))
            }
        });
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
