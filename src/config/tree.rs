//! All layers of a configuration as one tree, in which every value knows where it was written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{LoadError, Origin};
use super::schema::{self, Key, Kind, Shape};

/// A value or a table, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) origin: Option<Origin>,
    pub(super) value: Value,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A TOML string.
    String(String),
    /// Text of the environment or the command line, whose type follows from its key.
    Untyped(String),
    /// An integer; one that is too large for the type has the largest value.
    Integer(i128),
    Boolean(bool),
    /// A TOML float or date, which no key takes.
    Other(&'static str),
    List(Vec<Entry>),
    Table(BTreeMap<String, Entry>),
}

impl Value {
    /// What the value is, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::String(_) | Self::Untyped(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Other(what) => what,
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Entry {
    /// A table without entries that was written nowhere.
    pub(super) fn root() -> Self {
        Self {
            origin: None,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// Reads a TOML document.
    ///
    /// # Errors
    /// Every error of syntax, with its line.
    pub(super) fn parse(text: &str, path: &Arc<Path>) -> Result<Self, Vec<LoadError>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let breaks: Vec<_> = breaks.map(|(offset, _)| offset).collect();
        let source = Source::File {
            path,
            breaks: &breaks,
        };
        if errors.is_empty() {
            return Ok(Self {
                origin: None,
                value: source.table(table.into_inner()),
            });
        }
        Err(errors
            .iter()
            .map(|error| LoadError {
                origin: Some(source.origin(error.span().unwrap_or_default().start)),
                key: String::new(),
                message: error.message().to_owned(),
            })
            .collect())
    }

    /// Finds the entry at a path.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.')
            .filter(|_| !path.is_empty())
            .try_fold(self, |entry, segment| match &entry.value {
                Value::Table(table) => table.get(segment),
                Value::List(list) => list.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// How many entries the list at a path has; 0 if there is none.
    pub(super) fn count(&self, path: &str) -> usize {
        match self.find(path).map(|entry| &entry.value) {
            Some(Value::List(list)) => list.len(),
            _ => 0,
        }
    }

    /// Puts text of the environment or the command line at a path, over what stood there.
    ///
    /// # Errors
    /// The path is no key's, the text is not TOML where it must be, or an index skips one.
    pub(super) fn assign(
        &mut self,
        path: &str,
        text: &str,
        origin: &Origin,
    ) -> Result<(), LoadError> {
        let error = |message| LoadError {
            origin: Some(origin.clone()),
            key: path.into(),
            message,
        };
        let Some(shape) = schema::shape(path).filter(|_| !path.is_empty()) else {
            return Err(error(format!("unknown key; {}", schema::hint(path))));
        };
        let value = read(text, shape, origin).map_err(error)?;
        let entry = Self {
            origin: Some(origin.clone()),
            value,
        };
        self.put(&path.split('.').collect::<Vec<_>>(), entry)
            .map_err(error)
    }

    fn put(&mut self, path: &[&str], entry: Self) -> Result<(), String> {
        let [first, rest @ ..] = path else {
            *self = entry;
            return Ok(());
        };
        let vacant = || Self {
            origin: entry.origin.clone(),
            value: match rest.first() {
                Some(next) if schema::is_index(next) => Value::List(Vec::new()),
                _ => Value::Table(BTreeMap::new()),
            },
        };
        match &mut self.value {
            Value::Table(table) => {
                let slot = table.entry((*first).to_owned()).or_insert_with(vacant);
                slot.put(rest, entry)
            }
            Value::List(list) => {
                let Ok(index) = first.parse::<usize>() else {
                    return Err("an index is a number".into());
                };
                if index > list.len() {
                    return Err(format!("the index skips {}", list.len()));
                }
                if index == list.len() {
                    list.push(vacant());
                }
                list[index].put(rest, entry)
            }
            // The layer below has a value of the wrong type here, which the decoder reports.
            _ => Ok(()),
        }
    }

    /// Adds an entry to a table that is there.
    pub(super) fn insert(&mut self, table: &str, name: String, entry: Self) {
        if let Value::Table(root) = &mut self.value
            && let Some(Self {
                value: Value::Table(table),
                ..
            }) = root.get_mut(table)
        {
            table.insert(name, entry);
        }
    }

    /// Collects every entry whose place or type no key has.
    pub(super) fn misfits(&self, path: &str, errors: &mut Vec<LoadError>) {
        let mut refuse = |message| {
            errors.push(LoadError {
                origin: self.origin.clone(),
                key: path.into(),
                message,
            });
        };
        let join = |name: &str| {
            if path.is_empty() {
                name.into()
            } else {
                format!("{path}.{name}")
            }
        };
        match (schema::shape(path), &self.value) {
            (None, _) => refuse(format!("unknown key; {}", schema::hint(path))),
            (Some(Shape::Value(_)), _) => {}
            (Some(Shape::Table), Value::Table(table)) => {
                for (name, entry) in table {
                    // A quoted key may hold a dot, which would name another key.
                    if is_bare(name) {
                        entry.misfits(&join(name), errors);
                    } else {
                        entry.refuse_quoted(name, errors);
                    }
                }
            }
            (Some(Shape::List), Value::List(list)) => {
                for (index, entry) in list.iter().enumerate() {
                    entry.misfits(&join(&index.to_string()), errors);
                }
            }
            (Some(Shape::Table), value) => {
                refuse(format!("expected a table, found {}", value.describe()));
            }
            (Some(Shape::List), value) => {
                refuse(format!(
                    "expected a list of tables, found {}",
                    value.describe()
                ));
            }
        }
    }

    fn refuse_quoted(&self, name: &str, errors: &mut Vec<LoadError>) {
        errors.push(LoadError {
            origin: self.origin.clone(),
            key: format!("{name:?}"),
            message: "unknown key; no key needs quotes".into(),
        });
    }
}

/// Whether a name can stand without quotes (TOML 1.0, "Keys").
fn is_bare(name: &str) -> bool {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.bytes().all(bare)
}

/// Gives text of the environment or the command line the type that its place wants.
fn read(text: &str, shape: Shape, origin: &Origin) -> Result<Value, String> {
    let text = text.trim();
    match shape {
        Shape::Value(Key { kind, .. }) if kind.is_list() && !text.starts_with('[') => {
            let separator = |letter: char| match kind {
                Kind::Command => letter == ' ',
                // A field's value may hold everything; several are written as TOML.
                Kind::Fields => false,
                _ => letter == ',',
            };
            let items = text
                .split(separator)
                .filter(|item| !(text.is_empty() || *kind == Kind::Command && item.is_empty()))
                .map(|item| Entry {
                    origin: Some(origin.clone()),
                    value: Value::Untyped(item.trim().into()),
                });
            Ok(Value::List(items.collect()))
        }
        Shape::Value(key) if !key.kind.is_list() => Ok(Value::Untyped(text.into())),
        _ => match DeValue::parse(text) {
            Ok(value) => Ok(Source::Text { origin }.value(value.into_inner())),
            Err(error) => Err(format!("not a TOML value: {}", error.message())),
        },
    }
}

/// What is being read, to tell where a byte of it stands.
#[derive(Clone, Copy, Debug)]
enum Source<'s> {
    File {
        path: &'s Arc<Path>,
        breaks: &'s [usize],
    },
    Text {
        origin: &'s Origin,
    },
}

impl Source<'_> {
    fn origin(self, offset: usize) -> Origin {
        match self {
            Self::File { path, breaks } => Origin::File {
                path: Arc::clone(path),
                line: 1 + breaks.partition_point(|line_end| *line_end < offset),
            },
            Self::Text { origin } => origin.clone(),
        }
    }

    fn value(self, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => Value::Integer(
                i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
            ),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| self.entry(None, item))
                    .collect(),
            ),
            DeValue::Table(table) => self.table(table),
        }
    }

    fn table(self, table: DeTable<'_>) -> Value {
        let entries = table.into_iter().map(|(name, value)| {
            let entry = self.entry(Some(name.span().start), value);
            (name.into_inner().into_owned(), entry)
        });
        Value::Table(entries.collect())
    }

    /// An entry stands where its key does, an item of a list where it begins.
    fn entry(self, key: Option<usize>, value: Spanned<DeValue<'_>>) -> Entry {
        let offset = key.unwrap_or_else(|| value.span().start);
        Entry {
            origin: Some(self.origin(offset)),
            value: self.value(value.into_inner()),
        }
    }
}
