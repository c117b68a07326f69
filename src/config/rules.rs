//! What keys must be together: rules that no single value can break.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::load::Reader;
use super::{
    AdminAddress, Config, Fleet, Keepalive, Profile, Sources, gate_rules, listen, names,
    pool_rules, route_rules, units,
};
use crate::fleet::Roster;

/// Checks a configuration whose every value is right alone.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    listen::check(&config.listen, reader);
    routes(config, reader);
    pool_rules::pools(&config.pool, reader);
    gate_rules::check(config, reader);
    pool_rules::dns(&config.dns, reader);
    quic(config, reader);
    cid(config, reader);
    if let Some(fleet) = &config.fleet {
        members(fleet, reader);
        this_node(config, fleet, reader);
        links(fleet, reader);
        detection(fleet, reader);
    }
    admin(config, reader);
}

/// Reads the server ID of the `aws-nlb` profile.
pub(super) fn aws_server_id(sources: &Sources, reader: &mut Reader<'_>) -> Option<[u8; 8]> {
    let Some(text) = sources.variable(AWS_VARIABLE) else {
        let message = format!("aws-nlb needs the environment variable {AWS_VARIABLE}");
        reader.refuse(&["cid.profile"], message);
        return None;
    };
    let id = names::aws_server_id(text);
    if id.is_none() {
        reader.refuse_variable(AWS_VARIABLE, "expected 8 bytes in base64");
    }
    id
}

fn routes(config: &Config, reader: &mut Reader<'_>) {
    let mut seen = HashMap::new();
    for (index, route) in config.route.iter().enumerate() {
        pool_rules::target(index, route, &config.pool, reader);
        route_rules::check(index, route, reader);
        let [host, path] = ["host", "path"].map(|name| format!("route.{index}.{name}"));
        // The prefix matches at a segment boundary, with or without its last slash.
        let prefix = route.path.trim_end_matches('/');
        if let Some(earlier) = seen.insert((&route.host, prefix), index) {
            let [other_host, other_path] =
                ["host", "path"].map(|name| format!("route.{earlier}.{name}"));
            let message = format!(
                "the same host and path as route.{earlier}{}",
                written(reader, &format!("route.{earlier}"))
            );
            reader.refuse(&[&path, &host, &other_path, &other_host], message);
        }
    }
}

fn quic(config: &Config, reader: &mut Reader<'_>) {
    let quic = &config.quic;
    for address in &quic.preferred_address {
        let mut listeners = config.listen.iter();
        if !listeners.any(|listen| overlap(*address, listen.addr)) {
            let message = format!("no listener takes datagrams to {address}");
            either(reader, ["quic.preferred_address", "listen"], message);
        }
    }
    if quic.initial_mtu > quic.max_udp_payload {
        let message = format!(
            "{} is more than quic.max_udp_payload, which is {}",
            quic.initial_mtu, quic.max_udp_payload
        );
        either(
            reader,
            ["quic.initial_mtu", "quic.max_udp_payload"],
            message,
        );
    }
    if let Keepalive::After(after) = quic.keep_alive
        && after >= quic.idle_timeout
    {
        let message = format!(
            "{} must be less than quic.idle_timeout, which is {}",
            units::Span(after),
            units::Span(quic.idle_timeout)
        );
        either(reader, ["quic.keep_alive", "quic.idle_timeout"], message);
    }
    if quic.stream_receive_window > quic.receive_window {
        let message = format!(
            "{} is more than quic.receive_window, which is {}",
            units::Size(quic.stream_receive_window.into()),
            units::Size(quic.receive_window.into())
        );
        either(
            reader,
            ["quic.stream_receive_window", "quic.receive_window"],
            message,
        );
    }
}

