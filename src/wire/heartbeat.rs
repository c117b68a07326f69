use super::envelope::{EnvelopeError, Kind, REPORT_VERSION, Sender, TAG_LEN, TUNNEL_VERSION};
use super::reader::Reader;

/// Drawn by each process at its start: no two processes of a fleet share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

/// Drawn for each heartbeat; the peer that sends it back has heard this process live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(pub [u8; 16]);

/// What two processes tell each other regularly, so that each knows the other is alive now and is
/// no replay of an earlier one.
///
/// ```text
///  0        version (4 bits), kind (4 bits)
///  1..6     sender as in an envelope
///  6..22    boot ID of the sender
///  22..38   challenge to the receiver
///  38..54   boot ID of the receiver as last heard, else zero
///  54..70   the receiver's last challenge, else zero
///  70..     in version 2: a report
///  ..+16    tag over all of the above
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sends it.
    pub sender: Sender,
    /// The sender's boot ID.
    pub boot: BootId,
    /// To be sent back.
    pub challenge: Challenge,
    /// The receiver's boot ID and challenge as the sender last heard them; zero if never.
    pub answer: (BootId, Challenge),
}

/// What the sender of a heartbeat says of itself and of the other members: what version 2 adds.
///
/// ```text
///  0        draining (1 bit)
///  1..5     lowest epoch of the fleet key that the sender has
///  5..9     highest epoch
///  9..13    epoch of the connection IDs that it issues
///  13..21   digest of the configuration that all members must share
///  21..29   its clock, in milliseconds since 1970
///  29       number of members that follow
///  30..     members, 4 bytes each: node ID, 1 if the sender hears it, else 0
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Whether it hands new connections to others.
    pub draining: bool,
    /// The lowest and the highest epoch of the fleet key that it has; it has those between, too.
    pub epochs: (u32, u32),
    /// The epoch of the connection IDs that it issues now.
    pub minting: u32,
    /// A keyed digest of what must be the same on all members.
    pub config: [u8; 8],
    /// Its clock, in milliseconds since 1970.
    pub wall: u64,
    /// The other members, and whether it hears them.
    pub reachable: Reachable<'a>,
}

/// Members and whether the sender of a report hears them; one that it does not know is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reachable<'a>(&'a [u8]);

/// Whether one member hears another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It heard it within its detection time, or had no time yet to hear it.
    Heard,
    /// It did not.
    Unheard,
}

/// A heartbeat as it was received, not yet authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHeartbeat<'a> {
    /// What it claims.
    pub heartbeat: Heartbeat,
    /// What it reports; none in version 1.
    pub report: Option<Report<'a>>,
    /// The bytes in front of the tag.
    pub header: &'a [u8],
    /// The tag.
    pub tag: [u8; TAG_LEN],
}

impl Heartbeat {
    /// Appends everything in front of the tag: version 2 with a report, else version 1.
    pub fn write_header(&self, report: Option<&Report<'_>>, out: &mut Vec<u8>) {
        let version = report.map_or(TUNNEL_VERSION, |_| REPORT_VERSION);
        out.push(Kind::Heartbeat.first_octet(version));
        self.sender.write(out);
        let (answered_boot, answered_challenge) = self.answer;
        for field in [
            self.boot.0,
            self.challenge.0,
            answered_boot.0,
            answered_challenge.0,
        ] {
            out.extend_from_slice(&field);
        }
        if let Some(report) = report {
            report.write(out);
        }
    }

    /// Reads a heartbeat of either version; nothing is authentic yet.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the form is not that of a heartbeat.
    pub fn parse(bytes: &[u8]) -> Result<SealedHeartbeat<'_>, EnvelopeError> {
        if Kind::of(bytes)? != Kind::Heartbeat {
            return Err(EnvelopeError::Kind);
        }
        Self::read(bytes).ok_or(EnvelopeError::Length)
    }

    fn read(bytes: &[u8]) -> Option<SealedHeartbeat<'_>> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()? >> 4;
        let heartbeat = Self {
            sender: Sender::read(&mut reader)?,
            boot: BootId(reader.array()?),
            challenge: Challenge(reader.array()?),
            answer: (BootId(reader.array()?), Challenge(reader.array()?)),
        };
        let report = if version == REPORT_VERSION {
            Some(Report::read(&mut reader)?)
        } else {
            None
        };
        let header = &bytes[..bytes.len() - reader.rest().len()];
        let tag = reader.array()?;
        reader.rest().is_empty().then_some(SealedHeartbeat {
            heartbeat,
            report,
            header,
            tag,
        })
    }
}

impl<'a> Report<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.draining { DRAINING } else { 0 });
        let (lowest, highest) = self.epochs;
        for epoch in [lowest, highest, self.minting] {
            out.extend_from_slice(&epoch.to_be_bytes());
        }
        out.extend_from_slice(&self.config);
        out.extend_from_slice(&self.wall.to_be_bytes());
        let entries = self.reachable.0;
        let count = entries.len() / Reachable::ENTRY_LEN;
        out.push(u8::try_from(count).expect("a fleet has at most 255 members"));
        out.extend_from_slice(entries);
    }

    /// A flag that this version does not know is no error: a later version may set it.
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let flags = reader.u8()?;
        Some(Self {
            draining: flags & DRAINING != 0,
            epochs: (reader.u32()?, reader.u32()?),
            minting: reader.u32()?,
            config: reader.array()?,
            wall: reader.u64()?,
            reachable: {
                let count = usize::from(reader.u8()?);
                Reachable(reader.take(count * Reachable::ENTRY_LEN)?)
            },
        })
    }
}

impl<'a> Reachable<'a> {
    /// Bytes of one member.
    pub const ENTRY_LEN: usize = 4;

    /// Takes what [`Reachable::push`] wrote, for at most 255 members.
    pub fn new(entries: &'a [u8]) -> Self {
        Self(entries)
    }

    /// Appends a member, by its ID in network byte order, to the entries of a report.
    pub fn push(entries: &mut Vec<u8>, [a, b, c]: [u8; 3], hearing: Hearing) {
        let heard = u8::from(hearing == Hearing::Heard);
        entries.extend_from_slice(&[a, b, c, heard]);
    }

    /// The members and whether the sender hears them.
    pub fn iter(self) -> impl Iterator<Item = ([u8; 3], Hearing)> + use<'a> {
        let (entries, _) = self.0.as_chunks::<{ Reachable::ENTRY_LEN }>();
        entries.iter().map(|&[a, b, c, heard]| {
            let hearing = if heard == 0 {
                Hearing::Unheard
            } else {
                Hearing::Heard
            };
            ([a, b, c], hearing)
        })
    }
}

const DRAINING: u8 = 0b1;
