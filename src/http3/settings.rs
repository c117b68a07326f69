//! SETTINGS (RFC 9114, section 7.2.4).

use bytes::BytesMut;

use super::{Offer, Rules, Terms, Violation, frame, qpack, varint};

/// What the client's SETTINGS say that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The largest field section that it takes (RFC 9114, section 4.2.2).
    pub(super) max_section: u64,
    /// Whether it takes HTTP datagrams in QUIC DATAGRAM frames (RFC 9297, section 2.1.1).
    pub(super) datagrams: Offer,
}

/// Reads the payload of SETTINGS, of at most 4096 bytes.
pub(super) fn read(mut payload: &[u8], rules: Rules) -> Result<Settings, Violation> {
    let mut settings = Settings {
        max_section: varint::MAX,
        datagrams: Offer::No,
    };
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (Some(id), Some(value)) = (varint::take(&mut payload), varint::take(&mut payload))
        else {
            rules.refuse(Violation::MalformedControlFrame)?;
            break;
        };
        seen.push(id);
        match id {
            0x00 | 0x02..=0x05 => rules.refuse(Violation::ReservedSetting)?,
            MAX_FIELD_SECTION_SIZE => settings.max_section = value,
            ENABLE_CONNECT_PROTOCOL | H3_DATAGRAM if value > 1 => {
                rules.refuse(Violation::SettingValue)?;
            }
            H3_DATAGRAM if value == 1 => settings.datagrams = Offer::Yes,
            _ => {}
        }
    }
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        rules.refuse(Violation::DuplicateSetting)?;
    }
    Ok(settings)
}

/// Appends the gateway's SETTINGS. That no section may wait for the dynamic table is what is true without a
/// setting (RFC 9204, section 5).
pub(super) fn put(out: &mut BytesMut, terms: &Terms) {
    let mut entries = vec![
        (QPACK_MAX_TABLE_CAPACITY, frame::count(qpack::MAX_CAPACITY)),
        (
            MAX_FIELD_SECTION_SIZE,
            u64::from(terms.limits.section_bytes),
        ),
        (ENABLE_CONNECT_PROTOCOL, 1),
    ];
    if terms.datagrams == Offer::Yes {
        entries.push((H3_DATAGRAM, 1));
    }
    let mut payload = BytesMut::new();
    for (id, value) in entries {
        varint::put(&mut payload, id);
        varint::put(&mut payload, value);
    }
    varint::put(out, frame::SETTINGS);
    varint::put(out, frame::count(payload.len()));
    out.extend_from_slice(&payload);
}

/// RFC 9204, section 5.
const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
/// RFC 9220, section 3.
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
/// RFC 9297, section 2.1.1.
const H3_DATAGRAM: u64 = 0x33;