fn cid(config: &Config, reader: &mut Reader<'_>) {
    let cid = &config.cid;
    let server_id_len = match cid.profile {
        Profile::Wayhold => WAYHOLD_SERVER_ID,
        Profile::AwsNlb => AWS_SERVER_ID,
    };
    let nonce = "cid.nonce_len";
    if server_id_len + cid.nonce_len > MAX_SERVER_ID_AND_NONCE {
        let message = format!(
            "{} is too long: beside the profile's server ID of {server_id_len} bytes at most {} fit \
             (draft-ietf-quic-load-balancers-21)",
            cid.nonce_len,
            MAX_SERVER_ID_AND_NONCE - server_id_len
        );
        reader.refuse(&[nonce, "cid.profile"], message);
    }
    let short = cid.profile == Profile::Wayhold && cid.nonce_len < SAFE_NONCE;
    if short && !cid.dangerous_short_nonce {
        let message = format!(
            "an encrypted nonce of {} bytes can run out; use at least {SAFE_NONCE}, or set \
             cid.dangerous_short_nonce",
            cid.nonce_len
        );
        reader.refuse(
            &[nonce, "cid.profile", "cid.dangerous_short_nonce"],
            message,
        );
    }
}

fn members(fleet: &Fleet, reader: &mut Reader<'_>) {
    if !reader.is_set("fleet.key_file") {
        reader.refuse(
            &["fleet.key_file"],
            "missing: make one with `wayhold keys init`",
        );
    }
    if fleet.member.len() > Roster::MAX_MEMBERS {
        let message = format!(
            "{} members; a fleet has at most {}",
            fleet.member.len(),
            Roster::MAX_MEMBERS
        );
        reader.refuse(&["fleet.member"], message);
        return;
    }
    if fleet.member.is_empty() {
        reader.refuse(
            &["fleet.member"],
            "missing: the nodes of the fleet, this one among them",
        );
    }
    for (index, member) in fleet.member.iter().enumerate() {
        let [id, relay] = ["id", "relay"].map(|name| format!("fleet.member.{index}.{name}"));
        for (key, meaning) in [(&id, "the node's ID"), (&relay, "where its peers reach it")] {
            if !reader.is_set(key) {
                reader.refuse(&[key], format!("missing: {meaning}"));
            }
        }
        for (earlier, other) in fleet.member.iter().enumerate().take(index) {
            let [other_id, other_relay] =
                ["id", "relay"].map(|name| format!("fleet.member.{earlier}.{name}"));
            if member.id == other.id {
                let place = written(reader, &other_id);
                let message = format!("{} is already the ID of {other_id}{place}", member.id);
                reader.refuse(&[&id, &other_id], message);
            }
            if member.relay == other.relay {
                let place = written(reader, &other_relay);
                let message = format!("{} is already used by {other_relay}{place}", member.relay);
                reader.refuse(&[&relay, &other_relay], message);
            }
        }
        let first = fleet.member[0].relay;
        if reader.is_set(&relay) && member.relay.is_ipv4() != first.is_ipv4() {
            let place = written(reader, "fleet.member.0.relay");
            let message = format!(
                "{} is not of the family of fleet.member.0.relay{place}, {first}: a node reaches \
                 its peers from one socket",
                member.relay
            );
            reader.refuse(&[&relay, "fleet.member.0.relay"], message);
        }
    }
}

fn this_node(config: &Config, fleet: &Fleet, reader: &mut Reader<'_>) {
    if !reader.is_set("node.id") {
        // Two nodes that both took the default would issue each other's connection IDs.
        reader.refuse(
            &["node.id"],
            "missing: a node of a fleet must say which member it is",
        );
        return;
    }
    let node = config.node.id;
    let Some(index) = fleet.member.iter().position(|member| member.id == node) else {
        let known: Vec<_> = fleet
            .member
            .iter()
            .map(|member| member.id.to_string())
            .collect();
        let message = format!(
            "{node} is not a member of the fleet; members are {}",
            known.join(", ")
        );
        reader.refuse(&["node.id", "fleet.member"], message);
        return;
    };
    let relay = format!("fleet.member.{index}.relay");
    for (at, listen) in config.listen.iter().enumerate() {
        let member = fleet.member[index].relay;
        if overlap(member, listen.addr) {
            clash(reader, &relay, &format!("listen.{at}.addr"), member);
        }
    }
}

fn detection(fleet: &Fleet, reader: &mut Reader<'_>) {
    if fleet.silent_after < 3 * fleet.heartbeat {
        reader.refuse(
            &["fleet.silent_after", "fleet.heartbeat"],
            "it must be at least three times fleet.heartbeat, so that two lost heartbeats silence \
             nobody",
        );
    }
    if fleet.dead_after < fleet.silent_after {
        reader.refuse(
            &["fleet.dead_after", "fleet.silent_after"],
            "it must be at least fleet.silent_after: who is dead is silent first",
        );
    }
}

