use std::collections::HashMap;

use crate::request::percent_decoded;

/// Finds the target of a request by host and path.
///
/// An exact host goes before a wildcard, a longer wildcard before a shorter, and any wildcard before
/// routes for every host; within a host the longest path prefix wins. A host whose own routes do not
/// match the path falls through to the wider ones.
#[derive(Debug)]
pub(super) struct Routes<T> {
    exact: HashMap<String, Paths<T>>,
    /// By suffix with its leading dot, the longest first.
    wildcard: Vec<(String, Paths<T>)>,
    any: Paths<T>,
}

/// By prefix without a closing slash, the longest first.
type Paths<T> = Vec<Place<T>>;

#[derive(Debug)]
struct Place<T> {
    prefix: String,
    /// The prefix as a backend could read it.
    plain: String,
    target: T,
}

/// A path that chooses one target as it stands, and another one as a backend could read it.
///
/// The one that it chooses may ask for less of clients than the other, and a backend behind both would
/// serve what is the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl<T> Routes<T> {
    pub(super) fn new() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: Vec::new(),
            any: Vec::new(),
        }
    }

    /// Adds a route; the host pattern and the path are those of [`Route`](crate::config::Route).
    /// Returns whether the place was free.
    pub(super) fn add(&mut self, host: Option<&str>, path: &str, target: T) -> bool {
        let host = host.map(canonical);
        let paths = match host.as_deref() {
            None => &mut self.any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => self.wildcard_paths(suffix),
                None => self.exact.entry(host.to_owned()).or_default(),
            },
        };
        let prefix = path.trim_end_matches('/').to_owned();
        if paths.iter().any(|taken| taken.prefix == prefix) {
            return false;
        }
        let place = paths.partition_point(|other| other.prefix.len() >= prefix.len());
        let plain = plain(&prefix).unwrap_or_else(|| prefix.clone());
        let made = Place {
            prefix,
            plain,
            target,
        };
        paths.insert(place, made);
        true
    }

    pub(super) fn find(&self, host: &str, path: &str) -> Result<Option<&T>, Ambiguous> {
        let host = canonical(host);
        let found = self.find_by(&host, |paths| longest(paths, path));
        let Some(plain) = plain(path) else {
            return Ok(found);
        };
        let other = self.find_by(&host, |paths| longest_plain(paths, &plain));
        if found.map(std::ptr::from_ref) == other.map(std::ptr::from_ref) {
            Ok(found)
        } else {
            Err(Ambiguous)
        }
    }

    fn find_by<'a>(
        &'a self,
        host: &str,
        choose: impl Fn(&'a Paths<T>) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let wildcards = self
            .wildcard
            .iter()
            .filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix.as_str()))
            .map(|(_, paths)| paths);
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcards)
            .chain([&self.any])
            .find_map(choose)
    }

    fn wildcard_paths(&mut self, suffix: &str) -> &mut Paths<T> {
        let found = self.wildcard.iter().position(|(other, _)| other == suffix);
        let place = found.unwrap_or_else(|| {
            let place = self
                .wildcard
                .partition_point(|(other, _)| other.len() >= suffix.len());
            self.wildcard.insert(place, (suffix.to_owned(), Vec::new()));
            place
        });
        &mut self.wildcard[place].1
    }
}

fn longest<'a, T>(paths: &'a Paths<T>, path: &str) -> Option<&'a T> {
    let found = paths.iter().find(|place| begins(path, &place.prefix));
    found.map(|place| &place.target)
}

fn longest_plain<'a, T>(paths: &'a Paths<T>, path: &str) -> Option<&'a T> {
    let fitting = paths.iter().filter(|place| begins(path, &place.plain));
    let longest = fitting.max_by_key(|place| place.plain.len());
    longest.map(|place| &place.target)
}

/// Whether a path is below a prefix, or is it.
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the most eager of backends makes of a path: decoded once, without the parameters of segments, with
/// `\` for `/`, several slashes for one, and dot segments resolved. None if that changes nothing.
fn plain(path: &str) -> Option<String> {
    if !path.contains(['%', ';', '\\']) && !path.contains("//") {
        return None;
    }
    let decoded: Vec<u8> = percent_decoded(path).collect();
    let decoded = String::from_utf8_lossy(&decoded);
    let mut plain: Vec<&str> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(plain.pop()),
            segment => plain.push(segment),
        }
    }
    let plain: String = plain
        .into_iter()
        .flat_map(|segment| ["/", segment])
        .collect();
    (plain != path).then_some(plain)
}

/// Host names are case-insensitive, and a closing dot only says that the name is whole.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Routes<&'static str> {
        let mut routes = Routes::new();
        for (host, path, target) in [
            (None, "/", "any"),
            (None, "/api", "any api"),
            (Some("Example.org"), "/", "exact"),
            (Some("example.org"), "/a/b/", "exact a b"),
            (Some("example.org"), "/a", "exact a"),
            (Some("*.example.org"), "/", "wildcard"),
            (Some("*.eu.example.org"), "/", "wildcard eu"),
            (Some("*.eu.example.org"), "/only", "wildcard only"),
            (Some("narrow.net"), "/x", "narrow"),
        ] {
            assert!(routes.add(host, path, target), "{target}");
        }
        routes
    }

    #[test]
    fn the_nearest_host_wins() {
        let routes = table();
        for (host, target) in [
            ("example.org", "exact"),
            ("EXAMPLE.ORG.", "exact"),
            ("www.example.org", "wildcard"),
            ("a.b.example.org", "wildcard"),
            ("x.eu.example.org", "wildcard eu"),
            ("eu.example.org", "wildcard"),
            (".example.org", "any"),
            ("badexample.org", "any"),
            ("other.net", "any"),
            ("", "any"),
        ] {
            assert_eq!(routes.find(host, "/"), Ok(Some(&target)), "{host}");
        }
    }

    #[test]
    fn the_longest_prefix_wins_at_a_segment_boundary() {
        let routes = table();
        for (path, target) in [
            ("/", "exact"),
            ("/a", "exact a"),
            ("/a/", "exact a"),
            ("/ab", "exact"),
            ("/a/b", "exact a b"),
            ("/a/b/c", "exact a b"),
            ("/a/bc", "exact a"),
            ("/A", "exact"),
        ] {
            assert_eq!(
                routes.find("example.org", path),
                Ok(Some(&target)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_host_without_a_matching_path_falls_through() {
        let routes = table();
        assert_eq!(routes.find("narrow.net", "/x/y"), Ok(Some(&"narrow")));
        assert_eq!(routes.find("narrow.net", "/api/y"), Ok(Some(&"any api")));
        let mut lonely = Routes::new();
        assert!(lonely.add(Some("narrow.net"), "/x", ()));
        assert_eq!(lonely.find("narrow.net", "/y"), Ok(None));
    }

    #[test]
    fn a_place_is_taken_once() {
        let mut routes = table();
        assert!(!routes.add(Some("EXAMPLE.org"), "/a/", "again"));
        assert!(!routes.add(None, "", "again"));
    }
}
