use super::envelope::{EnvelopeError, Kind, Sender, TAG_LEN};
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
///  70..86   tag over all of the above
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

/// A heartbeat as it was received, not yet authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHeartbeat<'a> {
    /// What it claims.
    pub heartbeat: Heartbeat,
    /// The bytes in front of the tag.
    pub header: &'a [u8],
    /// The tag.
    pub tag: [u8; TAG_LEN],
}

impl Heartbeat {
    /// Appends everything in front of the tag.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        out.push(Kind::Heartbeat.first_octet());
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
    }

    /// Reads a heartbeat; nothing is authentic yet.
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
        let mut reader = Reader::new(bytes.get(1..)?);
        let heartbeat = Self {
            sender: Sender::read(&mut reader)?,
            boot: BootId(reader.array()?),
            challenge: Challenge(reader.array()?),
            answer: (BootId(reader.array()?), Challenge(reader.array()?)),
        };
        let header = &bytes[..bytes.len() - reader.rest().len()];
        let tag = reader.array()?;
        reader.rest().is_empty().then_some(SealedHeartbeat {
            heartbeat,
            header,
            tag,
        })
    }
}
