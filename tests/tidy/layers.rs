//! The rows of the package: a module imports only rows above its own.

use std::collections::HashMap;

use crate::paths::{self, Named};
use crate::tree::{Tree, line};

/// The core, from the top: sans-IO, without a clock and without randomness.
pub(crate) const CORE: &[&str] = &[
    "cid",
    "wire",
    "link",
    "balance",
    "fleet",
    "session",
    "steer",
    "http3",
    "connect_udp",
];

/// What stands below the core, from the top.
const BELOW: &[&str] = &[
    "sys",
    "pem",
    "config",
    "telemetry",
    "request",
    "control",
    "bridge",
    "edge",
    "admin",
    "lifecycle",
    "lifecycle",
    "gateway",
    "client",
    "testbed",
    "bench",
    "demo",
];

/// Where a file belongs.
enum Home<'a> {
    /// `lib.rs`, which only declares modules and re-exports.
    Root,
    /// `main.rs` and `command/`, which see the library as any user does.
    Binary,
    Module(&'a str),
}

/// Finds imports that lead down, modules without a row, and code where none belongs.
pub(crate) fn layers(tree: &Tree) -> Vec<String> {
    let sources = tree.rust("src/");
    let exports = sources
        .iter()
        .find(|(path, _)| *path == "src/lib.rs")
        .map(|(path, file)| paths::root_aliases(path, file))
        .unwrap_or_default();
    let mut violations = Vec::new();
    for (path, file) in &sources {
        match home(path) {
            Home::Root => violations.extend(root_holds_only_modules(path, file)),
            Home::Binary => {}
            Home::Module(module) => match row(module) {
                None => violations.push(format!("{path}: the module `{module}` has no row")),
                Some(own) => {
                    let named = paths::named(path, file);
                    let downward = named.iter().filter_map(|named| {
                        let fault = fault(named, own, &exports)?;
                        Some(format!("{path}:{}: `{module}` {fault}", named.line))
                    });
                    violations.extend(downward);
                }
            },
        }
        violations.extend(hidden_sources(path, tree.text(path)));
    }
    violations.dedup();
    violations
}

fn home(path: &str) -> Home<'_> {
    let inner = path.trim_start_matches("src/");
    let first = inner.split('/').next().unwrap_or(inner);
    match first {
        "lib.rs" => Home::Root,
        "main.rs" | "command" => Home::Binary,
        module => Home::Module(module.trim_end_matches(".rs")),
    }
}

fn row(module: &str) -> Option<usize> {
    CORE.iter().chain(BELOW).position(|row| *row == module)
}

fn fault(named: &Named, own: usize, exports: &HashMap<String, Vec<Vec<String>>>) -> Option<String> {
    let (root, rest) = named.path.split_first()?;
    if root != "crate" && root != "wayhold" {
        return None;
    }
    let first = rest.first()?.as_str();
    if first == "*" {
        return Some("imports the whole crate".into());
    }
    let targets = match (row(first), exports.get(first)) {
        (Some(_), _) => vec![first],
        (None, Some(exported)) => exported
            .iter()
            .filter_map(|path| path.get(1).map(String::as_str))
            .collect(),
        (None, None) => return Some(format!("names `{first}`, which has no row")),
    };
    let below = targets
        .into_iter()
        .find(|target| row(target).is_none_or(|row| row > own))?;
    Some(format!("imports `{below}`, which is not above it"))
}

fn root_holds_only_modules(path: &str, file: &syn::File) -> Vec<String> {
    let mut violations = Vec::new();
    for item in &file.items {
        match item {
            syn::Item::Mod(module) if module.content.is_none() => {
                let name = module.ident.to_string();
                if row(&name).is_none() {
                    violations.push(format!(
                        "{path}:{}: the module `{name}` has no row",
                        line(item)
                    ));
                }
            }
            syn::Item::Use(_) => {}
            _ => violations.push(format!(
                "{path}:{}: only modules and re-exports belong here",
                line(item)
            )),
        }
    }
    violations
}

