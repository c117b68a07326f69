//! One endpoint of a process, set up as `edge/quic` does it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use quinn_proto::{
    EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokenLog, TokenReuseError, TransportConfig,
    ValidationTokenConfig,
};
use wayhold::cid::{Lane, ServerId, WorkerHash};
use wayhold::link::Random;
use wayhold::wire::SUPPORTED_VERSIONS;

use crate::app::Serving;
use crate::clock::WallClock;
use crate::endpoint::{Endpoint, Output, Received, Taken};
use crate::issuer::Issuer;
use crate::keys::{AddressTokens, ResetSigner};
use crate::process::{Action, ProcessId, Scene};
use crate::tls::{self, SharedKeys, Tickets};

/// What a worker is made of.
pub(crate) struct Settings {
    pub(crate) server_id: ServerId,
    pub(crate) lane: Lane,
    pub(crate) hash: WorkerHash,
    pub(crate) resets: ResetSigner,
    pub(crate) sessions: SharedKeys,
    pub(crate) clock: WallClock,
    pub(crate) random: Random,
    pub(crate) going_away: Arc<AtomicBool>,
    pub(crate) retry: bool,
    pub(crate) cid_lifetime: Duration,
    pub(crate) names_owner: bool,
    pub(crate) lax: bool,
}

/// An endpoint with what it issues.
pub(crate) struct Worker {
    pub(crate) endpoint: Endpoint<Serving>,
    pub(crate) issuer: Issuer,
    going_away: Arc<AtomicBool>,
    retry: bool,
}

/// Which worker of which process.
pub(crate) type Place = (ProcessId, u16);

impl Worker {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut random = settings.random.clone();
        let mut issuer = Issuer::new(
            settings.server_id,
            (settings.lane, settings.hash),
            settings.cid_lifetime,
            random.fork(),
        );
        if settings.lax {
            issuer = issuer.lax();
        }
        let tickets = Tickets {
            keys: Arc::clone(&settings.sessions),
            clock: settings.clock.clone(),
            random: Mutex::new(random.fork()),
        };
        let tokens = Arc::new(AddressTokens {
            keys: Arc::clone(&settings.sessions),
            owner: settings.names_owner.then_some(settings.server_id),
        });
        let mut server = ServerConfig::new(tls::server(tickets), tokens);
        server
            .transport_config(Arc::new(transport()))
            .migration(true)
            .time_source(Arc::new(settings.clock.clone()));
        let mut validation = ValidationTokenConfig::default();
        validation.log(Arc::new(EveryToken)).sent(1);
        server.validation_token_config(validation);

        let mut config = EndpointConfig::new(Arc::new(settings.resets.clone()));
        let mut seed = [0; 32];
        random.fill(&mut seed);
        config
            .max_udp_payload_size(MAX_UDP_PAYLOAD)
            .unwrap()
            .supported_versions(SUPPORTED_VERSIONS.to_vec())
            .rng_seed(Some(seed));
        let generator = issuer.clone();
        config.cid_generator(move || Box::new(generator.clone()));
        let inner =
            quinn_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server)), true, None);
        Self {
            endpoint: Endpoint::new(inner),
            issuer,
            going_away: Arc::clone(&settings.going_away),
            retry: settings.retry,
        }
    }

    /// Takes a datagram.
    pub(crate) fn receive(&mut self, scene: &mut Scene<'_>, place: Place, received: &Received) {
        let mut out = Output::default();
        match self.endpoint.receive(scene.now, received, &mut out) {
            Taken::Quietly => {}
            Taken::Connection(handle) => self.attribute(scene, place, Some(handle)),
            Taken::Answered => {
                let answers = out.sent.iter().filter(|sent| sent.bytes[0] & 0x80 == 0);
                for reset in answers {
                    let (now, by) = (scene.now, place.0);
                    scene.checker.reset(now, by, &received.bytes, &reset.bytes);
                }
            }
            Taken::Incoming(incoming) => {
                let unproven = !incoming.remote_address_validated() && incoming.may_retry();
                let mut buffer = Vec::new();
                let inner = &mut self.endpoint.inner;
                if self.retry && unproven {
                    scene.checker.count("retry");
                    let transmit = inner.retry(*incoming, &mut buffer);
                    out.send(None, &transmit.expect("it may be sent"), &buffer);
                } else {
                    match inner.accept(*incoming, scene.now, &mut buffer, None) {
                        Ok(accepted) => {
                            let app = Serving::new(Arc::clone(&self.going_away));
                            let handle = accepted.0.0;
                            scene.checker.opened_connection(place, handle);
                            self.endpoint.open(scene.now, accepted, app, &mut out);
                            self.attribute(scene, place, Some(handle));
                        }
                        Err(error) => {
                            if let Some(transmit) = error.response {
                                out.send(None, &transmit, &buffer);
                            }
                        }
                    }
                }
            }
        }
        self.finish(scene, place, out);
    }

    /// Wakes a connection.
    pub(crate) fn wake(&mut self, scene: &mut Scene<'_>, place: Place, handle: usize) {
        let mut out = Output::default();
        self.endpoint.wake(scene.now, handle, &mut out);
        self.attribute(scene, place, Some(handle));
        self.finish(scene, place, out);
    }

    /// Tells whose the connection IDs are that were just issued.
    fn attribute(&self, scene: &mut Scene<'_>, place: Place, handle: Option<usize>) {
        for cid in self.issuer.take_fresh() {
            scene.checker.issued(place, handle, cid);
        }
    }

    fn finish(&self, scene: &mut Scene<'_>, place: Place, out: Output<Serving>) {
        self.attribute(scene, place, None);
        for (handle, _) in &out.ended {
            scene.checker.closed_connection(place, *handle);
        }
        if let Some(fault) = out.fault {
            scene.checker.fail(format!("{place:?}: {fault}"));
        }
        let alarm = |(handle, at)| Action::Alarm(place.1, handle, at);
        scene.out.extend(out.alarms.into_iter().map(alarm));
        scene.out.extend(out.sent.into_iter().map(Action::Answer));
    }
}

/// Takes every token as often as it comes: what is tried here is where it leads.
struct EveryToken;

impl TokenLog for EveryToken {
    fn check_and_insert(&self, _: u128, _: SystemTime, _: Duration) -> Result<(), TokenReuseError> {
        Ok(())
    }
}

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_UDP_PAYLOAD).minimum_change(64);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().unwrap()))
        .mtu_discovery_config(Some(mtu));
    transport
}

/// After so much silence a connection is over.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
pub(crate) const MAX_UDP_PAYLOAD: u16 = 1400;
