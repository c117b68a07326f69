use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// A key of one epoch, under which every node of the fleet seals TLS session tickets.
///
/// Nonces are random, so one key must seal no more than 2^32 tickets (NIST SP 800-38D, section
/// 8.3): at 10,000 handshakes a second with two tickets each, two and a half days.
pub struct TicketKey {
    epoch: u64,
    key: LessSafeKey,
}

impl TicketKey {
    /// Takes the 256-bit key of an epoch. The caller keeps its own copy and wipes it.
    pub fn new(epoch: u64, key: &[u8; 32]) -> Self {
        Self {
            epoch,
            key: aes_256_gcm(key),
        }
    }

    /// The epoch, which stands readable in front of every ticket.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The ticket keys that are good now: one seals, up to three open.
///
/// A node whose clock or key file is ahead seals under an epoch that is `next` elsewhere, so a
/// ticket opens on every node while keys change.
#[derive(Debug)]
pub struct TicketKeys {
    current: TicketKey,
    others: Vec<TicketKey>,
}

impl TicketKeys {
    /// How long a ticket is good, whatever its key: six hours, the time for which a stolen ticket
    /// key uncovers resumed sessions that did no key exchange of their own.
    pub const LIFETIME: Duration = Duration::from_hours(6);

    /// Bytes of the nonce that [`TicketKeys::seal_at`] takes.
    pub const NONCE_LEN: usize = NONCE_LEN;

    /// Seals under `current`; opens under it and the neighbouring epochs' keys.
    pub fn new(current: TicketKey, previous: Option<TicketKey>, next: Option<TicketKey>) -> Self {
        Self {
            current,
            others: previous.into_iter().chain(next).collect(),
        }
    }

    /// Seals a session at a time, given as seconds since 1970.
    ///
    /// `nonce` must be random and new for each call. Returns `None` for sessions of more than
    /// 64 KiB, which TLS cannot carry (RFC 8446, section 4.6.1).
    pub fn seal_at(&self, session: &[u8], now: u64, nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        self.seal_for(&[], session, now, nonce)
    }

    /// Seals a session of whom this context lets in, such as a digest of whose certificates clients must
    /// have; otherwise as [`TicketKeys::seal_at`]. The context is not in the ticket, and it opens for nobody
    /// who has another.
    pub fn seal_for(
        &self,
        context: &[u8],
        session: &[u8],
        now: u64,
        nonce: [u8; NONCE_LEN],
    ) -> Option<Vec<u8>> {
        let length = HEADER_LEN + TIME_LEN + session.len() + AES_256_GCM.tag_len();
        if length > usize::from(u16::MAX) {
            return None;
        }
        let name = name_of(self.current.epoch);
        let mut ticket = Vec::with_capacity(length);
        ticket.extend_from_slice(&name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&now.to_be_bytes());
        ticket.extend_from_slice(session);
        let tag = self
            .current
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([&name[..], context].concat()),
                &mut ticket[HEADER_LEN..],
            )
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Opens a ticket that any node sealed. The ticket may be anything that a client sent.
    ///
    /// # Errors
    /// Says why the client gets a full handshake instead; see [`TicketError`].
    pub fn open_at(&self, ticket: &[u8], now: u64) -> Result<Vec<u8>, TicketError> {
        self.open_for(&[], ticket, now)
    }

    /// Opens a ticket that was sealed for this context.
    ///
    /// # Errors
    /// As for [`TicketKeys::open_at`]; a ticket for another context is [`TicketError::Forged`].
    pub fn open_for(
        &self,
        context: &[u8],
        ticket: &[u8],
        now: u64,
    ) -> Result<Vec<u8>, TicketError> {
        let (name, rest) = ticket
            .split_first_chunk::<NAME_LEN>()
            .ok_or(TicketError::Malformed)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(TicketError::Malformed)?;
        let key = self.key_of(name)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain = key
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from([&name[..], context].concat()),
                &mut opened,
            )
            .map_err(|_unspecified| TicketError::Forged)?;
        let (sealed_at, session) = plain
            .split_first_chunk::<TIME_LEN>()
            .ok_or(TicketError::Malformed)?;
        check_age(u64::from_be_bytes(*sealed_at), now)?;
        Ok(session.to_vec())
    }

    fn key_of(&self, name: &[u8; NAME_LEN]) -> Result<&TicketKey, TicketError> {
        let [version, epoch @ ..] = *name;
        if version != VERSION {
            return Err(TicketError::Malformed);
        }
        let epoch = u64::from_be_bytes(epoch);
        std::iter::once(&self.current)
            .chain(&self.others)
            .find(|key| key.epoch == epoch)
            .ok_or(TicketError::UnknownEpoch(epoch))
    }
}

/// Why a ticket does not resume its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It is not in this gateway's form.
    #[error("not a ticket of this gateway")]
    Malformed,
    /// Its key is not, or no longer, among the neighbouring epochs.
    #[error("sealed under the unknown epoch {0}")]
    UnknownEpoch(u64),
    /// It was changed, or sealed under another key.
    #[error("not sealed by this fleet")]
    Forged,
    /// It is older than [`TicketKeys::LIFETIME`].
    #[error("older than six hours")]
    Expired,
    /// It was sealed further in the future than the clocks of a fleet may differ: five minutes.
    #[error("sealed in the future")]
    Future,
}

