//! `wayhold cid`: what it prints and when it fails.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wayhold::cid::{Cid, CidConfig, ConfigId, FirstOctet, Nonce, ServerId};
use wayhold::control::{replace_key_file, write_key_file};
use wayhold::fleet::{Epoch, FleetKey, KeyRecord, Keyring};

#[test]
fn every_vector_of_the_draft_comes_out_of_plain_flags() {
    let data = serde_json::from_str::<Value>(include_str!("../core/quic-lb-vectors.json")).unwrap();
    let vectors = data["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let text = |name: &str| vector[name].to_string().trim_matches('"').to_owned();
        let mut flags = vec![
            "--json".to_owned(),
            format!("--config-id={}", text("config_rotation_bits")),
            format!("--server-id-len={}", text("sid_len")),
            format!("--nonce-len={}", text("nonce_len")),
        ];
        flags.extend(vector["key"].as_str().map(|key| format!("--key={key}")));
        let (server_id, nonce, cid) = (text("sid"), text("nonce"), text("cid"));

        let mut encode = flags.clone();
        encode.extend([
            format!("--server-id={server_id}"),
            format!("--nonce={nonce}"),
        ]);
        let printed = succeed("encode", &encode);
        assert_eq!(printed, format!("{{\"cid\":\"{cid}\"}}\n"));

        let mut decode = flags;
        decode.push(cid);
        let config_id = text("config_rotation_bits");
        let printed = succeed("decode", &decode);
        let expected = format!(
            "{{\"config_id\":{config_id},\"server_id\":\"{server_id}\",\"nonce\":\"{nonce}\"}}\n"
        );
        assert_eq!(printed, expected);
    }
}

#[test]
fn without_json_the_output_is_for_people() {
    let flags = [
        "--server-id",
        "00000101",
        "--nonce",
        "000102030405060708090a0b",
    ];
    let cid = succeed("encode", &flags);
    assert_eq!(cid, "1000000101000102030405060708090a0b\n");
    assert_eq!(
        succeed("decode", &[cid.trim()]),
        "config ID 0\nserver ID 00000101\nnonce     000102030405060708090a0b\n"
    );
}

#[test]
fn a_random_first_octet_is_made_and_accepted_on_request() {
    let flags = ["--first-octet", "random", "--config-id", "5"];
    let parts = [
        "--server-id",
        "00000101",
        "--nonce",
        "000102030405060708090a0b",
    ];
    let octets = (0..8)
        .map(|_| succeed("encode", &[flags, parts].concat()))
        .map(|cid| cid.trim().parse::<Cid>().unwrap()[0])
        .collect::<Vec<_>>();
    assert!(octets.iter().all(|octet| octet >> 5 == 5));
    // All alike with a probability of 2^-35.
    assert!(octets.iter().any(|octet| *octet != octets[0]), "{octets:?}");

    let cid = "a000000101000102030405060708090a0b";
    let decoded = succeed("decode", &[&flags[..], &["--json", cid]].concat());
    assert!(decoded.contains("\"server_id\":\"00000101\""));
    let error = fail("decode", &["--config-id", "5", cid]);
    assert!(
        error.contains("says that the connection ID has 1 bytes"),
        "{error}"
    );
    assert!(error.contains("--first-octet random"), "{error}");
}

