use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use crate::edge::session_keys::SharedSessionKeys;
use crate::session::TicketKeys;

/// Session tickets that every node of a fleet opens (RFC 8446, section 4.6.1).
#[derive(Debug)]
pub(crate) struct FleetTicketer {
    keys: SharedSessionKeys,
}

impl FleetTicketer {
    /// Seals and opens under these keys and their replacements.
    pub(crate) fn new(keys: SharedSessionKeys) -> Self {
        Self { keys }
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
        let mut nonce = [0; TicketKeys::NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let keys = self.keys.load();
        keys.tickets
            .seal_at(session, UnixTime::now().as_secs(), nonce)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let opened = keys.tickets.open_at(ticket, UnixTime::now().as_secs());
        opened
            .inspect_err(|reason| tracing::trace!(%reason, "ticket refused"))
            .ok()
    }
}

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
    fn no_two_tickets_are_alike() {
        let ticketer = FleetTicketer::new(keys(1));
        assert_ne!(ticketer.encrypt(b"session"), ticketer.encrypt(b"session"));
    }
}
