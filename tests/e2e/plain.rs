//! HTTP/3 and HTTP/2 servers without a gateway, so that the client and the relay are tested against
//! something that is not wayhold.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Collected};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wayhold::client::{Target, Trust};
use wayhold::request::{Body, ClientFacts, Handler, PathFacts, SharedHandler};

/// A server on a free port of loopback, and the certificate to trust.
pub(crate) struct Plain {
    pub(crate) address: SocketAddr,
    pub(crate) trust: Trust,
    pub(crate) pem: String,
    _tasks: JoinSet<()>,
}

impl Plain {
    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    pub(crate) fn http3(handler: impl Handler) -> Self {
        let (trust, pem, tls) = mint("h3");
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let handler = SharedHandler::new(handler);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                let handler = handler.clone();
                connections.spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve_http3(connection, handler).await;
                    }
                });
            }
        });
        Self {
            address,
            trust,
            pem,
            _tasks: tasks,
        }
    }

    pub(crate) async fn http2(handler: impl Handler) -> Self {
        let (trust, pem, tls) = mint("h2");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = SharedHandler::new(handler);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler) = (acceptor.clone(), handler.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(move |request: Request<_>| {
                        let handler = handler.clone();
                        async move { Ok::<_, Infallible>(collect_and_answer(handler, request).await) }
                    });
                    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        Self {
            address,
            trust,
            pem,
            _tasks: tasks,
        }
    }
}

pub(crate) fn target(address: SocketAddr) -> Target {
    Target {
        address,
        name: "gw.test".into(),
    }
}

fn mint(protocol: &str) -> (Trust, String, ServerConfig) {
    let minted =
        rcgen::generate_simple_self_signed(vec!["gw.test".into(), "localhost".into()]).unwrap();
    let certificate = minted.cert.der().clone();
    let key = PrivateKeyDer::try_from(minted.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![protocol.into()];
    let trust = Trust::Certificates(vec![certificate]);
    (trust, minted.cert.pem(), tls)
}

async fn collect_and_answer(
    handler: SharedHandler,
    request: Request<hyper::body::Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), Collected::to_bytes);
    let request = Request::from_parts(head, Body::full(body));
    handler.handle(request, facts()).await.unwrap()
}

async fn serve_http3(connection: quinn::Connection, handler: SharedHandler) {
    let connection = h3_quinn::Connection::new(connection);
    let mut connection: h3::server::Connection<_, Bytes> =
        h3::server::Connection::new(connection).await.unwrap();
    let mut requests = JoinSet::new();
    while let Ok(Some(resolver)) = connection.accept().await {
        let handler = handler.clone();
        requests.spawn(async move {
            let Ok((request, mut stream)) = resolver.resolve_request().await else {
                return;
            };
            let early = request.uri().path() == "/early";
            let mut body = Vec::new();
            while !early && let Ok(Some(mut data)) = stream.recv_data().await {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            let request = request.map(|()| Body::full(body));
            let response = handler.handle(request, facts()).await.unwrap();
            let (head, mut body) = response.into_parts();
            if stream
                .send_response(Response::from_parts(head, ()))
                .await
                .is_err()
            {
                return;
            }
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
                    return;
                };
                if let Ok(data) = frame.into_data()
                    && stream.send_data(data).await.is_err()
                {
                    return;
                }
            }
            drop(stream.finish().await);
        });
    }
}

fn facts() -> ClientFacts {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    ClientFacts::new(Arc::new(PathFacts::default()), nobody, nobody)
}
