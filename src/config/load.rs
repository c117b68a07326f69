//! From the tree of all layers to the typed configuration.

use std::path::PathBuf;

use super::decode::Decode;
use super::error::{LoadError, LoadErrors, Origin};
use super::layers::{Sources, Tree};
use super::schema::{self, Shape};
use super::tree::Entry;
use super::{
    Admin, AdminAddress, Cid, Config, ConnectUdp, Dns, Fleet, Hooks, Limits, Listen, Log, Member,
    Node, Profile, Quic, Shutdown, Tcp, Timeouts, defaults, rules,
};
use crate::fleet::NodeId;

/// Loads a configuration: reads the files that the sources name, and binds, connects and writes
/// nothing.
///
/// With nothing set the result is [`Config::default`].
///
/// # Errors
/// Everything that is wrong, not only the first: unknown keys with the nearest known one, values
/// of the wrong type or out of their limits, missing files, and keys that contradict each other.
pub fn load(sources: &Sources) -> Result<Config, LoadErrors> {
    let Tree { root, errors } = sources.tree()?;
    let mut reader = Reader {
        root: &root,
        errors,
    };
    let config = reader.config(sources);
    rules::check(&config, &mut reader);
    match reader.errors {
        errors if errors.is_empty() => Ok(config),
        errors => Err(LoadErrors::new(errors)),
    }
}

/// Reads typed values out of the tree and collects what is wrong.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    root: &'t Entry,
    errors: Vec<LoadError>,
}

