//! `wayhold keys`: the file that it makes, and which files are accepted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use wayhold::control::{KeyFileError, read_key_file, write_key_file};
use wayhold::fleet::{Epoch, FleetKey, Keyring};

#[test]
fn init_makes_a_private_file_that_can_be_read_back() {
    let directory = Directory::new();
    let output = init(&directory, &["made.key"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let path = directory.0.path().join("made.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(read_key_file(&path).unwrap().current().epoch(), Epoch(0));
}

#[test]
fn init_prints_the_path_and_no_secret() {
    let directory = Directory::new();
    let output = init(&directory, &[]);
    let text = fs::read_to_string(directory.0.path().join("fleet.key")).unwrap();
    let secret = text
        .lines()
        .find_map(|line| line.strip_prefix("secret = "))
        .unwrap();
    assert_eq!(secret.len(), 64);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "wrote fleet.key with mode 0600\n");
    assert!(output.stderr.is_empty());
}

#[test]
fn two_files_have_two_secrets() {
    let directory = Directory::new();
    init(&directory, &["a"]);
    init(&directory, &["b"]);
    let token_key = |name| {
        let keyring = read_key_file(&directory.0.path().join(name)).unwrap();
        *keyring.current().token_key().as_bytes()
    };
    assert_ne!(token_key("a"), token_key("b"));
}

#[test]
fn init_replaces_nothing() {
    let directory = Directory::new();
    let path = directory.0.path().join("fleet.key");
    fs::write(&path, "mine").unwrap();
    let output = init(&directory, &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("fleet.key exists and is left as it is"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    symlink("nowhere", directory.0.path().join("link")).unwrap();
    assert_eq!(init(&directory, &["link"]).status.code(), Some(1));
    assert!(!directory.0.path().join("nowhere").exists());
}

#[test]
fn init_in_a_missing_directory_names_the_path() {
    let directory = Directory::new();
    let output = init(&directory, &["no/such/fleet.key"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot write the key file no/such/fleet.key"),
        "{error}"
    );
}

#[test]
fn a_key_file_open_to_others_is_refused_with_the_remedy() {
    let directory = Directory::new();
    let path = directory.write("fleet.key");
    for mode in [0o640, 0o620, 0o604, 0o602, 0o644, 0o777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = read_key_file(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Mode { mode: found, .. } if found == mode));
        let error = error.to_string();
        assert!(error.contains(&format!("has mode {mode:04o}")), "{error}");
        assert!(
            error.contains(&format!("`chmod 600 {}`", path.display())),
            "{error}"
        );
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(read_key_file(&path).is_ok());
    }
}

#[test]
fn a_symbolic_link_is_followed_to_the_file_that_counts() {
    let directory = Directory::new();
    let (path, link) = (directory.write("real"), directory.0.path().join("link"));
    symlink(&path, &link).unwrap();
    assert!(read_key_file(&link).is_ok());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        read_key_file(&link),
        Err(KeyFileError::Mode { .. })
    ));
}

#[test]
fn what_is_not_a_key_file_is_refused() {
    let directory = Directory::new();
    let error = read_key_file(&directory.0.path().join("missing")).unwrap_err();
    assert!(matches!(error, KeyFileError::Read { .. }));
    let error = read_key_file(directory.0.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile(_)));

    let path = directory.write("fleet.key");
    fs::write(&path, "#".repeat((16 << 10) + 1)).unwrap();
    let error = read_key_file(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::TooLarge(_)));
    fs::write(&path, "not a key").unwrap();
    let error = read_key_file(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("the first line is not `wayhold-fleet-key v1`"),
        "{error}"
    );
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(
        read_key_file(&path),
        Err(KeyFileError::Read { .. })
    ));
}

