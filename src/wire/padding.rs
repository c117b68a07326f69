use super::reader::Reader;

/// The length of a packet's decrypted payload without the PADDING frames at its end (RFC 9000, section
/// 19.1); at least 1, because a packet without any frame is an error.
///
/// Where padding ends a payload, it stands behind frames of few types. Behind any other frame it is left:
/// then, as for a payload that is malformed or ends in no padding, the length is that of the whole.
pub fn unpadded_len(payload: &[u8]) -> usize {
    if payload.last() != Some(&PADDING) {
        return payload.len();
    }
    let mut reader = Reader::new(payload);
    loop {
        let left = reader.rest();
        let Some(frame) = left.iter().position(|byte| *byte != PADDING) else {
            return (payload.len() - left.len()).max(1);
        };
        if reader
            .take(frame)
            .and_then(|_padding| skip(&mut reader))
            .is_none()
        {
            return payload.len();
        }
    }
}

/// Skips one frame of those that padding follows.
fn skip(frames: &mut Reader<'_>) -> Option<()> {
    match frames.u8()? {
        PING | IMMEDIATE_ACK => {}
        kind @ (ACK | ACK_ECN) => {
            let [_largest, _delay, ranges, _first] = varints(frames)?;
            for _ in 0..ranges {
                let [_gap, _range] = varints(frames)?;
            }
            if kind == ACK_ECN {
                let [_ect0, _ect1, _ce] = varints(frames)?;
            }
        }
        CRYPTO => {
            let [_offset, len] = varints(frames)?;
            frames.take(usize::try_from(len).ok()?)?;
        }
        NEW_CONNECTION_ID => {
            let [_sequence, _retire_prior_to] = varints(frames)?;
            frames.prefixed()?;
            frames.take(RESET_TOKEN)?;
        }
        RETIRE_CONNECTION_ID => {
            let [_sequence] = varints(frames)?;
        }
        PATH_CHALLENGE | PATH_RESPONSE => {
            frames.take(PATH_DATA)?;
        }
        _ => return None,
    }
    Some(())
}

fn varints<const N: usize>(frames: &mut Reader<'_>) -> Option<[u64; N]> {
    let mut values = [0; N];
    for value in &mut values {
        *value = frames.varint()?;
    }
    Some(values)
}

/// RFC 9000, section 19.
const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const CRYPTO: u8 = 0x06;
const NEW_CONNECTION_ID: u8 = 0x18;
const RETIRE_CONNECTION_ID: u8 = 0x19;
const PATH_CHALLENGE: u8 = 0x1a;
const PATH_RESPONSE: u8 = 0x1b;
/// draft-ietf-quic-ack-frequency, with which probes of the MTU ask for their acknowledgment.
const IMMEDIATE_ACK: u8 = 0x1f;
const RESET_TOKEN: usize = 16;
const PATH_DATA: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames that end in zeroes of their own, wherever they can.
    const FRAMES: &[&[u8]] = &[
        &[PING],
        &[IMMEDIATE_ACK],
        &[ACK, 0x40, 9, 0, 1, 0, 0, 0],
        &[ACK_ECN, 3, 0, 0, 0, 0, 0, 0],
        &[CRYPTO, 0, 4, 0x5a, 0, 0, 0],
        &[
            NEW_CONNECTION_ID,
            1,
            0,
            2,
            7,
            7,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ],
        &[RETIRE_CONNECTION_ID, 0],
        &[PATH_CHALLENGE, 0, 0, 0, 0, 0, 0, 0, 0],
        &[PATH_RESPONSE, 0, 0, 0, 0, 0, 0, 0, 0],
    ];

    proptest! {
        #[test]
        fn what_goes_is_the_padding_at_the_end_and_nothing_of_a_frame(
            frames in prop::collection::vec((0..FRAMES.len(), 0..3_usize), 1..6),
            padding in 0..2000_usize,
        ) {
            let mut payload = Vec::new();
            for (frame, before) in frames {
                payload.extend(vec![PADDING; before]);
                payload.extend_from_slice(FRAMES[frame]);
            }
            let unpadded = payload.len();
            payload.extend(vec![PADDING; padding]);
            prop_assert_eq!(unpadded_len(&payload), unpadded);
        }

        #[test]
        fn no_payload_is_made_longer_or_empty(payload in prop::collection::vec(0..0x20_u8, 1..300)) {
            let len = unpadded_len(&payload);
            prop_assert!((1..=payload.len()).contains(&len));
            prop_assert!(payload[len..].iter().all(|byte| *byte == PADDING));
        }
    }

    #[test]
    fn zeroes_that_may_be_data_stay() {
        // STREAM without a length, STREAM with one, and CRYPTO that is cut short.
        for frame in [&[0x08, 0][..], &[0x0a, 0, 2], &[CRYPTO, 0, 60, 1]] {
            let payload = [frame, &[0; 20]].concat();
            assert_eq!(unpadded_len(&payload), payload.len());
        }
    }

    #[test]
    fn a_payload_of_nothing_but_padding_keeps_a_frame() {
        assert_eq!(unpadded_len(&[0; 1200]), 1);
        assert_eq!(unpadded_len(&[]), 0);
    }
}
