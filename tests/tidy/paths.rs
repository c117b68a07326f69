//! Every path that a source file names, resolved to where it leads.
//!
//! Resolution follows `use` (grouped, renamed, relative), `extern crate`, type aliases and module
//! declarations within the file; inside macros it reads tokens. It errs on naming too much: two
//! functions that import one name from two places share it.

use std::collections::{HashMap, HashSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tree::{attributes, is_test_only, line};

/// A path from a crate's root; its first segment is `crate` or an external crate's name, its last
/// `*` for a glob import.
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Whether it stands in code for tests only.
    pub(crate) test_only: bool,
}

impl Named {
    /// Whether the path is `prefix` or leads into it, or a glob import may bring it into scope.
    pub(crate) fn reaches(&self, prefix: &str) -> bool {
        let prefix: Vec<_> = prefix.split("::").collect();
        match self.path.split_last() {
            Some((last, base)) if last == "*" => {
                base.iter().zip(&prefix).all(|(a, b)| a == b) && !base.is_empty()
            }
            _ => {
                self.path.len() >= prefix.len()
                    && self.path.iter().zip(&prefix).all(|(a, b)| a == b)
            }
        }
    }
}

/// Collects the paths that a file under `src/` names.
pub(crate) fn named(file_path: &str, file: &syn::File) -> Vec<Named> {
    let mut collector = Collector {
        module: module_of(file_path),
        scope: Scope::of(&file.items),
        test_depth: 0,
        named: Vec::new(),
    };
    collector.visit_file(file);
    collector.named
}

/// What the names of a file's outermost scope lead to.
pub(crate) fn root_aliases(file_path: &str, file: &syn::File) -> HashMap<String, Vec<Vec<String>>> {
    let scope = Scope::of(&file.items);
    let module = module_of(file_path);
    let resolve = |name: &String| {
        let start = vec![name.clone()];
        (
            name.clone(),
            scope.resolve(&module, &start, &mut Vec::new()),
        )
    };
    scope.aliases.keys().map(resolve).collect()
}

fn module_of(file_path: &str) -> Vec<String> {
    let inner = file_path.trim_start_matches("src/").trim_end_matches(".rs");
    let segments = inner
        .split('/')
        .filter(|segment| !matches!(*segment, "mod" | "lib" | "main"));
    std::iter::once("crate")
        .chain(segments)
        .map(str::to_owned)
        .collect()
}

/// The names that the items of one module bring into scope.
#[derive(Default)]
struct Scope {
    aliases: HashMap<String, Vec<Vec<String>>>,
    children: HashSet<String>,
}

impl Scope {
    fn of(items: &[syn::Item]) -> Self {
        let mut scope = Self::default();
        for item in items {
            scope.visit_item(item);
        }
        scope
    }

    fn alias(&mut self, name: &str, target: Vec<String>) {
        self.aliases.entry(name.into()).or_default().push(target);
    }

    /// Follows aliases, but none twice: `use time::time` renames nothing.
    fn resolve(
        &self,
        module: &[String],
        path: &[String],
        followed: &mut Vec<String>,
    ) -> Vec<Vec<String>> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        match first.as_str() {
            "crate" => vec![path.to_vec()],
            "self" => self.relative(module, rest, followed),
            "super" => {
                let parent = &module[..module.len().saturating_sub(1).max(1)];
                self.relative(parent, rest, followed)
            }
            name => match self.aliases.get(name) {
                Some(targets) if !followed.contains(first) => {
                    followed.push(first.clone());
                    let resolved = targets
                        .iter()
                        .flat_map(|target| self.resolve(module, &[target, rest].concat(), followed))
                        .collect();
                    followed.pop();
                    resolved
                }
                _ if self.children.contains(name) => vec![[module, path].concat()],
                _ => vec![path.to_vec()],
            },
        }
    }

    fn relative(
        &self,
        module: &[String],
        rest: &[String],
        followed: &mut Vec<String>,
    ) -> Vec<Vec<String>> {
        match rest.first().map(String::as_str) {
            Some("super") => self.resolve(module, rest, followed),
            _ => vec![[module, rest].concat()],
        }
    }
}

impl Visit<'_> for Scope {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        for (path, rename, _) in leaves(&item.tree) {
            if let Some(name) = rename.or_else(|| path.last().cloned()) {
                self.alias(&name, path);
            }
        }
    }

    fn visit_item_extern_crate(&mut self, item: &syn::ItemExternCrate) {
        let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
        let target = match item.ident.to_string().as_str() {
            "self" => "crate".to_owned(),
            other => other.to_owned(),
        };
        self.alias(&name.to_string(), vec![target]);
    }

    fn visit_item_type(&mut self, item: &syn::ItemType) {
        if let syn::Type::Path(target) = &*item.ty {
            self.alias(&item.ident.to_string(), segments(&target.path));
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.children.insert(item.ident.to_string());
    }
}

