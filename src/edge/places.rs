use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places of which at most a limit are taken at a time; the limit may change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<State>);

#[derive(Debug)]
struct State {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<State>);

impl Places {
    pub(crate) fn new(limit: u32) -> Self {
        Self(Arc::new(State {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(places(limit)),
        }))
    }

    /// Changes the limit. Under a lower one everybody keeps the place that they have.
    pub(crate) fn resize(&self, limit: u32) {
        self.0.limit.store(places(limit), Ordering::Relaxed);
    }

    /// Takes a place, if one is free.
    pub(crate) fn take(&self) -> Option<Place> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.0
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_before| Place(Arc::clone(&self.0)))
    }

    /// Whether more than half of the places are taken.
    pub(crate) fn crowded(&self) -> bool {
        let limit = self.0.limit.load(Ordering::Relaxed);
        self.0.taken.load(Ordering::Relaxed) > limit / 2
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

fn places(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_once_and_given_back() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }

    #[test]
    fn a_lower_limit_takes_no_place_away_and_gives_none() {
        let places = Places::new(3);
        let taken: Vec<_> = std::iter::repeat_with(|| places.take()).take(3).collect();
        places.resize(2);
        assert!(places.take().is_none());
        drop(taken);
        let again: Vec<_> = std::iter::repeat_with(|| places.take()).take(3).collect();
        assert_eq!(again.iter().flatten().count(), 2);
    }

    #[test]
    fn places_are_crowded_when_more_than_half_are_taken() {
        let places = Places::new(3);
        let _one = places.take();
        assert!(!places.crowded());
        let _two = places.take();
        assert!(places.crowded());
    }
}