#[test]
fn a_rotation_takes_two_steps_and_keeps_the_old_key_for_a_while() {
    let directory = Directory::new();
    init(&directory, &[]);
    let path = directory.0.path().join("fleet.key");
    let first = keys(&directory, &["rotate"]);
    assert!(text(&first).contains("added the key of epoch 1 as the next one"));
    assert_eq!(
        read_key_file(&path).unwrap().next().unwrap().epoch(),
        Epoch(1)
    );
    let second = keys(&directory, &["rotate"]);
    assert!(text(&second).contains("made the key of epoch 1 the current one"));
    let keyring = read_key_file(&path).unwrap();
    assert_eq!(keyring.current().epoch(), Epoch(1));
    assert_eq!(keyring.previous().unwrap().epoch(), Epoch(0));

    let before = fs::read(&path).unwrap();
    let early = keys(&directory, &["rotate"]);
    assert_eq!(early.status.code(), Some(1));
    let error = String::from_utf8(early.stderr).unwrap();
    assert!(
        error.contains("--dangerous-now") && error.contains("epoch 1 is current for"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);

    let anyway = keys(&directory, &["rotate", "--dangerous-now"]);
    assert!(text(&anyway).contains("epoch 2"));
    assert!(read_key_file(&path).unwrap().previous().is_none());
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    assert_eq!(
        fs::read_dir(directory.0.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn show_prints_epochs_and_fingerprints_and_no_secret() {
    let directory = Directory::new();
    init(&directory, &[]);
    keys(&directory, &["rotate"]);
    keys(&directory, &["rotate"]);
    let shown = text(&keys(&directory, &["show"]));
    let lines: Vec<_> = shown.lines().collect();
    assert!(
        lines[0].starts_with("previous epoch 0 fingerprint "),
        "{shown}"
    );
    assert!(
        lines[1].starts_with("current  epoch 1 fingerprint "),
        "{shown}"
    );
    assert!(lines[2].starts_with("current since "), "{shown}");
    let file = fs::read_to_string(directory.0.path().join("fleet.key")).unwrap();
    for secret in file.lines().filter_map(|line| line.split_once(" = ")) {
        assert!(secret.1.len() < 64 || !shown.contains(secret.1));
    }
}

#[test]
fn no_command_prints_a_secret_whatever_becomes_of_it() {
    let directory = Directory::new();
    let path = directory.0.path().join("fleet.key");
    let (mut secrets, mut printed) = (Vec::new(), String::new());
    let steps: [(&[&str], i32); 8] = [
        (&["init"], 0),
        (&["init"], 1),
        (&["rotate"], 0),
        (&["rotate"], 0),
        (&["rotate"], 1),
        (&["show"], 0),
        (&["rotate", "--dangerous-now"], 0),
        (&["show"], 0),
    ];
    let mut run = |arguments: &[&str], code, secrets: &mut Vec<String>| {
        let output = keys(&directory, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        for bytes in [output.stdout, output.stderr] {
            printed.push_str(&String::from_utf8(bytes).unwrap());
        }
        let file = fs::read_to_string(&path).unwrap();
        let values = file.lines().filter_map(|line| line.split_once(" = "));
        let found = values.filter(|(_, value)| value.len() == 64);
        secrets.extend(found.map(|(_, value)| value.to_owned()));
    };
    for (arguments, code) in steps {
        run(arguments, code, &mut secrets);
    }
    // A file that cannot be read, in whose lines the secrets stand all the same.
    let whole = fs::read_to_string(&path).unwrap();
    for broken in [
        whole.replace("secret", "sekret"),
        whole.replace(" = ", " "),
        whole.replace("next = ", "next = 0"),
        whole.replace("wayhold", "another"),
    ] {
        fs::write(&path, broken).unwrap();
        for command in ["show", "rotate"] {
            run(&[command], 1, &mut secrets);
        }
    }
    secrets.sort_unstable();
    secrets.dedup();
    assert!(secrets.len() >= 3, "one of each epoch");
    // Neither whole nor in parts.
    for secret in &secrets {
        for part in secret.as_bytes().chunks(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!printed.contains(part), "{printed}");
        }
    }
}

#[test]
fn a_rotation_follows_a_link_and_leaves_it() {
    let directory = Directory::new();
    init(&directory, &["real.key"]);
    symlink("real.key", directory.0.path().join("fleet.key")).unwrap();
    assert!(text(&keys(&directory, &["rotate"])).contains("epoch 1"));
    assert!(directory.0.path().join("fleet.key").is_symlink());
    let real = read_key_file(&directory.0.path().join("real.key")).unwrap();
    assert!(real.next().is_some());
}

fn keys(directory: &Directory, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .arg("keys")
        .args(arguments)
        .current_dir(directory.0.path())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A directory of one test, removed at its end.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let keyring = Keyring::new(FleetKey::new(Epoch(3), [7; 32]));
        write_key_file(&path, &keyring).unwrap();
        path
    }
}

fn init(directory: &Directory, arguments: &[&str]) -> Output {
    let directory = directory.0.path();
    Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .args(["keys", "init"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}
