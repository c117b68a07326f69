//! What the keys of rates and tokens must be together.

use super::load::Reader;
use super::{Config, Gate, Jwt, names};

/// Checks what every route asks for, and the tokens.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    for (index, route) in config.route.iter().enumerate() {
        gate(index, &route.gate, config, reader);
    }
    for (index, jwt) in config.jwt.iter().enumerate() {
        named(index, &config.jwt, reader);
        required(index, reader);
        keys(index, jwt, reader);
        claims(index, jwt, config, reader);
    }
}

fn gate(index: usize, gate: &Gate, config: &Config, reader: &mut Reader<'_>) {
    for (burst, rate) in [("rate_burst", "rate"), ("client_burst", "client_rate")] {
        let [burst, needed] = [burst, rate].map(|name| format!("route.{index}.{name}"));
        if reader.is_set(&burst) && !reader.is_set(&needed) {
            reader.refuse(&[&burst, &needed], format!("needs {rate:?} beside it"));
        }
    }
    let name = match &gate.jwt {
        Some(name) if config.jwt.iter().all(|jwt| jwt.name != *name) => name,
        _ => return,
    };
    let known = names::known(
        config.jwt.iter().map(|jwt| jwt.name.as_str()).collect(),
        "[[jwt]]",
    );
    let message = format!("no tokens are called {name:?}; {known}");
    reader.refuse(&[&format!("route.{index}.jwt"), "jwt"], message);
}

fn named(index: usize, all: &[Jwt], reader: &mut Reader<'_>) {
    let name = format!("jwt.{index}.name");
    if !reader.is_set(&name) {
        reader.refuse(&[&name], "missing: what routes call the tokens");
    } else if let Some(earlier) = all[..index]
        .iter()
        .position(|it| it.name == all[index].name)
    {
        let other = format!("jwt.{earlier}.name");
        let message = format!("{:?} is already the name of {other}", all[index].name);
        reader.refuse(&[&name, &other], message);
    }
}

fn required(index: usize, reader: &mut Reader<'_>) {
    for (key, meaning) in [
        ("issuer", "who issues the tokens"),
        ("audience", "for whom the tokens must be"),
        ("algorithms", "how the tokens may be signed"),
    ] {
        let key = format!("jwt.{index}.{key}");
        if !reader.is_set(&key) {
            reader.refuse(&[&key], format!("missing: {meaning}"));
        }
    }
}

fn keys(index: usize, jwt: &Jwt, reader: &mut Reader<'_>) {
    let [file, url, secret, algorithms, ca] = [
        "jwks_file",
        "jwks_url",
        "secret_file",
        "algorithms",
        "jwks_ca",
    ]
    .map(|name| format!("jwt.{index}.{name}"));
    let set = [&file, &url, &secret].map(|key| reader.is_set(key));
    if set.iter().filter(|set| **set).count() != 1 {
        reader.refuse(
            &[&file, &url, &secret],
            "tokens have one of \"jwks_file\", \"jwks_url\" and \"secret_file\"",
        );
        return;
    }
    let symmetric = set[2];
    if jwt
        .algorithms
        .iter()
        .any(|one| one.is_symmetric() != symmetric)
    {
        let message = if symmetric {
            "a secret is for HS256, HS384 and HS512 alone"
        } else {
            "HS256, HS384 and HS512 need a \"secret_file\" and no JWK Set"
        };
        reader.refuse(&[&algorithms, &secret], message);
    }
    if reader.is_set(&ca) && !set[1] {
        reader.refuse(&[&ca, &url], "only \"jwks_url\" needs it");
    }
    let [min, max, stale] = ["jwks_refresh_min", "jwks_refresh_max", "jwks_stale_max"]
        .map(|name| format!("jwt.{index}.{name}"));
    if jwt.keys.refresh_max < jwt.keys.refresh_min {
        reader.refuse(&[&max, &min], "it must be at least \"jwks_refresh_min\"");
    }
    if jwt.keys.stale_max < jwt.keys.refresh_max {
        reader.refuse(&[&stale, &max], "it must be at least \"jwks_refresh_max\"");
    }
}

/// Where `_` is one with `-`, as what clients send is removed in either spelling.
fn claims(index: usize, jwt: &Jwt, config: &Config, reader: &mut Reader<'_>) {
    let key = format!("jwt.{index}.claims_to");
    let folded = |name: &str| name.replace('_', "-");
    let id = config.trace.request_id.as_ref();
    let id = id.map(|name| folded(name.as_str()));
    for (place, to) in jwt.claims_to.iter().enumerate() {
        let (field, plain) = (to.field.as_str(), folded(&to.field));
        if RESERVED.contains(&plain.as_str()) || plain.starts_with("x-forwarded-") {
            reader.refuse(&[&key], format!("{field:?} has a meaning of its own"));
        }
        if id.as_ref() == Some(&plain) {
            let message = format!("{field:?} is what \"trace.request_id\" calls requests by");
            reader.refuse(&[&key, "trace.request_id"], message);
        }
        let mut before = jwt.claims_to[..place].iter();
        if before.any(|it| folded(&it.field) == plain) {
            reader.refuse(&[&key], format!("{field:?} is there twice"));
        }
    }
}

/// Fields that frame or route a message, that the gateway writes itself, or that authenticate.
const RESERVED: [&str; 29] = [
    "authorization",
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "early-data",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "sec-websocket-key",
];

