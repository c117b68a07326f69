//! A client that moves to another socket while it downloads, as a phone does between networks.
//!
//! ```sh
//! cargo run --example moving_client -- 127.0.0.1:4433 ~/.local/state/wayhold/development.pem
//! ```
//!
//! The arguments are the address of a running gateway and the certificate to trust, which
//! `wayhold run` prints; its built-in origin is what is downloaded from.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use http::Request;
use wayhold::client::{Http3Client, Patience, Target, Trust, tls_config};
use wayhold::request::Body;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(certificate)) = (args.next(), args.next()) else {
        return Err("arguments: ADDRESS CERTIFICATE".into());
    };
    let address: SocketAddr = address.parse()?;
    let target = Target {
        address,
        name: "localhost".into(),
    };
    let tls = tls_config(&Trust::File(PathBuf::from(certificate)))?;
    let client = Http3Client::connect(&target, &tls, Patience::default()).await?;

    let request = Request::get(format!("https://localhost/bytes/{BYTES}?seed=1"));
    let mut response = client.send(request.body(Body::empty())?).await?;
    let mut next_move = MOVE_EVERY;
    while response.body_mut().chunk().await?.is_some() {
        let received = response.body().progress().received;
        if received >= next_move {
            let from = client.local_address()?;
            client.rebind(any_port(address)?)?;
            report(&format!(
                "{received} bytes: moved from {from} to {}",
                client.local_address()?
            ));
            next_move += MOVE_EVERY;
        }
    }
    let progress = response.body().progress();
    report(&format!(
        "{} bytes in {:?}",
        progress.received, progress.last_byte
    ));
    client.close().await;
    Ok(())
}

fn any_port(towards: SocketAddr) -> std::io::Result<UdpSocket> {
    match towards {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

#[expect(clippy::print_stdout, reason = "this is the example's output")]
fn report(line: &str) {
    println!("{line}");
}

const BYTES: u64 = 64 << 20;
const MOVE_EVERY: u64 = 8 << 20;
