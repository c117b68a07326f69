#![expect(
    clippy::unneeded_field_pattern,
    reason = "each section is taken apart without a rest, so that a new key is judged before it compiles"
)]

use crate::config::{Config, Fleet, Limits, Listen, Log, Node, Quic, Tcp};

/// The keys that differ and that a running process cannot change, because its sockets, its
/// connection IDs or its endpoints were made from them.
pub(crate) fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let Config {
        listen,
        workers,
        route: _,
        forwarded: _,
        trace: _,
        pool: _,
        jwt: _,
        dns: _,
        connect_udp: _,
        node,
        fleet,
        cid,
        quic,
        tcp,
        limits,
        timeouts: _,
        admin,
        log,
        shutdown: _,
        hooks: _,
        upgrade: _,
        state_dir,
        runtime_dir,
    } = old;
    let whole = [
        ("workers", *workers != new.workers),
        ("state_dir", *state_dir != new.state_dir),
        ("runtime_dir", *runtime_dir != new.runtime_dir),
        ("cid", *cid != new.cid),
        ("admin.listen", admin.listen != new.admin.listen),
        ("fleet", fleet.is_some() != new.fleet.is_some()),
    ];
    let mut keys = named(whole);
    keys.extend(listeners(listen, &new.listen));
    keys.extend(of_node(node, &new.node));
    keys.extend(of_quic(quic, &new.quic));
    keys.extend(of_tcp(tcp, &new.tcp));
    keys.extend(of_limits(limits, &new.limits));
    keys.extend(of_log(log, &new.log));
    if let (Some(fleet), Some(new_fleet)) = (fleet, &new.fleet) {
        keys.extend(of_fleet(old, fleet, new_fleet));
    }
    keys
}

/// Says what it takes to change fixed keys, and what of them outlives an upgrade too.
pub(crate) fn remedy(keys: &[String]) -> String {
    let outlives = |key: &String| {
        key.starts_with("listen") || OUTLIVING.iter().any(|outliving| outliving == key)
    };
    let (restart, upgrade): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(outlives);
    let say = |how: &str, keys: Vec<String>| {
        (!keys.is_empty()).then(|| format!("only {how} can change {}", keys.join(", ")))
    };
    let restart = say("a restart", restart);
    let upgrade = say("a restart or an upgrade", upgrade);
    restart
        .into_iter()
        .chain(upgrade)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The sections that differ, by name.
pub(crate) fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let sections = [
        ("listen", old.listen != new.listen),
        ("route", old.route != new.route),
        ("pool", old.pool != new.pool),
        ("jwt", old.jwt != new.jwt),
        ("dns", old.dns != new.dns),
        ("node.zone", old.node.zone != new.node.zone),
        ("connect_udp", old.connect_udp != new.connect_udp),
        ("quic", old.quic != new.quic),
        ("tcp", old.tcp != new.tcp),
        ("limits", old.limits != new.limits),
        ("timeouts", old.timeouts != new.timeouts),
        ("log", old.log != new.log),
        ("shutdown", old.shutdown != new.shutdown),
        ("hooks", old.hooks != new.hooks),
        ("upgrade", old.upgrade != new.upgrade),
        ("fleet", old.fleet != new.fleet),
    ];
    let differ = sections.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(section, _)| section).collect()
}

fn named<const N: usize>(keys: [(&str, bool); N]) -> Vec<String> {
    let differ = keys.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(key, _)| key.to_owned()).collect()
}

fn listeners(old: &[Listen], new: &[Listen]) -> Vec<String> {
    if old.len() != new.len() {
        return vec!["listen".to_owned()];
    }
    let mut keys = Vec::new();
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        let Listen {
            addr,
            cert: _,
            key: _,
            certificate: _,
            unknown_name: _,
            authority: _,
            client_auth: _,
            client_ca: _,
            client_crl: _,
            tcp,
            public_port: _,
        } = old;
        let differ = named([("addr", *addr != new.addr), ("tcp", *tcp != new.tcp)]);
        keys.extend(differ.iter().map(|key| format!("listen.{index}.{key}")));
    }
    keys
}

fn of_node(old: &Node, new: &Node) -> Vec<String> {
    let Node {
        id,
        instance,
        zone: _,
    } = old;
    named([
        ("node.id", *id != new.id),
        ("node.instance", *instance != new.instance),
    ])
}

fn of_quic(old: &Quic, new: &Quic) -> Vec<String> {
    let Quic {
        idle_timeout: _,
        keep_alive: _,
        stream_receive_window: _,
        receive_window: _,
        send_window: _,
        max_udp_payload,
        initial_mtu: _,
        mtu_discovery: _,
        initial_rtt: _,
        retry: _,
        retry_token_lifetime: _,
        early_data,
        preferred_address,
        cid_lifetime,
    } = old;
    named([
        (
            "quic.max_udp_payload",
            *max_udp_payload != new.max_udp_payload,
        ),
        (
            "quic.preferred_address",
            *preferred_address != new.preferred_address,
        ),
        ("quic.early_data", *early_data != new.early_data),
        ("quic.cid_lifetime", *cid_lifetime != new.cid_lifetime),
    ])
}

fn of_tcp(old: &Tcp, new: &Tcp) -> Vec<String> {
    let Tcp {
        early_data,
        fast_open,
    } = old;
    named([
        ("tcp.early_data", *early_data != new.early_data),
        ("tcp.fast_open", *fast_open != new.fast_open),
    ])
}

