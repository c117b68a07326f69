//! The configuration: any text as a file, as the environment and on the command line.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use wayhold::config::{Config, KEYS, Kind, LoadErrors, Setting, Sources, load};
use wayhold::fleet::Keyring;

use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    match input.below(4) {
        0 => keyring(&mut input),
        1 => layers(&mut input),
        2 => file(&text(&mut input)),
        _ => file(&String::from_utf8_lossy(input.rest())),
    }
}

/// A file is loaded or refused, each error with its place, and the same each time.
fn file(text: &str) {
    let path = write(text);
    let sources = Sources {
        file: Some(path.clone()),
        ..Sources::default()
    };
    let loaded = load(&sources);
    assert_eq!(loaded, load(&sources));
    let lines = text.split('\n').count();
    if let Err(errors) = &loaded {
        have_places(errors);
        for error in errors.iter() {
            if let Some(wayhold::config::Origin::File { path: named, line }) = &error.origin {
                assert!(**named == *path && (1..=lines).contains(line), "{error}");
            }
        }
    }
    // Comments and empty lines mean nothing.
    if loaded.is_ok() {
        write(&format!("# a comment\n\n{text}\n# another\n"));
        assert_eq!(load(&sources), loaded);
    }
}

/// A key says the same in a file, in the environment and on the command line.
fn layers(input: &mut Input<'_>) {
    let key = KEYS[input.below(KEYS.len().min(256))];
    let path = key.path.replace('N', "0");
    let value = value(key.example, input);
    let quoted = format!("{path} = {value:?}");
    let set = Setting::flag("--set", &path, value.clone());
    let by_setting = load(&Sources {
        settings: vec![set],
        ..Sources::default()
    });
    let name = format!("WAYHOLD_{}", path.replace('.', "__").to_ascii_uppercase());
    let by_environment = load(&Sources {
        environment: vec![(name, value)],
        ..Sources::default()
    });
    assert_eq!(by_setting.as_ref().ok(), by_environment.as_ref().ok());
    for errors in [&by_setting, &by_environment]
        .into_iter()
        .filter_map(|loaded| loaded.as_ref().err())
    {
        have_places(errors);
    }
    // Relative paths begin elsewhere in a file, and lists of tables have another form there.
    let relative = matches!(key.kind, Kind::Directory | Kind::File | Kind::AdminAddress);
    if !relative && !path.contains('0') {
        let by_file: Result<Config, _> = load(&Sources {
            file: Some(write(&quoted)),
            ..Sources::default()
        });
        if let (Ok(by_file), Ok(by_setting)) = (&by_file, &by_setting) {
            assert_eq!(by_file, by_setting, "{quoted}");
        }
    }
}

fn have_places(errors: &LoadErrors) {
    assert!(errors.iter().count() > 0, "a refusal says why");
    for error in errors.iter() {
        assert!(
            error.origin.is_some()
                || !error.key.is_empty()
                || error.message.contains("cannot read"),
            "{error}"
        );
        assert!(!error.message.is_empty());
    }
}

/// What reads as a keyring is written so that it reads the same.
fn keyring(input: &mut Input<'_>) {
    let mut text = String::from("wayhold-fleet-key v1\n");
    while !input.is_empty() {
        match input.below(6) {
            0 => writeln!(text, "epoch = {}", input.u64()).expect("a string takes it"),
            1 | 2 => {
                let name = input.pick(&["secret", "previous", "next"]);
                let digits = "5a".repeat(32 - input.below(2) * input.below(33).min(32));
                writeln!(text, "{name} = {digits}").expect("a string takes it");
            }
            3 => text.push_str("# \n"),
            _ => text.push_str(&String::from_utf8_lossy(input.bytes(12))),
        }
    }
    if let Ok(keyring) = Keyring::from_text(&text) {
        let written = keyring.to_text();
        let again = Keyring::from_text(&written).expect("it was just written");
        assert_eq!(*again.to_text(), *written);
        assert_eq!(again.epochs(), keyring.epochs());
    }
}

/// A file of keys with values that are right or nearly so.
fn text(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    while !input.is_empty() && text.len() < 400 {
        let key = KEYS[input.below(KEYS.len().min(256))];
        let value = value(key.example, input);
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let table = table
            .strip_suffix(".N")
            .map_or_else(|| format!("[{table}]"), |list| format!("[[{list}]]"));
        if table != "[]" {
            text.push_str(&table);
            text.push('\n');
        }
        match input.below(4) {
            0 => writeln!(text, "{name} = {value}").expect("a string takes it"),
            1 => writeln!(text, "{name} = [{value:?}]").expect("a string takes it"),
            _ => writeln!(text, "{name} = {value:?}").expect("a string takes it"),
        }
    }
    text
}

fn value(example: &str, input: &mut Input<'_>) -> String {
    match input.below(8) {
        0 => input
            .pick(&[
                "0", "-1", "1e3", "true", "off", "1s", "5ms", "64KiB", "\u{e9}", "",
            ])
            .to_owned(),
        1 => input.u64().to_string(),
        2 => String::from_utf8_lossy(input.bytes(10)).into_owned(),
        3 => {
            let mut text: Vec<_> = example.chars().collect();
            let at = input.below(text.len().max(1));
            text.insert(at.min(text.len()), char::from(input.byte()));
            text.into_iter().collect()
        }
        _ => example.to_owned(),
    }
}

/// Writes the file of this thread.
fn write(text: &str) -> PathBuf {
    thread_local! {
        static DIRECTORY: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    DIRECTORY.with_borrow_mut(|directory| {
        let directory =
            directory.get_or_insert_with(|| tempfile::tempdir().expect("there is room"));
        let path = directory.path().join("wayhold.toml");
        fs::write(&path, text).expect("it can be written");
        path
    })
}
