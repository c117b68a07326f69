use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, PqdsaKeyPair, RsaKeyPair,
    VerificationAlgorithm,
};

use crate::bench::Certificate;

/// A node's key, and what its client verifies.
pub(super) struct Signatures {
    certificate: Certificate,
    key: Key,
    public: Vec<u8>,
    /// What is signed in each certificate, and its signature. All are by the one key: what verifying costs
    /// depends on its kind alone.
    chain: Vec<(Vec<u8>, Vec<u8>)>,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signatures {
    /// Takes a key in the form of PKCS #8 for certificates of these sizes.
    pub(super) fn new(
        certificate: Certificate,
        key: &[u8],
        sizes: Vec<usize>,
    ) -> Result<Self, Unspecified> {
        let key = Key::read(certificate, key)?;
        let mut signatures = Self {
            certificate,
            public: key.public(),
            key,
            chain: Vec::new(),
        };
        for size in sizes {
            let content = vec![0; size];
            let signature = match &signatures.key {
                Key::Rsa(key) => sign_rsa(key, &signature::RSA_PKCS1_SHA256, &content)?,
                key => key.sign(&content)?,
            };
            signatures.chain.push((content, signature));
        }
        Ok(signatures)
    }

    /// The signature of `CertificateVerify` (RFC 8446, section 4.4.3).
    pub(super) fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, Unspecified> {
        self.key.sign(&signed(hash))
    }

    /// Checks the signature of `CertificateVerify`.
    pub(super) fn verify(&self, hash: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
        self.check(self.algorithm(), &signed(hash), signature)
    }

    /// Checks the signature of each certificate.
    pub(super) fn verify_chain(&self) -> Result<(), Unspecified> {
        let algorithm = match self.certificate {
            Certificate::Rsa2048 => &signature::RSA_PKCS1_2048_8192_SHA256,
            _ => self.algorithm(),
        };
        let mut chain = self.chain.iter();
        chain.try_for_each(|(content, signature)| self.check(algorithm, content, signature))
    }

    fn check(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        content: &[u8],
        signature: &[u8],
    ) -> Result<(), Unspecified> {
        ParsedPublicKey::new(algorithm, &self.public)
            .map_err(|_rejected| Unspecified)?
            .verify_sig(content, signature)
    }

    fn algorithm(&self) -> &'static dyn VerificationAlgorithm {
        match self.certificate {
            Certificate::EcdsaP256 | Certificate::LongChain => &signature::ECDSA_P256_SHA256_ASN1,
            Certificate::Ed25519 => &signature::ED25519,
            Certificate::MlDsa44 => &signature::ML_DSA_44,
            Certificate::MlDsa65 => &signature::ML_DSA_65,
            Certificate::Rsa2048 => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }
}

impl Key {
    fn read(certificate: Certificate, key: &[u8]) -> Result<Self, Unspecified> {
        let read = match certificate {
            Certificate::EcdsaP256 | Certificate::LongChain => {
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, key)
                    .map(Self::Ecdsa)
            }
            Certificate::Ed25519 => Ed25519KeyPair::from_pkcs8(key).map(Self::Ed25519),
            Certificate::MlDsa44 => {
                PqdsaKeyPair::from_pkcs8(&signature::ML_DSA_44_SIGNING, key).map(Self::MlDsa)
            }
            Certificate::MlDsa65 => {
                PqdsaKeyPair::from_pkcs8(&signature::ML_DSA_65_SIGNING, key).map(Self::MlDsa)
            }
            Certificate::Rsa2048 => RsaKeyPair::from_pkcs8(key).map(Self::Rsa),
        };
        read.map_err(|_rejected| Unspecified)
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(key) => key.public_key().as_ref().to_vec(),
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Self::MlDsa(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, content: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Ecdsa(key) => {
                let signature = key.sign(&SystemRandom::new(), content)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(key) => Ok(key.try_sign(content)?.as_ref().to_vec()),
            Self::MlDsa(key) => {
                let mut signature = vec![0; key.algorithm().signature_len()];
                let len = key.sign(content, &mut signature)?;
                signature.truncate(len);
                Ok(signature)
            }
            Self::Rsa(key) => sign_rsa(key, &signature::RSA_PSS_SHA512, content),
        }
    }
}

fn sign_rsa(
    key: &RsaKeyPair,
    encoding: &'static dyn signature::RsaEncoding,
    content: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), content, &mut signature)?;
    Ok(signature)
}

/// What is signed for a hash of the messages.
fn signed(hash: &[u8]) -> Vec<u8> {
    let mut content = vec![b' '; 64];
    content.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
    content.extend_from_slice(hash);
    content
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signatures")
            .field(&self.certificate)
            .finish()
    }
}
