//! Which crates and which parts of the standard library a module may name.

use proc_macro2::{TokenStream, TokenTree};

use crate::layers::CORE;
use crate::paths;
use crate::tree::Tree;

/// Finds IO, clocks, randomness and loud logging in the core, outside its tests.
pub(crate) fn core_is_pure(tree: &Tree) -> Vec<String> {
    find(tree, |place| {
        let core = CORE.iter().any(|module| within(place, module));
        if core { IMPURE } else { &[] }
    })
}

/// Finds crates named outside the modules that own them, outside tests.
pub(crate) fn crates_have_owners(tree: &Tree) -> Vec<String> {
    OWNED
        .iter()
        .flat_map(|(crates, owners)| {
            find(tree, |place| {
                let owner = owners.iter().any(|owner| within(place, owner));
                if owner { &[] } else { crates }
            })
        })
        .collect()
}

/// Finds the word `unsafe` outside `sys/`, tests and macros included.
pub(crate) fn unsafe_stays_in_sys(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for directory in ["src/", "tests/", "benches/", "examples/"] {
        for (path, _) in tree.rust(directory) {
            if path.starts_with("src/sys/") {
                continue;
            }
            let tokens: TokenStream = tree.text(path).parse().expect("it was parsed before");
            let mut lines = Vec::new();
            unsafe_lines(tokens, &mut lines);
            violations.extend(lines.iter().map(|line| format!("{path}:{line}: `unsafe`")));
        }
    }
    violations
}

/// Reports each path that reaches what `forbidden` gives for its file.
fn find(tree: &Tree, forbidden: impl Fn(&str) -> &'static [&'static str]) -> Vec<String> {
    let test_modules = tree.test_modules();
    let mut violations = Vec::new();
    for (path, file) in tree.rust("src/") {
        let forbidden = forbidden(path.trim_start_matches("src/"));
        if forbidden.is_empty() || test_modules.iter().any(|test| path.starts_with(test)) {
            continue;
        }
        for named in paths::named(path, &file) {
            if let Some(reached) = forbidden.iter().find(|prefix| named.reaches(prefix))
                && !named.test_only
            {
                violations.push(format!("{path}:{}: `{reached}`", named.line));
            }
        }
    }
    violations.dedup();
    violations
}

/// Whether a file is the module, be it a file or a directory.
fn within(place: &str, module: &str) -> bool {
    place
        .strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn unsafe_lines(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => unsafe_lines(group.stream(), lines),
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            _ => {}
        }
    }
}

/// What the core never names: it gets time and random bytes as arguments and does no IO.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_rustls",
    "quinn",
    "quinn_proto",
    "quinn_udp",
    "rustls",
    "hyper",
    "hyper_util",
    "h3",
    "h3_quinn",
    "socket2",
    "libc",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::time::Instant::now",
    "std::time::Instant::elapsed",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "rand",
    "rand_core",
    "getrandom",
    "fastrand",
    "aws_lc_rs::rand",
    "tracing::debug",
    "tracing::info",
    "tracing::warn",
    "tracing::error",
    "tracing::event",
    "tracing::Level",
];

