//! What the keys of routes must be together, but for where they lead.

use super::load::Reader;
use super::{Answer, Route};

/// Checks what a route does itself.
pub(super) fn check(index: usize, route: &Route, reader: &mut Reader<'_>) {
    let key = |name: &str| format!("route.{index}.{name}");
    let mut needs = |name: &str, other: &str| {
        if reader.is_set(&key(name)) && !reader.is_set(&key(other)) {
            let message = format!("needs \"{other}\" beside it");
            reader.refuse(&[&key(name), &key(other)], message);
        }
    };
    needs("redirect_status", "redirect");
    for name in ["respond_body", "respond_file", "respond_type"] {
        needs(name, "respond");
    }
    let both = |one: &str, other: &str, reader: &mut Reader<'_>| {
        if reader.is_set(&key(one)) && reader.is_set(&key(other)) {
            let message = format!("a route has \"{one}\" or \"{other}\", not both");
            reader.refuse(&[&key(one), &key(other)], message);
        }
    };
    both("respond", "redirect", reader);
    both("respond_body", "respond_file", reader);
    if route.answer.is_some() {
        for other in ["to", "pool", "connect_udp"] {
            let own = if reader.is_set(&key("redirect")) {
                "redirect"
            } else {
                "respond"
            };
            both(own, other, reader);
        }
        for name in REQUEST_KEYS {
            if reader.is_set(&key(name)) {
                let message = "the requests of this route go to no backend";
                reader.refuse(&[&key(name)], message);
            }
        }
    }
    if route.connect_udp.is_some() {
        for name in REQUEST_KEYS.iter().chain(&RESPONSE_KEYS) {
            if reader.is_set(&key(name)) {
                reader.refuse(&[&key(name)], "a tunnel of UDP has no such fields");
            }
        }
    }
    match &route.answer {
        Some(Answer::Redirect { status, .. }) if !REDIRECTS.contains(status) => {
            let message = format!("{status} is none of 301, 302, 303, 307 and 308");
            reader.refuse(&[&key("redirect_status")], message);
        }
        Some(Answer::Fixed { status, body, .. })
            if NO_CONTENT.contains(status) && !body.0.is_empty() =>
        {
            let message = format!("a response {status} has no body (RFC 9110, section 15)");
            reader.refuse(
                &[&key("respond"), &key("respond_body"), &key("respond_file")],
                message,
            );
        }
        _ => {}
    }
}

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
const NO_CONTENT: [u16; 3] = [204, 205, 304];
const REQUEST_KEYS: [&str; 5] = [
    "request_set",
    "request_add",
    "request_remove",
    "rewrite_host",
    "rewrite_prefix",
];
const RESPONSE_KEYS: [&str; 4] = [
    "response_set",
    "response_add",
    "response_remove",
    "server_timing",
];

#[cfg(test)]
mod tests {
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Answer, Config, LoadErrors, Setting, Sources, load};

    fn loaded(settings: &[(&str, &str)]) -> Result<Config, LoadErrors> {
        let settings = settings
            .iter()
            .map(|(path, value)| Setting::flag("--set", &format!("route.0.{path}"), *value))
            .collect();
        load(&Sources {
            settings,
            ..Sources::default()
        })
    }

    #[test]
    fn a_route_answers_itself_or_asks_a_backend() {
        for (settings, reason) in [
            (&[("redirect_status", "301")][..], "needs \"redirect\""),
            (&[("respond_body", "x")], "needs \"respond\""),
            (&[("respond", "200"), ("redirect", "/x")], "not both"),
            (&[("respond", "200"), ("to", "http://a:1")], "not both"),
            (&[("redirect", "/x"), ("to", "http://a:1")], "not both"),
            (
                &[("redirect", "/x"), ("redirect_status", "304")],
                "none of 301",
            ),
            (&[("redirect", "//evil.example{path}")], "must begin with"),
            (&[("respond", "204"), ("respond_body", "x")], "has no body"),
            (&[("respond", "101")], "out of range"),
            (
                &[("respond", "200"), ("request_remove", "x-a")],
                "no backend",
            ),
            (
                &[("respond", "200"), ("rewrite_prefix", "/x")],
                "no backend",
            ),
            (
                &[("connect_udp", "192.0.2.1:53"), ("response_set", "x-a: b")],
                "tunnel of UDP",
            ),
            (
                &[("to", "http://a:1"), ("request_set", "connection: close")],
                "one connection",
            ),
            (
                &[("to", "http://a:1"), ("rewrite_host", "a b")],
                "a label holds",
            ),
            (
                &[("to", "http://a:1"), ("rewrite_prefix", "/../x")],
                "empty segment",
            ),
        ] {
            let errors = loaded(settings).unwrap_err().to_string();
            assert!(errors.contains(reason), "{settings:?}: {errors}");
        }
    }

    #[test]
    fn a_file_is_read_at_load_unless_it_is_too_large() {
        let directory = TestDirectory::with_files(&[]);
        let path = directory.write("sorry.html", "<h1>Back soon</h1>");
        let file = path.to_str().unwrap();
        let settings = [
            ("respond", "503"),
            ("respond_file", file),
            ("respond_type", "text/html"),
        ];
        let config = loaded(&settings).unwrap();
        let Some(Answer::Fixed { status, body, .. }) = &config.route[0].answer else {
            panic!("{:?}", config.route);
        };
        assert_eq!((*status, &body.0[..]), (503, &b"<h1>Back soon</h1>"[..]));
        directory.write("sorry.html", &"x".repeat(Answer::MAX_BYTES + 1));
        let errors = loaded(&settings).unwrap_err().to_string();
        assert!(errors.contains("larger than 1 MiB"), "{errors}");
    }
}