#[test]
fn bad_input_to_encode_is_named_and_exits_with_1() {
    let good = [
        ("--config-id", "0"),
        ("--server-id-len", "3"),
        ("--nonce-len", "4"),
        ("--key", "8f95f09245765f80256934e50c66207f"),
        ("--server-id", "ed793a"),
        ("--nonce", "ee080dbf"),
    ];
    let cases = [
        ("--config-id", "7", "config ID 7 is larger than 6"),
        (
            "--server-id-len",
            "0",
            "a server ID has 1 to 15 bytes, not 0",
        ),
        (
            "--server-id-len",
            "16",
            "a server ID has 1 to 15 bytes, not 16",
        ),
        ("--server-id-len", "4", "a server ID of 4 bytes, not 3"),
        ("--nonce-len", "3", "a nonce has 4 to 18 bytes, not 3"),
        ("--nonce-len", "17", "at most 19 bytes together, not 3 + 17"),
        ("--nonce-len", "5", "a nonce of 5 bytes, not 4"),
        ("--key", "8f95", "--key: a key has 16 bytes, not 2"),
        (
            "--key",
            "8f9",
            "--key: 3 hexadecimal digits are an odd number",
        ),
        (
            "--server-id",
            "ed793x",
            "--server-id: character 6 is not a hexadecimal digit",
        ),
        (
            "--server-id",
            "",
            "--server-id: a server ID has 1 to 15 bytes, not 0",
        ),
        (
            "--nonce",
            "0xee080dbf",
            "--nonce: character 2 is not a hexadecimal digit",
        ),
    ];
    for (name, value, expected) in cases {
        let flags = good.map(|(flag, usual)| {
            let value = if flag == name { value } else { usual };
            format!("{flag}={value}")
        });
        let error = fail("encode", &flags);
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
}

#[test]
fn connection_ids_that_are_not_ours_exit_with_1() {
    let flags = ["--json", "--server-id-len=3", "--nonce-len=4"];
    let cases = [
        ("07c4605e4504cc", "has 8 bytes, but there are 7"),
        ("07c4605e4504cc4f00", "has 8 bytes, but there are 9"),
        (
            "27c4605e4504cc4f",
            "configuration 1, which is not known here",
        ),
        ("e7c4605e4504cc4f", "marked unroutable"),
        (
            "08c4605e4504cc4f",
            "says that the connection ID has 9 bytes",
        ),
        ("07c4605e4504cc4", "15 hexadecimal digits are an odd number"),
        (
            "07c4605e4504cc4g",
            "character 16 is not a hexadecimal digit",
        ),
        ("", "has 8 bytes, but there are 0"),
        (
            &"00".repeat(21),
            "a connection ID has 0 to 20 bytes, not 21",
        ),
    ];
    for (cid, expected) in cases {
        let error = fail("decode", &[&flags[..], &[cid]].concat());
        assert!(error.contains(expected), "{cid}: {error}");
    }
}

#[test]
fn a_configuration_file_gives_the_form_of_its_gateways_connection_ids() {
    let directory = Directory::new();
    let key = FleetKey::new(Epoch(2), [9; 32]);
    write_key_file(
        &directory.0.path().join("fleet.key"),
        &Keyring::new(key.clone()),
    )
    .unwrap();
    let file = directory.write("wayhold.toml", FLEET);
    // 5 and two rotations.
    let id = ConfigId::new(0).unwrap();
    let cid_key = key.cid_key(id);
    let form = CidConfig::new(id, 4, 10, FirstOctet::Length, Some(&cid_key)).unwrap();
    let nonce = Nonce::new(&[3; 10]).unwrap();
    let cid = form
        .encode(&ServerId::from_array([0, 0, 1, 7]), &nonce, 0)
        .unwrap();

    let parts = ["--server-id=00000107", "--nonce=03030303030303030303"];
    let made = succeed("encode", &[&["-c", &file], &parts[..]].concat());
    assert_eq!(made.trim(), cid.to_string());
    assert_eq!(
        succeed("decode", &["--json", "-c", &file, &cid.to_string()]),
        "{\"config_id\":0,\"epoch\":2,\"server_id\":\"00000107\",\"nonce\":\"03030303030303030303\"}\n"
    );
}

#[test]
fn connection_ids_of_every_epoch_of_the_key_file_are_read() {
    let directory = Directory::new();
    let key_file = directory.0.path().join("fleet.key");
    write_key_file(&key_file, &Keyring::new(FleetKey::new(Epoch(2), [9; 32]))).unwrap();
    let mut record = KeyRecord::new(FleetKey::new(Epoch(2), [9; 32]));
    for secret in [10, 11] {
        let step = record.rotate(Duration::ZERO, [secret; 32], Duration::ZERO);
        step.unwrap();
    }
    replace_key_file(&key_file, &record).unwrap();
    let file = directory.write("wayhold.toml", FLEET);
    let keyring = &record.keyring;
    assert_eq!(keyring.iter().count(), 2);
    for key in keyring.iter() {
        let id = ConfigId::new(u8::try_from((5 + key.epoch().0) % 7).unwrap()).unwrap();
        let cid_key = key.cid_key(id);
        let form = CidConfig::new(id, 4, 10, FirstOctet::Length, Some(&cid_key)).unwrap();
        let nonce = Nonce::new(&[3; 10]).unwrap();
        let id = ServerId::from_array([0, 0, 1, 7]);
        let cid = form.encode(&id, &nonce, 0).unwrap().to_string();
        let shown = succeed("decode", &["-c", &file, &cid]);
        let epoch = format!("epoch     {}\n", key.epoch());
        assert!(shown.contains(&epoch), "{shown}");
        assert!(shown.contains("server ID 00000107\n"), "{shown}");
        let shown = run_where(&file, &cid);
        assert!(
            shown.contains(&format!("epoch      {}\n", key.epoch())),
            "{shown}"
        );
        assert!(
            shown.contains("a process of this node issued it"),
            "{shown}"
        );
    }
}

/// Asks where no gateway runs.
fn run_where(file: &str, cid: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .args(["where", "--admin", "off", "-c", file, cid])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_gateway_without_a_fleet_has_a_key_that_no_file_gives() {
    let directory = Directory::new();
    let file = directory.write("wayhold.toml", "");
    let error = fail("decode", &["-c", &file, "00"]);
    assert!(
        error.contains("the configuration has no [fleet]"),
        "{error}"
    );
    let file = directory.write("wrong.toml", "[nodes]");
    let error = fail("decode", &["-c", &file, "00"]);
    assert!(error.contains("wrong.toml"), "{error}");
}

#[test]
fn flags_that_contradict_a_configuration_file_are_wrong_usage() {
    let output = run("decode", &["-c", "wayhold.toml", "--nonce-len", "4", "00"]);
    assert_eq!(output.status.code(), Some(2));
}

const FLEET: &str = r#"
[node]
id = 1
[cid]
config_id = 5
nonce_len = 10
first_octet = "length"
[fleet]
key_file = "fleet.key"
[[fleet.member]]
id = 1
relay = "127.0.0.1:4434"
"#;

/// A directory of one test, removed at its end.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn succeed(action: &str, flags: &[impl AsRef<str>]) -> String {
    let output = run(action, flags);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(error, "");
    String::from_utf8(output.stdout).unwrap()
}

fn fail(action: &str, flags: &[impl AsRef<str>]) -> String {
    let output = run(action, flags);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn run(action: &str, flags: &[impl AsRef<str>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .args(["cid", action])
        .args(flags.iter().map(AsRef::as_ref))
        .output()
        .unwrap()
}
