//! A gateway that answers with code of its own instead of passing requests to backends.
//!
//! The gateway is given all that it uses: configuration, handler, certificate, and the moment to
//! end. It runs on this program's runtime and leaves signals, logs and the process to it.
//!
//! Run it with `cargo run --example own_handler` and fetch from the address that it prints with
//! `cargo run -- get --insecure URL`. With `-- --once` it fetches from itself and ends.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Request, Response, StatusCode};
use wayhold::Gateway;
use wayhold::client::{Http3Client, Patience, Target, Trust, tls_config};
use wayhold::config::{AdminAddress, Config, Listen};
use wayhold::request::{Body, ClientFacts, Handler, RequestError};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tells clients how many they are, and what the gateway knows of them.
#[derive(Default)]
struct Greeter {
    greeted: AtomicU64,
}

impl Handler for Greeter {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> std::result::Result<Response<Body>, RequestError> {
        if request.method() != Method::GET {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(response);
        }
        let number = self.greeted.fetch_add(1, Ordering::Relaxed) + 1;
        let text = format!(
            "request {number} is for {} over {} from {}, after {} moves\n",
            request.uri().path(),
            client.protocol,
            client.address,
            client.path.changes(),
        );
        Ok(Response::new(Body::full(text)))
    }
}

#[expect(clippy::print_stdout, reason = "it is the example's output")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let mut config = Config::default();
    config.listen = vec![Listen::new((Ipv4Addr::LOCALHOST, 0).into())];
    config.admin.listen = AdminAddress::Off;

    let gateway = Gateway::builder()
        .config(config)
        .handler(Greeter::default())
        .identity(
            made.cert.pem().as_bytes(),
            made.signing_key.serialize_pem().as_bytes(),
        )
        .bind()?;
    let address = gateway.local_addresses()[0];
    println!("listening on https://localhost:{}/", address.port());

    if std::env::args().any(|argument| argument == "--once") {
        let trust = Trust::Certificates(vec![made.cert.der().clone()]);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let fetch = async {
            let text = fetch(address, &trust).await;
            drop(stop);
            text
        };
        let serve = gateway.serve(async move { drop(stopped.await) });
        let (served, text) = tokio::join!(serve, fetch);
        served?;
        print!("{}", text?);
    } else {
        gateway
            .serve(async {
                // Where the signal cannot be watched there is nothing to wait for.
                drop(tokio::signal::ctrl_c().await);
            })
            .await?;
    }
    Ok(())
}

async fn fetch(address: SocketAddr, trust: &Trust) -> Result<String> {
    let target = Target {
        address,
        name: "localhost".into(),
    };
    let tls = tls_config(trust)?;
    let client = Http3Client::connect(&target, &tls, Patience::default()).await?;
    let uri = format!("https://localhost:{}/greeting", address.port());
    let mut response = client.send(Request::get(uri).body(Body::empty())?).await?;
    let text = String::from_utf8(response.body_mut().collect(1024).await?)?;
    client.close().await;
    if response.status() == StatusCode::OK && text.starts_with("request 1 is for /greeting over h3")
    {
        Ok(text)
    } else {
        Err(format!("{}: {text}", response.status()).into())
    }
}
