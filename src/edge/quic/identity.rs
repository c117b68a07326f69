use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HandshakeTokenKey, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, TokenLog};
use quinn_proto::InvalidCid;

use super::address_token::AddressTokens;
use super::minters::Minters;
use crate::cid::Cid;
use crate::edge::steering::Steering;

/// Everything by which an endpoint's connections are recognised: its connection IDs, the stateless
/// reset tokens that go with them, and its address validation tokens.
#[derive(Clone)]
pub(crate) struct Issuer {
    minters: Arc<Minters>,
    steering: Arc<Steering>,
    tokens: Arc<AddressTokens>,
    lifetime: Duration,
    len: usize,
}

impl Issuer {
    /// Combines what one endpoint issues; reset tokens are those of `steering`. Open connections get new
    /// IDs after `lifetime`.
    pub(crate) fn new(
        minters: Minters,
        steering: Arc<Steering>,
        tokens: AddressTokens,
        lifetime: Duration,
    ) -> Self {
        let len = minters.cid_len();
        Self {
            minters: Arc::new(minters),
            steering,
            tokens: Arc::new(tokens),
            lifetime,
            len,
        }
    }

    pub(super) fn generator(&self) -> Box<dyn ConnectionIdGenerator> {
        Box::new(Generator(self.clone()))
    }

    pub(super) fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(ResetKey(Arc::clone(&self.steering)))
    }

    pub(super) fn token_log(&self) -> Arc<dyn TokenLog> {
        Arc::clone(&self.tokens) as Arc<dyn TokenLog>
    }

    pub(super) fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::clone(&self.tokens) as Arc<dyn HandshakeTokenKey>
    }
}

struct Generator(Issuer);

impl ConnectionIdGenerator for Generator {
    /// An unroutable ID ends its connection at the client's next packet. It is the only answer left
    /// when the nonces or the random source are exhausted, and no panic.
    fn generate_cid(&mut self) -> ConnectionId {
        if let Ok(cid) = self.0.minters.mint() {
            return ConnectionId::new(&cid);
        }
        tracing::error!("connection IDs are exhausted; restart this process");
        let mut bytes = [0; Cid::MAX_LEN];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random bytes");
        }
        let len = self.0.len.max(Cid::MIN_UNROUTABLE_LEN);
        let cid = Cid::unroutable(&bytes[..len]).expect("the length is in its range");
        ConnectionId::new(&cid)
    }

    /// Accepts only IDs of this process: quinn answers a packet with an ID that is accepted here
    /// and that it does not know with a valid stateless reset.
    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        if self.0.minters.owns(cid) || self.0.steering.accepts_any_cid() {
            Ok(())
        } else {
            Err(InvalidCid)
        }
    }

    fn cid_len(&self) -> usize {
        self.0.len
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        Some(self.0.lifetime)
    }
}

/// Derives the reset key of each connection ID's issuer, so that no node can make another's tokens
/// by accident and any node could make them on purpose.
struct ResetKey(Arc<Steering>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.0.reset_token(data));
    }

    fn signature_len(&self) -> usize {
        RESET_TOKEN_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0.reset_token(data), signature)
            .map_err(|_unequal| CryptoError)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// RFC 9000, section 10.3.
const RESET_TOKEN_LEN: usize = 16;
