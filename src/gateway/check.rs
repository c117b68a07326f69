use super::GatewayError;
use super::identities;
use crate::bridge::Bridge;
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
    Bridge::new(config, &Metrics::default())
        .map_err(|error| GatewayError::Routes(error.to_string()))?;
    identities::check(config)
}
