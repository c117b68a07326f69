//! What clients carry from one connection to the next: tickets and address tokens.

use wayhold::cid::ServerId;
use wayhold::session::{TicketKey, TicketKeys, TokenKey, TokenKeys};

use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    match input.below(4) {
        0 => ticket(&mut input),
        1 => token(&mut input),
        2 => assert!(
            tickets(5).open_at(input.rest(), NOW).is_err(),
            "nobody guesses a ticket"
        ),
        _ => {
            let bytes = input.rest();
            assert_eq!(tokens(5).owner_of(bytes), None, "nobody guesses a token");
            assert!(
                tokens(5)
                    .open(&mut bytes.to_vec(), &[0; TokenKeys::RANDOM_LEN])
                    .is_err()
            );
        }
    }
}

/// A ticket opens with its session at nodes one epoch apart, while it is good, and nowhere when changed.
fn ticket(input: &mut Input<'_>) {
    let nonce = input.array();
    let (age, other) = (u64::from(input.u16()), 3 + input.below(5) as u64);
    let session = input.bytes(200);
    let mut ticket = tickets(5)
        .seal_at(session, NOW, nonce)
        .expect("it is short");
    let opened = tickets(other).open_at(&ticket, NOW + age);
    let good = (4..=6).contains(&other) && age <= TicketKeys::LIFETIME.as_secs();
    assert_eq!(opened.is_ok(), good);
    if let Ok(opened) = opened {
        assert_eq!(opened, session);
    }
    let at = usize::from(input.u16()) % ticket.len();
    ticket[at] ^= input.byte().max(1);
    assert!(tickets(5).open_at(&ticket, NOW).is_err());
    let at = usize::from(input.u16()) % ticket.len();
    assert!(tickets(5).open_at(&ticket[..at], NOW).is_err());
}

fn token(input: &mut Input<'_>) {
    let random: [u8; TokenKeys::RANDOM_LEN] = input.array();
    let owner = ServerId::new(input.bytes(16)).ok();
    let other = 3 + input.below(5) as u64;
    let content = input.bytes(80);
    let mut sealed = tokens(5).seal(content, owner.as_ref(), &random);
    let whole = [&sealed[..], &random].concat();
    let near = (4..=6).contains(&other);
    // What is longer than any that QUIC makes is not opened for its owner.
    let found = tokens(other).owner_of(&whole);
    assert!(found == owner.filter(|_| near) || (found.is_none() && sealed.len() > 128));
    let mut copy = sealed.clone();
    match tokens(other).open(&mut copy, &random) {
        Ok(opened) => assert!(near && opened.owner == owner && opened.content == content),
        Err(_) => assert!(!near),
    }
    let at = usize::from(input.u16()) % sealed.len();
    sealed[at] ^= input.byte().max(1);
    assert!(tokens(5).open(&mut sealed.clone(), &random).is_err());
    assert_eq!(tokens(5).owner_of(&[&sealed[..], &random].concat()), None);
}

fn tickets(epoch: u64) -> TicketKeys {
    let key = |epoch: u64| TicketKey::new(epoch, &[epoch.to_le_bytes()[0]; 32]);
    TicketKeys::new(key(epoch), Some(key(epoch - 1)), Some(key(epoch + 1)))
}

fn tokens(epoch: u64) -> TokenKeys {
    let key = |epoch: u64| TokenKey::new(epoch, &[epoch.to_le_bytes()[0]; 32]);
    TokenKeys::new(key(epoch), Some(key(epoch - 1)), Some(key(epoch + 1)))
}

const NOW: u64 = 1_800_000_000;
