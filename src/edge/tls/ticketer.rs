use prometheus_client::metrics::counter::Counter;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use crate::edge::session_keys::SharedSessionKeys;
use crate::session::TicketKeys;

/// Session tickets that every node of a fleet opens (RFC 8446, section 4.6.1).
///
/// One that is bound to whose certificates clients must have opens none that is not: what is in a ticket
/// of theirs is that they were let in by these rules.
#[derive(Clone, Debug)]
pub(crate) struct FleetTicketer {
    keys: SharedSessionKeys,
    context: Vec<u8>,
    too_large: Counter,
}

impl FleetTicketer {
    /// Seals and opens under these keys and their replacements.
    pub(crate) fn new(keys: SharedSessionKeys) -> Self {
        Self {
            keys,
            context: Vec::new(),
            too_large: Counter::default(),
        }
    }

    /// Counts there the sessions that are too large for a ticket.
    #[must_use]
    pub(crate) fn counting(self, too_large: Counter) -> Self {
        Self { too_large, ..self }
    }

    /// Opens only what was sealed for the same.
    #[must_use]
    pub(crate) fn bound_to(&self, context: &[u8]) -> Self {
        Self {
            context: context.to_vec(),
            ..self.clone()
        }
    }
}

impl ProducesTickets for FleetTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TicketKeys::LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if session.len() > MOST_BYTES {
            self.too_large.inc();
            return None;
        }
        let mut nonce = [0; TicketKeys::NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let keys = self.keys.load();
        let now = UnixTime::now().as_secs();
        keys.tickets.seal_for(&self.context, session, now, nonce)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let now = UnixTime::now().as_secs();
        let opened = keys.tickets.open_for(&self.context, ticket, now);
        opened
            .inspect_err(|reason| tracing::trace!(%reason, "ticket refused"))
            .ok()
    }
}

/// Bytes of a session. A client sends its ticket in its first flight, where it should not need many packets;
/// what is larger has a long certificate chain of the client in it.
const MOST_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Keyring;

    fn keys(epoch: u8) -> SharedSessionKeys {
        SharedSessionKeys::new(&Keyring::testing(epoch))
    }

    #[test]
    fn a_ticket_opens_one_epoch_later_on_another_node_and_not_two() {
        let ticket = FleetTicketer::new(keys(1)).encrypt(b"session").unwrap();
        let next = FleetTicketer::new(keys(2));
        assert_eq!(next.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(FleetTicketer::new(keys(3)).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticketer_in_use_follows_the_rotation() {
        let keys = keys(1);
        let ticketer = FleetTicketer::new(keys.clone());
        let first = ticketer.encrypt(b"session").unwrap();
        keys.replace(&Keyring::testing(2));
        assert!(ticketer.decrypt(&first).is_some());
        let second = ticketer.encrypt(b"session").unwrap();
        keys.replace(&Keyring::testing(3));
        assert!(ticketer.decrypt(&first).is_none());
        assert!(ticketer.decrypt(&second).is_some());
    }

    #[test]
    fn a_ticket_for_some_clients_opens_for_no_others() {
        let free = FleetTicketer::new(keys(1));
        let (one, other) = (free.bound_to(b"one"), free.bound_to(b"other"));
        let ticket = one.encrypt(b"session").unwrap();
        assert!(free.bound_to(b"one").decrypt(&ticket).is_some());
        assert!(free.decrypt(&ticket).is_none() && other.decrypt(&ticket).is_none());
        assert!(one.decrypt(&free.encrypt(b"session").unwrap()).is_none());
    }

    #[test]
    fn a_session_too_large_for_a_ticket_is_counted() {
        let ticketer = FleetTicketer::new(keys(1));
        assert!(ticketer.encrypt(&vec![0; MOST_BYTES]).is_some());
        assert!(
            ticketer
                .bound_to(b"x")
                .encrypt(&vec![0; MOST_BYTES + 1])
                .is_none()
        );
        assert_eq!(ticketer.too_large.get(), 1);
    }

    #[test]
    fn no_two_tickets_are_alike() {
        let ticketer = FleetTicketer::new(keys(1));
        assert_ne!(ticketer.encrypt(b"session"), ticketer.encrypt(b"session"));
    }
}
