use std::io;
use std::sync::Arc;

use quinn::{Endpoint, ServerConfig};

use super::identity::Issuer;
use super::settings::{self, EndpointParts};
use super::{Context, QuicTerms};
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
    server: ServerConfig,
    terms: QuicTerms,
    connections: u32,
    handshakes: u32,
}

impl QuicControl {
    /// Makes a change ready.
    ///
    /// # Errors
    /// As for [`settings::configs`].
    pub(crate) fn prepare(
        &self,
        tls: Arc<TlsConfig>,
        terms: QuicTerms,
        (quic, limits, datagram_bytes): (&Quic, &Limits, Option<usize>),
        max_udp_payload: u16,
    ) -> io::Result<QuicChange> {
        let server = settings::server(&EndpointParts {
            tls,
            issuer: self.issuer.clone(),
            application: terms.served.application(),
            quic,
            limits,
            datagram_bytes,
            max_udp_payload,
        })?;
        Ok(QuicChange {
            control: self.clone(),
            server,
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
        context.terms.store(Arc::new(self.terms));
        self.control.endpoint.set_server_config(Some(self.server));
    }
}