fn of_limits(old: &Limits, new: &Limits) -> Vec<String> {
    let Limits {
        connections: _,
        handshakes: _,
        streams: _,
        header_bytes: _,
        header_fields: _,
        body_bytes: _,
        body_rate: _,
        client_ipv4_prefix: _,
        client_ipv6_prefix: _,
        client_rates: _,
        upstream_idle: _,
        upstream_requests: _,
        tunnel_queue,
        early_sessions,
    } = old;
    named([
        ("limits.tunnel_queue", *tunnel_queue != new.tunnel_queue),
        (
            "limits.early_sessions",
            *early_sessions != new.early_sessions,
        ),
    ])
}

fn of_log(old: &Log, new: &Log) -> Vec<String> {
    let Log {
        format,
        level: _,
        access: _,
        qlog_dir: _,
        qlog_one_in: _,
        qlog_bytes: _,
    } = old;
    named([("log.format", *format != new.format)])
}

fn of_fleet(config: &Config, old: &Fleet, new: &Fleet) -> Vec<String> {
    let Fleet {
        key_file: _,
        member: _,
        link_mtu,
        return_by,
        heartbeat,
        silent_after,
        dead_after,
    } = old;
    let relay = |fleet: &Fleet| {
        let mut members = fleet.member.iter();
        let own = members.find(|member| member.id == config.node.id);
        own.map(|member| member.relay)
    };
    named([
        ("fleet.return", *return_by != new.return_by),
        ("fleet.link_mtu", *link_mtu != new.link_mtu),
        ("fleet.heartbeat", *heartbeat != new.heartbeat),
        ("fleet.silent_after", *silent_after != new.silent_after),
        ("fleet.dead_after", *dead_after != new.dead_after),
        (RELAY, relay(old) != relay(new)),
    ])
}

/// Besides listeners: what two processes of one node must have the same, to have the same sockets and
/// to find each other.
const OUTLIVING: [&str; 8] = [
    "workers",
    "node.id",
    "node.instance",
    "cid",
    "fleet",
    RELAY,
    "admin.listen",
    "runtime_dir",
];
const RELAY: &str = "fleet.member of this node";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{AdminAddress, EarlyData, LogFormat, Member, Return};
    use crate::fleet::NodeId;

    #[test]
    fn what_sockets_and_ids_were_made_from_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        new.listen[0].addr.set_port(1);
        new.node.instance = Some(3);
        new.quic.max_udp_payload = 1300;
        new.limits.tunnel_queue = 16;
        assert_eq!(
            fixed(&old, &new),
            [
                "listen.0.addr",
                "node.instance",
                "quic.max_udp_payload",
                "limits.tunnel_queue"
            ]
        );
        new.listen.push(Listen::default());
        assert_eq!(fixed(&old, &new)[0], "listen");
    }

    #[test]
    fn every_fixed_key_is_documented() {
        let fleet = |relay: &str| Fleet {
            key_file: "fleet.key".into(),
            member: vec![Member {
                id: NodeId::default(),
                relay: relay.parse().unwrap(),
            }],
            link_mtu: 1500,
            return_by: Return::Direct,
            heartbeat: Duration::from_millis(200),
            silent_after: Duration::from_millis(800),
            dead_after: Duration::from_secs(10),
        };
        let old = Config {
            fleet: Some(fleet("10.0.0.1:1")),
            ..Config::default()
        };
        let mut new = old.clone();
        new.workers += 1;
        new.state_dir.push("other");
        new.runtime_dir.push("other");
        new.cid.nonce_len += 1;
        new.admin.listen = AdminAddress::Off;
        new.listen[0].addr.set_port(1);
        new.listen[0].tcp ^= true;
        new.node.id = NodeId::new(7).unwrap();
        new.node.instance = Some(3);
        new.quic.max_udp_payload = 1300;
        new.quic.preferred_address = vec!["192.0.2.1:443".parse().unwrap()];
        new.quic.early_data = EarlyData::Owner;
        new.quic.cid_lifetime = Duration::from_secs(1);
        new.tcp.early_data = EarlyData::Owner;
        new.tcp.fast_open = 16;
        new.limits.tunnel_queue = 16;
        new.limits.early_sessions = 16;
        new.log.format = LogFormat::Json;
        new.fleet = Some(Fleet {
            link_mtu: 1400,
            return_by: Return::Ingress,
            heartbeat: Duration::from_millis(250),
            silent_after: Duration::from_secs(1),
            dead_after: Duration::from_secs(11),
            ..fleet("10.0.0.1:2")
        });
        let keys = fixed(&old, &new);
        assert_eq!(keys.len(), 24, "{keys:?}");
        let page = include_str!("../../docs/operate.md");
        let section = page.split("## Reload").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        assert_eq!(remedy(&keys[..1]), "only a restart can change workers");
        let both = remedy(&["node.id".to_owned(), "quic.early_data".to_owned()]);
        let expected = "only a restart can change node.id; \
            only a restart or an upgrade can change quic.early_data";
        assert_eq!(both, expected);
        for key in keys {
            let key = key.replace(".0.", ".N.");
            let key = key.strip_suffix(" of this node").unwrap_or(&key);
            assert!(section.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn what_only_concerns_what_comes_is_free() {
        let old = Config::default();
        let mut new = old.clone();
        new.limits.connections = 1;
        new.timeouts.header = Duration::from_secs(1);
        new.quic.idle_timeout = Duration::from_secs(1);
        new.log.access = false;
        new.listen[0].public_port = Some(443);
        assert_eq!(fixed(&old, &new), [""; 0]);
        assert_eq!(
            changed(&old, &new),
            ["listen", "quic", "limits", "timeouts", "log"]
        );
    }
}
