use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use quinn::TokenStore;

/// Address tokens of one node, the newest [`TOKENS`]; each is used once.
#[derive(Default)]
pub(super) struct Tokens(Mutex<VecDeque<Bytes>>);

impl Tokens {
    pub(super) fn is_empty(&self) -> bool {
        self.kept().is_empty()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.0.lock().expect("no holder panics")
    }
}

impl TokenStore for Tokens {
    fn insert(&self, _: &str, token: Bytes) {
        let mut kept = self.kept();
        if kept.len() == TOKENS {
            kept.pop_front();
        }
        kept.push_back(token);
    }

    fn take(&self, _: &str) -> Option<Bytes> {
        self.kept().pop_back()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

const TOKENS: usize = 8;
