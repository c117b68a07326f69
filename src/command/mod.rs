//! One module for each subcommand: its arguments and what it prints.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use wayhold::config::{self, Setting, Sources};

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod cid;
pub(crate) mod demo;
pub(crate) mod explain;
mod forms;
pub(crate) mod get;
pub(crate) mod keys;
pub(crate) mod locate;
pub(crate) mod operator;
pub(crate) mod order;
pub(crate) mod run;
mod signals;
pub(crate) mod status;
mod takeover;

/// How a command ends; `wayhold run --help` lists them for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to.
    Clean = 0,
    /// It failed on the way.
    Failure = 1,
    /// The configuration was refused, and nothing was started.
    Configuration = 3,
    /// A socket could not be bound.
    Bind = 4,
    /// The shutdown did not end by itself: its time ran out, or a second signal came.
    Forced = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// The configuration file (or `WAYHOLD_CONFIG`); without one the defaults hold
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set any key, over the file, the environment and the flags below
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<Setting>,

    /// `listen.0.addr`: the address to serve on, UDP and TCP
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// `listen.0.cert`: the certificate chain in PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,

    /// `listen.0.key`: the private key in PEM
    #[arg(long, value_name = "FILE")]
    key: Option<String>,

    /// `route.0.to`: a backend such as `http://10.0.0.1:8080`; can be repeated
    #[arg(long, value_name = "URL")]
    to: Vec<String>,

    /// `node.id`: this node's ID
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,

    /// `fleet.file`: the file that all nodes share
    #[arg(long, value_name = "FILE")]
    fleet: Option<String>,

    /// `admin.listen`: `unix:PATH`, a loopback address, or `off`
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// `log.format`: `text` or `json`
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// `state_dir`: where made files live
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// `quic.idle_timeout`: a connection without any packet for this long ends
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
}

impl ConfigArgs {
    /// What these arguments and the process environment name.
    pub(crate) fn sources(&self) -> Sources {
        let variable = std::env::var_os(config::FILE_VARIABLE).filter(|file| !file.is_empty());
        Sources {
            file: self.config.clone().or_else(|| variable.map(PathBuf::from)),
            environment: environment(),
            settings: self.settings(),
        }
    }

    fn settings(&self) -> Vec<Setting> {
        let backends = (!self.to.is_empty()).then(|| self.to.join(","));
        let flags = [
            ("--listen", "listen.0.addr", &self.listen),
            ("--cert", "listen.0.cert", &self.cert),
            ("--key", "listen.0.key", &self.key),
            ("--to", "route.0.to", &backends),
            ("--node-id", "node.id", &self.node_id),
            ("--fleet", "fleet.file", &self.fleet),
            ("--admin", "admin.listen", &self.admin),
            ("--log-format", "log.format", &self.log_format),
            ("--state-dir", "state_dir", &self.state_dir),
            ("--idle-timeout", "quic.idle_timeout", &self.idle_timeout),
        ];
        let flags = flags.into_iter().filter_map(|(flag, path, value)| {
            value.as_ref().map(|value| Setting::flag(flag, path, value))
        });
        flags.chain(self.set.iter().cloned()).collect()
    }
}

/// The process environment. Names and values that are not Unicode are kept as far as they are, so
/// that an unknown name is still an error.
pub(crate) fn environment() -> Vec<(String, String)> {
    let text = |os: OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Writes an error and its causes on one line of standard error.
#[expect(clippy::print_stderr, reason = "this is the command's error output")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("wayhold: {error:#}");
}

/// Writes everything that is wrong with a configuration to standard error, a line each.
#[expect(clippy::print_stderr, reason = "this is the command's error output")]
pub(crate) fn refuse(errors: &config::LoadErrors) {
    eprintln!("{errors}");
}