/// A file brought in under another module's name would be judged by the wrong row.
fn hidden_sources(path: &str, text: &str) -> Vec<String> {
    let hides = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("#[path") || line.contains("include!(")
    };
    let count = text.lines().filter(hides).count();
    (0..count)
        .map(|_| format!("{path}: `path` and `include!` hide where code belongs"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plants one file beside a lawful library.
    fn plant(path: &str, text: &str) -> Vec<String> {
        layers(&Tree::planted(&[
            (
                "src/lib.rs",
                "pub mod cid; mod edge; mod gateway; pub use gateway::Gateway;",
            ),
            ("src/cid/mod.rs", "pub struct Cid;"),
            ("src/edge/mod.rs", "use crate::cid::Cid; mod tls;"),
            (
                "src/gateway.rs",
                "use crate::{cid, edge}; pub struct Gateway;",
            ),
            ("src/main.rs", "mod command; use wayhold::*;"),
            (path, text),
        ]))
    }

    #[track_caller]
    fn finds(path: &str, text: &str, violation: &str) {
        assert_eq!(plant(path, text), [violation], "{text}");
    }

    #[test]
    fn lawful_imports_pass() {
        for (path, text) in [
            (
                "src/steer/mod.rs",
                "use crate::{cid::Cid, fleet}; use super::wire; mod own;",
            ),
            (
                "src/steer/own.rs",
                "use super::super::cid; use crate::steer::Verdict;",
            ),
            (
                "src/steer/own.rs",
                "fn f() -> crate::cid::Cid { super::decide() }",
            ),
            (
                "src/steer/own.rs",
                "use http::edge; use std::fmt::*; mod tests { use super::*; }",
            ),
            (
                "src/command/run.rs",
                "use wayhold::Gateway; use crate::command::complain;",
            ),
        ] {
            assert_eq!(plant(path, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn plain_import_is_found() {
        let fault = "src/cid/a.rs:1: `cid` imports `edge`, which is not above it";
        finds("src/cid/a.rs", "use crate::edge::Tls;", fault);
        finds("src/cid/a.rs", "pub(crate) use crate::edge;", fault);
        finds("src/cid/a.rs", "use wayhold::edge::Tls;", fault);
    }

    #[test]
    fn grouped_import_is_found() {
        finds(
            "src/wire/mod.rs",
            "use crate::{\n    cid::Cid,\n    edge::{self, Tls as T},\n};",
            "src/wire/mod.rs:3: `wire` imports `edge`, which is not above it",
        );
    }

    #[test]
    fn relative_import_is_found() {
        let fault = "src/wire/a.rs:1: `wire` imports `edge`, which is not above it";
        finds("src/wire/a.rs", "use super::super::edge::Tls;", fault);
        finds(
            "src/wire/a.rs",
            "mod deep { use super::super::super::edge; }",
            fault,
        );
        finds(
            "src/wire/a.rs",
            "fn f() { super::super::edge::run() }",
            fault,
        );
        finds("src/wire/a.rs", "use self::super::super::edge::Tls;", fault);
        finds(
            "src/wire/mod.rs",
            "use super::edge::Tls;",
            &fault.replace("a.rs", "mod.rs"),
        );
    }

    #[test]
    fn renamed_import_is_found() {
        let fault = "src/wire/a.rs:2: `wire` imports `edge`, which is not above it";
        finds(
            "src/wire/a.rs",
            "use crate as all;\nfn f() { all::edge::run() }",
            fault,
        );
        finds(
            "src/wire/a.rs",
            "use super::super as up;\nuse up::edge as e;",
            fault,
        );
        finds(
            "src/wire/a.rs",
            "use crate::{self as all};\ntype T = all::edge::Tls;",
            fault,
        );
        finds(
            "src/wire/a.rs",
            "extern crate self as all;\nuse all::edge;",
            fault,
        );
    }

    #[test]
    fn path_in_an_expression_type_or_attribute_is_found() {
        let fault = "src/wire/a.rs:1: `wire` imports `edge`, which is not above it";
        for text in [
            "fn f() { crate::edge::run(); }",
            "struct S(Vec<crate::edge::Tls>);",
            "impl crate::edge::Tls { }",
            "fn f<T: Into<crate::edge::Tls>>() {}",
            "pub(in crate::edge) struct S;",
            "#[derive(crate::edge::Derive)] struct S;",
            "fn f() { match x { crate::edge::A => 1 } }",
        ] {
            finds("src/wire/a.rs", text, fault);
        }
    }

    #[test]
    fn path_in_a_macro_is_found() {
        let fault = "src/wire/a.rs:1: `wire` imports `edge`, which is not above it";
        for text in [
            "fn f() { println!(\"{}\", crate::edge::run()); }",
            "fn f() { crate::edge::event!(); }",
            "macro_rules! m { () => { $crate::edge::run() } }",
            "macro_rules! m { () => { use crate::{cid, edge::Tls}; } }",
        ] {
            finds("src/wire/a.rs", text, fault);
        }
    }

    #[test]
    fn glob_of_the_whole_crate_is_found() {
        let fault = "src/wire/a.rs:1: `wire` imports the whole crate";
        finds("src/wire/a.rs", "use crate::*;", fault);
        finds("src/wire/a.rs", "use super::super::*;", fault);
    }

    #[test]
    fn re_export_at_the_root_is_followed() {
        finds(
            "src/edge/tls.rs",
            "use crate::Gateway;",
            "src/edge/tls.rs:1: `edge` imports `gateway`, which is not above it",
        );
    }

    #[test]
    fn unknown_module_is_found() {
        let file = "src/utils/mod.rs: the module `utils` has no row";
        finds("src/utils/mod.rs", "", file);
        finds(
            "src/utils.rs",
            "",
            "src/utils.rs: the module `utils` has no row",
        );
        finds(
            "src/cid/a.rs",
            "use crate::utils::min;",
            "src/cid/a.rs:1: `cid` names `utils`, which has no row",
        );
        finds(
            "src/lib.rs",
            "mod utils;",
            "src/lib.rs:1: the module `utils` has no row",
        );
        finds(
            "src/bin/other.rs",
            "",
            "src/bin/other.rs: the module `bin` has no row",
        );
    }

    #[test]
    fn code_in_the_root_and_hidden_sources_are_found() {
        let fault = "src/lib.rs:1: only modules and re-exports belong here";
        finds("src/lib.rs", "fn f() {}", fault);
        finds("src/lib.rs", "mod inline { }", fault);
        finds(
            "src/cid/a.rs",
            "#[path = \"../edge/tls.rs\"]\nmod tls;",
            "src/cid/a.rs: `path` and `include!` hide where code belongs",
        );
    }
}
