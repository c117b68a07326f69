use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, Error, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use crate::bench::Certificate;

/// What a node proves itself with, made anew for each run.
#[derive(Debug)]
pub(super) struct Credentials {
    /// What it sends, its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) chain_pem: String,
    pub(super) key: KeyPair,
    /// What a client trusts, which is not sent.
    pub(super) root: CertificateDer<'static>,
}

impl Credentials {
    /// Makes keys and certificates for [`NAME`].
    pub(super) fn new(certificate: Certificate) -> Result<Self, Error> {
        let root = CertifiedIssuer::self_signed(authority("root", Vec::new()), key(certificate)?)?;
        let mut chain = Vec::new();
        let mut chain_pem = Vec::new();
        let own_key = key(certificate)?;
        let mut own = CertificateParams::new(vec![NAME.to_owned()])?;
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if certificate == Certificate::LongChain {
            let mut issuers = vec![];
            for number in 0..INTERMEDIATES {
                let parameters = authority(&format!("intermediate {number}"), vec![ballast()]);
                let key = key(certificate)?;
                let issuer: &Issuer<'_, KeyPair> = issuers
                    .last()
                    .map_or(&*root, |last: &CertifiedIssuer<'_, _>| last);
                issuers.push(CertifiedIssuer::signed_by(parameters, key, issuer)?);
            }
            let last = issuers.last().expect("there are intermediates");
            let leaf = own.signed_by(&own_key, last)?;
            chain_pem.push(leaf.pem());
            chain.push(leaf.der().clone());
            for issuer in issuers.iter().rev() {
                chain_pem.push(issuer.pem());
                chain.push(issuer.der().clone());
            }
        } else {
            let leaf = own.signed_by(&own_key, &root)?;
            chain_pem.push(leaf.pem());
            chain.push(leaf.der().clone());
        }
        Ok(Self {
            chain,
            chain_pem: chain_pem.concat(),
            key: own_key,
            root: root.der().clone(),
        })
    }
}

fn key(certificate: Certificate) -> Result<KeyPair, Error> {
    let algorithm: &SignatureAlgorithm = match certificate {
        Certificate::EcdsaP256 | Certificate::LongChain => &rcgen::PKCS_ECDSA_P256_SHA256,
        Certificate::Ed25519 => &rcgen::PKCS_ED25519,
        Certificate::MlDsa44 => &rcgen::PKCS_ML_DSA_44,
        Certificate::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
        Certificate::Rsa2048 => {
            return KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
        }
    };
    KeyPair::generate_for(algorithm)
}

fn authority(name: &str, extensions: Vec<CustomExtension>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.custom_extensions = extensions;
    parameters
}

/// An extension that nobody reads, as long as the policies and timestamps of public certificates are.
fn ballast() -> CustomExtension {
    CustomExtension::from_oid_content(PRIVATE_EXTENSION, vec![0; BALLAST])
}

/// The name of the node.
pub(super) const NAME: &str = "localhost";
/// With the leaf, some 6 kB in all.
const INTERMEDIATES: usize = 3;
const BALLAST: usize = 1500;
/// Under the arc for examples (RFC 5612).
const PRIVATE_EXTENSION: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_is_some_six_kilobytes_and_the_others_send_one_certificate() {
        for &certificate in Certificate::ALL {
            let made = Credentials::new(certificate).unwrap();
            let bytes: usize = made.chain.iter().map(|certificate| certificate.len()).sum();
            if certificate == Certificate::LongChain {
                assert_eq!(made.chain.len(), 1 + INTERMEDIATES);
                assert!((5500..6500).contains(&bytes), "{bytes}");
            } else {
                assert_eq!(made.chain.len(), 1);
            }
        }
    }
}
