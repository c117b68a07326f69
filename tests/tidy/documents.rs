//! What the documents promise, against the sources.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tree::{Tree, has_extension, is_test_only};

/// Finds keys of the table in `config` that docs/config.md does not name in backticks.
pub(crate) fn keys_are_documented(tree: &Tree) -> Vec<String> {
    let mut keys = Keys(BTreeSet::new());
    for (_, file) in tree.rust("src/config/") {
        keys.visit_file(&file);
    }
    if keys.0.is_empty() {
        return vec!["src/config/: no table of keys".into()];
    }
    let documented = code_spans(tree.text("docs/config.md"));
    let missing = keys.0.iter().filter(|key| !documented.contains(*key));
    missing
        .map(|key| format!("docs/config.md: nothing about `{key}`"))
        .collect()
}

/// Finds metrics that docs/operate.md does not name, and names in it that are no metrics.
pub(crate) fn metrics_are_documented(tree: &Tree) -> Vec<String> {
    let mut metrics = Metrics::default();
    for (_, file) in tree.rust("src/telemetry/") {
        metrics.visit_file(&file);
    }
    let Some(prefix) = metrics.prefix else {
        return vec!["src/telemetry/: no metrics with a prefix".into()];
    };
    let registered = metrics.names.iter().map(|name| format!("{prefix}_{name}"));
    let registered: BTreeSet<_> = registered.collect();
    let documented: BTreeSet<_> = code_spans(tree.text("docs/operate.md"))
        .iter()
        .filter(|span| span.starts_with(&format!("{prefix}_")))
        .map(|span| metric_family(span).to_owned())
        .collect();
    let missing = registered
        .difference(&documented)
        .map(|name| format!("docs/operate.md: nothing about `{name}`"));
    let unknown = documented
        .difference(&registered)
        .map(|name| format!("docs/operate.md: there is no `{name}`"));
    missing.chain(unknown).collect()
}

/// Finds the README's two commands missing from its first lines or from what CI runs.
pub(crate) fn commands_are_run(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    let top = tree.text("README.md").lines().take(README_TOP);
    let commands: Vec<_> = top.filter(|line| COMMANDS.contains(line)).collect();
    if commands != COMMANDS {
        violations.push(format!(
            "README.md: its first {README_TOP} lines give the commands {commands:?}"
        ));
    }
    let ci = tree.text(".ci/run");
    for command in COMMANDS {
        let step = format!("step {command}");
        if !ci.lines().any(|line| line == step) {
            violations.push(format!(".ci/run: no line `{step}`"));
        }
    }
    violations
}

/// Finds Architecture Invariants in docs/architecture.md that name no test that exists.
pub(crate) fn invariants_have_tests(tree: &Tree) -> Vec<String> {
    let mut tests = BTreeSet::new();
    for directory in ["src/", "tests/"] {
        for (path, _) in tree.rust(directory) {
            let tokens = tree.text(path).parse().expect("it was parsed before");
            test_names(tokens, &mut tests);
        }
    }
    let document = tree.text("docs/architecture.md");
    let mut violations = Vec::new();
    let mut count = 0;
    for paragraph in document.split("\n\n") {
        if !paragraph.contains("Architecture Invariant:") {
            continue;
        }
        count += 1;
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let held_by = paragraph.split_once(HELD_BY).map_or("", |(_, held)| held);
        let named = code_spans(held_by);
        if named.is_empty() {
            violations.push(format!("docs/architecture.md: no test holds: {paragraph}"));
        }
        for test in named.iter().filter(|test| !tests.contains(*test)) {
            violations.push(format!("docs/architecture.md: there is no test `{test}`"));
        }
    }
    if count == 0 {
        violations.push("docs/architecture.md: no Architecture Invariant".into());
    }
    violations
}

/// Finds relative links in Markdown files whose target is not in the package.
pub(crate) fn links_lead_somewhere(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| has_extension(path, "md")) {
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets {
            let file = target.split('#').next().unwrap_or_default();
            let relative = !file.is_empty() && !file.contains(':');
            if relative && !is_there(tree, &join(path, file)) {
                violations.push(format!("{path}: no `{target}`"));
            }
        }
    }
    violations
}

