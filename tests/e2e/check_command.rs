//! `wayhold check` and what `wayhold run` does with a configuration that it refuses.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

use crate::stage::Directory;

/// Runs the command with only these variables that are ours.
fn wayhold(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayhold"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYHOLD_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

struct ConfigFile(NamedTempFile);

impl ConfigFile {
    fn new(text: &str) -> Self {
        let file = NamedTempFile::new().expect("the temporary directory can be written");
        std::fs::write(&file, text).expect("the file is there");
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("the path is text")
    }
}

#[test]
fn check_accepts_no_configuration_at_all() {
    let output = wayhold(&["check"], &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        out.starts_with("ok\nlisten  [::]:4433 HTTP/3, HTTP/2, HTTP/1.1"),
        "{out}"
    );
}

#[test]
fn explain_tells_of_every_value_where_it_comes_from() {
    let file = ConfigFile::new("[[route]]\nto = [\"http://a:1\"]\n");
    let variables = [("WAYHOLD_NODE__ID", "7")];
    let arguments = ["explain", "-c", file.path(), "--set", "timeouts.connect=1s"];
    let output = wayhold(&arguments, &variables);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in [
        format!("route.0.to = [http://a:1]  ({}:2)", file.path()),
        "node.id = 7  (WAYHOLD_NODE__ID)".to_owned(),
        "timeouts.connect = 1s  (--set)".to_owned(),
        "timeouts.header = 10s  (default)".to_owned(),
    ] {
        assert!(out.lines().any(|told| told == line), "{line}\n{out}");
    }
    let output = wayhold(&["explain", "--set", "timeouts.connect=soon"], &[]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_shows_what_file_environment_and_flags_give_together() {
    let file = ConfigFile::new("[[route]]\nhost = \"a.org\"\nto = [\"http://a:1\"]\n");
    let output = wayhold(
        &[
            "check",
            "-c",
            file.path(),
            "--listen",
            "127.0.0.1:0",
            "--set",
            "route.0.path=/api",
        ],
        &[("WAYHOLD_ADMIN__LISTEN", "off")],
    );
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in [
        "listen  127.0.0.1:0 ",
        "route   a.org /api to 1 backend\n",
        "admin   off\n",
    ] {
        assert!(out.contains(line), "{out}");
    }
}

#[test]
fn check_says_what_becomes_of_the_requests_of_every_route() {
    let file = ConfigFile::new(concat!(
        "pool = [{ name = \"app\", to = [\"http://10.0.0.1:80\", \"http://10.0.0.2:80\"] }]\n",
        "route = [\n",
        "{ host = \"a.org\", redirect = \"https://b.org{path}\" },\n",
        "{ path = \"/off\", respond = 503 },\n",
        "{ path = \"/udp\", connect_udp = [\"192.0.2.1:53\"] },\n",
        "{ pool = \"app\" },\n",
        "]\n",
    ));
    let output = wayhold(&["check", "-c", file.path()], &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in [
        "route   a.org / redirects with 308\n",
        "route   every host /off answers 503\n",
        "route   every host /udp takes tunnels of UDP\n",
        "route   every host / to pool app\n",
        "pool    app of 2 backends\n",
    ] {
        assert!(out.contains(line), "{out}");
    }
}

#[test]
fn check_names_every_error_and_exits_with_one() {
    let file = ConfigFile::new("[[listen]]\nadr = 1\n[quic]\nretry = 2\n");
    let output = wayhold(
        &["check"],
        &[("WAYHOLD_CONFIG", file.path()), ("WAYHOLD_NDE__ID", "1")],
    );
    let expected = format!(
        "{path}:2: listen.0.adr: unknown key; did you mean \"addr\"?\n\
         {path}:4: quic.retry: found an integer, expected true or false\n\
         WAYHOLD_NDE__ID: nde.id: unknown key; did you mean \"node.id\"?\n",
        path = file.path()
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), expected);
    assert!(output.stdout.is_empty());
}

#[test]
fn check_refuses_a_key_file_that_run_would_refuse() {
    let key = ConfigFile::new("no key");
    let fleet = format!("key_file = {:?}\n{MEMBERS}", key.path());
    let fleet = ConfigFile::new(&fleet);
    let check = || wayhold(&["check", "--fleet", fleet.path(), "--node-id", "1"], &[]);
    std::fs::set_permissions(&key.0, Permissions::from_mode(0o640)).expect("the file is ours");
    let shared = check();
    assert_eq!(shared.status.code(), Some(1));
    assert!(text(&shared.stderr).contains("mode 0640"));
    std::fs::set_permissions(&key.0, Permissions::from_mode(0o600)).expect("the file is ours");
    let broken = check();
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken.stderr).contains(key.path()));
}

const MEMBERS: &str = "member = [{ id = 1, relay = \"127.0.0.1:4434\" }]\n";

#[test]
fn check_refuses_a_certificate_that_run_would_refuse() {
    let directory = Directory::new();
    directory.certify();
    let pair = |cert: &str, key: &str| {
        let file = |name: &str| directory.file(name).display().to_string();
        wayhold(&["check", "--cert", &file(cert), "--key", &file(key)], &[])
    };
    assert_eq!(pair("tls.pem", "tls.key").status.code(), Some(0));
    let swapped = pair("tls.key", "tls.pem");
    assert_eq!(swapped.status.code(), Some(1));
    let why = text(&swapped.stderr);
    assert!(why.contains("no certificate found in"), "{why}");

    let own = directory.file("other.key");
    std::fs::rename(directory.file("tls.key"), &own).expect("both are there");
    directory.certify();
    let why = text(&pair("tls.pem", "other.key").stderr);
    assert!(why.contains("does not match"), "{why}");
}

#[test]
fn check_warns_of_a_private_key_that_others_can_read() {
    let directory = Directory::new();
    directory.certify();
    let key = directory.file("tls.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("it is there");
    let file = |name: &str| directory.file(name).display().to_string();
    let checked = wayhold(
        &[
            "check",
            "--cert",
            &file("tls.pem"),
            "--key",
            &file("tls.key"),
        ],
        &[],
    );
    assert_eq!(checked.status.code(), Some(0));
    let out = text(&checked.stdout);
    assert!(out.contains("warning") && out.contains("0644"), "{out}");
}

#[test]
fn every_flag_is_one_key() {
    for (flag, key) in [
        ("--listen", "listen.0.addr"),
        ("--cert", "listen.0.cert"),
        ("--key", "listen.0.key"),
        ("--to", "route.0.to"),
        ("--node-id", "node.id"),
        ("--fleet", "fleet.file"),
        ("--admin", "admin.listen"),
        ("--log-format", "log.format"),
        ("--idle-timeout", "quic.idle_timeout"),
    ] {
        let output = wayhold(&["check", flag, "/no such value"], &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(&format!("{flag}: {key}: ")), "{error}");
    }
    let output = wayhold(
        &[
            "check",
            "--state-dir",
            "/srv/w",
            "--to",
            "http://a",
            "--to",
            "h2://b",
        ],
        &[],
    );
    let out = text(&output.stdout);
    assert!(
        out.contains("to 2 backends") && out.contains("unix:/srv/w/admin.sock"),
        "{out}"
    );
}

#[test]
fn run_refuses_a_wrong_configuration_with_its_own_exit_code() {
    let output = wayhold(&["run", "--listen", "nowhere"], &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("--listen: listen.0.addr: \"nowhere\": expected"));
}

#[test]
fn a_setting_without_a_value_is_wrong_usage() {
    assert_eq!(
        wayhold(&["check", "--set", "node.id"], &[]).status.code(),
        Some(2)
    );
}
