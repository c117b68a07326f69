//! What each feature makes cargo build.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::tree::Tree;

/// Finds crates that only the command needs among those that an embedder builds with
/// `default-features = false, features = ["gateway"]`.
///
/// Cargo.lock knows no features, so crates count that some other feature of a dependency would add;
/// a violation can be a false alarm, but its absence is certain.
pub(crate) fn embedders_build_no_command(tree: &Tree) -> Vec<String> {
    let manifest = parse(tree, "Cargo.toml");
    let locked = locked(&parse(tree, "Cargo.lock"));
    let mut reached = BTreeMap::new();
    let mut open: Vec<_> = direct(&manifest, "gateway")
        .into_iter()
        .map(|name| (name.clone(), name))
        .collect();
    while let Some((name, way)) = open.pop() {
        if reached.contains_key(&name) {
            continue;
        }
        for next in locked.get(&name).into_iter().flatten() {
            open.push((next.clone(), format!("{way} > {next}")));
        }
        reached.insert(name, way);
    }
    COMMAND_ONLY
        .iter()
        .filter_map(|name| reached.get(*name))
        .map(|way| format!("the feature `gateway` builds {way}"))
        .collect()
}

/// The package's own dependencies that are always built, and those that a feature turns on.
fn direct(manifest: &Table, feature: &str) -> Vec<String> {
    let features = manifest["features"].as_table().expect("a table");
    let (mut on, mut open) = (BTreeSet::new(), vec![feature]);
    while let Some(part) = open.pop() {
        // A part is `feature`, `dep:crate`, `crate/feature` or `crate?/feature`.
        let name = part.trim_start_matches("dep:").split(['/', '?']).next();
        if on.insert(name.expect("a split has a first part"))
            && let Some(parts) = features.get(part).and_then(Value::as_array)
        {
            open.extend(parts.iter().filter_map(Value::as_str));
        }
    }
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    let is_built = |(name, dependency): &(&String, &Value)| {
        let optional = dependency.get("optional").and_then(Value::as_bool);
        optional != Some(true) || on.contains(name.as_str())
    };
    let built = dependencies.iter().filter(is_built);
    built.map(|(name, _)| name.clone()).collect()
}

/// What each crate depends on, all its versions taken together.
fn locked(lock: &Table) -> BTreeMap<String, Vec<String>> {
    let mut crates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("an array") {
        let name = package["name"].as_str().expect("a name");
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        let dependencies = dependencies.into_iter().flatten();
        // A dependency is `name`, or `name version` where several versions are locked.
        let names = dependencies.filter_map(|dependency| dependency.as_str()?.split(' ').next());
        let known = crates.entry(name.to_owned()).or_default();
        known.extend(names.map(str::to_owned));
    }
    crates
}

fn parse(tree: &Tree, path: &str) -> Table {
    let text = tree.text(path);
    text.parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

const COMMAND_ONLY: [&str; 7] = [
    "anyhow",
    "clap",
    "comfy-table",
    "h3",
    "h3-quinn",
    "indicatif",
    "tracing-subscriber",
];

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[features]
        gateway = [\"io\", \"b/fast\"]
        io = [\"dep:a\"]
        cli = [\"gateway\", \"dep:clap\"]
        [dependencies]
        a = { version = \"1\", optional = true }
        b = \"1\"
        clap = { version = \"4\", optional = true }";

    fn check(manifest: &str, lock: &str) -> Vec<String> {
        let files = [("Cargo.toml", manifest), ("Cargo.lock", lock)];
        embedders_build_no_command(&Tree::planted(&files))
    }

    fn lock(of_a: &str) -> String {
        let of_b = "[[package]]\nname = \"b\"\ndependencies = [\"c 2.0.0\"]";
        let of_c = "[[package]]\nname = \"c\"\ndependencies = [\"b\"]";
        format!("[[package]]\nname = \"a\"\ndependencies = [{of_a}]\n{of_b}\n{of_c}")
    }

    #[test]
    fn crates_of_other_features_are_not_found() {
        assert_eq!(check(MANIFEST, &lock("")), [""; 0]);
    }

    #[test]
    fn direct_command_crate_is_found() {
        let manifest = MANIFEST.replace("[\"dep:a\"]", "[\"dep:a\", \"dep:clap\"]");
        assert_eq!(
            check(&manifest, &lock("")),
            ["the feature `gateway` builds clap"]
        );
        let manifest = MANIFEST.replace("\"4\", optional = true", "\"4\"");
        assert_eq!(
            check(&manifest, &lock("")),
            ["the feature `gateway` builds clap"]
        );
    }

    #[test]
    fn command_crate_of_a_dependency_is_found() {
        assert_eq!(
            check(MANIFEST, &lock("\"clap\"")),
            ["the feature `gateway` builds a > clap"]
        );
    }
}
