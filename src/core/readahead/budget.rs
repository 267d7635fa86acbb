//! How much may be ahead: bytes over all files of a cache, and reads at one origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes that were asked for ahead and that nobody has read yet, over all files.
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A limit of 0 lets nothing be ahead.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Whether anything may ever be ahead.
    pub(super) fn is_open(&self) -> bool {
        self.limit > 0
    }

    /// Takes `bytes` for a file that has `own` already. No file gets more than what is
    /// left for the others, so that one cannot take everything.
    pub(super) fn take(&self, bytes: u64, own: u64) -> bool {
        let grant = |used: u64| {
            let left = self.limit.checked_sub(used.checked_add(bytes)?)?;
            (own == 0 || own <= left).then_some(used + bytes)
        };
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, grant).is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Places for reads ahead where only so many reads can be under way: some are left for
/// readers.
pub(crate) struct Places {
    limit: u32,
    taken: AtomicU32,
}

/// One of them, until it is dropped.
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: AtomicU32::new(0),
        })
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let grant = |taken| (taken < self.limit).then_some(taken + 1);
        let order = Ordering::Relaxed;
        self.taken.fetch_update(order, order, grant).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_granted_up_to_the_limit_and_a_file_leaves_as_much_as_it_has() {
        let budget = Budget::new(10);
        assert!(budget.take(4, 0));
        assert!(budget.take(1, 4), "5 are left");
        assert!(!budget.take(1, 5), "4 would be left");
        assert!(budget.take(5, 0), "another file");
        assert!(!budget.take(1, 0));
        assert_eq!(budget.used(), 10);
        budget.give_back(1);
        assert!(budget.take(1, 0));
    }

    #[test]
    fn a_limit_of_nothing_grants_nothing() {
        let budget = Budget::new(0);
        assert!(!budget.is_open());
        assert!(!budget.take(1, 0));
    }

    #[test]
    fn a_place_comes_back_when_it_is_dropped() {
        let places = Places::new(1);
        let place = places.take();
        assert!(place.is_some());
        assert!(places.take().is_none());
        drop(place);
        assert!(places.take().is_some());
    }
}
