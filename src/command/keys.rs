//! `wayhold keys`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Subcommand;
use wayhold::config::{self, Config, Sources};
use wayhold::control::{read_key_record, replace_key_file, write_key_file};
use wayhold::fleet::{Epoch, FleetKey, KeyRecord, Keyring, RotationError, RotationStep};

/// Arguments of `wayhold keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a new key file with mode 0600, for every node of the fleet to have a copy of
    Init {
        /// Where; a file that exists is never replaced
        #[arg(default_value = "fleet.key")]
        path: PathBuf,
    },
    /// Take the next step of a rotation: add the next key, or make it the current one
    Rotate(Rotate),
    /// Show epochs, times and fingerprints, and no secret
    Show {
        /// The key file
        #[arg(default_value = "fleet.key")]
        path: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// The key file, which is replaced at once and as a whole
    #[arg(default_value = "fleet.key")]
    path: PathBuf,
    /// The configuration whose `quic.cid_lifetime` and `quic.idle_timeout` say how long the previous
    /// key is needed; without one the defaults hold
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Drop the previous key even while connections may need it, which ends them; for a key that was
    /// stolen
    #[arg(long)]
    dangerous_now: bool,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Init { path } => init(&path)?,
        Action::Rotate(rotate) => rotate.run()?,
        Action::Show { path } => show(&path)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn init(path: &Path) -> anyhow::Result<()> {
    let keyring = Keyring::new(FleetKey::new(Epoch(0), secret()?));
    write_key_file(path, &keyring)?;
    print(&format!("wrote {} with mode 0600", path.display()));
    Ok(())
}

impl Rotate {
    fn run(&self) -> anyhow::Result<()> {
        let mut record = read_key_record(&self.path)?;
        let old_for = if self.dangerous_now {
            Duration::ZERO
        } else {
            self.needed()?
        };
        let step = record.rotate(now()?, secret()?, old_for).map_err(remedy)?;
        replace_key_file(&self.path, &record)?;
        let path = self.path.display();
        print(&match step {
            RotationStep::Announced(epoch) => format!(
                "added the key of epoch {epoch} as the next one to {path}\n\
                 next: copy the file to every node and run `wayhold reload` there; when `wayhold status` \
                 shows epoch {epoch} for every peer, run `wayhold keys rotate` again"
            ),
            RotationStep::Activated(epoch) => format!(
                "made the key of epoch {epoch} the current one in {path}\n\
                 next: copy the file to every node and run `wayhold reload` there; the key of the epoch \
                 before stays for connections that use it"
            ),
        });
        Ok(())
    }

    /// For how long connection IDs of the previous epoch are in use after it was current.
    fn needed(&self) -> anyhow::Result<Duration> {
        let quic = match &self.config {
            None => Config::default().quic,
            Some(file) => {
                let sources = Sources {
                    file: Some(file.clone()),
                    environment: super::environment(),
                    settings: Vec::new(),
                };
                config::load(&sources)?.quic
            }
        };
        Ok(2 * quic.cid_lifetime + quic.idle_timeout)
    }
}

fn show(path: &Path) -> anyhow::Result<()> {
    let record = read_key_record(path)?;
    let keyring = &record.keyring;
    let rows = [
        ("previous", keyring.previous()),
        ("current", Some(keyring.current())),
        ("next", keyring.next()),
    ];
    for (role, key) in rows {
        let Some(key) = key else { continue };
        let epoch = key.epoch();
        let fingerprint = u64::from_be_bytes(key.fingerprint());
        print(&format!(
            "{role:<8} epoch {epoch} fingerprint {fingerprint:016x}"
        ));
    }
    print(&since(&record));
    Ok(())
}

fn since(record: &KeyRecord) -> String {
    match record.activated {
        None => "the file does not say since when the current key is that".to_owned(),
        Some(activated) => {
            let at = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + activated);
            format!("current since {at}")
        }
    }
}

fn remedy(error: RotationError) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    error.context("wait, or use --dangerous-now and lose those connections")
}

fn secret() -> anyhow::Result<[u8; FleetKey::LEN]> {
    let mut secret = [0; FleetKey::LEN];
    aws_lc_rs::rand::fill(&mut secret).context("the system has no random bytes")?;
    Ok(secret)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command is run at a time that it records"
)]
fn now() -> anyhow::Result<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.context("the clock is before 1970")
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print(text: &str) {
    println!("{text}");
}
