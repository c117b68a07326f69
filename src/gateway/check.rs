use super::GatewayError;
use super::ground::default_handler;
use super::identities;
use crate::config::Config;
use crate::control::Snapshot;
use crate::telemetry::Metrics;

/// Reads every file that a configuration names and builds what can be built without binding or
/// writing anything. Gives what an operator should mend, though the gateway would serve.
///
/// # Errors
/// What [`GatewayBuilder::bind`](super::GatewayBuilder::bind) would refuse, but for what only the
/// machine decides: addresses, and the state directory.
pub fn check(config: &Config) -> Result<Vec<String>, GatewayError> {
    if let Some(fleet) = &config.fleet {
        let snapshot = Snapshot::read(fleet)?;
        snapshot.max_udp_payload()?;
    }
    default_handler(config, &Metrics::default())?;
    identities::check(config)
}
