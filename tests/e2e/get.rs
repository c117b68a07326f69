//! Claims about `wayhold get`.

use std::process::{Command, Output};

use tempfile::NamedTempFile;

use crate::client::{BYTES, Odd};
use crate::plain::Plain;

#[tokio::test(flavor = "multi_thread")]
async fn the_body_goes_to_standard_output_and_the_timing_to_standard_error() {
    let server = Plain::http3(Odd);
    let ca = Ca::of(&server);
    let output = get(&["--ca", ca.path(), &url(&server, "/bytes")]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(output.stdout == vec![7; BYTES]);
    let report = errors(&output);
    assert!(report.starts_with("HTTP/3 200 OK: connect "), "{report}");
    assert!(
        report.contains("first byte") && report.contains("total"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_when_asked_for() {
    let server = Plain::http2(Odd).await;
    let output = get(&["--http2", "--insecure", &url(&server, "/bytes")]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(output.stdout.len(), BYTES);
    assert!(
        errors(&output).contains("HTTP/2 200 OK"),
        "{}",
        errors(&output)
    );
    assert!(
        errors(&output).contains("any certificate"),
        "{}",
        errors(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_share_the_connection() {
    let server = Plain::http3(Odd);
    let output = get(&["--insecure", "--repeat", "3", &url(&server, "/bytes")]);
    assert_eq!(output.stdout.len(), 3 * BYTES);
    assert_eq!(errors(&output).matches("0 (reused)").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_an_exit_code() {
    let server = Plain::http3(Odd);
    let refused = get(&["--insecure", &url(&server, "/early")]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.stdout, b"early");

    let other = Ca::of(&Plain::http3(Odd));
    let untrusted = get(&["--ca", other.path(), &url(&server, "/bytes")]);
    assert_eq!(untrusted.status.code(), Some(1));
    assert!(untrusted.stdout.is_empty());

    let cut = get(&["--insecure", &url(&server, "/short")]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(
        errors(&cut).contains("4 bytes where 10"),
        "{}",
        errors(&cut)
    );

    let plain = get(&["http://localhost/"]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(
        errors(&plain).contains("not an https URL"),
        "{}",
        errors(&plain)
    );
}

fn get(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .arg("get")
        .args(args)
        .output()
        .unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// By name, which may lead to `::1` first, where nobody listens.
fn url(server: &Plain, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address.port())
}

/// A server's certificate in a file that is removed with this.
struct Ca(NamedTempFile);

impl Ca {
    fn of(server: &Plain) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, &server.pem).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}
