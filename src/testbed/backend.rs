use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::request::{
    Body, BodyError, ClientFacts, Handler, PathFacts, Protocol, RequestError, SharedHandler,
};

/// A stateless origin on plain HTTP/1.1 around any [`Handler`]. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Backend {
    /// Binds a free port of 127.0.0.1 and starts. Needs a tokio runtime.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(handler: impl Handler) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, SharedHandler::new(handler)));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[expect(clippy::infinite_loop, reason = "it ends with its task")]
async fn accept(listener: TcpListener, handler: SharedHandler) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(serve(stream, handler.clone()));
            }
            Ok(_) => {}
            // Out of descriptors, most likely: wait for some to be free.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, handler: SharedHandler) {
    let (Ok(address), Ok(local), Ok(())) = (
        stream.peer_addr(),
        stream.local_addr(),
        stream.set_nodelay(true),
    ) else {
        return;
    };
    let mut client = ClientFacts::new(Arc::new(PathFacts::default()), address, local);
    client.protocol = Protocol::Http1;
    let service = service_fn(move |request: Request<Incoming>| {
        answer(handler.clone(), request, client.clone())
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is the other side's business.
    drop(connection.await);
}

fn answer(
    handler: SharedHandler,
    request: Request<Incoming>,
    client: ClientFacts,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    let request = request.map(|body| Body::new(body.map_err(|_broken| BodyError::ClientGone)));
    async move {
        Ok(match handler.handle(request, client).await {
            Ok(response) => response,
            Err(error) => refuse(error),
        })
    }
}

fn refuse(error: RequestError) -> Response<Body> {
    let mut response = Response::new(Body::full(error.reason()));
    *response.status_mut() = error.status();
    response
}

const MAX_CONNECTIONS: usize = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const HEADER_LIMIT: Duration = Duration::from_secs(10);
