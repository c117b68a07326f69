use std::sync::Arc;

use super::GatewayError;
use super::fleet::{Membership, random};
use super::identities::{Given, Identities, Resumption};
use super::listener::Bound;
use super::plan::Plan;
use crate::bridge::{Bridge, Origin};
use crate::config::{Config, EarlyData, Return};
use crate::edge::{
    AddressTokens, Fault, Qlog, QuicPlaces, SharedSessionKeys, Steering, declare_reasons,
};
use crate::request::SharedHandler;
use crate::steer::Tables;
use crate::telemetry::Metrics;

/// Everything of a gateway that needs no socket.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) given: Given,
    pub(super) membership: Membership,
    pub(super) session_keys: SharedSessionKeys,
    pub(super) steering: Arc<Steering>,
    pub(super) handler: SharedHandler,
    pub(super) bridge: Option<Arc<Bridge>>,
    pub(super) resumption: Resumption,
    pub(super) identities: Identities,
    pub(super) qlog: Option<Arc<Qlog>>,
    tokens: AddressTokens,
}

impl Ground {
    /// Reads certificates and keys.
    pub(super) fn new(
        (config, given): (&Config, Given),
        membership: Membership,
        metrics: &Metrics,
        fault: Option<Fault>,
    ) -> Result<Self, GatewayError> {
        let session_keys = SharedSessionKeys::new(&membership.keyring);
        let keys = (&membership, &session_keys);
        let (steering, tokens) = steering(config, keys, metrics, fault)?;
        let (handler, bridge) = match &given.handler {
            Some(given) => (given.clone(), None),
            None => default_handler(config, metrics)?,
        };
        let resumption = Resumption::new(config, session_keys.clone(), metrics);
        let identities = Identities::load(config, &resumption, &given)?;
        Ok(Self {
            given,
            membership,
            session_keys,
            steering,
            handler,
            bridge,
            resumption,
            identities,
            qlog: qlog(config, metrics)?,
            tokens,
        })
    }

    /// What listeners are made from.
    pub(super) fn bound<'a>(
        &'a self,
        config: &'a Config,
        metrics: &'a Metrics,
    ) -> Result<Bound<'a>, GatewayError> {
        Ok(Bound {
            plan: Plan {
                config,
                handler: &self.handler,
                application: self.given.application.as_ref(),
                identities: &self.identities,
                metrics,
                node: self.membership.node,
                max_udp_payload: self.membership.max_udp_payload(config)?,
                qlog: self.qlog.as_ref(),
            },
            membership: &self.membership,
            steering: &self.steering,
            tokens: &self.tokens,
            places: QuicPlaces::new(&config.limits),
        })
    }
}

/// What traces QUIC connections, if that is wanted.
pub(super) fn qlog(config: &Config, metrics: &Metrics) -> Result<Option<Arc<Qlog>>, GatewayError> {
    Qlog::start(&config.log, metrics).map_err(GatewayError::Qlog)
}

/// What answers requests where nobody gives a handler, and the bridge if it is one.
fn default_handler(
    config: &Config,
    metrics: &Metrics,
) -> Result<(SharedHandler, Option<Arc<Bridge>>), GatewayError> {
    if config.route.is_empty() {
        return Ok((SharedHandler::new(Origin), None));
    }
    let bridge = Bridge::new(config, metrics);
    let bridge = bridge.map_err(|error| GatewayError::Routes(error.to_string()))?;
    let bridge = Arc::new(bridge.started());
    let handler = SharedHandler::new(Arc::clone(&bridge));
    Ok((handler, Some(bridge)))
}

/// The steering rules, and the tokens that lead clients with early data back to their owner.
fn steering(
    config: &Config,
    (membership, keys): (&Membership, &SharedSessionKeys),
    metrics: &Metrics,
    fault: Option<Fault>,
) -> Result<(Arc<Steering>, AddressTokens), GatewayError> {
    declare_reasons(metrics);
    let tokens = AddressTokens::new(keys.clone(), metrics.clone());
    let steer = membership.steer();
    let (steer, tokens) = match config.quic.early_data {
        EarlyData::Off => (steer, tokens),
        EarlyData::Owner => (
            steer.with_owners(keys.load().tokens.clone()),
            tokens.naming(membership.identity.server_id()),
        ),
    };
    let tables = Tables::new(u64::from_be_bytes(random()?));
    let resets = membership.reset_keys();
    let steering = Steering::new(steer, tables, resets, metrics.clone(), fault);
    let fleet = config.fleet.as_ref();
    let steering = steering.returning(fleet.map_or(Return::Direct, |fleet| fleet.return_by));
    Ok((Arc::new(steering), tokens))
}
