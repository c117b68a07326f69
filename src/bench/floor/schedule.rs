//! The messages' hash and the keys of a TLS 1.3 handshake (RFC 8446, section 7).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, Digest, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;

use super::meter::Side;

/// The hash of the messages so far.
pub(super) struct Transcript(digest::Context);

impl Transcript {
    pub(super) fn new() -> Self {
        Self(digest::Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, message: &[u8]) {
        self.0.update(message);
    }

    pub(super) fn hash(&self) -> Digest {
        self.0.clone().finish()
    }
}

/// The keys of the handshake's own messages.
pub(super) struct Handshake {
    secret: Prk,
    client: Direction,
    node: Direction,
}

/// The keys of application data, and the secret that later ones come from.
pub(super) struct Application {
    master: Prk,
    _client: LessSafeKey,
    _node: LessSafeKey,
}

struct Direction {
    finished: hmac::Key,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
}

impl Handshake {
    /// Derives all of them from the shared secret and the hash until `ServerHello`.
    pub(super) fn derive(shared: &[u8], hash: &Digest) -> Self {
        let early = Salt::new(HKDF_SHA256, &ZEROES).extract(&ZEROES);
        let secret = Salt::new(HKDF_SHA256, &derived(&early)).extract(shared);
        Self {
            client: Direction::of(&expand(&secret, "c hs traffic", hash.as_ref())),
            node: Direction::of(&expand(&secret, "s hs traffic", hash.as_ref())),
            secret,
        }
    }

    /// A side's `Finished` over the messages with this hash.
    pub(super) fn finished(&self, side: Side, hash: &Digest) -> Vec<u8> {
        let tag = hmac::sign(&self.of(side).finished, hash.as_ref());
        tag.as_ref().to_vec()
    }

    pub(super) fn check_finished(
        &self,
        side: Side,
        hash: &Digest,
        finished: &[u8],
    ) -> Result<(), Unspecified> {
        hmac::verify(&self.of(side).finished, hash.as_ref(), finished)
    }

    /// Seals the only message of a side.
    pub(super) fn seal(&self, side: Side, message: &mut Vec<u8>) -> Result<(), Unspecified> {
        let Direction { key, iv, .. } = self.of(side);
        let nonce = Nonce::assume_unique_for_key(*iv);
        key.seal_in_place_append_tag(nonce, Aad::from(HEADER), message)
    }

    pub(super) fn open<'a>(
        &self,
        side: Side,
        message: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unspecified> {
        let Direction { key, iv, .. } = self.of(side);
        let nonce = Nonce::assume_unique_for_key(*iv);
        key.open_in_place(nonce, Aad::from(HEADER), message)
    }

    fn of(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.client,
            Side::Node => &self.node,
        }
    }
}

impl Application {
    /// Derives them from the hash until the node's `Finished`.
    pub(super) fn derive(handshake: &Handshake, hash: &Digest) -> Self {
        let master = Salt::new(HKDF_SHA256, &derived(&handshake.secret)).extract(&ZEROES);
        let key = |label| key_and_iv(&expand(&master, label, hash.as_ref())).0;
        let (client, node) = (key("c ap traffic"), key("s ap traffic"));
        let _exporter: [u8; SECRET] = expand(&master, "exp master", hash.as_ref());
        Self {
            _client: client,
            _node: node,
            master,
        }
    }

    /// The secret of sessions to come, from the hash of all messages.
    pub(super) fn resumption(&self, hash: &Digest) -> [u8; SECRET] {
        expand(&self.master, "res master", hash.as_ref())
    }
}

impl Direction {
    fn of(secret: &[u8; SECRET]) -> Self {
        let (key, iv) = key_and_iv(secret);
        let prk = Prk::new_less_safe(HKDF_SHA256, secret);
        let finished: [u8; SECRET] = expand(&prk, "finished", &[]);
        Self {
            finished: hmac::Key::new(hmac::HMAC_SHA256, &finished),
            key,
            iv,
        }
    }
}

fn key_and_iv(secret: &[u8; SECRET]) -> (LessSafeKey, [u8; NONCE_LEN]) {
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    let key: [u8; 16] = expand(&prk, "key", &[]);
    let key = UnboundKey::new(&AES_128_GCM, &key).expect("the key is as long as it has to be");
    (LessSafeKey::new(key), expand(&prk, "iv", &[]))
}

fn derived(secret: &Prk) -> [u8; SECRET] {
    expand(secret, "derived", digest::digest(&SHA256, &[]).as_ref())
}

/// `HKDF-Expand-Label` (RFC 8446, section 7.1).
fn expand<const N: usize>(secret: &Prk, label: &str, context: &[u8]) -> [u8; N] {
    let length = |len: usize| u8::try_from(len).expect("labels and hashes are short");
    let mut output = [0; N];
    let parts: [&[u8]; 6] = [
        &[0, length(N)],
        &[length(PREFIX.len() + label.len())],
        PREFIX,
        label.as_bytes(),
        &[length(context.len())],
        context,
    ];
    secret
        .expand(&parts, Len(N))
        .and_then(|okm| okm.fill(&mut output))
        .expect("a few bytes can always be derived");
    output
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

const PREFIX: &[u8] = b"tls13 ";
const SECRET: usize = 32;
const ZEROES: [u8; SECRET] = [0; SECRET];
/// Of a record, which is authenticated with it.
const HEADER: [u8; 5] = [0x17, 0x03, 0x03, 0, 0];
