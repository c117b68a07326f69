use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::cid::ServerId;

/// A key of one epoch, under which every node of the fleet seals address-validation tokens
/// (RFC 9000, section 8.1): those of Retry packets and those of `NEW_TOKEN` frames.
///
/// Each token gets an AEAD key of its own, derived from 16 random bytes, so no number of tokens
/// wears a key out.
#[derive(Clone)]
pub struct TokenKey {
    epoch: u64,
    secret: hkdf::Prk,
}

impl TokenKey {
    /// Takes the 256-bit key of an epoch. The caller keeps its own copy and wipes it.
    pub fn new(epoch: u64, key: &[u8; 32]) -> Self {
        Self {
            epoch,
            secret: hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key),
        }
    }

    /// The epoch, which stands readable in front of every token.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn of_token(&self, random: &[u8]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 32]);
        self.secret
            .expand(&[random], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key))
            .expect("SHA-256 yields 32 bytes");
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("AES-256 takes keys of 32 bytes");
        LessSafeKey::new(key)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The token keys that are good now: one seals, up to three open.
///
/// A token is `version, epoch, sealed (owner, content), tag, random`. The QUIC library draws the
/// random bytes, appends them, and cuts them off again; what this seals and opens is the rest.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    others: Vec<TokenKey>,
}

/// What a token held.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedToken<'a> {
    /// The process to which a connection that shows the token should go, if it names one.
    pub owner: Option<ServerId>,
    /// What the QUIC library had sealed: addresses, times, connection IDs.
    pub content: &'a mut [u8],
}

impl TokenKeys {
    /// Bytes at the end of a token from which its key is derived.
    pub const RANDOM_LEN: usize = 16;

    /// Seals under `current`; opens under it and the neighbouring epochs' keys.
    pub fn new(current: TokenKey, previous: Option<TokenKey>, next: Option<TokenKey>) -> Self {
        Self {
            current,
            others: previous.into_iter().chain(next).collect(),
        }
    }

    /// Seals `content`, and the owner with it, into a token without its random bytes.
    ///
    /// `random` must be random and new for each call.
    pub fn seal(&self, content: &[u8], owner: Option<&ServerId>, random: &[u8]) -> Vec<u8> {
        let header = header_of(self.current.epoch);
        let owner = owner.map_or(&[][..], |owner| owner);
        let length = HEADER_LEN + 1 + owner.len() + content.len() + AES_256_GCM.tag_len();
        let mut token = Vec::with_capacity(length);
        token.extend_from_slice(&header);
        token.push(u8::try_from(owner.len()).expect("a server ID has at most 15 bytes"));
        token.extend_from_slice(owner);
        token.extend_from_slice(content);
        let tag = self
            .current
            .of_token(random)
            .seal_in_place_separate_tag(nonce(), Aad::from(header), &mut token[HEADER_LEN..])
            .expect("a token is far below the limit of AES-GCM");
        token.extend_from_slice(tag.as_ref());
        token
    }

    /// Opens in place a token that any node sealed, without its random bytes. It may be anything
    /// that a client sent.
    ///
    /// # Errors
    /// Says why the client counts as one without a token (RFC 9000, section 8.1.3).
    pub fn open<'a>(
        &self,
        token: &'a mut [u8],
        random: &[u8],
    ) -> Result<OpenedToken<'a>, TokenError> {
        let (header, sealed) = token
            .split_first_chunk_mut::<HEADER_LEN>()
            .ok_or(TokenError::Malformed)?;
        let plain = self
            .key_of(header)?
            .of_token(random)
            .open_in_place(nonce(), Aad::from(*header), sealed)
            .map_err(|_unspecified| TokenError::Forged)?;
        let (owner_len, rest) = plain.split_first_mut().ok_or(TokenError::Malformed)?;
        let (owner, content) = rest
            .split_at_mut_checked(usize::from(*owner_len))
            .ok_or(TokenError::Malformed)?;
        let owner = match &*owner {
            [] => None,
            owner => Some(ServerId::new(owner).map_err(|_length| TokenError::Malformed)?),
        };
        Ok(OpenedToken { owner, content })
    }

    /// The owner in a whole token, as it stands in an Initial packet; none if the token is not this
    /// fleet's or names none.
    pub fn owner_of(&self, token: &[u8]) -> Option<ServerId> {
        let (sealed, random) = token.split_last_chunk::<{ Self::RANDOM_LEN }>()?;
        let mut copy = [0; MAX_LEN];
        let copy = copy.get_mut(..sealed.len())?;
        copy.copy_from_slice(sealed);
        self.open(copy, random).ok()?.owner
    }

    fn key_of(&self, header: &[u8; HEADER_LEN]) -> Result<&TokenKey, TokenError> {
        let [version, epoch @ ..] = *header;
        if version != VERSION {
            return Err(TokenError::Malformed);
        }
        let epoch = u64::from_be_bytes(epoch);
        std::iter::once(&self.current)
            .chain(&self.others)
            .find(|key| key.epoch == epoch)
            .ok_or(TokenError::UnknownEpoch(epoch))
    }
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not in this gateway's form.
    #[error("not a token of this gateway")]
    Malformed,
    /// Its key is not, or no longer, among the neighbouring epochs.
    #[error("sealed under the unknown epoch {0}")]
    UnknownEpoch(u64),
    /// It was changed, or sealed under another key.
    #[error("not sealed by this fleet")]
    Forged,
}

