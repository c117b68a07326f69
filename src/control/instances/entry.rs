use std::fmt;

use crate::fleet::InstanceId;

/// One live process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Its byte in connection IDs.
    pub instance: InstanceId,
    /// Where it comes from.
    pub birth: Birth,
}

/// Where a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Birth {
    /// The start that it descends from.
    pub lineage: Lineage,
    /// How many upgrades lie between that start and this process.
    pub generation: u32,
}

/// A start of a node that was no upgrade, and all processes that descend from it by upgrades: they
/// share their sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lineage(u64);

impl Birth {
    /// The birth of a process that took nothing over; `random` tells it from every other.
    pub fn first(random: [u8; 8]) -> Self {
        Self {
            lineage: Lineage(u64::from_be_bytes(random)),
            generation: 0,
        }
    }

    /// The birth of a process that takes over from the one with this birth.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            ..self
        }
    }

    /// Whether this process took over from the other one, or from one that did.
    pub fn supersedes(self, other: Self) -> bool {
        self.lineage == other.lineage && self.generation > other.generation
    }
}

impl Entry {
    pub(super) fn file_name(self) -> String {
        format!("instance-{}.{}.sock", self.instance, self.birth)
    }

    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        let (instance, birth) = name
            .strip_prefix("instance-")?
            .strip_suffix(".sock")?
            .split_once('.')?;
        Some(Self {
            instance: InstanceId(instance.parse().ok()?),
            birth: birth.parse().ok()?,
        })
    }
}

impl fmt::Display for Birth {
    /// Writes `LINEAGE-GENERATION`, which [`Birth::from_str`](std::str::FromStr::from_str) reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.lineage.0, self.generation)
    }
}

impl std::str::FromStr for Birth {
    type Err = NotABirth;

    fn from_str(text: &str) -> Result<Self, NotABirth> {
        let read = || {
            let (lineage, generation) = text.split_once('-')?;
            Some(Self {
                lineage: Lineage(u64::from_str_radix(lineage, 16).ok()?),
                generation: generation.parse().ok()?,
            })
        };
        read().ok_or(NotABirth)
    }
}

/// A text that does not describe a [`Birth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a lineage and a generation")]
pub struct NotABirth;

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({:016x})", self.0)
    }
}
