//! `wayhold cid`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use wayhold::cid::{Cid, CidConfig, ConfigId, DecodeError, FirstOctet, Key, Nonce, ServerId};
use wayhold::config::{self, Sources};

use super::forms::Forms;

/// Arguments of `wayhold cid`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the connection ID of a server ID and a nonce
    Encode(EncodeArgs),
    /// Read server ID and nonce out of a connection ID
    Decode(DecodeArgs),
}

#[derive(Debug, clap::Args)]
struct EncodeArgs {
    #[command(flatten)]
    form: Form,
    /// The server ID in hexadecimal
    #[arg(long, value_name = "HEX")]
    server_id: String,
    /// The nonce in hexadecimal; never use one twice under one key
    #[arg(long, value_name = "HEX")]
    nonce: String,
}

#[derive(Debug, clap::Args)]
struct DecodeArgs {
    #[command(flatten)]
    form: Form,
    /// The connection ID in hexadecimal
    #[arg(value_name = "HEX")]
    cid: String,
}

/// The form of connection IDs. Hexadecimal values stay text here: what is wrong with them is an
/// error of the data, with exit code 1, not one of usage.
#[derive(Debug, clap::Args)]
struct Form {
    /// Take the form from a gateway's configuration file, its environment and its fleet's key file;
    /// IDs of every epoch in that file are read
    #[arg(short, long, value_name = "FILE", conflicts_with_all = FORM_FLAGS)]
    config: Option<PathBuf>,
    /// The config rotation bits, 0 to 6
    #[arg(long, value_name = "N", default_value_t = 0)]
    config_id: u8,
    /// Bytes of server ID, 1 to 15
    #[arg(long, value_name = "N", default_value_t = 4)]
    server_id_len: usize,
    /// Bytes of nonce, 4 to 18
    #[arg(long, value_name = "N", default_value_t = 12)]
    nonce_len: usize,
    /// The AES-128 key in hexadecimal, 16 bytes; without one connection IDs are plain text. Other
    /// users of this machine can see it in the list of processes
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// What the low five bits of the first octet hold. `length` makes encoding reproducible and
    /// decoding check the length; the gateway's own default is `random`
    #[arg(long, value_enum, default_value_t = FirstOctetArg::Length)]
    first_octet: FirstOctetArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FirstOctetArg {
    Length,
    Random,
}

#[derive(Serialize)]
struct Encoded {
    cid: String,
}

#[derive(Serialize)]
struct Decoded {
    config_id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    server_id: String,
    nonce: String,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Encode(args) => encode(args),
        Action::Decode(args) => decode(args),
    }
}

fn encode(args: &EncodeArgs) -> anyhow::Result<ExitCode> {
    let forms = args.form.read()?;
    let server_id = args.server_id.parse::<ServerId>().context("--server-id")?;
    let nonce = args.nonce.parse::<Nonce>().context("--nonce")?;
    let mut random_bits = [0];
    aws_lc_rs::rand::fill(&mut random_bits).context("the system has no random bytes")?;
    let cid = forms.current().encode(&server_id, &nonce, random_bits[0])?;
    if args.form.json {
        let cid = cid.to_string();
        print(&serde_json::to_string(&Encoded { cid })?);
    } else {
        print(&cid.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn decode(args: &DecodeArgs) -> anyhow::Result<ExitCode> {
    let forms = args.form.read()?;
    let cid = args.cid.parse::<Cid>().context("the connection ID")?;
    let (decoded, epoch) = forms.decode(&cid).map_err(|error| match error {
        DecodeError::LengthMismatch { .. } => {
            anyhow!("{error} (--first-octet random accepts any first octet)")
        }
        other => other.into(),
    })?;
    let decoded = Decoded {
        config_id: decoded.config_id.get(),
        epoch: epoch.map(|epoch| epoch.0),
        server_id: decoded.server_id.to_string(),
        nonce: decoded.nonce.to_string(),
    };
    if args.form.json {
        print(&serde_json::to_string(&decoded)?);
    } else {
        print(&format!("config ID {}", decoded.config_id));
        if let Some(epoch) = decoded.epoch {
            print(&format!("epoch     {epoch}"));
        }
        print(&format!("server ID {}", decoded.server_id));
        print(&format!("nonce     {}", decoded.nonce));
    }
    Ok(ExitCode::SUCCESS)
}

impl Form {
    fn read(&self) -> anyhow::Result<Forms> {
        if let Some(file) = &self.config {
            let sources = Sources {
                file: Some(file.clone()),
                environment: super::environment(),
                settings: Vec::new(),
            };
            return Forms::of(&config::load(&sources)?);
        }
        let id = ConfigId::new(self.config_id).context("--config-id")?;
        let first_octet = match self.first_octet {
            FirstOctetArg::Length => FirstOctet::Length,
            FirstOctetArg::Random => FirstOctet::Random,
        };
        let key = self.key.as_deref().map(str::parse::<Key>).transpose();
        let key = key.context("--key")?;
        let (server_id_len, nonce_len) = (self.server_id_len, self.nonce_len);
        let form = CidConfig::new(id, server_id_len, nonce_len, first_octet, key.as_ref())?;
        Ok(Forms::only(form))
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print(text: &str) {
    println!("{text}");
}

const FORM_FLAGS: [&str; 5] = [
    "config_id",
    "server_id_len",
    "nonce_len",
    "key",
    "first_octet",
];
