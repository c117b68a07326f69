//! Takes the padding out of packets before quinn sees their frames.
//!
//! quinn reads padding as one frame for each byte. Clients pad two datagrams of each handshake to 1200
//! bytes, and each probe for a larger MTU to its size, so that it costs a node more than most of what else a
//! handshake does. What is left is copied out of the buffer with which the kernel gave it. Everything else about a
//! packet stays as it is.
//!
//! Initial packets keep theirs. quinn measures the first one of a client when it is decrypted, and answers at most
//! three times that much until it knows the client's address to be real (RFC 9000, section 8.1): without its padding
//! a node could send hardly more than one datagram, and every certificate that does not fit into that would
//! cost a round trip.

use std::any::Any;
use std::sync::Arc;

use bytes::BytesMut;
use quinn::ConnectionId;
use quinn::crypto::{
    CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{Side, TransportError};

use crate::wire::unpadded_len;

/// Accepts connections that see no padding but that of Initial packets.
pub(super) struct Unpadding(Arc<dyn ServerConfig>);

impl Unpadding {
    pub(super) fn new(crypto: impl ServerConfig + 'static) -> Self {
        Self(Arc::new(crypto))
    }
}

impl ServerConfig for Unpadding {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let session = Arc::clone(&self.0).start_session(version, params);
        Box::new(UnpaddingSession(session))
    }
}

struct UnpaddingSession(Box<dyn Session>);

impl Session for UnpaddingSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.0.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.0.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.0.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let (header, packet) = self.0.early_crypto()?;
        Some((header, Box::new(UnpaddingKey(packet))))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.0.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.0.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.0.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.0.write_handshake(buf).map(unpadding)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.0.next_1rtt_keys().map(unpadding_packets)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.0.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.0.export_keying_material(output, label, context)
    }
}

struct UnpaddingKey(Box<dyn PacketKey>);

impl PacketKey for UnpaddingKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        self.0.encrypt(packet, buf, header_len);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(packet, header, payload)?;
        // Of its own: a payload would else hold on to everything that was received with it, up to 64 KiB,
        // as long as a byte of it is not read. quinn counts what is held by what is in the packets.
        *payload = BytesMut::from(&payload[..unpadded_len(payload)]);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

fn unpadding(keys: Keys) -> Keys {
    Keys {
        header: keys.header,
        packet: unpadding_packets(keys.packet),
    }
}

/// What this side sends is padded as before, so only the other's key differs.
fn unpadding_packets(keys: KeyPair<Box<dyn PacketKey>>) -> KeyPair<Box<dyn PacketKey>> {
    KeyPair {
        local: keys.local,
        remote: Box::new(UnpaddingKey(keys.remote)),
    }
}
