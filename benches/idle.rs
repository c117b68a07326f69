//! What an open connection without a request under way costs a gateway process in memory:
//! `cargo bench --bench idle`.
//!
//! A gateway of its own process gets connections that each made one request, and its resident memory is
//! read after each step. The slope between the steps is the cost; what the process needs anyway is not
//! in it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Request;
use wayhold::client::{ClientError, Http3Client, Patience, Target, Trust, tls_config};
use wayhold::request::Body;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Connections open at each step.
const STEPS: [u32; 4] = [100, 250, 500, 900];
/// The client says nothing while it is idle.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    response: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    keep_alive: Duration::from_secs(60),
};

/// A gateway with the built-in origin; it ends with this.
struct Gateway {
    process: Child,
    address: SocketAddr,
    directory: std::path::PathBuf,
}

impl Gateway {
    fn start() -> Result<Self> {
        let name = format!("wayhold-idle-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_wayhold"))
            .args(["run", "--listen", "127.0.0.1:0", "--admin", "off"])
            .arg("--state-dir")
            .arg(&directory)
            .args(["--set", "log.level=warn"])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().ok_or("no output")?;
        let mut gateway = Self {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            directory,
        };
        for line in BufReader::new(out).lines() {
            if let Some(address) = line?.strip_prefix("listening on ") {
                gateway.address = address.parse()?;
                return Ok(gateway);
            }
        }
        Err("the gateway ended".into())
    }

    /// Resident bytes (`VmRSS` of proc(5)).
    fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes: f64 = line
            .and_then(|line| line.split_whitespace().nth(1))
            .ok_or("no VmRSS")?
            .parse()?;
        Ok(kilobytes * 1024.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

async fn connect(
    target: &Target,
    tls: &rustls::ClientConfig,
) -> std::result::Result<Http3Client, ClientError> {
    let client = Http3Client::connect(target, tls, PATIENCE).await?;
    let request = Request::get("https://localhost/bytes/64").body(Body::empty());
    let mut response = client.send(request.expect("the parts are good")).await?;
    response.body_mut().collect(64).await?;
    Ok(client)
}

#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
#[tokio::main]
async fn main() -> Result<()> {
    let gateway = Gateway::start()?;
    let target = Target {
        address: gateway.address,
        name: "localhost".into(),
    };
    let tls = tls_config(&Trust::DangerousAnything)?;
    let mut clients = Vec::new();
    let mut before: Option<(u32, f64)> = None;
    println!(
        "{:>12} {:>14} {:>20}",
        "connections", "resident MiB", "KiB per connection"
    );
    for step in STEPS {
        let more = step - before.map_or(0, |(count, _)| count);
        for _ in 0..more {
            clients.push(connect(&target, &tls).await?);
        }
        // What the handshakes held is given back by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let resident = gateway.resident()?;
        let slope = before.map_or_else(String::new, |(count, bytes)| {
            format!(
                "{:.1}",
                (resident - bytes) / f64::from(step - count) / 1024.0
            )
        });
        println!(
            "{step:>12} {:>14.1} {slope:>20}",
            resident / f64::from(1 << 20)
        );
        before = Some((step, resident));
    }
    Ok(())
}