/// Finds paths of the machine that this runs on, and settings of where packages come from.
pub(crate) fn files_are_portable(tree: &Tree, machine: &[String]) -> Vec<String> {
    let mut violations = Vec::new();
    let committed = tree
        .files()
        .filter(|(path, _)| *path != "Cargo.lock" && !path.starts_with("tests/tidy/"));
    for (path, text) in committed {
        for (index, line) in text.lines().enumerate() {
            let place = machine.iter().map(String::as_str);
            let mut foreign = place.chain(PACKAGE_SOURCES.iter().copied());
            if let Some(found) = foreign.find(|place| line.contains(place)) {
                violations.push(format!("{path}:{}: `{found}`", index + 1));
            }
        }
    }
    violations
}

const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo test"];
const README_TOP: usize = 30;
const HELD_BY: &str = "Held by ";
const PACKAGE_SOURCES: &[&str] = &[
    "--index-url",
    "--extra-index-url",
    "--trusted-host",
    "replace-with",
    "[registries",
];

/// The values of the fields `path` in the struct literals of statics and constants named `KEYS` or `..._KEYS`.
struct Keys(BTreeSet<String>);

impl Visit<'_> for Keys {
    fn visit_item_static(&mut self, item: &syn::ItemStatic) {
        if is_table(&item.ident) {
            visit::visit_item_static(self, item);
        }
    }

    fn visit_item_const(&mut self, item: &syn::ItemConst) {
        if is_table(&item.ident) {
            visit::visit_item_const(self, item);
        }
    }

    fn visit_item_fn(&mut self, _: &syn::ItemFn) {}

    fn visit_item_mod(&mut self, _: &syn::ItemMod) {}

    fn visit_item_impl(&mut self, _: &syn::ItemImpl) {}

    fn visit_field_value(&mut self, field: &syn::FieldValue) {
        if matches!(&field.member, syn::Member::Named(name) if name == "path")
            && let Some(path) = string(&field.expr)
        {
            self.0.insert(path);
        }
    }
}

fn is_table(name: &syn::Ident) -> bool {
    let name = name.to_string();
    name == "KEYS" || name.ends_with("_KEYS")
}

/// The names that are given to a registry, outside tests.
#[derive(Default)]
struct Metrics {
    prefix: Option<String>,
    names: BTreeSet<String>,
}

impl Visit<'_> for Metrics {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        if let Some(name) = call.args.first().and_then(string) {
            if call.method == "sub_registry_with_prefix" {
                self.prefix = Some(name);
            } else if call.method == "register" {
                self.names.insert(name);
            } else if call.method == "register_with_unit" {
                self.names.insert(format!("{name}_seconds"));
            }
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn string(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// A metric's name without its labels and what the exposition adds to it.
fn metric_family(sample: &str) -> &str {
    let name = sample.split('{').next().unwrap_or(sample);
    ["_total", "_bucket", "_count", "_sum"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

/// What stands between backticks, outside fenced blocks.
fn code_spans(markdown: &str) -> BTreeSet<String> {
    let prose = markdown.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The functions after an attribute that ends in `test`, those within macros included.
fn test_names(tokens: TokenStream, names: &mut BTreeSet<String>) {
    let mut tested = false;
    let mut after_fn = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                tested |= is_test_attribute(&inner);
                test_names(group.stream(), names);
            }
            TokenTree::Ident(ident) if ident == "fn" => after_fn = true,
            TokenTree::Ident(ident) if after_fn => {
                if std::mem::take(&mut tested) {
                    names.insert(ident.to_string());
                }
                after_fn = false;
            }
            _ => {}
        }
    }
}

/// `test`, `tokio::test`, `tokio::test(..)`.
fn is_test_attribute(inner: &[TokenTree]) -> bool {
    let path = inner.iter().take_while(|token| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        TokenTree::Group(_) | TokenTree::Literal(_) => false,
    });
    path.last().is_some_and(|last| last.to_string() == "test")
}