impl Reader<'_> {
    /// Replaces a default by the value of its key, if that is set and right.
    pub(super) fn read<T: Decode>(&mut self, path: &str, target: &mut T) {
        let Some(Shape::Value(key)) = schema::shape(path) else {
            unreachable!("{path} is read, so it is a key");
        };
        let Some(entry) = self.root.find(path) else {
            return;
        };
        match T::decode(entry, key) {
            Ok(value) => *target = value,
            Err(message) => {
                let origin = entry.origin.clone();
                self.errors.push(LoadError {
                    origin,
                    key: path.into(),
                    message,
                });
            }
        }
    }

    /// Whether a key or table is written anywhere.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.root.find(path).is_some()
    }

    /// How many entries the list at a path has.
    pub(super) fn count(&self, path: &str) -> usize {
        self.root.count(path)
    }

    /// Refuses the first of these keys for what it is together with the others, unless something in
    /// or around one of them is already known to be wrong.
    pub(super) fn refuse(&mut self, keys: &[&str], message: impl Into<String>) {
        let wrong = |path: &&str| self.errors.iter().any(|error| related(&error.key, path));
        if keys.iter().any(wrong) {
            return;
        }
        let Some(first) = keys.first() else { return };
        let origin = self.origin(first);
        self.errors.push(LoadError {
            origin,
            key: (*first).into(),
            message: message.into(),
        });
    }

    /// Refuses an environment variable that is no key.
    pub(super) fn refuse_variable(&mut self, name: &str, message: &str) {
        let origin = Some(Origin::Environment(name.into()));
        self.errors.push(LoadError {
            origin,
            key: String::new(),
            message: message.into(),
        });
    }

    /// Where a key is written, or else the innermost table around it that is.
    pub(super) fn origin(&self, path: &str) -> Option<Origin> {
        match self.root.find(path) {
            Some(entry) => entry.origin.clone(),
            None => self.origin(path.rsplit_once('.').map_or("", |(parent, _)| parent)),
        }
    }

    fn config(&mut self, sources: &Sources) -> Config {
        let mut config = Config::default();
        if self.is_set("listen") {
            config.listen = self.each("listen", Self::listen);
        }
        self.read("workers", &mut config.workers);
        self.read("state_dir", &mut config.state_dir);
        config.runtime_dir = defaults::runtime_dir(&config.state_dir);
        self.read("runtime_dir", &mut config.runtime_dir);
        config.route = self.each("route", Self::route);
        config.pool = self.each("pool", Self::pool);
        config.jwt = self.each("jwt", Self::jwt);
        config.dns = self.dns();
        config.forwarded = self.forwarded();
        config.trace = self.trace();
        config.node = self.node();
        config.fleet = self.is_set("fleet").then(|| self.fleet());
        config.cid = self.cid(sources);
        config.connect_udp = self.connect_udp();
        config.quic = self.quic();
        config.tcp = self.tcp();
        config.limits = self.limits();
        config.timeouts = self.timeouts();
        config.admin = Admin {
            listen: AdminAddress::in_state_dir(&config.state_dir),
        };
        self.read("admin.listen", &mut config.admin.listen);
        config.log = self.log();
        config.shutdown = Shutdown::default();
        self.read("shutdown.grace", &mut config.shutdown.grace);
        self.read("upgrade.keep", &mut config.upgrade.keep);
        self.read("upgrade.timeout", &mut config.upgrade.timeout);
        config.hooks = self.hooks();
        config
    }

    pub(super) fn each<T>(&mut self, list: &str, read: fn(&mut Self, &str) -> T) -> Vec<T> {
        (0..self.root.count(list))
            .map(|index| read(self, &format!("{list}.{index}")))
            .collect()
    }

    fn connect_udp(&mut self) -> ConnectUdp {
        let mut bounds = ConnectUdp::default();
        self.read("connect_udp.tunnels", &mut bounds.tunnels);
        self.read(
            "connect_udp.tunnels_per_client",
            &mut bounds.tunnels_per_client,
        );
        self.read("connect_udp.idle_timeout", &mut bounds.idle_timeout);
        self.read("connect_udp.payload_bytes", &mut bounds.payload_bytes);
        self.read("connect_udp.queue", &mut bounds.queue);
        self.read("connect_udp.resolve_timeout", &mut bounds.resolve_timeout);
        bounds
    }

    fn node(&mut self) -> Node {
        let mut node = Node::default();
        self.read("node.id", &mut node.id);
        self.read("node.instance", &mut node.instance);
        self.read("node.zone", &mut node.zone);
        node
    }

    fn fleet(&mut self) -> Fleet {
        let mut fleet = Fleet::new(PathBuf::new(), self.each("fleet.member", Self::member));
        self.read("fleet.key_file", &mut fleet.key_file);
        self.read("fleet.link_mtu", &mut fleet.link_mtu);
        self.read("fleet.return", &mut fleet.return_by);
        self.read("fleet.heartbeat", &mut fleet.heartbeat);
        self.read("fleet.silent_after", &mut fleet.silent_after);
        self.read("fleet.dead_after", &mut fleet.dead_after);
        fleet
    }

    fn member(&mut self, at: &str) -> Member {
        let mut member = Member::new(NodeId::default(), Listen::default().addr);
        self.read(&format!("{at}.id"), &mut member.id);
        self.read(&format!("{at}.relay"), &mut member.relay);
        member
    }

    fn cid(&mut self, sources: &Sources) -> Cid {
        let mut cid = Cid::default();
        self.read("cid.profile", &mut cid.profile);
        if cid.profile == Profile::AwsNlb {
            cid.nonce_len = Cid::AWS_NLB_NONCE_LEN;
            cid.aws_server_id = rules::aws_server_id(sources, self);
        }
        self.read("cid.config_id", &mut cid.config_id);
        self.read("cid.nonce_len", &mut cid.nonce_len);
        self.read("cid.first_octet", &mut cid.first_octet);
        self.read("cid.dangerous_short_nonce", &mut cid.dangerous_short_nonce);
        cid
    }

    fn quic(&mut self) -> Quic {
        let mut quic = Quic::default();
        self.read("quic.idle_timeout", &mut quic.idle_timeout);
        self.read("quic.keep_alive", &mut quic.keep_alive);
        self.read(
            "quic.stream_receive_window",
            &mut quic.stream_receive_window,
        );
        self.read("quic.receive_window", &mut quic.receive_window);
        self.read("quic.send_window", &mut quic.send_window);
        self.read("quic.max_udp_payload", &mut quic.max_udp_payload);
        self.read("quic.initial_mtu", &mut quic.initial_mtu);
        self.read("quic.mtu_discovery", &mut quic.mtu_discovery);
        self.read("quic.initial_rtt", &mut quic.initial_rtt);
        self.read("quic.retry", &mut quic.retry);
        self.read("quic.retry_token_lifetime", &mut quic.retry_token_lifetime);
        self.read("quic.early_data", &mut quic.early_data);
        self.read("quic.preferred_address", &mut quic.preferred_address);
        self.read("quic.cid_lifetime", &mut quic.cid_lifetime);
        quic
    }

    fn tcp(&mut self) -> Tcp {
        let mut tcp = Tcp::default();
        self.read("tcp.early_data", &mut tcp.early_data);
        self.read("tcp.fast_open", &mut tcp.fast_open);
        tcp
    }

    fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        self.read("limits.connections", &mut limits.connections);
        self.read("limits.handshakes", &mut limits.handshakes);
        self.read("limits.streams", &mut limits.streams);
        self.read("limits.header_bytes", &mut limits.header_bytes);
        self.read("limits.header_fields", &mut limits.header_fields);
        self.read("limits.body_bytes", &mut limits.body_bytes);
        self.read("limits.body_rate", &mut limits.body_rate);
        self.read("limits.client_ipv4_prefix", &mut limits.client_ipv4_prefix);
        self.read("limits.client_ipv6_prefix", &mut limits.client_ipv6_prefix);
        self.read("limits.client_rates", &mut limits.client_rates);
        self.read("limits.upstream_idle", &mut limits.upstream_idle);
        self.read("limits.upstream_requests", &mut limits.upstream_requests);
        self.read("limits.tunnel_queue", &mut limits.tunnel_queue);
        self.read("limits.early_sessions", &mut limits.early_sessions);
        limits
    }

    fn dns(&mut self) -> Dns {
        let mut dns = Dns::default();
        self.read("dns.servers", &mut dns.servers);
        self.read("dns.families", &mut dns.families);
        self.read("dns.min_ttl", &mut dns.min_ttl);
        self.read("dns.max_ttl", &mut dns.max_ttl);
        self.read("dns.timeout", &mut dns.timeout);
        dns
    }

    fn timeouts(&mut self) -> Timeouts {
        let mut timeouts = Timeouts::default();
        self.read("timeouts.handshake", &mut timeouts.handshake);
        self.read("timeouts.header", &mut timeouts.header);
        self.read("timeouts.body_idle", &mut timeouts.body_idle);
        self.read("timeouts.tunnel_idle", &mut timeouts.tunnel_idle);
        self.read("timeouts.connect", &mut timeouts.connect);
        self.read("timeouts.first_byte", &mut timeouts.first_byte);
        self.read("timeouts.idle", &mut timeouts.idle);
        self.read("timeouts.upstream_idle", &mut timeouts.upstream_idle);
        self.read("timeouts.total", &mut timeouts.total);
        timeouts
    }

    fn hooks(&mut self) -> Hooks {
        let mut hooks = Hooks::default();
        self.read("hooks.announce", &mut hooks.announce);
        self.read("hooks.withdraw", &mut hooks.withdraw);
        self.read("hooks.settle", &mut hooks.settle);
        self.read("hooks.timeout", &mut hooks.timeout);
        hooks
    }

    fn log(&mut self) -> Log {
        let mut log = Log::default();
        self.read("log.format", &mut log.format);
        self.read("log.level", &mut log.level);
        self.read("log.access", &mut log.access);
        self.read("log.qlog_dir", &mut log.qlog_dir);
        self.read("log.qlog_one_in", &mut log.qlog_one_in);
        self.read("log.qlog_bytes", &mut log.qlog_bytes);
        log
    }
}

