use super::{CidConfig, ConfigId, DecodeError, Decoded};

/// The configurations in force, at most one for each of the seven config IDs.
///
/// There is more than one while a fleet moves from an old configuration to a new one.
#[derive(Clone, Debug, Default)]
pub struct ConfigSet {
    by_id: [Option<CidConfig>; COUNT],
}

impl ConfigSet {
    /// Adds a configuration and returns the one with the same ID that it replaces.
    pub fn insert(&mut self, config: CidConfig) -> Option<CidConfig> {
        self.by_id[index(config.id())].replace(config)
    }

    /// Takes a configuration out.
    pub fn remove(&mut self, id: ConfigId) -> Option<CidConfig> {
        self.by_id[index(id)].take()
    }

    /// The configuration with this ID.
    pub fn get(&self, id: ConfigId) -> Option<&CidConfig> {
        self.by_id[index(id)].as_ref()
    }

    /// All configurations in the order of their IDs.
    pub fn iter(&self) -> impl Iterator<Item = &CidConfig> {
        self.by_id.iter().flatten()
    }

    /// Reads a connection ID whose end is known, under the configuration that it names; see
    /// [`CidConfig::decode`].
    pub fn decode(&self, cid: &[u8]) -> Result<Decoded, DecodeError> {
        self.named_by(cid)?.decode(cid)
    }

    /// Reads a connection ID from the front of longer bytes, under the configuration that it names;
    /// see [`CidConfig::decode_prefix`].
    pub fn decode_prefix(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        self.named_by(bytes)?.decode_prefix(bytes)
    }

    fn named_by(&self, bytes: &[u8]) -> Result<&CidConfig, DecodeError> {
        let &first = bytes.first().ok_or(DecodeError::TooShort {
            expected: 1,
            found: 0,
        })?;
        let id = ConfigId::of_first_octet(first).ok_or(DecodeError::Unroutable)?;
        self.get(id).ok_or(DecodeError::UnknownConfig(id))
    }
}

impl FromIterator<CidConfig> for ConfigSet {
    /// Collects configurations; of two with one ID the later stays.
    fn from_iter<I: IntoIterator<Item = CidConfig>>(configs: I) -> Self {
        let mut set = Self::default();
        for config in configs {
            set.insert(config);
        }
        set
    }
}

fn index(id: ConfigId) -> usize {
    usize::from(id.get())
}

const COUNT: usize = ConfigId::MAX as usize + 1;
