//! Metrics of what comes before a connection is open: address tokens, certificates, tickets; and of traces.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::Metrics;

/// The labels of a certificate, by where the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabel {
    /// The index of the listener.
    pub listen: u32,
    /// 0 is the certificate for clients that ask for no name, and those for clients that do follow in their
    /// order.
    pub certificate: u32,
}

impl Metrics {
    pub(super) fn register_handshakes(&self, registry: &mut Registry) {
        registry.register("retries", "Retry packets sent", self.retries.clone());
        registry.register(
            "address_tokens_forgotten",
            "Times that uses of address tokens were forgotten because there were too many",
            self.address_tokens_forgotten.clone(),
        );
        registry.register(
            "early_entries_refused",
            "First packets of new connections whose way was not kept for lack of room",
            self.early_entries_refused.clone(),
        );
        registry.register(
            "tickets_too_large",
            "Sessions too large for a ticket, because of a client's certificate chain",
            self.tickets_too_large.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends, in seconds since 1970",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "qlog_traces",
            "Traces of QUIC connections that were begun",
            self.qlog_traces.clone(),
        );
        registry.register(
            "qlog_dropped",
            "Records of traces that were not written, and traces not begun, by reason",
            self.qlog_dropped.clone(),
        );
    }
}
