use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use crate::bench::Certificate;

/// What a node proves itself with, and the root that a client has to trust for it.
///
/// Both are made here and forgotten at the end.
#[derive(Clone)]
pub struct Identity {
    /// The chain in PEM, the leaf first, without the root.
    pub chain: String,
    /// The leaf's private key in PEM.
    pub key: String,
    /// The root.
    pub root: CertificateDer<'static>,
}

impl Identity {
    /// The name that the certificate is for.
    pub const NAME: &str = "localhost";

    /// Makes a root and a leaf with keys of one kind, and what is between them.
    ///
    /// # Errors
    /// The library's, where it lacks an algorithm.
    pub fn make(kind: Certificate) -> Result<Self, rcgen::Error> {
        let mut issuer = CertifiedIssuer::self_signed(authority("root", 0)?, key(kind)?)?;
        let root = issuer.der().clone();
        let mut chain = String::new();
        if kind == Certificate::LongChain {
            for number in 1..=INTERMEDIATES {
                let params = authority(&format!("intermediate {number}"), PADDING)?;
                issuer = CertifiedIssuer::signed_by(params, key(kind)?, &issuer)?;
                chain.insert_str(0, &issuer.pem());
            }
        }
        let leaf_key = key(kind)?;
        let mut leaf = CertificateParams::new([Self::NAME.to_owned()])?;
        leaf.distinguished_name = named("node");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if kind == Certificate::LongChain {
            leaf.custom_extensions = vec![padding(PADDING)];
        }
        let leaf = leaf.signed_by(&leaf_key, &issuer)?;
        chain.insert_str(0, &leaf.pem());
        Ok(Self {
            chain,
            key: leaf_key.serialize_pem(),
            root,
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn key(kind: Certificate) -> Result<KeyPair, rcgen::Error> {
    let algorithm: &SignatureAlgorithm = match kind {
        Certificate::EcdsaP256 | Certificate::LongChain => &rcgen::PKCS_ECDSA_P256_SHA256,
        Certificate::Rsa2048 => {
            return KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
        }
        Certificate::Ed25519 => &rcgen::PKCS_ED25519,
        Certificate::MlDsa44 => &rcgen::PKCS_ML_DSA_44,
        Certificate::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
    };
    KeyPair::generate_for(algorithm)
}

fn authority(name: &str, padded: usize) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    if padded > 0 {
        params.custom_extensions = vec![padding(padded)];
    }
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, format!("wayhold bench {name}"));
    distinguished
}

/// An extension that nobody knows and nobody has to: an OCTET STRING of zeroes.
fn padding(length: usize) -> CustomExtension {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut content = vec![0x04, 0x82, high, low];
    content.resize(content.len() + length, 0);
    CustomExtension::from_oid_content(PADDING_ID, content)
}

/// With the leaf and their padding some 6 kB, as chains with RSA keys and transparency logs have.
const INTERMEDIATES: usize = 3;
const PADDING: usize = 1100;
/// An object identifier of the branch for examples (ISO/IEC 8824: `{2 999}`).
const PADDING_ID: &[u64] = &[2, 999, 1];

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn every_kind_can_be_made_and_only_the_long_chain_is_long() {
        for kind in Certificate::ALL {
            let made = Identity::make(*kind).unwrap();
            let chain = CertificateDer::pem_slice_iter(made.chain.as_bytes());
            let lengths: Vec<_> = chain.map(|der| der.unwrap().len()).collect();
            if *kind == Certificate::LongChain {
                assert_eq!(lengths.len(), 1 + INTERMEDIATES);
                let sum: usize = lengths.iter().sum();
                assert!((5500..6500).contains(&sum), "{sum}");
            } else {
                assert_eq!(lengths.len(), 1, "{kind}");
            }
        }
    }
}
