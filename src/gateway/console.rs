use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::handle::{GatewayHandle, LocateError};
use crate::admin::{AdminState, Command, CommandFuture, Console};
use crate::cid::Cid;
use crate::edge::Phase;
use crate::fleet::{NodeId, split_server_id};
use crate::steer::{DropReason, Location, Verdict};

/// What the admin listener shows of a gateway, and does to it.
pub(super) fn of(handle: &GatewayHandle, registry: Registry) -> Arc<AdminState> {
    Arc::new(AdminState {
        registry,
        console: Box::new(Operated(handle.clone())),
    })
}

/// A gateway as the admin listener sees it.
#[derive(Debug)]
struct Operated(GatewayHandle);

impl Console for Operated {
    fn phase(&self) -> Phase {
        self.0.phase()
    }

    fn status(&self) -> Value {
        self.0.status().unwrap_or_default()
    }

    fn locate(&self, cid: &str) -> Result<Value, String> {
        let cid = cid.parse::<Cid>().map_err(|error| error.to_string())?;
        match self.0.locate(&cid) {
            Ok(location) => {
                let mut shown = located(&cid, &location, self.0.workers().max(1));
                shown["epoch"] = json!(self.0.epoch_of(location.config).map(|epoch| epoch.0));
                Ok(shown)
            }
            Err(LocateError::Unreadable(error)) => Ok(json!({
                "cid": cid.to_string(),
                "verdict": Verdict::Drop(DropReason::UndecodableCid).name(),
                "reason": DropReason::UndecodableCid.name(),
                "why": error.to_string(),
            })),
            Err(error @ LocateError::Ended(_)) => Err(error.to_string()),
        }
    }

    fn command(&self, command: Command) -> CommandFuture<'_> {
        Box::pin(async move {
            let done = match command {
                Command::Drain => self.0.drain().await.map(|()| "draining".to_owned()),
                Command::Undrain => self.0.undrain().await.map(|()| "ready".to_owned()),
                Command::Upgrade => {
                    let upgraded = self.0.upgrade().await;
                    return upgraded
                        .map(|upgraded| upgraded.to_string())
                        .map_err(|error| error.to_string());
                }
                Command::Reload => {
                    let reloaded = self.0.reload_sources().await;
                    return reloaded
                        .map(|applied| applied.to_string())
                        .map_err(|error| error.to_string());
                }
            };
            done.map_err(|error| error.to_string())
        })
    }
}

fn located(cid: &Cid, location: &Location, workers: u16) -> Value {
    let (node, instance) = split_server_id(&location.server_id).unzip();
    let reason = match location.verdict {
        Verdict::Drop(reason) => Some(reason.name()),
        _ => None,
    };
    json!({
        "cid": cid.to_string(),
        "config_id": location.config.get(),
        "server_id": location.server_id.to_string(),
        "node": node.map(NodeId::get),
        "instance": instance.map(|instance| instance.0),
        "listener": location.slot.map(|slot| slot.0 / workers),
        "worker": location.slot.map(|slot| slot.0 % workers),
        "verdict": location.verdict.name(),
        "reason": reason,
        "why": location.why(),
    })
}
