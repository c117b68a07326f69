//! The text form of a keyring, as it stands in the key file.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::{Epoch, FleetKey, Keyring};
use crate::cid::ParseError;
use crate::cid::hex::{self, Hex};

impl Keyring {
    /// Writes the keyring as text that [`Keyring::from_text`] reads; it contains the secrets.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(CAPACITY));
        let keys = [
            ("secret", Some(&self.current)),
            ("previous", self.previous.as_ref()),
            ("next", self.next.as_ref()),
        ];
        let epoch = self.current.epoch();
        writeln!(text, "{HEADER}\n{COMMENT}\nepoch = {epoch}").expect(INFALLIBLE);
        for (name, key) in keys {
            if let Some(key) = key {
                writeln!(text, "{name} = {}", Hex(key.secret())).expect(INFALLIBLE);
            }
        }
        text
    }

    /// Reads a keyring.
    ///
    /// The first line is `wayhold-fleet-key v1`. Then come, in any order and each at most once,
    /// `epoch = N`, `secret = HEX` (64 digits) and, around a rotation, `previous = HEX` (of epoch
    /// N - 1) and `next = HEX` (of epoch N + 1). Empty lines and lines that start with `#` are
    /// skipped.
    pub fn from_text(text: &str) -> Result<Self, KeyringError> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()));
        if lines.next().is_none_or(|(_, header)| header != HEADER) {
            return Err(KeyringError::Header);
        }
        let mut fields = Fields::default();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            fields.read(number, line)?;
        }
        fields.finish()
    }
}

/// Why a text is no keyring. No variant quotes the text, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The first line is another.
    #[error("the first line is not `{HEADER}`")]
    Header,
    /// A line is not of the form `name = value` with a known name.
    #[error("line {0} is none of `epoch = `, `secret = `, `previous = ` and `next = `")]
    Line(usize),
    /// A name occurs twice.
    #[error("line {0} repeats a name")]
    Repeated(usize),
    /// An epoch is not a number below 2^32.
    #[error("line {0} has an epoch that is not a number from 0 to {max}", max = u32::MAX)]
    Epoch(usize),
    /// A secret is not hexadecimal.
    #[error("line {0}: {1}")]
    NotHex(usize, ParseError),
    /// A secret has the wrong length.
    #[error("line {0} has a secret of {1} bytes, not {len}", len = FleetKey::LEN)]
    SecretLen(usize, usize),
    /// A needed line is not there.
    #[error("there is no line `{0} = `")]
    Missing(&'static str),
    /// The previous or next epoch would be below 0 or above 2^32 - 1.
    #[error("epoch {0} has no {1} epoch")]
    NoSuchEpoch(Epoch, &'static str),
}

#[derive(Default)]
struct Fields {
    epoch: Option<u32>,
    secret: Option<Secret>,
    previous: Option<Secret>,
    next: Option<Secret>,
}

type Secret = Zeroizing<[u8; FleetKey::LEN]>;

impl Fields {
    fn read(&mut self, number: usize, line: &str) -> Result<(), KeyringError> {
        let (name, value) = line.split_once('=').ok_or(KeyringError::Line(number))?;
        let value = value.trim();
        let slot = match name.trim() {
            "epoch" => {
                let epoch = value.parse().or(Err(KeyringError::Epoch(number)))?;
                return once(&mut self.epoch, epoch, number);
            }
            "secret" => &mut self.secret,
            "previous" => &mut self.previous,
            "next" => &mut self.next,
            _ => return Err(KeyringError::Line(number)),
        };
        once(slot, secret(number, value)?, number)
    }

    fn finish(self) -> Result<Keyring, KeyringError> {
        let epoch = self.epoch.ok_or(KeyringError::Missing("epoch"))?;
        let key = |epoch, secret: Secret| FleetKey::new(Epoch(epoch), *secret);
        let neighbour = |secret: Option<Secret>, epoch_of: Option<u32>, which| {
            let no_such_epoch = KeyringError::NoSuchEpoch(Epoch(epoch), which);
            secret
                .map(|secret| Ok(key(epoch_of.ok_or(no_such_epoch)?, secret)))
                .transpose()
        };
        Ok(Keyring {
            previous: neighbour(self.previous, epoch.checked_sub(1), "previous")?,
            current: key(epoch, self.secret.ok_or(KeyringError::Missing("secret"))?),
            next: neighbour(self.next, epoch.checked_add(1), "next")?,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T, number: usize) -> Result<(), KeyringError> {
    match slot.replace(value) {
        Some(_) => Err(KeyringError::Repeated(number)),
        None => Ok(()),
    }
}

fn secret(number: usize, value: &str) -> Result<Secret, KeyringError> {
    let mut bytes = Secret::default();
    match hex::decode(value, &mut *bytes) {
        Ok(FleetKey::LEN) => Ok(bytes),
        Ok(len) => Err(KeyringError::SecretLen(number, len)),
        Err(error) => Err(KeyringError::NotHex(number, error)),
    }
}

const HEADER: &str = "wayhold-fleet-key v1";
const COMMENT: &str = "\
# Every node of the fleet has a copy of this file. Whoever reads it can forge tunnel datagrams and
# session tickets: keep it at mode 0600.";
const INFALLIBLE: &str = "a string takes any text";
/// Enough for three secrets, so that the text never moves and leaves a copy behind.
const CAPACITY: usize = 1024;
