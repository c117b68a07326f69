use super::error::{LoadErrors, Origin};
use super::keys::KEYS;
use super::layers::Sources;
use super::load::load;
use super::schema::{INDEX, Key};
use super::tree::{Entry, Value};

/// What one key of a configuration comes to, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explained {
    /// The key, with the indices of its lists.
    pub path: String,
    /// Its value as it was written, or the default in the words of docs/config.md.
    pub value: String,
    /// Where it was written; none for a default.
    pub origin: Option<Origin>,
}

/// Says of every key what it comes to and which layer it is from, table by table in the order of
/// docs/config.md. Keys of lists come once for each entry, one entry after the other.
///
/// # Errors
/// What [`load`] refuses.
pub fn explain(sources: &Sources) -> Result<Vec<Explained>, LoadErrors> {
    load(sources)?;
    let tree = sources.tree()?;
    let mut explained = Vec::new();
    for key in KEYS {
        let mut paths = vec![String::new()];
        for segment in key.path.split('.') {
            paths = paths
                .iter()
                .flat_map(|path| extended(&tree.root, path, segment))
                .collect();
        }
        explained.extend(paths.into_iter().map(|path| one(&tree.root, key, path)));
    }
    explained.sort_by_cached_key(|one| place(&one.path));
    Ok(explained)
}

/// Where a key stands: by the first of [`KEYS`] that is in the same table, and by index in lists, so that
/// what is said of one entry of a list stands together.
fn place(path: &str) -> Vec<usize> {
    let mut pattern = String::new();
    let mut place = Vec::new();
    for segment in path.split('.') {
        if !pattern.is_empty() {
            pattern.push('.');
        }
        if let Ok(index) = segment.parse() {
            pattern.push_str(INDEX);
            place.push(index);
        } else {
            pattern.push_str(segment);
            place.extend(KEYS.iter().position(|key| within(key.path, &pattern)));
        }
    }
    place
}

fn within(path: &str, table: &str) -> bool {
    path.strip_prefix(table)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The path with one more segment, or with each index of the list that it leads to.
fn extended(root: &Entry, path: &str, segment: &str) -> Vec<String> {
    let joined = |segment: &str| match path {
        "" => segment.to_owned(),
        path => format!("{path}.{segment}"),
    };
    match segment {
        INDEX => (0..root.count(path))
            .map(|index| joined(&index.to_string()))
            .collect(),
        name => vec![joined(name)],
    }
}

fn one(root: &Entry, key: &Key, path: String) -> Explained {
    match root.find(&path) {
        Some(entry) => Explained {
            value: shown(&entry.value),
            origin: entry.origin.clone(),
            path,
        },
        None => Explained {
            value: key.default.to_owned(),
            origin: None,
            path,
        },
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) | Value::Untyped(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Other(what) => (*what).to_owned(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_directory::TestDirectory;

    #[test]
    fn every_value_is_told_with_the_layer_that_it_is_from() {
        let directory = TestDirectory::with_files(&["tls.pem", "tls.key"]);
        let text = "[[route]]\nto = [\"http://a:1\", \"http://b:1\"]\n[[route]]\npath = \"/x\"\nto = [\"h2://c:1\"]\n";
        let sources = Sources {
            file: Some(directory.write("wayhold.toml", text)),
            environment: vec![("WAYHOLD_NODE__ID".into(), "7".into())],
            settings: vec!["timeouts.connect=1s".parse().unwrap()],
        };
        let explained = explain(&sources).unwrap();
        let told = |path: &str| {
            let found = explained.iter().find(|one| one.path == path).unwrap();
            let origin = found.origin.as_ref().map(ToString::to_string);
            (
                found.value.clone(),
                origin.map(|origin| origin.replace(&directory.path(""), "")),
            )
        };
        let from = |value: &str, origin: &str| (value.to_owned(), Some(origin.to_owned()));
        assert_eq!(
            told("route.0.to"),
            from("[http://a:1, http://b:1]", "wayhold.toml:2")
        );
        assert_eq!(told("route.1.path"), from("/x", "wayhold.toml:4"));
        assert_eq!(told("node.id"), from("7", "WAYHOLD_NODE__ID"));
        assert_eq!(told("timeouts.connect"), from("1s", "--set"));
        assert_eq!(told("timeouts.header"), ("10s".to_owned(), None));
        assert_eq!(told("route.0.path"), ("/".to_owned(), None));
        assert!(explained.iter().all(|one| !one.path.starts_with("pool.")));
    }

    #[test]
    fn what_is_said_of_one_entry_of_a_list_stands_together() {
        let settings = [
            "route=[{ path = \"/a\", pool = \"p\", rate = \"5/s\" }, { pool = \"p\", rate = \"6/s\" }]",
            "pool=[{ name = \"p\", backend = [{ url = \"http://a:1\", weight = 2 }, { url = \"http://b:1\", weight = 3 }] }]",
        ];
        let explained = explain(&Sources {
            settings: settings.map(|one| one.parse().unwrap()).to_vec(),
            ..Sources::default()
        });
        let set = explained.unwrap().into_iter();
        let set: Vec<_> = set
            .filter(|one| one.origin.is_some())
            .map(|one| one.path)
            .collect();
        let expected = [
            "route.0.path",
            "route.0.pool",
            "route.0.rate",
            "route.1.pool",
            "route.1.rate",
            "pool.0.name",
            "pool.0.backend.0.url",
            "pool.0.backend.0.weight",
            "pool.0.backend.1.url",
            "pool.0.backend.1.weight",
        ];
        assert_eq!(set, expected);
    }

    #[test]
    fn a_configuration_that_is_wrong_is_not_explained() {
        let sources = Sources {
            settings: vec!["timeouts.connect=soon".parse().unwrap()],
            ..Sources::default()
        };
        assert!(explain(&sources).is_err());
    }
}
