use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// The certificate by which a client proved who it is, in the TLS handshake of its connection or in that of
/// the session that it resumed.
#[derive(Clone)]
pub struct ClientCertificate {
    leaf: Vec<u8>,
    rest: Vec<Vec<u8>>,
    subject: Vec<u8>,
    field: HeaderValue,
    chain: Option<HeaderValue>,
}

impl ClientCertificate {
    /// Takes the client's certificate, those that it sent with it, and its subject, all in DER.
    pub fn new(leaf: Vec<u8>, rest: Vec<Vec<u8>>, subject: Vec<u8>) -> Self {
        let items: Vec<_> = rest.iter().map(|der| byte_sequence(der)).collect();
        let value = |text: String| HeaderValue::try_from(text).expect("base64 is visible ASCII");
        Self {
            field: value(byte_sequence(&leaf)),
            chain: (!items.is_empty()).then(|| value(items.join(", "))),
            leaf,
            rest,
            subject,
        }
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.leaf
    }

    /// The other certificates that the client sent, each in DER, in the order in which it did.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.rest.iter().map(Vec::as_slice)
    }

    /// The subject's distinguished name in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.leaf);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_at_checked(64) {
            pem.extend([line, "\n"]);
            rest = after;
        }
        if !rest.is_empty() {
            pem.extend([rest, "\n"]);
        }
        pem + "-----END CERTIFICATE-----\n"
    }

    /// The SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&SHA256, &self.leaf).as_ref());
        fingerprint
    }

    /// The value of `Client-Cert` (RFC 9440, section 2.2).
    pub(crate) fn field(&self) -> HeaderValue {
        self.field.clone()
    }

    /// The value of `Client-Cert-Chain`, if there is one (RFC 9440, section 2.3).
    pub(crate) fn chain_field(&self) -> Option<HeaderValue> {
        self.chain.clone()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("bytes", &self.leaf.len())
            .field("chain", &self.rest.len())
            .finish_non_exhaustive()
    }
}

/// RFC 9651, section 3.3.5.
fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_a_list_of_byte_sequences_and_none_where_there_is_none() {
        let alone = ClientCertificate::new(vec![1, 2, 3], Vec::new(), Vec::new());
        assert_eq!(alone.field(), ":AQID:");
        assert_eq!(alone.chain_field(), None);
        let rest = vec![vec![4], vec![5, 6]];
        let with = ClientCertificate::new(vec![1], rest, Vec::new());
        assert_eq!(with.chain_field().unwrap(), ":BA==:, :BQY=:");
    }

    #[test]
    fn pem_has_lines_of_64() {
        let certificate = ClientCertificate::new(vec![0; 49], Vec::new(), Vec::new());
        let pem = certificate.pem();
        let lines: Vec<_> = pem.lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 4, 25]);
    }

    #[test]
    fn debug_output_shows_nothing_of_the_client() {
        let certificate = ClientCertificate::new(vec![171], Vec::new(), Vec::new());
        let text = format!("{certificate:?}");
        assert_eq!(text, "ClientCertificate { bytes: 1, chain: 0, .. }");
    }
}
