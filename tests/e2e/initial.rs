//! Real Initials of a quinn client that never hears back.

use quinn::Endpoint;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::raw::quic_config;
use crate::stage::{Directory, PATIENCE};

/// The first datagram of a connection attempt.
pub(crate) async fn capture(directory: &Directory) -> Vec<u8> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();
    let config = quic_config(directory);
    let _connecting = client.connect_with(config, address, "localhost").unwrap();
    let mut buffer = vec![0; 2000];
    let received = timeout(PATIENCE, nobody.recv(&mut buffer)).await.unwrap();
    buffer.truncate(received.unwrap());
    buffer
}
