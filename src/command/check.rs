//! `wayhold check`.

use std::io::{self, Write};
use std::process::ExitCode;

use wayhold::config::{self, AdminAddress, Answer, ClientAuth, Config, Listen, Pool, Route};

use super::{ConfigArgs, Exit};

/// Arguments of `wayhold check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the configuration is right, 1 it is not, 2 wrong usage")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.sources()) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let warnings = wayhold::check(&config)?;
    let mut out = io::stdout().lock();
    summarise(&config, &mut out)?;
    for warning in warnings {
        writeln!(out, "warning {warning}")?;
    }
    Ok(Exit::Clean.into())
}

fn summarise(config: &Config, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "ok")?;
    for listen in &config.listen {
        writeln!(out, "listen  {}", describe_listen(listen))?;
    }
    for route in &config.route {
        writeln!(out, "route   {}", describe_route(route))?;
    }
    if config.route.is_empty() {
        writeln!(out, "route   every request to the built-in demo origin")?;
    }
    for pool in &config.pool {
        writeln!(out, "pool    {}", describe_pool(pool))?;
    }
    match &config.fleet {
        Some(fleet) => writeln!(out, "node    {} of {}", config.node.id, fleet.member.len())?,
        None => writeln!(out, "node    {}, alone", config.node.id)?,
    }
    writeln!(out, "admin   {}", describe_admin(&config.admin.listen))
}

fn describe_listen(listen: &Listen) -> String {
    let protocols = if listen.tcp {
        "HTTP/3, HTTP/2, HTTP/1.1"
    } else {
        "HTTP/3"
    };
    let certificate = listen.cert.as_ref().map_or_else(
        || "a development certificate".to_owned(),
        |cert| cert.display().to_string(),
    );
    let more = match listen.certificate.len() {
        0 => String::new(),
        more => format!(" and {}", counted(more, "more certificate")),
    };
    let clients = match listen.client_auth {
        ClientAuth::Off => "",
        ClientAuth::Optional => ", client certificates optional",
        ClientAuth::Required => ", client certificates required",
    };
    format!(
        "{} {protocols} with {certificate}{more}{clients}",
        listen.addr
    )
}

fn describe_route(route: &Route) -> String {
    let host = route.host.as_deref().unwrap_or("every host");
    let does = match (&route.answer, &route.pool) {
        (Some(Answer::Redirect { status, .. }), _) => format!("redirects with {status}"),
        (Some(Answer::Fixed { status, .. }), _) => format!("answers {status}"),
        (None, _) if route.connect_udp.is_some() => "takes tunnels of UDP".to_owned(),
        (None, Some(pool)) => format!("to pool {pool}"),
        (None, None) => format!("to {}", counted(route.to.len(), "backend")),
    };
    let tokens = (route.gate.jwt.as_deref())
        .map_or_else(String::new, |name| format!(", only with a token of {name}"));
    format!("{host} {} {does}{tokens}", route.path)
}

fn describe_pool(pool: &Pool) -> String {
    format!(
        "{} of {}",
        pool.name,
        counted(pool.backend.len(), "backend")
    )
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn describe_admin(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Off => "off".to_owned(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
        AdminAddress::Tcp(address) => address.to_string(),
    }
}
