//! Two rustls connections in one thread: the gateway's, with the configuration that it runs with for TCP, and a
//! client's. What one writes the other reads; there is no transport.
//!
//! A handshake is measured until both sides have nothing more to say, the node's tickets included.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection,
};

use super::FloorError;
use super::credentials::NAME;
use super::meter::{Meter, Side};
use super::quic::FirstFlight;
use crate::bench::Sample;

/// A client and a node.
#[derive(Debug)]
pub(super) struct Pair {
    client: Arc<ClientConfig>,
    node: Arc<ServerConfig>,
    name: ServerName<'static>,
}

/// What came of a handshake.
#[derive(Debug)]
pub(super) struct Shaken {
    pub(super) sample: Sample,
    /// Whether it resumed a session.
    pub(super) resumed: bool,
    /// Whether the node took early data.
    pub(super) early: bool,
}

impl Pair {
    pub(super) fn new(client: Arc<ClientConfig>, node: Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from(NAME).expect("it is a name");
        Self { client, node, name }
    }

    /// Connects once.
    ///
    /// # Errors
    /// When a side refuses.
    pub(super) fn handshake(&self, first: FirstFlight) -> Result<Shaken, FloorError> {
        let mut meter = Meter::default();
        let (mut from_client, mut from_node) =
            (Vec::with_capacity(LARGE), Vec::with_capacity(LARGE));
        let mut client = meter.measure(Side::Client, || {
            let mut client = ClientConnection::new(Arc::clone(&self.client), self.name.clone())?;
            if first == FirstFlight::Request
                && let Some(mut early) = client.early_data()
            {
                early.write_all(REQUEST)?;
            }
            write(&mut client, &mut from_client)?;
            Ok::<_, FloorError>(client)
        })?;
        let mut node = None;
        let mut early = 0;
        while !from_client.is_empty() {
            meter.measure(Side::Node, || {
                let node = match &mut node {
                    Some(node) => node,
                    None => node.insert(ServerConnection::new(Arc::clone(&self.node))?),
                };
                take(node, &mut from_client)?;
                early += read_early(node)?;
                write(node, &mut from_node)
            })?;
            meter.measure(Side::Client, || {
                take(&mut client, &mut from_node)?;
                write(&mut client, &mut from_client)
            })?;
        }
        if client.is_handshaking() || node.is_none_or(|node| node.is_handshaking()) {
            return Err(FloorError::Incomplete);
        }
        let suite = client.negotiated_cipher_suite().map(|suite| suite.suite());
        if suite != Some(CipherSuite::TLS13_AES_128_GCM_SHA256) {
            return Err(FloorError::Suite);
        }
        Ok(Shaken {
            sample: meter.sample(),
            resumed: client.handshake_kind() == Some(HandshakeKind::Resumed),
            early: early == REQUEST.len(),
        })
    }
}

fn write<S: rustls::SideData>(
    from: &mut rustls::ConnectionCommon<S>,
    to: &mut Vec<u8>,
) -> Result<(), FloorError> {
    while from.wants_write() {
        from.write_tls(to)?;
    }
    Ok(())
}

fn take<S: rustls::SideData>(
    to: &mut rustls::ConnectionCommon<S>,
    from: &mut Vec<u8>,
) -> Result<(), FloorError> {
    let mut bytes = from.as_slice();
    while !bytes.is_empty() {
        to.read_tls(&mut bytes)?;
        to.process_new_packets()?;
    }
    from.clear();
    Ok(())
}

fn read_early(node: &mut ServerConnection) -> Result<usize, io::Error> {
    let mut buffer = [0; 256];
    match node.early_data() {
        Some(mut early) => early.read(&mut buffer),
        None => Ok(0),
    }
}

/// More than a side ever writes at once.
const LARGE: usize = 32 << 10;
/// As long as the header section of a simple request.
const REQUEST: &[u8] = &[0x5a; 100];
