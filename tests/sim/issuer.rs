//! The connection IDs that one worker issues and takes for its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use wayhold::cid::{ConfigId, ConfigSet, Lane, Minter, ServerId, WorkerHash};
use wayhold::link::Random;

/// Shared by an endpoint, which asks, and its process, which changes keys.
#[derive(Clone)]
pub(crate) struct Issuer(Arc<Mutex<State>>);

struct State {
    server_id: ServerId,
    lane: Lane,
    hash: WorkerHash,
    lifetime: Duration,
    minters: Vec<Minter>,
    minting: ConfigId,
    random: Random,
    fresh: Vec<ConnectionId>,
    lax: bool,
}

impl Issuer {
    pub(crate) fn new(
        server_id: ServerId,
        (lane, hash): (Lane, WorkerHash),
        lifetime: Duration,
        random: Random,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            server_id,
            lane,
            hash,
            lifetime,
            minters: Vec::new(),
            minting: ConfigId::default(),
            random,
            fresh: Vec::new(),
            lax: false,
        })))
    }

    /// Takes every connection ID for its own.
    pub(crate) fn lax(self) -> Self {
        self.0.lock().unwrap().lax = true;
        self
    }

    /// Knows these configurations from now on and mints under one of them.
    pub(crate) fn rotate(&self, configs: &ConfigSet, minting: ConfigId) {
        let state = &mut *self.0.lock().unwrap();
        let kept = |minter: &Minter| configs.get(minter.config().id()).is_some();
        state.minters.retain(kept);
        for config in configs.iter() {
            if state
                .minters
                .iter()
                .all(|minter| minter.config().id() != config.id())
            {
                let start =
                    u128::from(state.random.number()) << 64 | u128::from(state.random.number());
                let minter = Minter::new(config.clone(), state.server_id, state.lane, start)
                    .and_then(|minter| minter.with_worker_hash(state.hash))
                    .unwrap();
                state.minters.push(minter);
            }
        }
        state.minting = minting;
    }

    /// What was issued since this was last called.
    pub(crate) fn take_fresh(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.0.lock().unwrap().fresh)
    }
}

impl ConnectionIdGenerator for Issuer {
    fn generate_cid(&mut self) -> ConnectionId {
        let state = &mut *self.0.lock().unwrap();
        let minting = state.minting;
        let minter = state
            .minters
            .iter_mut()
            .find(|minter| minter.config().id() == minting);
        let random = &mut state.random;
        let cid = minter.unwrap().mint(|bytes| random.fill(bytes)).unwrap();
        let cid = ConnectionId::new(&cid);
        state.fresh.push(cid);
        cid
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let state = self.0.lock().unwrap();
        let own = state.minters.iter().any(|minter| minter.owns(cid));
        (own || state.lax).then_some(()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        Some(self.0.lock().unwrap().lifetime)
    }
}

pub(crate) const CID_LEN: usize = 17;
/// Longer than the idle timeout: see [`crate::lifetime`].
pub(crate) const CID_LIFETIME: Duration = Duration::from_millis(8500);
