use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup};

use crate::bench::KeyExchange;

/// The gateway's provider of cryptography with only the groups of one way to agree on a secret.
pub(super) fn provider(key_exchange: KeyExchange) -> CryptoProvider {
    let groups: &[&'static dyn SupportedKxGroup] = match key_exchange {
        KeyExchange::X25519 => &[kx_group::X25519],
        KeyExchange::P256 => &[kx_group::SECP256R1],
        KeyExchange::X25519MlKem768 => &[kx_group::X25519MLKEM768],
        KeyExchange::HelloRetryRequest => &[&Unknown, kx_group::X25519],
    };
    CryptoProvider {
        kx_groups: groups.to_vec(),
        ..default_provider()
    }
}

/// A group that no node has, with a key share that looks like one of X25519.
///
/// A client that guesses it needs a `HelloRetryRequest` (RFC 8446, section 4.1.4): no handshake can
/// end under this group, because it cannot complete an exchange.
#[derive(Debug)]
struct Unknown;

impl SupportedKxGroup for Unknown {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Guess(kx_group::X25519.start()?)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        PRIVATE
    }
}

struct Guess(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for Guess {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Err(Error::General("nobody has this group".into()))
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        PRIVATE
    }
}

/// The first of the groups for private use (RFC 8446, section 4.2.7).
const PRIVATE: NamedGroup = NamedGroup::Unknown(0xfe00);