/// Crates that leave a trace in few places, so that replacing one stays possible.
const OWNED: &[(&[&str], &[&str])] = &[
    (
        &["rustls", "tokio_rustls"],
        &[
            "pem",
            "edge/tls",
            "bridge/tls",
            "bridge/gate/token/fetch",
            "client",
            "testbed",
            "bench",
            "demo",
        ],
    ),
    // What is trusted where nobody says whom.
    (&["rustls_native_certs"], &["bridge/tls", "client"]),
    (
        &["quinn", "quinn_proto", "quinn_udp"],
        &[
            "edge/quic",
            "edge/socket",
            "client",
            "testbed",
            "bench",
            "demo",
        ],
    ),
    (&["hickory_resolver"], &["bridge/dns"]),
    (&["h3", "h3_quinn"], &["client", "testbed", "bench", "demo"]),
    // What belongs to a process and not to a library in it.
    (
        &[
            "std::process::exit",
            "std::process::abort",
            "std::panic::set_hook",
            "tokio::signal",
            "tracing::subscriber::set_global_default",
            "tracing_subscriber",
        ],
        &["command", "main"],
    ),
    // The benchmark gives each side a thread and a runtime of its own, whose clock it reads.
    (&["tokio::runtime"], &["bench", "command", "main"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn core(text: &str) -> Vec<String> {
        core_is_pure(&Tree::planted(&[("src/steer/mod.rs", text)]))
    }

    #[track_caller]
    fn finds(text: &str, line: usize, name: &str) {
        let violation = format!("src/steer/mod.rs:{line}: `{name}`");
        assert_eq!(core(text), [violation], "{text}");
    }

    #[test]
    fn stray_clock_is_found() {
        let now = "std::time::Instant::now";
        finds("fn f() { std::time::Instant::now(); }", 1, now);
        finds(
            "use std::time::Instant;\nfn f() { Instant::now(); }",
            2,
            now,
        );
        finds(
            "use std::time as clock;\nfn f() { clock::Instant::now(); }",
            2,
            now,
        );
        finds(
            "use std::time::Instant as I;\nfn f(x: Option<I>) { x.unwrap_or_else(I::now); }",
            2,
            now,
        );
        finds(
            "use std::time::Instant;\nfn f() { <Instant>::now(); }",
            2,
            now,
        );
        finds(
            "type Clock = std::time::Instant;\nfn f() { Clock::now(); }",
            2,
            now,
        );
        finds(
            "use std::time::Instant;\nfn f() { assert!(Instant::now() > t); }",
            2,
            now,
        );
        finds("use std::time::*;", 1, now);
        finds(
            "fn f(t: T) { t.elapsed(); }",
            1,
            "std::time::Instant::elapsed",
        );
        finds(
            "use std::time::{Duration,\nSystemTime};",
            2,
            "std::time::SystemTime",
        );
    }

    #[test]
    fn stray_randomness_is_found() {
        finds("use aws_lc_rs::{aead, rand};", 1, "aws_lc_rs::rand");
        finds("fn f() { aws_lc_rs::rand::fill(b); }", 1, "aws_lc_rs::rand");
        finds("fn f() { getrandom::fill(b); }", 1, "getrandom");
        finds("use rand as r;", 1, "rand");
        finds(
            "use std::collections::hash_map::{Entry, RandomState};",
            1,
            "std::collections::hash_map::RandomState",
        );
    }

    #[test]
    fn stray_io_and_logging_are_found() {
        finds("use tokio::sync::mpsc;", 1, "tokio");
        finds("struct S(std::net::UdpSocket);", 1, "std::net::UdpSocket");
        finds("use std::{fmt, fs};", 1, "std::fs");
        finds("fn f() { std::env::var(n); }", 1, "std::env");
        finds("fn f() { tracing::info!(\"loud\"); }", 1, "tracing::info");
        finds("use tracing::warn;", 1, "tracing::warn");
    }

    #[test]
    fn core_may_name_types_that_do_nothing() {
        let pure = "use std::net::{IpAddr, SocketAddr}; use std::time::{Duration, Instant};
            use std::fmt::*; use aws_lc_rs::aead;
            fn f(now: Instant) { tracing::trace!(\"quiet\"); now + Duration::ZERO; }
            #[cfg(test)] mod tests { fn f() { std::time::Instant::now(); } }";
        assert_eq!(core(pure), [""; 0]);
    }

    #[test]
    fn rim_and_test_modules_may_read_a_clock() {
        let tree = Tree::planted(&[
            ("src/edge/mod.rs", "fn f() { std::time::Instant::now(); }"),
            ("src/wire/mod.rs", "#[cfg(test)] mod tests;"),
            ("src/wire/tests.rs", "use rand::random;"),
        ]);
        assert_eq!(core_is_pure(&tree), [""; 0]);
    }

    #[test]
    fn crate_outside_its_owner_is_found() {
        let tree = Tree::planted(&[
            ("src/edge/tls.rs", "use rustls::ServerConfig;"),
            (
                "src/edge/quic/mod.rs",
                "use quinn as q; use quinn_proto::ConnectionId;",
            ),
            (
                "src/client/mod.rs",
                "use h3_quinn::Connection; use rustls::ClientConfig;",
            ),
            ("src/edge/tcp/mod.rs", "use tokio_rustls::TlsAcceptor;"),
            ("src/edge/quicker.rs", "fn f(c: quinn::Connection) {}"),
            ("src/bridge/mod.rs", "use h3::quic;"),
        ]);
        assert_eq!(
            crates_have_owners(&tree),
            [
                "src/edge/tcp/mod.rs:1: `tokio_rustls`",
                "src/edge/quicker.rs:1: `quinn`",
                "src/bridge/mod.rs:1: `h3`",
            ]
        );
    }

    #[test]
    fn library_that_acts_for_the_process_is_found() {
        let tree = Tree::planted(&[
            ("src/main.rs", "fn main() { std::process::exit(1) }"),
            ("src/command/run.rs", "use tokio::signal::unix::signal;"),
            (
                "src/edge/mod.rs",
                "use std::process; fn f() { process::exit(1) }",
            ),
            ("src/gateway/mod.rs", "use tokio::{runtime::Runtime, task};"),
            (
                "src/client/mod.rs",
                "fn f() { tracing_subscriber::fmt::init() }",
            ),
        ]);
        assert_eq!(
            crates_have_owners(&tree),
            [
                "src/client/mod.rs:1: `tracing_subscriber`",
                "src/edge/mod.rs:1: `std::process::exit`",
                "src/gateway/mod.rs:1: `tokio::runtime`",
            ]
        );
    }

    #[test]
    fn unsafe_outside_sys_is_found() {
        let tree = Tree::planted(&[
            ("src/sys/mod.rs", "fn f() { unsafe { g() } }"),
            (
                "src/edge/mod.rs",
                "fn f() {\n    unsafe { g() }\n}\nunsafe impl Send for S {}",
            ),
            ("src/wire/mod.rs", "fn f() { m!(unsafe { g() }); }"),
            (
                "examples/a.rs",
                "// unsafe in words is fine\n#[unsafe(no_mangle)] fn f() {}",
            ),
        ]);
        assert_eq!(
            unsafe_stays_in_sys(&tree),
            [
                "src/edge/mod.rs:2: `unsafe`",
                "src/edge/mod.rs:4: `unsafe`",
                "src/wire/mod.rs:1: `unsafe`",
                "examples/a.rs:2: `unsafe`",
            ]
        );
    }
}
