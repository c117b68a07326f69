//! What a key file holds beside the keys, and the two steps of a rotation.

use std::fmt::Write;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Epoch, FleetKey, Keyring, KeyringError};

/// A keyring as it stands in the key file, with the time since which its current key is that.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The keys.
    pub keyring: Keyring,
    /// When the current key became that, since 1970; none if the file does not say.
    pub activated: Option<Duration>,
}

/// What one step of a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// The key of this epoch was added as the next one: every node gets the file before anything uses
    /// it. What the previous epoch made is not accepted any more.
    Announced(Epoch),
    /// The next key became the current one, and the current one the previous.
    Activated(Epoch),
}

/// Why a rotation does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// Connections may still use what the previous key made.
    #[error(
        "epoch {epoch} is current for {} s only: open connections may use connection IDs of the epoch \
         before for another {} s", .age.as_secs(), .left.as_secs() + 1
    )]
    TooEarly {
        /// The current epoch.
        epoch: Epoch,
        /// How long it has been that.
        age: Duration,
        /// How long to wait.
        left: Duration,
    },
    /// There is no higher epoch.
    #[error("epoch {0} is the last")]
    LastEpoch(Epoch),
}

impl KeyRecord {
    /// Starts with one key, which nothing was made with before.
    pub fn new(key: FleetKey) -> Self {
        Self {
            keyring: Keyring::new(key),
            activated: None,
        }
    }

    /// Takes the next step: adds a next key made of `secret`, 32 new random bytes, or makes the one that
    /// is there the current one.
    ///
    /// `now` is the time since 1970. `old_for` is for how long what the previous key made is in use
    /// after it was current: twice the lifetime of connection IDs and the idle timeout. Zero takes the
    /// step in any case.
    ///
    /// # Errors
    /// [`RotationError`]; nothing has changed then.
    pub fn rotate(
        &mut self,
        now: Duration,
        secret: [u8; FleetKey::LEN],
        old_for: Duration,
    ) -> Result<RotationStep, RotationError> {
        let keyring = &mut self.keyring;
        let epoch = keyring.current.epoch();
        if let Some(next) = keyring.next.take() {
            let activated = next.epoch();
            keyring.previous = Some(std::mem::replace(&mut keyring.current, next));
            self.activated = Some(now);
            return Ok(RotationStep::Activated(activated));
        }
        if let (Some(activated), Some(_)) = (self.activated, &keyring.previous) {
            let age = now.saturating_sub(activated);
            let left = old_for.saturating_sub(age);
            if !left.is_zero() {
                return Err(RotationError::TooEarly { epoch, age, left });
            }
        }
        let next = epoch.0.checked_add(1).map(Epoch);
        let next = next.ok_or(RotationError::LastEpoch(epoch))?;
        keyring.previous = None;
        keyring.next = Some(FleetKey::new(next, secret));
        Ok(RotationStep::Announced(next))
    }

    /// Writes the record as text that [`KeyRecord::from_text`] and [`Keyring::from_text`] read; it
    /// contains the secrets.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = self.keyring.to_text();
        if let Some(activated) = self.activated {
            let seconds = activated.as_secs();
            writeln!(text, "{ACTIVATED}{seconds}").expect("a string takes any text");
        }
        text
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Those of [`Keyring::from_text`].
    pub fn from_text(text: &str) -> Result<Self, KeyringError> {
        let seconds = |line: &str| line.trim().strip_prefix(ACTIVATED)?.parse().ok();
        Ok(Self {
            keyring: Keyring::from_text(text)?,
            activated: text.lines().find_map(seconds).map(Duration::from_secs),
        })
    }
}

/// A comment to every reader of keys, so that nodes of a version that does not know it take the file.
const ACTIVATED: &str = "# current since second ";

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_FOR: Duration = Duration::from_secs(720);

    fn epochs(record: &KeyRecord) -> [Option<u32>; 3] {
        let epoch = |key: Option<&FleetKey>| key.map(|key| key.epoch().0);
        let Keyring {
            previous,
            current,
            next,
        } = &record.keyring;
        [previous.as_ref(), Some(current), next.as_ref()].map(epoch)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn a_rotation_adds_the_next_key_and_then_makes_it_the_current_one() {
        let mut record = KeyRecord::new(FleetKey::new(Epoch(4), [4; 32]));
        let step = record.rotate(at(0), [5; 32], OLD_FOR);
        assert_eq!(step, Ok(RotationStep::Announced(Epoch(5))));
        assert_eq!(epochs(&record), [None, Some(4), Some(5)]);
        let step = record.rotate(at(1), [9; 32], OLD_FOR);
        assert_eq!(step, Ok(RotationStep::Activated(Epoch(5))));
        assert_eq!(epochs(&record), [Some(4), Some(5), None]);
        let current = record.keyring.current().fingerprint();
        assert_eq!(current, FleetKey::new(Epoch(5), [5; 32]).fingerprint());
    }

    #[test]
    fn the_previous_key_stays_while_connections_may_use_it() {
        let mut record = KeyRecord::new(FleetKey::new(Epoch(4), [4; 32]));
        record.rotate(at(0), [5; 32], OLD_FOR).unwrap();
        record.rotate(at(10), [5; 32], OLD_FOR).unwrap();
        let mut record = KeyRecord::from_text(&record.to_text()).unwrap();
        let error = RotationError::TooEarly {
            epoch: Epoch(5),
            age: Duration::from_secs(700),
            left: Duration::from_secs(20),
        };
        assert_eq!(record.rotate(at(710), [6; 32], OLD_FOR), Err(error));
        assert_eq!(epochs(&record), [Some(4), Some(5), None]);
        let mut anyway = record.clone();
        assert!(anyway.rotate(at(710), [6; 32], Duration::ZERO).is_ok());
        assert!(record.rotate(at(730), [6; 32], OLD_FOR).is_ok());
        assert_eq!(epochs(&record), [None, Some(5), Some(6)]);
    }

    #[test]
    fn the_last_epoch_has_no_next_one() {
        let mut record = KeyRecord::new(FleetKey::new(Epoch(u32::MAX), [4; 32]));
        let step = record.rotate(at(0), [5; 32], OLD_FOR);
        assert_eq!(step, Err(RotationError::LastEpoch(Epoch(u32::MAX))));
    }

    #[test]
    fn readers_of_keys_alone_take_the_file() {
        let mut record = KeyRecord::new(FleetKey::new(Epoch(0), [4; 32]));
        record.activated = Some(at(3));
        let keyring = Keyring::from_text(&record.to_text()).unwrap();
        assert_eq!(keyring.current().epoch(), Epoch(0));
    }
}
