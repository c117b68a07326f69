use std::net::ToSocketAddrs;
use std::path::Path;

use anyhow::{Context, bail};
use http::Uri;
use http::uri::Scheme;
use wayhold::bench::run::Target;
use wayhold::client::{Trust, certificates};

/// Finds somebody's server by its URL.
pub(super) fn find(url: &Uri, ca: Option<&Path>, process: Option<u32>) -> anyhow::Result<Target> {
    let (true, Some(host)) = (url.scheme() == Some(&Scheme::HTTPS), url.host()) else {
        bail!("{url} is not an https URL");
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(HTTPS_PORT);
    let mut addresses = (name, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {name}"))?;
    let address = addresses
        .next()
        .with_context(|| format!("{name} has no address"))?;
    let trust = ca.map_or(Trust::System, |file| Trust::File(file.to_owned()));
    let authority = match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Ok(Target {
        address,
        name: name.to_owned(),
        authority,
        path: url
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        roots: certificates(&trust)?,
        process,
    })
}

const HTTPS_PORT: u16 = 443;
