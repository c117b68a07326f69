//! TLS 1.3 for both transports: certificates and keys, session tickets, and the rustls
//! configurations made of them. The only module of the rim that names rustls.
//!
//! The aws-lc-rs provider is passed explicitly, so nothing is installed for the whole process, and
//! `SSLKEYLOGFILE` is not honoured: secrets never leave the process.

mod certificates;
mod clients;
mod config;
mod development;
mod early;
mod hosts;
mod identity;
mod sessions;
#[cfg(test)]
pub(crate) mod testing;
mod ticketer;
mod x509;

pub(crate) use certificates::{CertificateFacts, Certificates};
pub(crate) use clients::{ClientPolicy, proven_over_quic, reason, reason_of_alert};
pub(crate) use config::{Opened, ServerTls, Tickets, TlsStream, now, resuming};
pub(crate) use hosts::Hosts;
use identity::IdentityWarning;
pub(crate) use identity::{Identity, TlsError};
pub(crate) use rustls::ServerConfig as TlsConfig;
pub(crate) use sessions::EarlySessions;
pub(crate) use ticketer::FleetTicketer;