#[cfg(test)]
mod tests {
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Setting, Sources, load};

    fn loaded(settings: &[(&str, &str)]) -> Result<(), String> {
        let settings = settings
            .iter()
            .map(|(path, value)| Setting::flag("--set", path, *value))
            .collect();
        let sources = Sources {
            settings,
            ..Sources::default()
        };
        load(&sources)
            .map(drop)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_burst_needs_its_rate() {
        for (burst, rate) in [("rate_burst", "rate"), ("client_burst", "client_rate")] {
            let burst = format!("route.0.{burst}");
            let error = loaded(&[("route.0.to", "http://a:1"), (&burst, "3")]).unwrap_err();
            assert_eq!(error, format!("--set: {burst}: needs {rate:?} beside it"));
        }
    }

    #[test]
    fn rates_are_a_number_in_a_second_a_minute_or_an_hour() {
        for (text, right) in [
            ("1", true),
            ("100/s", true),
            ("10/m", true),
            ("1000000/h", true),
            ("0/s", false),
            ("1000001/s", false),
            ("1/d", false),
            ("/s", false),
            ("1.5/s", false),
            ("-1/s", false),
            ("1/s/s", false),
        ] {
            let loaded = loaded(&[("route.0.to", "http://a:1"), ("route.0.rate", text)]);
            assert_eq!(loaded.is_ok(), right, "{text}: {loaded:?}");
        }
    }

    #[test]
    fn tokens_have_what_they_are_verified_by() {
        let directory = TestDirectory::with_files(&["jwks", "secret"]);
        let (jwks, secret) = (directory.path("jwks"), directory.path("secret"));
        let whole = [
            ("jwt.0.name", "login"),
            ("jwt.0.issuer", "https://a/"),
            ("jwt.0.audience", "b"),
            ("jwt.0.algorithms", "ES256"),
            ("jwt.0.jwks_file", &jwks),
        ];
        assert_eq!(loaded(&whole), Ok(()));
        for missing in 0..whole.len() {
            let mut some = whole.to_vec();
            let (key, _) = some.remove(missing);
            let error = loaded(&some).unwrap_err();
            assert!(
                error.starts_with(&format!("--set: {key}:")) || missing == 4,
                "{error}"
            );
        }
        let with = |more: &[(&'static str, &str)]| {
            let all: Vec<_> = whole.iter().chain(more).copied().collect();
            loaded(&all).unwrap_err()
        };
        let one = "tokens have one of \"jwks_file\", \"jwks_url\" and \"secret_file\"";
        assert!(with(&[("jwt.0.secret_file", &secret)]).ends_with(one));
        assert!(with(&[("jwt.0.jwks_url", "https://a/")]).ends_with(one));
        assert_eq!(
            with(&[("jwt.0.algorithms", "ES256,HS256")]),
            "--set: jwt.0.algorithms: HS256, HS384 and HS512 need a \"secret_file\" and no JWK Set"
        );
        assert!(with(&[("jwt.0.algorithms", "none")]).contains("expected a list of"));
        assert!(with(&[("jwt.0.jwks_ca", &secret)]).contains("only \"jwks_url\" needs it"));
        assert!(with(&[("jwt.0.jwks_refresh_max", "1s")]).contains("at least"));
        assert!(with(&[("jwt.0.claims_to", "sub: cookie")]).contains("a meaning of its own"));
        assert!(with(&[("jwt.0.claims_to", "sub: x-a,b: X-A")]).contains("is there twice"));
        assert!(with(&[("jwt.0.claims_to", "sub: x-a,b: x_a")]).contains("is there twice"));
        for taken in [
            "x_forwarded_user",
            "x-real-ip",
            "client_cert",
            "client-cert-chain",
            "proxy",
        ] {
            let error = with(&[("jwt.0.claims_to", &format!("sub: {taken}"))]);
            assert!(error.contains("a meaning of its own"), "{taken}: {error}");
        }
        let named = [
            ("trace.request_id", "x-user"),
            ("jwt.0.claims_to", "sub: x_user"),
        ];
        assert!(with(&named).contains("is what \"trace.request_id\" calls requests by"));
        assert!(with(&[("jwt.1.name", "login")]).contains("is already the name of jwt.0.name"));
        assert_eq!(
            with(&[("route.0.to", "http://a:1"), ("route.0.jwt", "other")]),
            "--set: route.0.jwt: no tokens are called \"other\"; there are: login"
        );
        let alone = loaded(&[("route.0.to", "http://a:1"), ("route.0.jwt", "other")]);
        assert_eq!(
            alone.unwrap_err(),
            "--set: route.0.jwt: no tokens are called \"other\"; there is no [[jwt]] with a name; write one"
        );
    }

    #[test]
    fn keys_are_fetched_by_https_alone_and_from_a_place_without_secrets() {
        let with = |url| {
            loaded(&[
                ("jwt.0.name", "login"),
                ("jwt.0.issuer", "https://a/"),
                ("jwt.0.audience", "b"),
                ("jwt.0.algorithms", "ES256"),
                ("jwt.0.jwks_url", url),
            ])
        };
        for url in [
            "https://a.test/k",
            "https://a.test:8443/k?v=1",
            "https://[::1]",
            "https://a",
        ] {
            assert_eq!(with(url), Ok(()), "{url}");
        }
        for url in [
            "http://a/k",
            "https://u:p@a/k",
            "https://a/k#f",
            "https://",
            "https://a:0/",
            "file:///k",
        ] {
            assert!(with(url).is_err(), "{url}");
        }
    }
}
