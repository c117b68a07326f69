use std::collections::HashMap;

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
type Paths<T> = Vec<(String, T)>;

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
        if paths.iter().any(|(taken, _)| *taken == prefix) {
            return false;
        }
        let place = paths.partition_point(|(other, _)| other.len() >= prefix.len());
        paths.insert(place, (prefix, target));
        true
    }

    pub(super) fn find(&self, host: &str, path: &str) -> Option<&T> {
        let host = canonical(host);
        let wildcards = self
            .wildcard
            .iter()
            .filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix.as_str()))
            .map(|(_, paths)| paths);
        self.exact
            .get(&host)
            .into_iter()
            .chain(wildcards)
            .chain([&self.any])
            .find_map(|paths| longest(paths, path))
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
    paths
        .iter()
        .find(|(prefix, _)| {
            path.strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|(_, target)| target)
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
            assert_eq!(routes.find(host, "/"), Some(&target), "{host}");
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
            assert_eq!(routes.find("example.org", path), Some(&target), "{path}");
        }
    }

    #[test]
    fn a_host_without_a_matching_path_falls_through() {
        let routes = table();
        assert_eq!(routes.find("narrow.net", "/x/y"), Some(&"narrow"));
        assert_eq!(routes.find("narrow.net", "/api/y"), Some(&"any api"));
        let mut lonely = Routes::new();
        assert!(lonely.add(Some("narrow.net"), "/x", ()));
        assert_eq!(lonely.find("narrow.net", "/y"), None);
    }

    #[test]
    fn a_place_is_taken_once() {
        let mut routes = table();
        assert!(!routes.add(Some("EXAMPLE.org"), "/a/", "again"));
        assert!(!routes.add(None, "", "again"));
    }
}
