/// Writes a stateless reset with this token (RFC 9000, section 10.3).
///
/// It has the form of a short header packet and is shorter than the datagram of `trigger_len` bytes that
/// it answers, so two nodes never answer each other without end. `None` if that datagram has fewer
/// than 22 bytes: a reset has at least 21.
pub fn stateless_reset(
    token: [u8; TOKEN_LEN],
    trigger_len: usize,
    random: [u8; RESET_RANDOM],
) -> Option<Vec<u8>> {
    if trigger_len < MIN_RESET_TRIGGER {
        return None;
    }
    let unpredictable = (trigger_len - 1 - TOKEN_LEN).min(RESET_RANDOM);
    let mut packet = Vec::with_capacity(unpredictable + TOKEN_LEN);
    packet.extend_from_slice(&random[..unpredictable]);
    // The fixed bit of a short header (RFC 9000, section 17.3.1).
    packet[0] = packet[0] & 0x3f | 0x40;
    packet.extend_from_slice(&token);
    Some(packet)
}

/// The shortest datagram that can be answered with a stateless reset.
pub const MIN_RESET_TRIGGER: usize = 22;
/// Random bytes that [`stateless_reset`] takes: with the token 42 bytes, a usual small packet.
pub const RESET_RANDOM: usize = 26;

const TOKEN_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_shorter_than_its_trigger_and_ends_with_the_token() {
        for trigger in 0..200 {
            let reset = stateless_reset([7; 16], trigger, [0xff; RESET_RANDOM]);
            assert_eq!(reset.is_some(), trigger >= MIN_RESET_TRIGGER);
            if let Some(reset) = reset {
                assert!((21..=42).contains(&reset.len()) && reset.len() < trigger);
                assert_eq!(reset[0] & 0xc0, 0x40);
                assert!(reset.ends_with(&[7; 16]));
            }
        }
    }
}
