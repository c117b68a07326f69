use std::io;
use std::sync::Arc;

use quinn::Endpoint;

use super::Context;
use super::accepting::{Accepting, QuicTerms};
use super::identity::Issuer;
use super::qlog::Qlog;
use super::settings::{EndpointParts, Servers};
use crate::config::{Limits, Quic};
use crate::edge::tls::TlsConfig;

/// Changes what an endpoint gives to connections that it accepts from then on.
#[derive(Clone, Debug)]
pub(crate) struct QuicControl {
    pub(super) endpoint: Endpoint,
    pub(super) issuer: Issuer,
    pub(super) context: Arc<Context>,
}

/// A change that is complete and has no effect before [`QuicChange::apply`].
#[derive(Debug)]
pub(crate) struct QuicChange {
    control: QuicControl,
    servers: Servers,
    terms: QuicTerms,
    connections: u32,
    handshakes: u32,
}

impl QuicControl {
    /// Makes a change ready.
    ///
    /// # Errors
    /// As for [`Servers::new`].
    pub(crate) fn prepare(
        &self,
        tls: Arc<TlsConfig>,
        terms: QuicTerms,
        (quic, limits, datagram_bytes): (&Quic, &Limits, Option<usize>),
        (max_udp_payload, qlog): (u16, Option<&Arc<Qlog>>),
    ) -> io::Result<QuicChange> {
        let servers = Servers::new(&EndpointParts {
            tls,
            issuer: self.issuer.clone(),
            application: terms.served.application(),
            quic,
            limits,
            datagram_bytes,
            max_udp_payload,
            qlog,
        })?;
        Ok(QuicChange {
            control: self.clone(),
            servers,
            terms,
            connections: limits.connections,
            handshakes: limits.handshakes,
        })
    }
}

impl QuicChange {
    /// Puts the change into effect. Connections that are open, and handshakes under way, keep what
    /// they began with.
    pub(crate) fn apply(self) {
        let context = &self.control.context;
        context.places.connections.resize(self.connections);
        context.places.handshakes.resize(self.handshakes);
        let plain = self.servers.plain();
        context.accepting.store(Arc::new(Accepting {
            terms: self.terms,
            servers: self.servers,
        }));
        self.control.endpoint.set_server_config(Some(plain));
    }
}