/// Joins a link's target to the directory of the document that it stands in.
fn join(document: &str, target: &str) -> String {
    let mut segments: Vec<_> = document.split('/').collect();
    segments.pop();
    for segment in target.split('/') {
        match segment {
            "." | "" => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.join("/")
}

fn is_there(tree: &Tree, path: &str) -> bool {
    let directory = format!("{path}/");
    tree.contains(path) || tree.files().any(|(file, _)| file.starts_with(&directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn undocumented_key_is_found() {
        let keys = "pub static KEYS: &[Key] = &[
            Key { path: \"listen.N.addr\", default: \"[::]:4433\" },
            Key { path: \"quic.retry\", default: \"false\" },
        ];";
        let plant = |document| {
            keys_are_documented(&Tree::planted(&[
                ("src/config/keys.rs", keys),
                ("docs/config.md", document),
            ]))
        };
        assert_eq!(plant("| `listen.N.addr` | `quic.retry` |"), NONE);
        assert_eq!(
            plant("| `listen.N.addr` | quic.retry and `quic.retry_token` |"),
            ["docs/config.md: nothing about `quic.retry`"]
        );
        assert_eq!(
            keys_are_documented(&Tree::planted(&[])),
            ["src/config/: no table of keys"]
        );
    }

    #[test]
    fn undocumented_metric_is_found() {
        let metrics = "fn register(registry: &mut Registry) {
            let registry = registry.sub_registry_with_prefix(\"wayhold\");
            registry.register(\"requests\", \"Requests\", a);
            registry.register_with_unit(\"wait\", \"Waiting\", Unit::Seconds, b);
        }";
        let plant = |document| {
            metrics_are_documented(&Tree::planted(&[
                ("src/telemetry/metrics.rs", metrics),
                ("docs/operate.md", document),
            ]))
        };
        assert_eq!(
            plant("`wayhold_requests_total{status}`, `wayhold_wait_seconds_bucket`"),
            NONE
        );
        assert_eq!(
            plant("`wayhold_requests_total`"),
            ["docs/operate.md: nothing about `wayhold_wait_seconds`"]
        );
        assert_eq!(
            plant("`wayhold_requests`, `wayhold_wait_seconds`, `wayhold_gone_total`"),
            ["docs/operate.md: there is no `wayhold_gone`"]
        );
        assert_eq!(
            metrics_are_documented(&Tree::planted(&[])),
            ["src/telemetry/: no metrics with a prefix"]
        );
    }

    #[test]
    fn missing_command_is_found() {
        let readme = "# wayhold\n```sh\ncargo run --release -- demo\ncargo test\n```\n";
        let ci = "step cargo run --release -- demo\nstep cargo test\n";
        let plant = |readme: &str, ci: &str| {
            commands_are_run(&Tree::planted(&[("README.md", readme), (".ci/run", ci)]))
        };
        assert_eq!(plant(readme, ci), NONE);
        let late = "\n".repeat(README_TOP) + readme;
        assert_eq!(
            plant(&late, ci),
            ["README.md: its first 30 lines give the commands []"]
        );
        assert_eq!(
            plant(readme, &ci.replace("cargo test", "cargo test --lib")),
            [".ci/run: no line `step cargo test`"]
        );
        assert_eq!(plant("cargo test", "").len(), 3);
    }

    #[test]
    fn invariant_without_a_test_is_found() {
        let tests = "#[test]\nfn plain_claim() {}
            #[tokio::test(start_paused = true)]\nasync fn waiting_claim() {}
            proptest! { #[test] fn property_claim(n in 0..9u8) {} }
            #[cfg(test)] fn helper() {}";
        let plant = |held: &str| {
            let text = format!("Words.\n\n**Architecture Invariant:** `x` is so.\n{held}\n\nMore.");
            invariants_have_tests(&Tree::planted(&[
                ("tests/core/main.rs", tests),
                ("docs/architecture.md", &text),
            ]))
        };
        assert_eq!(plant("Held by `plain_claim` and `waiting_claim`."), NONE);
        assert_eq!(plant("Held\nby `property_claim`."), NONE);
        assert_eq!(
            plant("Held by `helper`."),
            ["docs/architecture.md: there is no test `helper`"]
        );
        assert_eq!(
            plant("Believe it."),
            ["docs/architecture.md: no test holds: \
                **Architecture Invariant:** `x` is so. Believe it."]
        );
        assert_eq!(
            invariants_have_tests(&Tree::planted(&[])),
            ["docs/architecture.md: no Architecture Invariant"]
        );
    }

    #[test]
    fn dead_link_is_found() {
        let tree = Tree::planted(&[
            (
                "README.md",
                "[a](docs/a.md#part) [b](https://example.org) [c](docs) [d](#top)",
            ),
            ("docs/a.md", "[up](../README.md) [down](adr/0001.md)"),
        ]);
        assert_eq!(links_lead_somewhere(&tree), ["docs/a.md: no `adr/0001.md`"]);
    }

    #[test]
    fn path_of_this_machine_and_chosen_registry_are_found() {
        let tree = Tree::planted(&[
            (
                "docs/a.md",
                "Files are under /usr/lib.\nSee /build/here/x.\n",
            ),
            (".ci/run", "pip install --index-url=x aioquic\n"),
        ]);
        assert_eq!(
            files_are_portable(&tree, &["/build/here/".into()]),
            [".ci/run:1: `--index-url`", "docs/a.md:2: `/build/here/`"]
        );
    }
}