fn aes_256_gcm(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes keys of 32 bytes"))
}

fn name_of(epoch: u64) -> [u8; NAME_LEN] {
    let mut name = [VERSION; NAME_LEN];
    name[1..].copy_from_slice(&epoch.to_be_bytes());
    name
}

fn check_age(sealed_at: u64, now: u64) -> Result<(), TicketError> {
    if sealed_at > now.saturating_add(CLOCK_SKEW) {
        Err(TicketError::Future)
    } else if now.saturating_sub(sealed_at) > TicketKeys::LIFETIME.as_secs() {
        Err(TicketError::Expired)
    } else {
        Ok(())
    }
}

/// The first byte of every ticket; another form of ticket gets another number.
const VERSION: u8 = 1;
const NAME_LEN: usize = 1 + size_of::<u64>();
const HEADER_LEN: usize = NAME_LEN + NONCE_LEN;
const TIME_LEN: usize = size_of::<u64>();
/// Seconds by which another node's clock may be ahead.
const CLOCK_SKEW: u64 = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn key(epoch: u64) -> TicketKey {
        TicketKey::new(epoch, &[u8::try_from(epoch).unwrap(); 32])
    }

    fn keys(epoch: u64) -> TicketKeys {
        TicketKeys::new(key(epoch), Some(key(epoch - 1)), Some(key(epoch + 1)))
    }

    #[test]
    fn every_node_of_a_fleet_opens_a_ticket() {
        let ticket = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        assert_eq!(keys(5).open_at(&ticket, NOW + 60).unwrap(), b"session");
    }

    #[test]
    fn nodes_one_epoch_apart_open_each_others_tickets() {
        let old = keys(4).seal_at(b"session", NOW, NONCE).unwrap();
        let new = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        assert_eq!(keys(5).open_at(&old, NOW).unwrap(), b"session");
        assert_eq!(keys(4).open_at(&new, NOW).unwrap(), b"session");
    }

    #[test]
    fn an_epoch_that_has_left_is_named() {
        let ticket = keys(3).seal_at(b"session", NOW, NONCE).unwrap();
        assert_eq!(
            keys(5).open_at(&ticket, NOW),
            Err(TicketError::UnknownEpoch(3))
        );
    }

    #[test]
    fn a_ticket_is_good_for_six_hours_and_no_longer() {
        let ticket = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        let lifetime = TicketKeys::LIFETIME.as_secs();
        assert!(keys(5).open_at(&ticket, NOW + lifetime).is_ok());
        assert_eq!(
            keys(5).open_at(&ticket, NOW + lifetime + 1),
            Err(TicketError::Expired)
        );
    }

    #[test]
    fn a_ticket_from_the_future_is_refused_beyond_the_skew_of_clocks() {
        let ticket = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        assert!(keys(5).open_at(&ticket, NOW - CLOCK_SKEW).is_ok());
        assert_eq!(
            keys(5).open_at(&ticket, NOW - CLOCK_SKEW - 1),
            Err(TicketError::Future)
        );
    }

    #[test]
    fn a_ticket_opens_for_the_context_that_it_was_sealed_for_and_no_other() {
        let of = |context: &[u8]| keys(5).seal_for(context, b"session", NOW, NONCE).unwrap();
        assert_eq!(of(b""), keys(5).seal_at(b"session", NOW, NONCE).unwrap());
        for (sealed, opens) in [("a", "a"), ("a", "b"), ("", "a"), ("a", ""), ("a", "ab")] {
            let opened = keys(5).open_for(opens.as_bytes(), &of(sealed.as_bytes()), NOW);
            assert_eq!(opened.is_ok(), sealed == opens, "{sealed:?} {opens:?}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let ticket = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(keys(5).open_at(&changed, NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_session_longer_than_tls_carries_is_not_sealed() {
        assert!(keys(5).seal_at(&vec![0; 1 << 16], NOW, NONCE).is_none());
        assert!(keys(5).seal_at(&vec![0; 60 << 10], NOW, NONCE).is_some());
    }

    #[test]
    fn a_ticket_does_not_show_its_session() {
        let ticket = keys(5).seal_at(b"session", NOW, NONCE).unwrap();
        assert!(!ticket.windows(7).any(|window| window == b"session"));
    }

    #[test]
    fn debug_output_holds_no_key() {
        let text = format!("{:?}", TicketKey::new(9, &[0xab; 32]));
        assert_eq!(text, "TicketKey { epoch: 9, .. }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(keys(5).open_at(&bytes, NOW).is_err());
        }

        #[test]
        fn any_session_comes_back(session in prop::collection::vec(any::<u8>(), 0..2000), nonce: [u8; NONCE_LEN]) {
            let ticket = keys(5).seal_at(&session, NOW, nonce).unwrap();
            prop_assert_eq!(keys(5).open_at(&ticket, NOW).unwrap(), session);
        }
    }
}
