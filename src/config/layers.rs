//! The layers of a configuration: the file, over it the environment, over both the command line,
//! and the fleet file that any of them names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::decode;
use super::error::{LoadError, LoadErrors, Origin};
use super::schema::{self, Shape};
use super::tree::{Entry, Value};

/// Where a configuration comes from.
///
/// The environment is passed in, so that a test or an embedder decides what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The main file, if there is one.
    pub file: Option<PathBuf>,
    /// The process environment. Of it, names that begin with [`PREFIX`] are keys, and
    /// `AWS_LBC_QUIC_SERVER_ID` is read for the `aws-nlb` profile.
    pub environment: Vec<(String, String)>,
    /// The command line; a later setting wins over an earlier one.
    pub settings: Vec<Setting>,
}

/// One key that the command line sets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The key's path, such as `listen.0.addr`.
    pub path: String,
    /// Its value, as it stands on the command line.
    pub value: String,
    /// The flag that set it, for messages.
    pub flag: String,
}

impl Setting {
    /// What a flag of its own sets.
    pub fn flag(flag: &str, path: &str, value: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            value: value.into(),
            flag: flag.into(),
        }
    }
}

impl FromStr for Setting {
    type Err = SettingError;

    /// Reads what `--set` takes: `KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => {
                Ok(Self::flag("--set", path.trim(), value))
            }
            _ => Err(SettingError),
        }
    }
}

/// The argument of `--set` is not of the form `KEY=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE such as listen.0.addr=[::]:443")]
pub struct SettingError;

impl Sources {
    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Puts all layers into one tree whose every entry has a key's place and shape.
    ///
    /// # Errors
    /// What cannot be read or has no place. A file that is missing or not TOML hides what else is
    /// wrong with the rest of it.
    pub(super) fn tree(&self) -> Result<Tree, LoadErrors> {
        let mut errors = Vec::new();
        let mut root = match self.file.as_deref().map(read_toml) {
            None => Entry::root(),
            Some(Ok(root)) => root,
            Some(Err(unread)) => {
                errors.extend(unread);
                Entry::root()
            }
        };
        let readable = errors.is_empty();
        for (name, path, value) in self.variables() {
            let origin = Origin::Environment(name.to_owned());
            errors.extend(root.assign(&path, value, &origin).err());
        }
        for Setting { path, value, flag } in &self.settings {
            let origin = Origin::CommandLine(flag.clone());
            errors.extend(root.assign(path, value, &origin).err());
        }
        if !readable {
            return Err(LoadErrors::new(errors));
        }
        include_fleet(&mut root, &mut errors);
        root.misfits("", &mut errors);
        Ok(Tree { root, errors })
    }

    /// The variables that are keys, each with its path. A lower index comes before a higher one, a
    /// table before what is in it.
    fn variables(&self) -> Vec<(&str, String, &str)> {
        let mut variables: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, _)| !is_foreign(name))
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(PREFIX)?;
                let path = path.to_ascii_lowercase().replace("__", ".");
                Some((name.as_str(), path, value.as_str()))
            })
            .collect();
        variables.sort_by_cached_key(|(_, path, _)| {
            let index = |segment: &str| segment.parse::<usize>().ok();
            path.split('.')
                .map(|segment| (index(segment), segment.to_owned()))
                .collect::<Vec<_>>()
        });
        variables
    }
}

/// All layers, and what had no place in them.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Entry,
    pub(super) errors: Vec<LoadError>,
}

/// Whether a variable with our prefix has another meaning than a key.
fn is_foreign(name: &str) -> bool {
    let kubernetes = |rest: &str| {
        // What Kubernetes sets in every pod beside a Service that is named wayhold.
        rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
    };
    NOT_KEYS.contains(&name) || name.strip_prefix(PREFIX).is_some_and(kubernetes)
}

/// Puts the table of the fleet file under `fleet`. What the other layers set there wins, except
/// for the members, which two places cannot share.
fn include_fleet(root: &mut Entry, errors: &mut Vec<LoadError>) {
    let (Some(entry), Some(Shape::Value(key))) = (root.find(FLEET_FILE), schema::shape(FLEET_FILE))
    else {
        return;
    };
    let origin = entry.origin.clone();
    let mut refuse = |key: &str, origin, message| {
        errors.push(LoadError {
            origin,
            key: key.into(),
            message,
        });
    };
    let path = match decode::text(entry, key) {
        Ok(text) => decode::relative(entry, text),
        Err(message) => return refuse(FLEET_FILE, origin, message),
    };
    let table = match read_toml(&path) {
        Ok(Entry {
            value: Value::Table(table),
            ..
        }) => table,
        Ok(_) => return,
        Err(unread) => {
            return unread.into_iter().for_each(|error| match error.origin {
                None => refuse(FLEET_FILE, origin.clone(), error.message),
                Some(_) => refuse("fleet", error.origin, error.message),
            });
        }
    };
    for (name, entry) in table {
        let place = format!("fleet.{name}");
        let present = root.find(&place).and_then(|present| present.origin.clone());
        match (name.as_str(), present) {
            ("file", _) => {
                refuse(
                    &place,
                    entry.origin,
                    "a fleet file cannot name another one".into(),
                );
            }
            ("member", Some(present)) => {
                let message = format!("the members are already listed at {present}");
                refuse(&place, entry.origin, message);
            }
            (_, Some(_)) => {}
            (_, None) => root.insert("fleet", name, entry),
        }
    }
}

/// Reads a file of TOML.
fn read_toml(path: &Path) -> Result<Entry, Vec<LoadError>> {
    let text = read_bounded(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        vec![LoadError {
            origin: None,
            key: String::new(),
            message,
        }]
    })?;
    Entry::parse(&text, &Arc::from(path))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    Ok(text)
}

/// What the names of environment variables that are keys begin with. The rest is the path in upper
/// case with two underscores for each dot: `WAYHOLD_LISTEN__0__ADDR`.
pub const PREFIX: &str = "WAYHOLD_";

/// The environment variable that names the main file for the command.
pub const FILE_VARIABLE: &str = "WAYHOLD_CONFIG";

/// Names with our prefix that mean something else: the command's, those that a hook is told its
/// occasion by, which may well run the command, and two of the tests.
const NOT_KEYS: [&str; 7] = [
    FILE_VARIABLE,
    "WAYHOLD_EVENT",
    "WAYHOLD_NODE",
    "WAYHOLD_TESTBED",
    "WAYHOLD_PYTHON",
    "WAYHOLD_CHROMIUM",
    "WAYHOLD_CURL",
];
const FLEET_FILE: &str = "fleet.file";

/// More than a thousand times what a real file needs; `/dev/zero` has no end.
const MAX_FILE: u64 = 1 << 20;
