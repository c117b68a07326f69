//! The files of a package, real or planted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Text files by their path from the package's root.
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads the package that this test belongs to, without what building it makes.
    pub(crate) fn of_package() -> Self {
        let mut files = BTreeMap::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        read(root, root, &mut files);
        Self(files)
    }

    /// Makes a package of these files.
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self(files.iter().map(owned).collect())
    }

    /// The text of a file; a missing one is empty, so every rule about its content finds fault.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The parsed Rust files under a directory.
    pub(crate) fn rust(&self, directory: &str) -> Vec<(&str, syn::File)> {
        self.files()
            .filter(|(path, _)| path.starts_with(directory) && has_extension(path, "rs"))
            .map(|(path, text)| {
                let parsed = syn::parse_file(text);
                (
                    path,
                    parsed.unwrap_or_else(|error| panic!("{path}: {error}")),
                )
            })
            .collect()
    }

    /// The prefixes of all paths that belong to modules declared under `#[cfg(test)]`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let mut prefixes = Vec::new();
        for (path, file) in self.rust("src/") {
            let directory = module_directory(path);
            for item in &file.items {
                if let syn::Item::Mod(module) = item
                    && module.content.is_none()
                    && is_test_only(&module.attrs)
                {
                    prefixes.push(format!("{directory}/{}.rs", module.ident));
                    prefixes.push(format!("{directory}/{}/", module.ident));
                }
            }
        }
        prefixes
    }
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

/// The directory in which the modules that a file declares are.
fn module_directory(path: &str) -> &str {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => directory,
        _ => path.trim_end_matches(".rs"),
    }
}

/// Whether code under these attributes is compiled for tests only.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        let condition = list.tokens.to_string().replace(' ', "");
        let all = condition
            .strip_prefix("all(")
            .and_then(|rest| rest.strip_suffix(')'));
        attribute.path().is_ident("cfg")
            && (condition == "test" || all.is_some_and(|all| all.split(',').any(|c| c == "test")))
    })
}

/// The attributes of any item.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The line on which a syntax node begins.
pub(crate) fn line(node: &impl syn::spanned::Spanned) -> usize {
    node.span().start().line
}

/// Directories that mean something only here: of this checkout and of its user.
pub(crate) fn places_of_this_machine() -> Vec<String> {
    let user = std::env::var("HOME").unwrap_or_default();
    [env!("CARGO_MANIFEST_DIR"), &user]
        .into_iter()
        .filter(|place| place.matches('/').count() > 1 || *place == user)
        .filter(|place| place.len() > 1)
        .map(|place| format!("{}/", place.trim_end_matches('/')))
        .collect()
}

fn read(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("the package can be read") {
        let path = entry.expect("the package can be read").path();
        let relative = path.strip_prefix(root).expect("it is under the root");
        let relative = relative.to_str().expect("names are UTF-8").to_owned();
        // cargo marks every directory that it made to build in, whatever its name; one that was there
        // before it marks not.
        let built =
            matches!(relative.as_str(), ".git" | "target") || path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !built {
            read(root, &path, files);
        } else if !built && let Ok(text) = fs::read_to_string(&path) {
            files.insert(relative, text);
        }
    }
}
