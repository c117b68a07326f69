//! The tables of docs/config.md, from the one of every key, and the examples of all documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::keys::KEYS;
use super::schema::Key;
use super::test_directory::TestDirectory;
use super::{Sources, load};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");

/// Fills in the table after each line such as `<!-- keys: limits timeouts -->`: the keys in these tables
/// of the configuration, but those that another line names more closely.
///
/// # Errors
/// A key that no line names.
fn filled(page: &str) -> Result<String, String> {
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    let areas: Vec<_> = page.lines().filter_map(named).flatten().collect();
    for key in KEYS {
        let closest = areas.iter().filter(|area| holds(area, key.path));
        let area = closest
            .max_by_key(|area| area.len())
            .ok_or_else(|| format!("docs/config.md has no table for {}", key.path))?;
        *rows.entry(area).or_default() += &row(key);
    }
    let mut filled = String::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        filled += line;
        filled.push('\n');
        let Some(areas) = named(line) else { continue };
        while lines
            .next_if(|line| line.is_empty() || line.starts_with('|'))
            .is_some()
        {}
        filled += "\n| key | value | default | example | meaning |\n|---|---|---|---|---|\n";
        filled.extend(areas.filter_map(|area| rows.get(area).map(String::as_str)));
        filled.push('\n');
    }
    Ok(filled)
}

fn named(line: &str) -> Option<impl Iterator<Item = &str>> {
    let areas = line.strip_prefix("<!-- keys: ")?.strip_suffix(" -->")?;
    Some(areas.split(' '))
}

fn holds(area: &str, path: &str) -> bool {
    path.strip_prefix(area)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn row(key: &Key) -> String {
    let default = if key.default.contains(' ') || key.default == "none" {
        key.default.to_owned()
    } else {
        format!("`{}`", key.default)
    };
    let kind = key.kind.to_string().replace('"', "`");
    format!(
        "| `{}` | {kind} | {default} | `{}` | {} |\n",
        key.path, key.example, key.meaning
    )
}

#[test]
fn the_tables_of_the_documentation_are_those_of_the_keys() {
    let page = fs::read_to_string(PAGE).unwrap();
    let filled = filled(&page).unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(PAGE, filled).unwrap();
        return;
    }
    let differ = page
        .lines()
        .zip(filled.lines())
        .find(|(old, new)| old != new);
    assert!(
        page == filled,
        "run `BLESS=1 cargo test --lib the_tables_of_the_documentation`; first difference: {differ:#?}"
    );
}

#[test]
fn a_key_stands_where_it_is_named_most_closely_and_nowhere_else() {
    let page = fs::read_to_string(PAGE).unwrap();
    let twice = format!("{page}<!-- keys: timeouts.connect -->\n");
    let filled = filled(&twice).unwrap();
    let row = "| `timeouts.connect` |";
    assert_eq!(filled.matches(row).count(), 1);
    assert!(filled.rfind(row) > filled.rfind("<!-- keys: timeouts.connect -->"));
}

#[test]
fn a_key_without_a_table_is_an_error() {
    let page = fs::read_to_string(PAGE).unwrap();
    let without = page.replace("<!-- keys: timeouts -->", "");
    assert!(filled(&without).unwrap_err().contains("timeouts.handshake"));
}

/// The documents for users.
fn documents() -> Vec<PathBuf> {
    let listed = |directory: &str| {
        let directory = Path::new(ROOT).join(directory);
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let mut documents: Vec<_> = ["", "docs", "docs/adr", "certs", "examples"]
        .into_iter()
        .flat_map(listed)
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    documents.sort();
    documents
}

/// The examples of configurations in a document, without what they are indented by.
fn examples(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let mut examples = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(indent) = line.strip_suffix("```toml") else {
            continue;
        };
        let block = lines.by_ref().map(|line| line.strip_prefix(indent));
        let block = block.take_while(|line| line.is_none_or(|line| !line.starts_with("```")));
        let block: Vec<_> = block.map(Option::unwrap_or_default).collect();
        examples.push(block.join("\n") + "\n");
    }
    examples
}

/// The names of files in an example.
fn files(example: &str) -> impl Iterator<Item = &str> {
    let quoted = example.split('"').skip(1).step_by(2);
    quoted.filter(|text| {
        let kind = Path::new(text).extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("pem" | "key" | "crl" | "json" | "html" | "txt"))
            && Path::new(text).is_relative()
    })
}

#[test]
fn every_example_of_the_documents_loads() {
    let directory = TestDirectory::with_files(&[]);
    let examples: Vec<_> = documents().iter().flat_map(|path| examples(path)).collect();
    for file in examples.iter().flat_map(|example| files(example)) {
        directory.write(file, "");
    }
    let (fleets, mains): (Vec<_>, Vec<_>) = examples
        .into_iter()
        .partition(|example| example.starts_with("# fleet.toml"));
    assert!(
        fleets.len() >= 3 && mains.len() >= 10,
        "{fleets:?} {mains:?}"
    );
    for fleet in fleets {
        directory.write("fleet.toml", &fleet);
        for main in &mains {
            let id = if main.contains("[node]") { "" } else { "1" };
            let node = ("WAYHOLD_NODE__ID".into(), id.into());
            let aws = ("AWS_LBC_QUIC_SERVER_ID".into(), "ASNFZ4mrze8=".into());
            let environment = if id.is_empty() {
                vec![aws]
            } else {
                vec![aws, node]
            };
            let loaded = load(&Sources {
                file: Some(directory.write("wayhold.toml", main)),
                environment,
                settings: vec![],
            });
            assert!(loaded.is_ok(), "{main}\n{}", loaded.unwrap_err());
        }
    }
}