struct Collector {
    module: Vec<String>,
    scope: Scope,
    test_depth: usize,
    named: Vec<Named>,
}

impl Collector {
    fn name(&mut self, path: &[String], line: usize) {
        for path in self.scope.resolve(&self.module, path, &mut Vec::new()) {
            self.named.push(Named {
                path,
                line,
                test_only: self.test_depth > 0,
            });
        }
    }

    /// Reads paths out of a macro's tokens. `prefix` is what stands before a group in braces.
    fn scan(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                TokenTree::Group(group) => self.scan(group.stream(), &[]),
                TokenTree::Ident(ident) => {
                    let mut path = prefix.to_vec();
                    path.push(ident.to_string());
                    while is_separator(&tokens, index) {
                        match tokens.get(index + 2) {
                            Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                                path.push("*".into());
                            }
                            Some(TokenTree::Group(group))
                                if group.delimiter() == Delimiter::Brace =>
                            {
                                self.scan(group.stream(), &path);
                            }
                            _ => break,
                        }
                        index += 3;
                    }
                    if path.len() > 1 {
                        self.name(&path, ident.span().start().line);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl Visit<'_> for Collector {
    fn visit_item(&mut self, item: &syn::Item) {
        let test_only = usize::from(is_test_only(attributes(item)));
        self.test_depth += test_only;
        visit::visit_item(self, item);
        self.test_depth -= test_only;
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let Some((_, items)) = &item.content else {
            return;
        };
        self.module.push(item.ident.to_string());
        let outer = std::mem::replace(&mut self.scope, Scope::of(items));
        visit::visit_item_mod(self, item);
        self.scope = outer;
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.visit_visibility(&item.vis);
        for (path, _, line) in leaves(&item.tree) {
            if item.leading_colon.is_some() {
                self.named.push(Named {
                    path,
                    line,
                    test_only: self.test_depth > 0,
                });
            } else {
                self.name(&path, line);
            }
        }
    }

    fn visit_item_extern_crate(&mut self, item: &syn::ItemExternCrate) {
        if item.ident != "self" {
            self.name(&[item.ident.to_string()], line(item));
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let found = segments(path);
        // A lone name is a variable or a local item, unless an import gave it.
        if found.len() > 1 || self.scope.aliases.contains_key(&found[0]) {
            self.name(&found, line(path));
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_path(&mut self, expression: &syn::ExprPath) {
        if let Some(qualified) = &expression.qself
            && qualified.as_token.is_none()
            && let syn::Type::Path(base) = &*qualified.ty
        {
            let path = [segments(&base.path), segments(&expression.path)].concat();
            self.name(&path, line(expression));
        }
        visit::visit_expr_path(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        // The one clock that is read without its type being named.
        if call.method == "elapsed" && call.args.is_empty() {
            let path = ["std", "time", "Instant", "elapsed"].map(str::to_owned);
            self.name(&path, line(&call.method));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, invocation: &syn::Macro) {
        self.visit_path(&invocation.path);
        self.scan(invocation.tokens.clone(), &[]);
    }

    fn visit_meta_list(&mut self, list: &syn::MetaList) {
        self.visit_path(&list.path);
        self.scan(list.tokens.clone(), &[]);
    }
}

fn is_separator(tokens: &[TokenTree], index: usize) -> bool {
    let colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(index) && colon(index + 1)
}

fn segments(path: &syn::Path) -> Vec<String> {
    let names = path.segments.iter();
    names.map(|segment| segment.ident.to_string()).collect()
}

/// The leaves of a `use` tree: path, new name if any, and line.
fn leaves(tree: &syn::UseTree) -> Vec<(Vec<String>, Option<String>, usize)> {
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(mut inner, rename, line)| {
                if inner == ["self"] {
                    inner.clear();
                }
                inner.insert(0, path.ident.to_string());
                (inner, rename, line)
            })
            .collect(),
        syn::UseTree::Name(name) => vec![(vec![name.ident.to_string()], None, line(name))],
        syn::UseTree::Rename(rename) => vec![(
            vec![rename.ident.to_string()],
            Some(rename.rename.to_string()),
            line(rename),
        )],
        syn::UseTree::Glob(glob) => vec![(vec!["*".into()], None, line(glob))],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}
