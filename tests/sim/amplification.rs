//! What goes to addresses that have not proved to receive anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::endpoint::BATCH;
use crate::process::ProcessId;
use crate::worker::MAX_UDP_PAYLOAD;

/// What was exchanged with each address.
#[derive(Debug, Default)]
pub(crate) struct Amplification(BTreeMap<SocketAddr, Exchanged>);

#[derive(Debug, Default)]
struct Exchanged {
    received: usize,
    sent: usize,
    /// Connections that send there.
    connections: BTreeSet<(ProcessId, usize)>,
    /// Whether anything has arrived there: the next packet from there may prove it.
    reached: bool,
    proven: bool,
}

impl Amplification {
    /// So many bytes from an address reached the fleet.
    pub(crate) fn fleet_received(&mut self, from: SocketAddr, len: usize) {
        let exchanged = self.0.entry(from).or_default();
        exchanged.received += len;
        exchanged.proven |= exchanged.reached;
    }

    /// Something reached this address.
    pub(crate) fn reached(&mut self, address: SocketAddr) {
        self.0.entry(address).or_default().reached = true;
    }

    /// A connection, or the fleet without one, sends so many bytes to an address; an error says that it is
    /// too much.
    pub(crate) fn fleet_sent(
        &mut self,
        to: SocketAddr,
        connection: Option<(ProcessId, usize)>,
        len: usize,
    ) -> Result<(), String> {
        let exchanged = self.0.entry(to).or_default();
        exchanged.sent += len;
        exchanged.connections.extend(connection);
        let Exchanged { received, sent, .. } = *exchanged;
        let batches = exchanged.connections.len();
        let most = 3 * received + batches * BATCH * usize::from(MAX_UDP_PAYLOAD);
        if exchanged.proven || sent <= most {
            return Ok(());
        }
        Err(format!(
            "{sent} bytes of {batches} connections went to {to}, from which {received} came"
        ))
    }
}
