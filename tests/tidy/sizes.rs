//! How long files and functions may be.

use syn::visit::{self, Visit};

use crate::tree::{Tree, attributes, is_test_only, line};

/// Lines before the tests of a file stay under this.
const FILE_LINES: usize = 400;
/// Lines in a function's braces, without blank ones and comments, stay under this.
const FUNCTION_LINES: usize = 70;

/// Finds files and functions that are too long. Tests may be as long as they need.
pub(crate) fn sizes(tree: &Tree) -> Vec<String> {
    let test_modules = tree.test_modules();
    let mut violations = Vec::new();
    for directory in ["src/", "benches/", "examples/"] {
        for (path, file) in tree.rust(directory) {
            if test_modules.iter().any(|test| path.starts_with(test)) {
                continue;
            }
            let text = tree.text(path);
            let lines = lines_before_tests(&file, text);
            if lines >= FILE_LINES {
                violations.push(format!("{path}: {lines} lines"));
            }
            let mut functions = Functions {
                path,
                lines: text.lines().collect(),
                violations: &mut violations,
            };
            functions.visit_file(&file);
        }
    }
    violations
}

fn lines_before_tests(file: &syn::File, text: &str) -> usize {
    let tests = file.items.iter().find(|item| {
        matches!(item, syn::Item::Mod(module) if module.content.is_some())
            && is_test_only(attributes(item))
    });
    tests.map_or_else(|| text.lines().count(), |tests| line(tests) - 1)
}

struct Functions<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    violations: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (open, close) = (
            block.brace_token.span.open(),
            block.brace_token.span.close(),
        );
        let body = open.start().line..close.start().line.saturating_sub(1);
        let counts = |text: &&&str| !text.trim().is_empty() && !text.trim().starts_with("//");
        let lines = self.lines.get(body).unwrap_or_default();
        let lines = lines.iter().filter(counts).count();
        if lines >= FUNCTION_LINES {
            let at = line(name);
            let violation = format!("{}:{at}: `{name}` has {lines} lines", self.path);
            self.violations.push(violation);
        }
    }
}

impl Visit<'_> for Functions<'_> {
    fn visit_item(&mut self, item: &syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &syn::ItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines))
    }

    fn plant(text: &str) -> Vec<String> {
        sizes(&Tree::planted(&[("src/edge/mod.rs", text)]))
    }

    #[test]
    fn function_too_long_is_found() {
        let lawful = function(FUNCTION_LINES - 1);
        assert_eq!(plant(&lawful), [""; 0]);
        let commented = lawful.replace("{\n", "{\n    // Why.\n\n");
        assert_eq!(plant(&commented), [""; 0]);

        let long = function(FUNCTION_LINES);
        assert_eq!(plant(&long), ["src/edge/mod.rs:1: `long` has 70 lines"]);
        for outer in ["impl S", "trait T", "mod inner", "fn outer()"] {
            let nested = format!("{outer} {{\n{long}\n}}");
            let found = plant(&nested);
            let name = "src/edge/mod.rs:2: `long` has 70 lines".to_owned();
            assert!(found.contains(&name), "{outer}: {found:?}");
        }
    }

    #[test]
    fn file_too_long_is_found() {
        let lawful = "const A: u8 = 0;\n".repeat(FILE_LINES - 1);
        assert_eq!(plant(&lawful), [""; 0]);
        let tests = format!("{lawful}#[cfg(test)]\nmod tests {{\n{}\n}}", function(500));
        assert_eq!(plant(&tests), [""; 0]);
        let long = format!("{lawful}const B: u8 = 0;\n");
        assert_eq!(plant(&long), ["src/edge/mod.rs: 400 lines"]);
        let gated = format!("#[cfg(not(test))]\nmod a {{}}\n{long}");
        assert_eq!(plant(&gated), ["src/edge/mod.rs: 402 lines"]);
    }

    #[test]
    fn test_modules_in_files_of_their_own_may_be_long() {
        let tree = Tree::planted(&[
            ("src/wire/mod.rs", "#[cfg(test)] mod tests;"),
            ("src/wire/tests.rs", &function(500)),
        ]);
        assert_eq!(sizes(&tree), [""; 0]);
    }
}
