use super::{TicketKey, TicketKeys, TokenKey, TokenKeys};
use crate::fleet::{FleetKey, Keyring};

/// Every key by which the nodes of a fleet know what a client carries between connections, derived
/// from one keyring so that all change at once.
#[derive(Debug)]
pub struct SessionKeys {
    /// For TLS session tickets.
    pub tickets: TicketKeys,
    /// For address-validation tokens.
    pub tokens: TokenKeys,
}

impl SessionKeys {
    /// Derives the keys of each epoch in force.
    pub fn new(keyring: &Keyring) -> Self {
        let ticket =
            |key: &FleetKey| TicketKey::new(key.epoch().0.into(), key.ticket_key().as_bytes());
        let token =
            |key: &FleetKey| TokenKey::new(key.epoch().0.into(), key.token_key().as_bytes());
        let (current, previous, next) = (keyring.current(), keyring.previous(), keyring.next());
        Self {
            tickets: TicketKeys::new(ticket(current), previous.map(ticket), next.map(ticket)),
            tokens: TokenKeys::new(token(current), previous.map(token), next.map(token)),
        }
    }
}