fn header_of(epoch: u64) -> [u8; HEADER_LEN] {
    let mut header = [VERSION; HEADER_LEN];
    header[1..].copy_from_slice(&epoch.to_be_bytes());
    header
}

/// Each key seals one token, so its nonce need not vary.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The first byte of every token; another form of token gets another number.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + size_of::<u64>();
/// Bytes of the longest token: an IPv6 address and port, a connection ID, a time and a server ID
/// take 86 with all that surrounds them. What is longer is another server's, and not worth opening.
const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANDOM: [u8; TokenKeys::RANDOM_LEN] = [7; TokenKeys::RANDOM_LEN];

    fn key(epoch: u64) -> TokenKey {
        TokenKey::new(epoch, &[u8::try_from(epoch).unwrap(); 32])
    }

    fn keys(epoch: u64) -> TokenKeys {
        TokenKeys::new(key(epoch), Some(key(epoch - 1)), Some(key(epoch + 1)))
    }

    fn opened(keys: &TokenKeys, token: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mut token = token.to_vec();
        keys.open(&mut token, &RANDOM)
            .map(|opened| opened.content.to_vec())
    }

    fn whole(token: Vec<u8>) -> Vec<u8> {
        [token, RANDOM.to_vec()].concat()
    }

    #[test]
    fn nodes_one_epoch_apart_open_each_others_tokens_and_no_older_ones() {
        let token = |epoch| keys(epoch).seal(b"content", None, &RANDOM);
        for (made, opens) in [(5, 5), (4, 5), (5, 4)] {
            assert_eq!(opened(&keys(opens), &token(made)).unwrap(), b"content");
        }
        assert_eq!(
            opened(&keys(6), &token(4)),
            Err(TokenError::UnknownEpoch(4))
        );
    }

    #[test]
    fn a_token_names_its_owner_to_every_node_and_to_nobody_else() {
        let owner = ServerId::new(&[1, 2, 3, 4]).unwrap();
        let token = whole(keys(5).seal(b"content", Some(&owner), &RANDOM));
        assert_eq!(keys(6).owner_of(&token), Some(owner));
        assert_eq!(keys(8).owner_of(&token), None);
        assert!(!token.windows(4).any(|window| window == [1, 2, 3, 4]));
    }

    #[test]
    fn a_token_without_an_owner_names_none() {
        let token = whole(keys(5).seal(b"content", None, &RANDOM));
        assert_eq!(keys(5).owner_of(&token), None);
    }

    #[test]
    fn the_longest_token_that_quic_makes_is_opened() {
        let content = [0; 1 + 1 + 16 + 2 + 1 + 20 + 8];
        let owner = ServerId::new(&[9; 15]).unwrap();
        let token = whole(keys(5).seal(&content, Some(&owner), &RANDOM));
        assert_eq!(keys(5).owner_of(&token), Some(owner));
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let token = keys(5).seal(b"content", None, &RANDOM);
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert!(opened(&keys(5), &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_token_opens_only_with_its_own_random_bytes() {
        let mut token = keys(5).seal(b"content", None, &RANDOM);
        let other = [8; TokenKeys::RANDOM_LEN];
        assert_eq!(
            keys(5).open(&mut token, &other).unwrap_err(),
            TokenError::Forged
        );
    }

    #[test]
    fn debug_output_holds_no_key() {
        let text = format!("{:?}", key(9));
        assert_eq!(text, "TokenKey { epoch: 9, .. }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(opened(&keys(5), &bytes).is_err());
            prop_assert_eq!(keys(5).owner_of(&bytes), None);
        }

        #[test]
        fn any_content_comes_back(content in prop::collection::vec(any::<u8>(), 0..100), random: [u8; 16]) {
            let mut token = keys(5).seal(&content, None, &random);
            prop_assert_eq!(keys(5).open(&mut token, &random).unwrap().content.to_vec(), content);
        }
    }
}