/// Whether two paths are the same, or one is inside of the other.
fn related(a: &str, b: &str) -> bool {
    let inside = |rest: &str| rest.is_empty() || rest.starts_with('.');
    a.strip_prefix(b)
        .or_else(|| b.strip_prefix(a))
        .is_some_and(inside)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Keepalive, LogFormat, Setting, UpstreamProtocol};

    fn from_file(directory: &TestDirectory, text: &str) -> Sources {
        let file = directory.write("wayhold.toml", text);
        Sources {
            file: Some(file),
            ..Sources::default()
        }
    }

    fn environment(pairs: &[(&str, &str)]) -> Sources {
        let environment = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Sources {
            environment: environment.collect(),
            ..Sources::default()
        }
    }

    fn settings(texts: &[&str]) -> Sources {
        let settings = texts.iter().map(|text| text.parse().unwrap());
        Sources {
            settings: settings.collect(),
            ..Sources::default()
        }
    }

    /// What loading a file says, without the directory.
    fn errors_of(text: &str) -> Vec<String> {
        let directory = TestDirectory::with_files(&["tls.pem", "tls.key", "fleet.key"]);
        let errors = load(&from_file(&directory, text))
            .expect_err(text)
            .to_string();
        errors
            .replace(&directory.path(""), "")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn error_of(sources: &Sources) -> String {
        load(sources).unwrap_err().to_string()
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(load(&Sources::default()), Ok(Config::default()));
        let directory = TestDirectory::with_files(&[]);
        assert_eq!(load(&from_file(&directory, "")), Ok(Config::default()));
    }

    #[test]
    fn six_lines_serve_real_backends() {
        let directory = TestDirectory::with_files(&["tls.pem", "tls.key"]);
        let text = "[[listen]]\naddr = \"[::]:443\"\ncert = \"tls.pem\"\nkey = \"tls.key\"\n\
                    [[route]]\nto = [\"http://10.0.0.1:8080\", \"h2://10.0.0.2:8080\"]\n";
        let config = load(&from_file(&directory, text)).unwrap();
        assert_eq!(config.listen[0].addr, "[::]:443".parse().unwrap());
        assert_eq!(
            config.listen[0].cert,
            Some(directory.path("tls.pem").into())
        );
        assert_eq!(
            (config.route[0].path.as_str(), &config.route[0].host),
            ("/", &None)
        );
        assert_eq!(config.route[0].to[0].protocol, UpstreamProtocol::Http1);
        assert_eq!(config.route[0].to[1].authority, "10.0.0.2:8080");
    }

    #[test]
    fn a_command_is_a_list_of_words_and_no_shell_line() {
        let directory = TestDirectory::with_files(&[]);
        let text = "hooks.withdraw = [\"/bin/sh\", \"-c\", \"a b\"]\n";
        let config = load(&from_file(&directory, text)).unwrap();
        assert_eq!(config.hooks.withdraw, ["/bin/sh", "-c", "a b"]);
        let config = load(&environment(&[(
            "WAYHOLD_HOOKS__WITHDRAW",
            " ip  addr  show ",
        )]))
        .unwrap();
        assert_eq!(config.hooks.withdraw, ["ip", "addr", "show"]);
        let config = load(&settings(&["hooks.withdraw=[\"a b\"]"])).unwrap();
        assert_eq!(config.hooks.withdraw, ["a b"]);
        let config = load(&settings(&["hooks.withdraw="])).unwrap();
        assert!(config.hooks.withdraw.is_empty());
        for wrong in ["\"ip addr\"", "[\"\"]", "[1]"] {
            let errors = errors_of(&format!("hooks.withdraw = {wrong}\n"));
            assert!(errors[0].contains("a list of words"), "{errors:?}");
        }
    }

    #[test]
    fn the_line_wins_over_the_environment_over_the_file() {
        let directory = TestDirectory::with_files(&[]);
        let mut sources = from_file(
            &directory,
            "[quic]\nidle_timeout = \"60s\"\ncid_lifetime = \"60s\"\nkeep_alive = \"7s\"\n",
        );
        sources.environment = vec![
            ("WAYHOLD_QUIC__IDLE_TIMEOUT".into(), "70s".into()),
            ("WAYHOLD_QUIC__CID_LIFETIME".into(), "70s".into()),
        ];
        sources.settings = vec![Setting::flag("--idle-timeout", "quic.idle_timeout", "80s")];
        let quic = load(&sources).unwrap().quic;
        assert_eq!(quic.idle_timeout, Duration::from_secs(80));
        assert_eq!(quic.cid_lifetime, Duration::from_secs(70));
        assert_eq!(quic.keep_alive, Keepalive::After(Duration::from_secs(7)));
    }

    #[test]
    fn the_environment_adds_to_lists_in_the_order_of_their_indices() {
        let config = load(&environment(&[
            ("WAYHOLD_LISTEN__1__ADDR", "127.0.0.1:2"),
            ("WAYHOLD_LISTEN__0__ADDR", "127.0.0.1:1"),
            ("WAYHOLD_ROUTE__0__TO", "http://a:1, h2://b:2"),
            ("WAYHOLD_NODE__ID", "7"),
            ("WAYHOLD_LOG__ACCESS", "false"),
            ("HOME", "/nowhere"),
        ]))
        .unwrap();
        let ports: Vec<_> = config
            .listen
            .iter()
            .map(|listen| listen.addr.port())
            .collect();
        assert_eq!(ports, [1, 2]);
        assert_eq!(config.route[0].to.len(), 2);
        assert_eq!((config.node.id.get(), config.log.access), (7, false));
    }

    #[test]
    fn a_setting_takes_lists_and_tables_as_toml() {
        let config = load(&settings(&[
            "listen=[{ addr = \"127.0.0.1:1\", tcp = false }]",
            "route.0.to=[\"http://a:1\", \"http://b:1\"]",
            "route.1.to=http://c:1",
            "route.1.path=/c",
            "log.format=json",
            "limits.header_bytes=64KiB",
            "quic.keep_alive=off",
        ]))
        .unwrap();
        assert!(!config.listen[0].tcp);
        let backends: Vec<_> = config.route.iter().map(|route| route.to.len()).collect();
        assert_eq!(backends, [2, 1]);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.limits.header_bytes, 65536);
        assert_eq!(config.quic.keep_alive, Keepalive::Off);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
        assert_eq!(
            errors_of("\n[[listen]]\nadr = \"[::]:1\"\n[qick]\n[log]\nhandshake = 1\nzzzzzz = 1\n"),
            [
                "wayhold.toml:3: listen.0.adr: unknown key; did you mean \"addr\"?",
                "wayhold.toml:4: qick: unknown key; did you mean \"quic\"?",
                "wayhold.toml:6: log.handshake: unknown key; did you mean \"timeouts.handshake\"?",
                "wayhold.toml:7: log.zzzzzz: unknown key; known here: access, format, level, qlog_bytes, qlog_dir, qlog_one_in",
            ]
        );
        assert_eq!(
            error_of(&environment(&[("WAYHOLD_LISTEN__0__ADR", "x")])),
            "WAYHOLD_LISTEN__0__ADR: listen.0.adr: unknown key; did you mean \"addr\"?"
        );
        assert_eq!(
            error_of(&settings(&["listen.addr=x"])),
            "--set: listen.addr: unknown key; did you mean \"listen.0.addr\"?"
        );
        for path in [
            "listen.N.addr",
            "listen.00.addr",
            "quic.",
            ".",
            "a.b.c.d",
            "log.level.x",
        ] {
            let error = error_of(&settings(&[&format!("{path}=1")]));
            assert!(
                error.starts_with(&format!("--set: {path}: unknown key; ")),
                "{error}"
            );
        }
    }

    #[test]
    fn quoted_keys_reach_no_other_key() {
        let errors = errors_of("\"quic.retry\" = true\n[\"\"]\nlog.level = \"info\"\n");
        assert_eq!(
            errors,
            [
                "wayhold.toml:1: \"quic.retry\": unknown key; no key needs quotes",
                "wayhold.toml:2: \"\": unknown key; no key needs quotes",
            ]
        );
    }

    #[test]
    fn variables_with_other_meanings_are_no_keys() {
        let config = load(&environment(&[
            ("WAYHOLD_CONFIG", "x"),
            ("WAYHOLD_TESTBED", "require"),
            ("WAYHOLD_PYTHON", "python3"),
            ("WAYHOLD_PORT", "tcp://10.0.0.1:443"),
            ("WAYHOLD_PORT_443_TCP_ADDR", "10.0.0.1"),
            ("WAYHOLD_SERVICE_HOST", "10.0.0.1"),
        ]));
        assert_eq!(config, Ok(Config::default()));
    }

    #[test]
    fn every_error_is_reported_and_not_only_the_first() {
        let directory = TestDirectory::with_files(&[]);
        let mut sources = from_file(&directory, "[quic]\nretry = 1\n[cid]\nconfig_id = 7\n");
        sources.environment = vec![("WAYHOLD_X".into(), "1".into())];
        sources.settings = vec![Setting::flag("--listen", "listen.0.addr", "here")];
        let errors = load(&sources).unwrap_err();
        let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["quic.retry", "cid.config_id", "x", "listen.0.addr"]);
    }

    #[test]
    fn values_of_the_wrong_type_or_out_of_range_name_what_is_right() {
        for (text, message) in [
            ("quic = 3", "quic: expected a table, found an integer"),
            (
                "[listen]",
                "listen: expected a list of tables, found a table",
            ),
            (
                "listen = []",
                "listen: the list is empty; leave it out for the default",
            ),
            ("route = [3]", "route.0: expected a table, found an integer"),
            (
                "node.id = -1",
                "node.id: -1 is out of range; expected an integer from 0 to 16777215",
            ),
            (
                "node.id = \"1\"",
                "node.id: found a string, expected an integer from 0 to 16777215",
            ),
            (
                "node.instance = 256",
                "node.instance: 256 is out of range; expected an integer from 0 to 255",
            ),
            (
                "quic.idle_timeout = 25",
                "quic.idle_timeout: 25 has no unit; write \"25s\" for seconds; expected a duration, \
                 100ms to 1h",
            ),
            (
                "quic.idle_timeout = \"25\"",
                "quic.idle_timeout: \"25\": a unit is missing: ms, s, m or h; expected a duration, 100ms to 1h",
            ),
            (
                "quic.idle_timeout = \"2h\"",
                "quic.idle_timeout: \"2h\" is out of range; expected a duration, 100ms to 1h",
            ),
            (
                "quic.max_udp_payload = 1199",
                "quic.max_udp_payload: 1199 is out of range; expected an integer from 1200 to 65527",
            ),
            (
                "quic.send_window = \"2GiB\"",
                "quic.send_window: 2147483648 is out of range; expected bytes, 16KiB to 1GiB",
            ),
            (
                "quic.retry = \"true\"",
                "quic.retry: found a string, expected true or false",
            ),
            (
                "log.format = \"jsn\"",
                "log.format: \"jsn\": expected \"text\" or \"json\"",
            ),
            (
                "log.level = 1979-05-27",
                "log.level: found a date, expected log levels such as \"info\" or \"wayhold=debug,warn\"",
            ),
            (
                "admin.listen = \"0.0.0.0:1\"",
                "admin.listen: 0.0.0.0:1 is not a loopback address, and this listener asks nobody who they are; expected \"unix:PATH\", a loopback address such as \"127.0.0.1:9090\", or \"off\"",
            ),
        ] {
            assert_eq!(errors_of(text), [format!("wayhold.toml:1: {message}")]);
        }
    }

    #[test]
    fn broken_syntax_is_reported_with_its_line() {
        let errors = errors_of("[quic]\nretry = \n");
        assert!(errors[0].starts_with("wayhold.toml:2: "), "{errors:?}");
    }

    #[test]
    fn missing_files_are_named() {
        let sources = Sources {
            file: Some("/nonexistent/w.toml".into()),
            ..Sources::default()
        };
        assert!(error_of(&sources).starts_with("cannot read /nonexistent/w.toml: "));
        let text = "[[listen]]\ncert = \"absent.pem\"\nkey = \"tls.key\"\n";
        let errors = errors_of(text);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("wayhold.toml:2: listen.0.cert: cannot read absent.pem: "));
        assert!(errors_of("fleet.key_file = \".\"")[0].contains("directory"));
    }

    #[test]
    fn half_a_name_is_near_to_the_whole() {
        assert_eq!(
            errors_of("cid.nonce = 1"),
            ["wayhold.toml:1: cid.nonce: unknown key; did you mean \"nonce_len\"?"]
        );
    }

    #[test]
    fn integers_may_be_grouped_and_of_any_radix() {
        let directory = TestDirectory::with_files(&[]);
        let text = "[limits]\nconnections = 50_000\nstreams = 0x1_0\n";
        let limits = load(&from_file(&directory, text)).unwrap().limits;
        assert_eq!((limits.connections, limits.streams), (50_000, 16));
        let huge = "9".repeat(60);
        assert!(errors_of(&format!("node.id = {huge}"))[0].contains("out of range"));
    }

    #[test]
    fn a_gap_in_a_list_is_refused() {
        assert_eq!(
            error_of(&settings(&["listen.1.addr=[::]:1"])),
            "--set: listen.1.addr: the index skips 0"
        );
    }

    #[test]
    fn an_endless_file_is_refused() {
        let sources = Sources {
            file: Some("/dev/zero".into()),
            ..Sources::default()
        };
        assert!(error_of(&sources).contains("larger than 1 MiB"));
    }

    proptest! {
        #[test]
        fn text_that_looks_like_toml_never_panics(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            noise in any::<String>(),
        ) {
            let directory = TestDirectory::with_files(&[]);
            let text = pieces.concat();
            drop(load(&from_file(&directory, &text)));
            drop(load(&from_file(&directory, &format!("{text}{noise}"))));
        }

        #[test]
        fn settings_never_panic(
            path in prop::collection::vec(prop::sample::select(PIECES), 0..5),
            value in any::<String>(),
        ) {
            let path = path.join(".");
            let value = if value.len() % 2 == 0 { value } else { format!("[{value}") };
            let mut sources = environment(&[(&format!("WAYHOLD_{path}"), &value)]);
            sources.settings = vec![Setting::flag("--set", &path, value)];
            drop(load(&sources));
        }
    }

    const PIECES: &[&str] = &[
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "\"",
        "'",
        "\"\"\"",
        "#",
        "0",
        "1",
        "-1",
        "99999999999999999999999999999999999999999",
        "1e999",
        "true",
        "1979-05-27",
        "\"25s\"",
        "\"[::]:1\"",
        "\"http://a:1\"",
        "listen",
        "[[listen]]\n",
        "addr",
        "cert",
        "route",
        "[[route]]\n",
        "to",
        "fleet",
        "member",
        "[fleet]\n",
        "file",
        "\"/dev/null\"",
        "quic",
        "keep_alive",
        "cid",
        "profile",
        "\"aws-nlb\"",
        "nonce_len",
        "node.id = 1\n",
        "é",
        "\u{0}",
        "\\",
        "\r\n",
    ];
}