fn links(fleet: &Fleet, reader: &mut Reader<'_>) {
    if let Err(error) = fleet.max_udp_payload() {
        reader.refuse(&["fleet.link_mtu", "fleet.member"], error.to_string());
    }
}

fn admin(config: &Config, reader: &mut Reader<'_>) {
    match &config.admin.listen {
        AdminAddress::Off => {}
        AdminAddress::Unix(path) => {
            let length = path.as_os_str().len();
            if length > MAX_UNIX_PATH {
                let message = format!(
                    "the socket's path has {length} bytes, more than the {MAX_UNIX_PATH} of a unix \
                     socket: {}",
                    path.display()
                );
                either(reader, ["admin.listen", "state_dir"], message);
            }
        }
        AdminAddress::Tcp(address) => {
            for (index, listen) in config.listen.iter().enumerate() {
                if listen.tcp && overlap(*address, listen.addr) {
                    clash(
                        reader,
                        "admin.listen",
                        &format!("listen.{index}.addr"),
                        *address,
                    );
                }
            }
        }
    }
}

/// Whether two sockets of one kind cannot be bound at once. `[::]` also takes IPv4.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let takes =
        |a: IpAddr, b: IpAddr| a == b || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()));
    let (left, right) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() != 0 && a.port() == b.port() && (takes(left, right) || takes(right, left))
}

pub(super) fn clash(reader: &mut Reader<'_>, key: &str, other: &str, address: SocketAddr) {
    let message = format!("{address} overlaps {other}{}", written(reader, other));
    reader.refuse(&[key, other], message);
}

/// Refuses the first of two keys that is set, since the other is only a default.
fn either(reader: &mut Reader<'_>, keys: [&str; 2], message: String) {
    let [first, second] = keys;
    if reader.is_set(first) || !reader.is_set(second) {
        reader.refuse(&[first, second], message);
    } else {
        reader.refuse(&[second, first], format!("with {first}: {message}"));
    }
}

fn written(reader: &Reader<'_>, key: &str) -> String {
    reader
        .origin(key)
        .map(|origin| format!(" ({origin})"))
        .unwrap_or_default()
}

/// Set in the pod by the AWS Load Balancer Controller.
const AWS_VARIABLE: &str = "AWS_LBC_QUIC_SERVER_ID";
const AWS_SERVER_ID: u8 = 8;
const WAYHOLD_SERVER_ID: u8 = 4;

/// A QUIC version 1 connection ID has at most 20 bytes (RFC 9000, section 17.2), one of which is
/// the first octet.
const MAX_SERVER_ID_AND_NONCE: u8 = 19;

/// With fewer bytes a counter can pass all its values while the key is in use.
const SAFE_NONCE: u8 = 8;

