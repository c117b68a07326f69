//! The cryptographic operations of a full TLS 1.3 handshake, and nothing else: no message is parsed, no state
//! kept, nothing sent. The list is fixed, and every ratio to the floor is to its cost.
//!
//! Both sides, with `TLS_AES_128_GCM_SHA256`, which the gateway agrees on with clients:
//!
//! 1. make a key pair and agree on a secret ([`super::exchange`]);
//! 2. hash the messages (SHA-256), with the hash taken after `ServerHello`, `Certificate`,
//!    `CertificateVerify` and both `Finished`;
//! 3. the key schedule of RFC 8446, section 7.1, without what pre-shared keys need: 3 extractions, 8
//!    derived secrets, 4 keys with their IVs, 2 `finished` keys;
//! 4. make one `Finished` and check the other (HMAC);
//! 5. the node seals and the client opens its encrypted flight in one piece; the client seals and the node
//!    opens its `Finished` (AES-128-GCM); both also schedule the two keys of application data.
//!
//! The node signs `CertificateVerify`. The client verifies it, and one signature for each certificate that
//! was sent ([`super::signatures`]).
//!
//! Session tickets, header protection, Initial keys and the parsing of certificates are not in the list: they
//! are a cost of TLS or QUIC on top.

use aws_lc_rs::error::Unspecified;

use super::credentials::Credentials;
use super::exchange;
use super::meter::{Meter, Side};
use super::schedule::{Application, Handshake, Transcript};
use super::signatures::Signatures;
use crate::bench::{Certificate, KeyExchange};

/// The operations for one certificate and key exchange.
#[derive(Debug)]
pub(super) struct Primitives {
    key_exchange: KeyExchange,
    signatures: Signatures,
    /// Bytes of `Certificate`.
    certificates: usize,
}

/// What one side still has to do when the messages of the other arrive.
struct Flight {
    /// `EncryptedExtensions` to `Finished`, sealed.
    sealed: Vec<u8>,
    signature: Vec<u8>,
    finished: Vec<u8>,
}

impl Primitives {
    pub(super) fn new(
        certificate: Certificate,
        key_exchange: KeyExchange,
        credentials: &Credentials,
    ) -> Result<Self, Unspecified> {
        let sizes: Vec<_> = credentials.chain.iter().map(|sent| sent.len()).collect();
        Ok(Self {
            key_exchange,
            certificates: 8 + sizes.iter().map(|size| size + 5).sum::<usize>(),
            signatures: Signatures::new(certificate, credentials.key.serialized_der(), sizes)?,
        })
    }

    /// Does all of them once.
    pub(super) fn handshake(&self, meter: &mut Meter) -> Result<(), Unspecified> {
        let hello = meter.measure(Side::Client, || exchange::start(self.key_exchange))?;
        let (share, flight, node) = meter.measure(Side::Node, || self.answer(hello.share()))?;
        let finished = meter.measure(Side::Client, || {
            let secret = hello.complete(&share)?;
            self.finish(&secret, hello.share().len(), share.len(), flight)
        })?;
        meter.measure(Side::Node, || node.conclude(finished))
    }

    fn answer(&self, client_share: &[u8]) -> Result<(Vec<u8>, Flight, Node), Unspecified> {
        let (share, secret) = exchange::answer(self.key_exchange, client_share)?;
        let mut transcript = Transcript::new();
        transcript.add(&MESSAGES[..CLIENT_HELLO + client_share.len()]);
        transcript.add(&MESSAGES[..SERVER_HELLO + share.len()]);
        let keys = Handshake::derive(&secret, &transcript.hash());
        transcript.add(&MESSAGES[..ENCRYPTED_EXTENSIONS]);
        let certificate = vec![0; self.certificates];
        transcript.add(&certificate);
        let signature = self.signatures.sign(transcript.hash().as_ref())?;
        transcript.add(&signature);
        let finished = keys.finished(Side::Node, &transcript.hash());
        transcript.add(&finished);
        let hash = transcript.hash();
        let application = Application::derive(&keys, &hash);
        let mut sealed = [
            &MESSAGES[..ENCRYPTED_EXTENSIONS],
            &certificate,
            &signature,
            &finished,
        ]
        .concat();
        keys.seal(Side::Node, &mut sealed)?;
        let flight = Flight {
            sealed,
            signature,
            finished,
        };
        let node = Node {
            transcript,
            keys,
            application,
        };
        Ok((share, flight, node))
    }

    fn finish(
        &self,
        secret: &[u8],
        client_share: usize,
        node_share: usize,
        mut flight: Flight,
    ) -> Result<Vec<u8>, Unspecified> {
        let mut transcript = Transcript::new();
        transcript.add(&MESSAGES[..CLIENT_HELLO + client_share]);
        transcript.add(&MESSAGES[..SERVER_HELLO + node_share]);
        let keys = Handshake::derive(secret, &transcript.hash());
        let opened = keys.open(Side::Node, &mut flight.sealed)?;
        let (until_certificate, rest) = opened.split_at(ENCRYPTED_EXTENSIONS + self.certificates);
        transcript.add(until_certificate);
        self.signatures.verify_chain()?;
        self.signatures
            .verify(transcript.hash().as_ref(), &flight.signature)?;
        transcript.add(&rest[..flight.signature.len()]);
        keys.check_finished(Side::Node, &transcript.hash(), &flight.finished)?;
        transcript.add(&flight.finished);
        let hash = transcript.hash();
        let application = Application::derive(&keys, &hash);
        let mut finished = keys.finished(Side::Client, &hash);
        transcript.add(&finished);
        application.resumption(&transcript.hash());
        keys.seal(Side::Client, &mut finished)?;
        Ok(finished)
    }
}

/// A node that waits for the client's `Finished`.
struct Node {
    transcript: Transcript,
    keys: Handshake,
    application: Application,
}

impl Node {
    fn conclude(mut self, mut sealed: Vec<u8>) -> Result<(), Unspecified> {
        let hash = self.transcript.hash();
        let finished = self.keys.open(Side::Client, &mut sealed)?;
        self.keys.check_finished(Side::Client, &hash, finished)?;
        self.transcript.add(finished);
        self.application.resumption(&self.transcript.hash());
        Ok(())
    }
}

/// Of `ClientHello` as these clients send it over QUIC, beside the key share.
const CLIENT_HELLO: usize = 250;
/// Of `ServerHello` beside the key share.
const SERVER_HELLO: usize = 90;
/// With the transport parameters of QUIC.
const ENCRYPTED_EXTENSIONS: usize = 130;
const MESSAGES: [u8; 2048] = [0; 2048];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_do_their_part_under_every_certificate_and_key_exchange() {
        for &certificate in Certificate::ALL {
            let credentials = Credentials::new(certificate).unwrap();
            for &key_exchange in KeyExchange::ALL {
                let primitives = Primitives::new(certificate, key_exchange, &credentials).unwrap();
                primitives.handshake(&mut Meter::default()).unwrap();
            }
        }
    }
}
