//! `wayhold get`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use tokio::task::JoinSet;
use wayhold::client::{Client, ClientError, Connected, Patience, Target, Trust, tls_config};
use wayhold::request::{Body, Protocol};

/// Arguments of `wayhold get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to fetch; https only
    url: Uri,
    /// Use HTTP/3 over QUIC (the default)
    #[arg(long, conflicts_with = "http2")]
    http3: bool,
    /// Use HTTP/2 over TLS and TCP
    #[arg(long)]
    http2: bool,
    /// Accept any certificate: anyone on the way can read and change everything
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Trust the certificates in this PEM file in place of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Send the request this many times, one after another, on one connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Ask for the header section only
    #[arg(long)]
    head: bool,
    /// Write the body here in place of standard output; bodies follow one another
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut output: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let client = connect(&args).await?;
    let mut connected = Some(client.connected());
    let mut code = ExitCode::SUCCESS;
    for _ in 0..args.repeat {
        let status = fetch(&args, &client, connected.take(), &mut output).await?;
        if status.is_client_error() || status.is_server_error() {
            code = ExitCode::FAILURE;
        }
    }
    output.flush()?;
    client.close().await;
    Ok(code)
}

async fn fetch(
    args: &Args,
    client: &Client,
    connected: Option<Connected>,
    output: &mut impl Write,
) -> anyhow::Result<StatusCode> {
    let request = Request::builder()
        .method(if args.head { Method::HEAD } else { Method::GET })
        .uri(args.url.clone())
        .header("user-agent", concat!("wayhold/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())?;
    let mut response = client.send(request).await?;
    let status = response.status();
    let body = response.body_mut();
    while let Some(chunk) = body.chunk().await? {
        output.write_all(&chunk)?;
    }
    let progress = body.progress();
    note(&format!(
        "{} {status}: connect {}, first byte {}, total {}, {} bytes",
        match client {
            Client::Http3(_) => "HTTP/3",
            Client::Http2(_) => "HTTP/2",
        },
        connected.map_or_else(|| "0 (reused)".into(), |c| milliseconds(c.total())),
        milliseconds(progress.first_byte),
        milliseconds(progress.last_byte),
        progress.received,
    ));
    Ok(status)
}

/// Connects to the first address that answers, giving each a head start over the next (RFC 8305,
/// section 5).
async fn connect(args: &Args) -> anyhow::Result<Client> {
    let trust = match (&args.ca, args.insecure) {
        (Some(path), _) => Trust::File(path.clone()),
        (None, true) => {
            note("warning: any certificate is accepted");
            Trust::DangerousAnything
        }
        (None, false) => Trust::System,
    };
    let tls = tls_config(&trust)?;
    let protocol = if args.http2 {
        Protocol::Http2
    } else {
        Protocol::Http3
    };
    let patience = Patience::default();
    let mut attempts = JoinSet::new();
    for (position, target) in (0..).zip(resolve(&args.url, patience.connect).await?) {
        let tls = (*tls).clone();
        attempts.spawn(async move {
            tokio::time::sleep(HEAD_START * position).await;
            Client::connect(protocol, &target, &tls, patience).await
        });
    }
    let mut failure: Option<ClientError> = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt? {
            Ok(client) => return Ok(client),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(error) => Err(error).context(format!("cannot fetch {}", args.url)),
        None => bail!("{} has no address", args.url),
    }
}

async fn resolve(url: &Uri, limit: Duration) -> anyhow::Result<Vec<Target>> {
    let (true, Some(host)) = (url.scheme() == Some(&Scheme::HTTPS), url.host()) else {
        bail!("{url} is not an https URL");
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(HTTPS_PORT);
    let lookup = tokio::time::timeout(limit, tokio::net::lookup_host((name, port)));
    let addresses = lookup
        .await?
        .with_context(|| format!("cannot resolve {name}"))?;
    Ok(addresses
        .map(|address| Target {
            address,
            name: name.to_owned(),
        })
        .collect())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// Standard output is for the body.
#[expect(clippy::print_stderr, reason = "this is the command's report")]
fn note(text: &str) {
    eprintln!("{text}");
}

const HTTPS_PORT: u16 = 443;
const HEAD_START: Duration = Duration::from_millis(250);
