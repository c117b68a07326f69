//! From the names of backends to their addresses.
//!
//! Every look-up reads `/etc/hosts` and `/etc/resolv.conf` anew, since both change under a process that
//! runs for long, and keeps nothing: which answer is good for how long is its caller's to know.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{self, Dns, Families};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Each address once, in a fixed order; at least one.
    pub(super) endpoints: Vec<Endpoint>,
    /// For how long that is so.
    pub(super) ttl: Duration,
    /// Why a part of the answer is missing, if so.
    pub(super) missing: Option<LookupError>,
    /// Addresses beyond the bound.
    pub(super) beyond: usize,
}

/// One address of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    /// Of a service, that of its record.
    pub(super) priority: u16,
    pub(super) address: SocketAddr,
    /// Of a service, that of its record.
    pub(super) weight: Option<u16>,
    /// Of a service, the host that its record names.
    pub(super) host: Option<Arc<str>>,
}

/// Why a name stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    #[error("there are no addresses")]
    Empty,
    #[error("no answer in time")]
    Timeout,
    #[error("no server gave an answer")]
    Failed,
}

impl LookupError {
    /// The outcome in logs, metrics and the status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

/// Looks up what a backend's name stands for.
///
/// # Errors
/// There is no answer, or an answer without any address.
pub(super) async fn look_up(dns: &Dns, upstream: &config::Upstream) -> Result<Found, LookupError> {
    let asking = async {
        let asker = Asker::new(dns).await?;
        if upstream.is_service() {
            asker.service(&upstream.authority).await
        } else {
            let (host, port) = split(&upstream.authority).ok_or(LookupError::Failed)?;
            let port = Port {
                number: port,
                priority: 0,
                weight: None,
                host: None,
            };
            asker.host(host, &port).await?.found()
        }
    };
    // What is under way ends with the future.
    let answer = timeout(dns.timeout, asking).await;
    answer.unwrap_or(Err(LookupError::Timeout))
}

/// The host and port of an authority.
pub(super) fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

/// What one look-up is made with.
#[derive(Clone)]
struct Asker {
    resolver: Option<TokioResolver>,
    hosts: Arc<Hosts>,
    families: Families,
}

/// What a record of a service says of each address.
#[derive(Clone, Debug)]
struct Port {
    number: u16,
    priority: u16,
    weight: Option<u16>,
    host: Option<Arc<str>>,
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Answer {
    endpoints: Vec<Endpoint>,
    ttl: Option<u32>,
    missing: Option<LookupError>,
    beyond: usize,
}

impl Asker {
    async fn new(dns: &Dns) -> Result<Self, LookupError> {
        let mut hosts = Hosts::default();
        // Without the file there are no hosts in it.
        let file = tokio::fs::read(HOSTS).await.unwrap_or_default();
        if let Err(error) = hosts.read_hosts_conf(&file[..]) {
            tracing::debug!(%error, "cannot use {HOSTS}");
        }
        Ok(Self {
            resolver: resolver(dns).await?,
            hosts: Arc::new(hosts),
            families: dns.families,
        })
    }

    /// The hosts and ports of a service (RFC 2782).
    async fn service(&self, name: &str) -> Result<Found, LookupError> {
        let (records, ttl) = self.ask(name, RecordType::SRV).await?;
        let beyond = records.len().saturating_sub(MAX_ADDRESSES);
        let mut tasks = JoinSet::new();
        for record in records.into_iter().take(MAX_ADDRESSES) {
            // A target of "." says that there is no such service.
            if let RData::SRV(record) = record
                && !record.target.is_root()
            {
                let (asker, host) = (self.clone(), record.target.to_ascii());
                let written = host.trim_end_matches('.').to_ascii_lowercase();
                let port = Port {
                    number: record.port,
                    priority: record.priority,
                    // 0 is little beside others, and not none.
                    weight: Some(record.weight.max(1)),
                    host: Some(written.into()),
                };
                tasks.spawn(async move { asker.host(&host, &port).await });
            }
        }
        let mut whole = Answer {
            beyond,
            ttl: Some(ttl),
            ..Answer::default()
        };
        while let Some(ended) = tasks.join_next().await {
            match ended.unwrap_or(Err(LookupError::Failed)) {
                Ok(answer) => whole.join(answer),
                Err(error) => whole.missing = Some(error),
            }
        }
        whole.found()
    }

    /// The addresses of a host.
    async fn host(&self, host: &str, port: &Port) -> Result<Answer, LookupError> {
        if let Some(answer) = self.known(host, port) {
            return Ok(answer);
        }
        let ask = async |kind: RecordType, other: Families| {
            if self.families == other {
                return Err(LookupError::Empty);
            }
            self.ask(host, kind).await
        };
        let (v4, v6) = tokio::join!(
            ask(RecordType::A, Families::Ipv6),
            ask(RecordType::AAAA, Families::Ipv4),
        );
        let mut answer = Answer::default();
        let mut empty = 0;
        for asked in [v4, v6] {
            match asked {
                Ok((records, ttl)) => {
                    let addresses = records.iter().filter_map(RData::ip_addr);
                    answer.add(addresses, port, ttl);
                }
                Err(LookupError::Empty) => empty += 1,
                Err(error) => answer.missing = Some(error),
            }
        }
        if empty == 2 {
            return Err(LookupError::Empty);
        }
        Ok(answer)
    }