/// `sun_path` has 108 bytes, the last of which ends the string.
const MAX_UNIX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Config, ConnectUdp, LoadErrors, Setting, Sources, load};

    fn with(settings: &[(&str, &str)]) -> Result<Config, LoadErrors> {
        let settings = settings
            .iter()
            .map(|(path, value)| Setting::flag("--set", path, *value));
        load(&Sources {
            settings: settings.collect(),
            ..Sources::default()
        })
    }

    fn error(settings: &[(&str, &str)]) -> String {
        with(settings)
            .expect_err("the settings contradict each other")
            .to_string()
    }

    fn fleet(settings: &[(&str, &str)]) -> Result<Config, LoadErrors> {
        let directory = TestDirectory::with_files(&["fleet.key"]);
        let key_file = directory.path("fleet.key");
        let common = [
            ("node.id", "1"),
            ("fleet.key_file", key_file.as_str()),
            ("fleet.member.0.id", "1"),
            ("fleet.member.0.relay", "10.0.0.1:4434"),
            ("fleet.member.1.id", "2"),
            ("fleet.member.1.relay", "10.0.0.2:4434"),
        ];
        with(&[&common, settings].concat())
    }

    #[test]
    fn listeners_that_overlap_are_refused() {
        for (a, b) in [
            ("127.0.0.1:443", "127.0.0.1:443"),
            ("[::]:443", "0.0.0.0:443"),
            ("0.0.0.0:443", "[::]:443"),
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("[::1]:443", "[::]:443"),
            ("[::]:443", "10.0.0.1:443"),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
        ] {
            let error = error(&[("listen.0.addr", a), ("listen.1.addr", b)]);
            let expected = format!("--set: listen.1.addr: {b} overlaps listen.0.addr (--set)");
            assert_eq!(error, expected);
        }
        for (a, b) in [
            ("127.0.0.1:443", "127.0.0.1:444"),
            ("127.0.0.1:443", "127.0.0.2:443"),
            ("0.0.0.0:443", "[::1]:443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert!(
                with(&[("listen.0.addr", a), ("listen.1.addr", b)]).is_ok(),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn certificate_and_key_come_together() {
        let directory = TestDirectory::with_files(&["tls.pem"]);
        let path = directory.path("tls.pem");
        let error_without_key = error(&[("listen.0.cert", &path)]);
        assert_eq!(
            error_without_key,
            "--set: listen.0.cert: needs \"key\" beside it"
        );
        let error_without_cert = error(&[("listen.0.key", &path)]);
        assert_eq!(
            error_without_cert,
            "--set: listen.0.key: needs \"cert\" beside it"
        );
    }

    #[test]
    fn routes_differ_in_host_or_path_and_have_backends() {
        let to = "http://a:1";
        let routes = [("route.0.to", to), ("route.1.to", to)];
        let twice = |more: &[(&str, &str)]| with(&[&routes, more].concat());
        assert!(twice(&[]).is_err());
        assert!(twice(&[("route.0.path", "/a"), ("route.1.path", "/a/")]).is_err());
        assert!(twice(&[("route.0.host", "A.org"), ("route.1.host", "a.ORG")]).is_err());
        assert!(twice(&[("route.0.host", "a.org")]).is_ok());
        assert!(twice(&[("route.0.path", "/a")]).is_ok());
        let error = error(&[("route.0.path", "/a")]);
        assert_eq!(
            error,
            "--set: route.0.to: missing: the backends of the route, a \"pool\", the targets of its \
             UDP tunnels in \"connect_udp\", or its own answer by \"redirect\" or \"respond\""
        );
    }

    #[test]
    fn a_route_has_backends_or_takes_tunnels_of_udp() {
        let udp = ("route.0.connect_udp", "dns.example:53,192.0.2.0/24:443");
        let route = with(&[udp]).unwrap().route.remove(0);
        assert_eq!(route.path, ConnectUdp::PATH);
        assert!(route.connect_udp.is_some() && route.to.is_empty());
        assert!(with(&[udp]).unwrap().datagram_bytes().is_some());
        let path = with(&[udp, ("route.0.path", "/udp")])
            .unwrap()
            .route
            .remove(0);
        assert_eq!(path.path, "/udp");
        let both = error(&[udp, ("route.0.to", "http://a:1")]);
        assert_eq!(
            both,
            "--set: route.0.to: a route with connect_udp has no backends; give them a route of \
             their own"
        );
        let neither = with(&[("route.0.to", "http://a:1")]).unwrap();
        assert_eq!(neither.datagram_bytes(), None);
        for (rule, message) in [
            (
                "*:443",
                "\"*:443\": \"*\" alone would make an open relay; name the hosts or the networks",
            ),
            (
                "a.example",
                "\"a.example\": expected HOST:PORT, such as \"dns.example:53\"",
            ),
            (
                "a.example:0",
                "\"a.example:0\": the ports are 443, 8000-8999, or * for all",
            ),
        ] {
            let error = error(&[("route.0.connect_udp", rule)]);
            assert_eq!(error, format!("--set: route.0.connect_udp: {message}"));
        }
        let short = error(&[("connect_udp.idle_timeout", "119s")]);
        assert!(short.contains("\"119s\" is out of range"), "{short}");
    }

    #[test]
    fn the_keep_alive_comes_before_the_idle_timeout() {
        let keep_alive = error(&[("quic.keep_alive", "2m")]);
        assert!(keep_alive.starts_with("--set: quic.keep_alive: 120s must be less than"));
        let idle = error(&[("quic.idle_timeout", "25s")]);
        assert!(idle.starts_with("--set: quic.idle_timeout: with quic.keep_alive: 25s must be"));
        assert!(with(&[("quic.idle_timeout", "25s"), ("quic.keep_alive", "off")]).is_ok());
        // One that cannot be read is not compared with the default of the other.
        assert_eq!(
            with(&[("quic.idle_timeout", "1s"), ("quic.keep_alive", "x")])
                .unwrap_err()
                .iter()
                .count(),
            1
        );
    }

    #[test]
    fn connections_begin_with_no_more_than_the_largest_payload() {
        let settings = |initial| {
            [
                ("quic.max_udp_payload", "1300"),
                ("quic.initial_mtu", initial),
            ]
        };
        assert!(with(&settings("1300")).is_ok());
        let error = error(&settings("1301"));
        assert!(error.contains("1301 is more than quic.max_udp_payload, which is 1300"));
    }

    #[test]
    fn a_stream_window_fits_into_the_connections() {
        let error = error(&[("quic.receive_window", "256KiB")]);
        assert!(error.contains("512KiB is more than quic.receive_window, which is 256KiB"));
    }

    #[test]
    fn connection_ids_fit_into_twenty_bytes() {
        assert!(with(&[("cid.nonce_len", "15")]).is_ok());
        assert!(error(&[("cid.nonce_len", "16")]).contains("at most 15 fit"));
    }

    #[test]
    fn short_encrypted_nonces_need_the_dangerous_key() {
        assert!(error(&[("cid.nonce_len", "7")]).contains("cid.dangerous_short_nonce"));
        assert!(
            with(&[
                ("cid.nonce_len", "7"),
                ("cid.dangerous_short_nonce", "true")
            ])
            .is_ok()
        );
    }

    #[test]
    fn the_aws_profile_needs_its_variable() {
        let aws = |value: Option<&str>, nonce: &str| {
            let name = "AWS_LBC_QUIC_SERVER_ID".to_owned();
            load(&Sources {
                file: None,
                environment: value
                    .map(|value| (name, value.to_owned()))
                    .into_iter()
                    .collect(),
                settings: vec![
                    Setting::flag("--set", "cid.profile", "aws-nlb"),
                    Setting::flag("--set", "cid.nonce_len", nonce),
                ],
            })
        };
        let cid = aws(Some("AAAAAAAAAAE="), "7").unwrap().cid;
        assert_eq!(
            (cid.aws_server_id, cid.nonce_len),
            (Some([0, 0, 0, 0, 0, 0, 0, 1]), 7)
        );
        assert!(aws(Some("AAAAAAAAAAE="), "11").is_ok());
        assert!(
            aws(Some("AAAAAAAAAAE="), "12")
                .unwrap_err()
                .to_string()
                .contains("at most 11 fit")
        );
        let missing = aws(None, "7").unwrap_err().to_string();
        assert!(missing.contains("needs the environment variable AWS_LBC_QUIC_SERVER_ID"));
        let bad = aws(Some("short"), "7").unwrap_err().to_string();
        assert_eq!(bad, "AWS_LBC_QUIC_SERVER_ID: expected 8 bytes in base64");
    }

    #[test]
    fn a_fleet_has_distinct_members_and_this_node_among_them() {
        let config = fleet(&[]).unwrap();
        assert_eq!(config.fleet.map(|fleet| fleet.member.len()), Some(2));
        for (settings, expected) in [
            (
                [("node.id", "3")],
                "node.id: 3 is not a member of the fleet; members are 1, 2",
            ),
            (
                [("fleet.member.1.id", "1")],
                "1 is already the ID of fleet.member.0.id (--set)",
            ),
            (
                [("fleet.member.1.relay", "10.0.0.1:4434")],
                "10.0.0.1:4434 is already used by fleet.member.0.relay (--set)",
            ),
            (
                [("fleet.member.1.relay", "10.0.0.1:0")],
                "a port other than 0",
            ),
            (
                [("fleet.member.1.relay", "[2001:db8::2]:4434")],
                "[2001:db8::2]:4434 is not of the family of fleet.member.0.relay (--set), 10.0.0.1",
            ),
            (
                [("fleet.member.2.id", "9")],
                "fleet.member.2.relay: missing: where its peers reach it",
            ),
            (
                [("listen.0.addr", "[::]:4434")],
                "fleet.member.0.relay: 10.0.0.1:4434 overlaps listen.0",
            ),
            (
                [("fleet.link_mtu", "1280")],
                "fleet.link_mtu: 1280 is less than the 1297 bytes",
            ),
            (
                [("fleet.heartbeat", "300ms")],
                "fleet.silent_after: it must be at least three times fleet.heartbeat",
            ),
            (
                [("fleet.silent_after", "20s")],
                "fleet.dead_after: it must be at least fleet.silent_after",
            ),
        ] {
            let errors = fleet(&settings).unwrap_err().to_string();
            assert!(errors.contains(expected), "{errors}");
        }
    }

    #[test]
    fn a_fleet_needs_an_explicit_node_a_key_and_members() {
        let errors = error(&[("fleet", "{}")]);
        for key in [
            "node.id: missing",
            "fleet.key_file: missing",
            "fleet.member: missing",
        ] {
            assert!(errors.contains(key), "{errors}");
        }
    }

    #[test]
    fn the_fleet_file_is_the_table_that_all_nodes_share() {
        let directory = TestDirectory::with_files(&["fleet.key", "own.key"]);
        let members = "[[member]]\nid = 1\nrelay = \"10.0.0.1:1\"\n";
        let file = |text: &str| {
            directory
                .write("fleet.toml", text)
                .to_str()
                .unwrap()
                .to_owned()
        };
        let load = |file: &str, more: &[(&str, &str)]| {
            with(&[&[("fleet.file", file), ("node.id", "1")], more].concat())
        };
        let shared = file(&format!("key_file = \"fleet.key\"\n{members}"));
        let fleet = load(&shared, &[]).unwrap().fleet.unwrap();
        assert_eq!(
            fleet.key_file.to_str(),
            Some(directory.path("fleet.key").as_str())
        );
        let own = directory.path("own.key");
        let fleet = load(&shared, &[("fleet.key_file", &own)])
            .unwrap()
            .fleet
            .unwrap();
        assert_eq!(fleet.key_file.to_str(), Some(own.as_str()));

        let twice = load(&shared, &[("fleet.member.0.id", "1")])
            .unwrap_err()
            .to_string();
        assert!(twice.contains("fleet.toml:2: fleet.member: the members are already listed"));
        let nested = load(&file("file = \"x\""), &[]).unwrap_err().to_string();
        assert!(nested.contains("fleet.toml:1: fleet.file: a fleet file cannot name another"));
        let unknown = load(&file("key_fil = \"x\""), &[]).unwrap_err().to_string();
        assert!(
            unknown
                .contains("fleet.toml:1: fleet.key_fil: unknown key; did you mean \"key_file\"?")
        );
        let broken = load(&file("member ="), &[]).unwrap_err().to_string();
        assert!(broken.contains("fleet.toml:1: fleet: "), "{broken}");
        let missing = load(&directory.path("absent"), &[])
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("--set: fleet.file: cannot read "),
            "{missing}"
        );
    }

    #[test]
    fn the_admin_listener_is_private_and_apart() {
        for address in [
            "off",
            "unix:a.sock",
            "127.0.0.1:1",
            "[::1]:1",
            "127.0.0.1:0",
        ] {
            assert!(with(&[("admin.listen", address)]).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "10.0.0.1:1", "unix:", "localhost:1", "on", ""] {
            assert!(with(&[("admin.listen", address)]).is_err(), "{address}");
        }
        let clash = error(&[("admin.listen", "127.0.0.1:4433")]);
        assert_eq!(
            clash,
            "--set: admin.listen: 127.0.0.1:4433 overlaps listen.0.addr"
        );
        let long = format!("/{}", "a".repeat(107));
        assert!(
            error(&[("state_dir", &long)]).starts_with("--set: state_dir: with admin.listen: ")
        );
    }
}
