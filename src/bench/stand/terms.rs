use std::net::SocketAddr;
use std::path::Path;

use crate::bench::{Certificate, Mode, Scenario};
use crate::config::{self, Config, Setting, Sources};

use super::StandError;

/// What of a scenario a node has to do with. Scenarios with the same terms are served by one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) certificate: Certificate,
    /// Two nodes, of which one forwards to the other.
    pub(super) fleet: bool,
    retry: bool,
    early_data: bool,
    /// TCP Fast Open, which the host has to allow too.
    pub(super) fast_open: bool,
    mtu_discovery: bool,
    initial_mtu: u16,
    initial_rtt_ms: u32,
}

/// The place of a node in a fleet.
#[derive(Clone, Debug)]
pub(super) struct Membership<'a> {
    pub(super) key_file: &'a Path,
    /// The relay addresses of both, in the order of their IDs.
    pub(super) relays: [SocketAddr; 2],
    /// This node's place among them.
    pub(super) index: usize,
}

impl Terms {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let mode = scenario.mode;
        Self {
            certificate: scenario.certificate,
            fleet: mode == Mode::QuicFlip,
            // A token is worth something where there would be a Retry without it.
            retry: matches!(mode, Mode::QuicRetry | Mode::QuicToken),
            early_data: matches!(
                mode,
                Mode::Quic0Rtt | Mode::Tcp0Rtt | Mode::TcpReconnect0Rtt
            ),
            fast_open: mode == Mode::TcpFastOpen,
            mtu_discovery: scenario.mtu_discovery,
            initial_mtu: scenario.initial_mtu,
            initial_rtt_ms: scenario.initial_rtt_ms,
        }
    }

    /// The configuration with which `wayhold run` would serve this: every key that is not set here is as
    /// by default.
    pub(super) fn config(
        &self,
        listen: SocketAddr,
        state: &Path,
        membership: Option<Membership<'_>>,
    ) -> Result<Config, StandError> {
        let default = Config::default().quic;
        let mut set = vec![
            ("listen.0.addr".to_owned(), listen.to_string()),
            ("state_dir".to_owned(), state.display().to_string()),
            ("admin.listen".to_owned(), "off".to_owned()),
            // One thread, whose clock shows what the node takes.
            ("workers".to_owned(), "1".to_owned()),
        ];
        let mut differing = |key: &str, value: String, differs: bool| {
            if differs {
                set.push((key.to_owned(), value));
            }
        };
        differing("quic.retry", self.retry.to_string(), self.retry);
        differing("quic.early_data", "owner".into(), self.early_data);
        differing("tcp.early_data", "owner".into(), self.early_data);
        differing("tcp.fast_open", "256".into(), self.fast_open);
        differing(
            "quic.mtu_discovery",
            self.mtu_discovery.to_string(),
            self.mtu_discovery != default.mtu_discovery,
        );
        differing(
            "quic.initial_mtu",
            self.initial_mtu.to_string(),
            self.initial_mtu != default.initial_mtu,
        );
        let rtt = u128::from(self.initial_rtt_ms);
        differing(
            "quic.initial_rtt",
            format!("{rtt}ms"),
            rtt != default.initial_rtt.as_millis(),
        );
        if let Some(membership) = membership {
            let Membership {
                key_file,
                relays,
                index,
            } = membership;
            set.push(("node.id".to_owned(), index.to_string()));
            set.push(("fleet.key_file".to_owned(), key_file.display().to_string()));
            for (id, relay) in relays.iter().enumerate() {
                set.push((format!("fleet.member.{id}.id"), id.to_string()));
                set.push((format!("fleet.member.{id}.relay"), relay.to_string()));
            }
        }
        let settings = set
            .iter()
            .map(|(path, value)| Setting::flag("--set", path, value));
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            settings: settings.collect(),
        };
        config::load(&sources).map_err(|errors| StandError::Config(errors.to_string()))
    }
}