    /// What this machine itself knows of a host: what is in its file, and that `localhost` is itself
    /// (RFC 6761, section 6.3).
    fn known(&self, host: &str, port: &Port) -> Option<Answer> {
        let name = Name::from_ascii(host).ok()?;
        let kinds = [
            (RecordType::A, Families::Ipv6),
            (RecordType::AAAA, Families::Ipv4),
        ];
        let mut addresses = Vec::new();
        for (kind, _) in kinds.iter().filter(|(_, other)| *other != self.families) {
            let query = Query::query(name.clone(), *kind);
            let found = self.hosts.lookup_static_host(&query);
            let records = found.iter().flat_map(Lookup::answers);
            addresses.extend(records.filter_map(|record| record.data.ip_addr()));
        }
        if addresses.is_empty() && name.is_localhost() {
            let own = [
                (IpAddr::V4(Ipv4Addr::LOCALHOST), Families::Ipv6),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), Families::Ipv4),
            ];
            let own = own.iter().filter(|(_, other)| *other != self.families);
            addresses.extend(own.map(|(address, _)| *address));
        }
        let mut answer = Answer::default();
        let is_known = !addresses.is_empty();
        answer.add(addresses, port, u32::MAX);
        is_known.then_some(answer)
    }

    /// The records of one kind, and their TTL.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<(Vec<RData>, u32), LookupError> {
        let resolver = self.resolver.as_ref().ok_or(LookupError::Failed)?;
        let answer = match resolver.lookup(name, kind).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(name, %kind, %error, "a name was not answered");
                return Err(classify(&error));
            }
        };
        let ttl = answer.answers().iter().map(|record| record.ttl).min();
        let records = answer.answers().iter();
        let records: Vec<_> = records
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data.clone())
            .collect();
        if records.is_empty() {
            return Err(LookupError::Empty);
        }
        Ok((records, ttl.unwrap_or(0)))
    }
}

impl Answer {
    fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>, port: &Port, ttl: u32) {
        let endpoint = |address: IpAddr| Endpoint {
            priority: port.priority,
            address: SocketAddr::new(address.to_canonical(), port.number),
            weight: port.weight,
            host: port.host.clone(),
        };
        self.endpoints.extend(addresses.into_iter().map(endpoint));
        self.ttl = Some(self.ttl.unwrap_or(u32::MAX).min(ttl));
    }

    fn join(&mut self, other: Self) {
        self.endpoints.extend(other.endpoints);
        self.ttl = match (self.ttl, other.ttl) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        self.missing = self.missing.or(other.missing);
    }

    /// Puts it in order.
    fn found(mut self) -> Result<Found, LookupError> {
        self.endpoints.sort_unstable();
        let mut seen = HashSet::new();
        self.endpoints
            .retain(|endpoint| seen.insert(endpoint.address));
        let beyond = self.beyond + self.endpoints.len().saturating_sub(MAX_ADDRESSES);
        self.endpoints.truncate(MAX_ADDRESSES);
        if self.endpoints.is_empty() {
            return Err(self.missing.unwrap_or(LookupError::Empty));
        }
        Ok(Found {
            endpoints: self.endpoints,
            ttl: Duration::from_secs(self.ttl.unwrap_or(0).into()),
            missing: self.missing,
            beyond,
        })
    }
}

/// Makes what asks the servers, if there are any.
async fn resolver(dns: &Dns) -> Result<Option<TokioResolver>, LookupError> {
    let (config, mut options) = if dns.servers.is_empty() {
        let file = tokio::fs::read(RESOLV_CONF).await.unwrap_or_default();
        match parse_resolv_conf(&file) {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "{RESOLV_CONF} names no server");
                return Ok(None);
            }
        }
    } else {
        let servers = dns.servers.iter().map(|server| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        (config, ResolverOpts::default())
    };
    // What is lost on the way is asked for once more within the time.
    options.timeout = options.timeout.min(dns.timeout / 2);
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    let built = builder.build();
    built.map(Some).map_err(|error| {
        tracing::debug!(%error, "no resolver");
        LookupError::Failed
    })
}

fn classify(error: &NetError) -> LookupError {
    match error {
        NetError::Timeout => LookupError::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(_)) => LookupError::Empty,
        _ => LookupError::Failed,
    }
}

/// Addresses of one name that are used.
pub(super) const MAX_ADDRESSES: usize = 64;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
