use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use crate::session::TicketKeys;

/// Session tickets that every node of a fleet opens (RFC 8446, section 4.6.1).
#[derive(Debug)]
pub(crate) struct FleetTicketer {
    keys: TicketKeys,
}

impl FleetTicketer {
    /// Seals and opens under these keys.
    pub(crate) fn new(keys: TicketKeys) -> Self {
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
        self.keys.seal_at(session, UnixTime::now().as_secs(), nonce)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let opened = self.keys.open_at(ticket, UnixTime::now().as_secs());
        opened
            .inspect_err(|reason| tracing::trace!(%reason, "ticket refused"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::TicketKey;

    fn keys(current: u64, previous: Option<u64>) -> TicketKeys {
        let key = |epoch| TicketKey::new(epoch, &[u8::try_from(epoch).unwrap(); 32]);
        TicketKeys::new(key(current), previous.map(key), None)
    }

    #[test]
    fn a_ticket_opens_in_the_next_epoch_and_not_in_the_one_after() {
        let ticket = FleetTicketer::new(keys(1, None))
            .encrypt(b"session")
            .unwrap();
        let next = FleetTicketer::new(keys(2, Some(1)));
        assert_eq!(next.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(FleetTicketer::new(keys(3, Some(2))).decrypt(&ticket), None);
    }

    #[test]
    fn no_two_tickets_are_alike() {
        let ticketer = FleetTicketer::new(keys(1, None));
        assert_ne!(ticketer.encrypt(b"session"), ticketer.encrypt(b"session"));
    }
}
