//! How two sides agree on a secret (RFC 8446, section 7.4, and draft-ietf-tls-ecdhe-mlkem).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};

use crate::bench::KeyExchange;

/// The client's half, before the node has answered.
pub(super) struct Started {
    share: Vec<u8>,
    curve: PrivateKey,
    kem: Option<DecapsulationKey>,
}

/// Makes the client's key share. A client that guesses a group that the node does not have makes two.
pub(super) fn start(key_exchange: KeyExchange) -> Result<Started, Unspecified> {
    let curve = PrivateKey::generate(curve(key_exchange))?;
    let mut share = Vec::new();
    let mut kem = None;
    match key_exchange {
        KeyExchange::HelloRetryRequest => {
            PrivateKey::generate(&agreement::X25519)?.compute_public_key()?;
        }
        KeyExchange::X25519MlKem768 => {
            let key = DecapsulationKey::generate(&ML_KEM_768)?;
            share.extend_from_slice(key.encapsulation_key()?.key_bytes()?.as_ref());
            kem = Some(key);
        }
        KeyExchange::X25519 | KeyExchange::P256 => {}
    }
    share.extend_from_slice(curve.compute_public_key()?.as_ref());
    Ok(Started { share, curve, kem })
}

/// Makes the node's key share and the secret.
pub(super) fn answer(
    key_exchange: KeyExchange,
    share: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let (mut answer, mut secret, mut rest) = (Vec::new(), Vec::new(), share);
    if key_exchange == KeyExchange::X25519MlKem768 {
        let (kem, curve) = share
            .split_at_checked(ENCAPSULATION_KEY)
            .ok_or(Unspecified)?;
        let key = EncapsulationKey::new(&ML_KEM_768, kem).map_err(|_rejected| Unspecified)?;
        let (ciphertext, shared) = key.encapsulate()?;
        answer.extend_from_slice(ciphertext.as_ref());
        secret.extend_from_slice(shared.as_ref());
        rest = curve;
    }
    let own = PrivateKey::generate(curve(key_exchange))?;
    answer.extend_from_slice(own.compute_public_key()?.as_ref());
    agree_on(&own, rest, &mut secret)?;
    Ok((answer, secret))
}

impl Started {
    /// What the client sends.
    pub(super) fn share(&self) -> &[u8] {
        &self.share
    }

    /// The secret, with the node's share.
    pub(super) fn complete(&self, answer: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (mut secret, mut rest) = (Vec::new(), answer);
        if let Some(kem) = &self.kem {
            let (ciphertext, curve) = answer.split_at_checked(CIPHERTEXT).ok_or(Unspecified)?;
            let shared = kem.decapsulate(Ciphertext::from(ciphertext))?;
            secret.extend_from_slice(shared.as_ref());
            rest = curve;
        }
        agree_on(&self.curve, rest, &mut secret)?;
        Ok(secret)
    }
}

fn agree_on(own: &PrivateKey, peer: &[u8], secret: &mut Vec<u8>) -> Result<(), Unspecified> {
    let peer = UnparsedPublicKey::new(own.algorithm(), peer);
    agree(own, peer, Unspecified, |shared| {
        secret.extend_from_slice(shared);
        Ok(())
    })
}

fn curve(key_exchange: KeyExchange) -> &'static agreement::Algorithm {
    match key_exchange {
        KeyExchange::P256 => &agreement::ECDH_P256,
        KeyExchange::X25519 | KeyExchange::X25519MlKem768 | KeyExchange::HelloRetryRequest => {
            &agreement::X25519
        }
    }
}

/// FIPS 203, table 3.
const ENCAPSULATION_KEY: usize = 1184;
const CIPHERTEXT: usize = 1088;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_secret() {
        for &key_exchange in KeyExchange::ALL {
            let client = start(key_exchange).unwrap();
            let (share, secret) = answer(key_exchange, client.share()).unwrap();
            assert_eq!(client.complete(&share).unwrap(), secret, "{key_exchange}");
        }
    }
}
