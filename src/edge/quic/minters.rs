use std::io;
use std::sync::{Arc, Mutex};

use crate::cid::{Cid, CidConfig, Minter, MinterError};
use crate::edge::cid_keys::{CidsInForce, SharedCidKeys};

/// What one endpoint mints its connection IDs with and knows them by, in every epoch in force.
///
/// It follows [`SharedCidKeys`]. The minter of an epoch stays the same for as long as the epoch's key is
/// in force, so its counter never starts over; a new one starts at a random place.
#[derive(Debug)]
pub(crate) struct Minters {
    shared: SharedCidKeys,
    make: Make,
    state: Mutex<State>,
}

/// Makes a minter for the endpoint's share of the connection IDs of a configuration, from a random
/// start.
pub(crate) struct Make(Box<MakeFn>);

type MakeFn = dyn Fn(CidConfig, u128) -> Result<Minter, MinterError> + Send + Sync;

#[derive(Debug)]
struct State {
    seen: Arc<CidsInForce>,
    /// In the order of the epochs of `seen`.
    minters: Vec<Named>,
}

/// A minter with the name of its epoch's key.
type Named = ([u8; 8], Minter);

/// Why there is no connection ID: nonces, or random bytes, are exhausted.
#[derive(Debug)]
pub(super) struct NoCid;

impl Minters {
    /// Starts with what is in force now.
    ///
    /// # Errors
    /// Those of `make`, and of the system's random source.
    pub(crate) fn new(shared: SharedCidKeys, make: Make) -> io::Result<Self> {
        let seen = shared.load();
        let minters = make.all(&seen, &mut Vec::new())?;
        Ok(Self {
            shared,
            make,
            state: Mutex::new(State { seen, minters }),
        })
    }

    /// Bytes of every connection ID; a rotation keeps it.
    pub(super) fn cid_len(&self) -> usize {
        self.with(|state| state.minters[0].1.config().cid_len())
    }

    /// Makes a connection ID of the epoch in which new ones are issued.
    pub(super) fn mint(&self) -> Result<Cid, NoCid> {
        let mut failed = false;
        let cid = self.with(|state| {
            let at = state.seen.keys.place_of(state.seen.minting);
            let random = |bytes: &mut [u8]| failed |= aws_lc_rs::rand::fill(bytes).is_err();
            state.minters[at].1.mint(random)
        });
        match cid {
            Ok(cid) if !failed => Ok(cid),
            _ => Err(NoCid),
        }
    }

    /// Whether a connection ID of any epoch in force is this endpoint's.
    pub(super) fn owns(&self, cid: &[u8]) -> bool {
        self.with(|state| state.minters.iter().any(|(_, minter)| minter.owns(cid)))
    }

    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("no holder panics");
        let now = self.shared.load();
        if !Arc::ptr_eq(&now, &state.seen) {
            // Keys that no minter can be made for are of another form, which nobody puts in force.
            if let Ok(minters) = self.make.all(&now, &mut state.minters) {
                state.minters = minters;
                state.seen = now;
            }
        }
        then(&mut state)
    }
}

impl Make {
    pub(crate) fn new(
        make: impl Fn(CidConfig, u128) -> Result<Minter, MinterError> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(make))
    }

    /// Takes over minters of keys that stay in force, and makes the others.
    fn all(&self, cids: &CidsInForce, before: &mut Vec<Named>) -> io::Result<Vec<Named>> {
        let mut new = Vec::new();
        for epoch in cids.keys.epochs() {
            if !before.iter().any(|(key, _)| *key == epoch.key) {
                let mut start = [0; 16];
                aws_lc_rs::rand::fill(&mut start).map_err(io::Error::other)?;
                let minter = (self.0)(epoch.config.clone(), u128::from_be_bytes(start));
                let minter = minter.map_err(io::Error::other)?;
                new.push((epoch.key, minter));
            }
        }
        before.append(&mut new);
        let mut all = Vec::new();
        for epoch in cids.keys.epochs() {
            let known = before.iter().position(|(key, _)| *key == epoch.key);
            all.extend(known.map(|at| before.swap_remove(at)));
        }
        Ok(all)
    }
}

impl std::fmt::Debug for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Make(..)")
    }
}
