use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::identities::Identities;
use crate::config::{ClientAuth, Config, EarlyData};
use crate::edge::{
    Http3, Http3Rules, PaceTerms, Policy, Provenance, Qlog, QuicTerms, Rules, Served, Service,
    SharedApplication, TcpParts, alt_svc,
};
use crate::fleet::NodeId;
use crate::request::SharedHandler;
use crate::telemetry::{AccessLog, Metrics};

/// What listeners give to clients by one configuration: everything that another can replace while
/// they serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub(super) config: &'a Config,
    pub(super) handler: &'a SharedHandler,
    /// What takes every connection in place of HTTP/3 and the handler.
    pub(super) application: Option<&'a SharedApplication>,
    pub(super) identities: &'a Identities,
    pub(super) metrics: &'a Metrics,
    pub(super) node: NodeId,
    pub(super) max_udp_payload: u16,
    /// What traces some QUIC connections.
    pub(super) qlog: Option<&'a Arc<Qlog>>,
}

impl Plan<'_> {
    /// How the listener of this index, bound to this address, answers requests.
    pub(super) fn policy(&self, index: usize, address: SocketAddr) -> Policy {
        let Config {
            listen,
            limits,
            timeouts,
            log,
            forwarded,
            trace,
            ..
        } = self.config;
        let port = listen[index].public_port.unwrap_or_else(|| address.port());
        Policy {
            handler: self.handler.clone(),
            rules: Rules::new(limits, timeouts, Some(alt_svc(port)))
                .only_for(self.identities.hosts(index)),
            provenance: Provenance::new(forwarded, trace),
            access: if log.access {
                AccessLog::On
            } else {
                AccessLog::Off
            },
        }
    }

    /// What QUIC connections get that the listener of this index accepts, with this service.
    pub(super) fn quic_terms(&self, index: usize, service: &Arc<Service>) -> QuicTerms {
        let Config {
            limits,
            timeouts,
            quic,
            shutdown,
            ..
        } = self.config;
        let http3 = || Http3 {
            service: Arc::clone(service),
            rules: Http3Rules {
                limits: crate::http3::Limits {
                    section_bytes: limits.header_bytes,
                    fields: usize::try_from(limits.header_fields).unwrap_or(usize::MAX),
                    streams: limits.streams,
                },
                header_timeout: timeouts.header,
                send_window: quic.send_window,
                body_idle: timeouts.body_idle,
                body_rate: PaceTerms {
                    rate: limits.body_rate,
                    window: timeouts.body_idle,
                },
                idle: timeouts.idle,
                datagrams: self
                    .config
                    .datagram_bytes()
                    .map(|_| usize::from(self.config.connect_udp.queue)),
                linger: (shutdown.grace / 2).min(MOST_LINGER),
            },
            metrics: self.metrics.clone(),
        };
        QuicTerms {
            served: match self.application {
                None => Served::Http3(Box::new(http3())),
                Some(application) => Served::Application(application.clone()),
            },
            handshake: timeouts.handshake,
            retry: quic.retry,
            early_data: match self.config.listen[index].client_auth {
                ClientAuth::Off => quic.early_data,
                ClientAuth::Optional | ClientAuth::Required => EarlyData::Off,
            },
        }
    }

    /// What TCP connections get at the listener of this index; nothing of an application.
    pub(super) fn tcp_parts(&self, index: usize, service: &Arc<Service>) -> Option<TcpParts> {
        Some(TcpParts {
            tls: self.identities.of(index)?.clone(),
            service: Arc::clone(service),
            node: self.node,
            limits: self.config.limits.clone(),
            timeouts: self.config.timeouts.clone(),
            metrics: self.metrics.clone(),
        })
    }
}

/// How long a process that ends waits for clients whose requests were answered to close their
/// connections. One that is starved or out of reach takes seconds to learn that it should; one that
/// never closes must not hold the process until the end of its grace.
const MOST_LINGER: Duration = Duration::from_secs(3);
