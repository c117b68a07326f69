//! The tables of docs/config.md, from the one of every key.

use std::collections::BTreeMap;

use super::keys::KEYS;
use super::schema::Key;

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
    let page = std::fs::read_to_string(PAGE).unwrap();
    let filled = filled(&page).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, filled).unwrap();
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
    let page = std::fs::read_to_string(PAGE).unwrap();
    let twice = format!("{page}<!-- keys: timeouts.connect -->\n");
    let filled = filled(&twice).unwrap();
    let row = "| `timeouts.connect` |";
    assert_eq!(filled.matches(row).count(), 1);
    assert!(filled.rfind(row) > filled.rfind("<!-- keys: timeouts.connect -->"));
}

#[test]
fn a_key_without_a_table_is_an_error() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let without = page.replace("<!-- keys: timeouts -->", "");
    assert!(filled(&without).unwrap_err().contains("timeouts.handshake"));
}
