//! Claims about the certificates of listeners and of clients, with `openssl`, `curl` and aioquic as clients.

mod authority;
mod clients;
mod names;
mod traces;

use std::net::SocketAddr;
use std::process::Stdio;

use http::{Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use wayhold::config::{self, Config, Sources};
use wayhold::request::{Body, ClientFacts, Handler, RequestError};

use self::authority::Authority;
use crate::python::skip;
use crate::stage::{Directory, PATIENCE};

/// Answers with what it is told of the client's certificate.
#[derive(Clone, Copy, Debug)]
struct Told;

impl Handler for Told {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let field = |name: &str| {
            let values = request.headers().get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            values.join("|")
        };
        let text = format!(
            "leaf={}\nchain={}\n",
            field("client-cert"),
            field("client-cert-chain")
        );
        Ok(Response::new(Body::full(text)))
    }
}

/// The configuration of this text in a directory.
fn load(directory: &Directory, text: &str) -> Config {
    let file = directory.file("wayhold.toml");
    let common = "state_dir = \"state\"\nadmin.listen = \"off\"\nlog.access = false\nworkers = 1\n";
    std::fs::write(&file, format!("{common}{text}")).unwrap();
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What a program says, both ways; nothing where it is missing.
async fn run(
    directory: &Directory,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Option<String> {
    let spawned = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = spawned else {
        skip(&format!("there is no {program}"));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    // A client that is refused may be gone before it has read all of it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(text(&output.stdout) + &text(&output.stderr))
}

/// One request over TLS and TCP by `openssl s_client`.
async fn openssl(
    directory: &Directory,
    address: SocketAddr,
    host: &str,
    more: &[&str],
) -> Option<String> {
    let address = address.to_string();
    let common = [
        "s_client", "-connect", &address, "-CAfile", "ca.pem", "-ign_eof", "-alpn", "http/1.1",
    ];
    let input = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    run(directory, "openssl", &[&common, more].concat(), &input).await
}
