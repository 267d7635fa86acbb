//! Objects that were opened a moment ago, kept open for the next one who wants them:
//! finding an object on disk takes some ten system calls, finding it here none.
//!
//! An object that is open cannot be evicted, by other processes neither. So there are
//! few of them, for a short time, and whoever finds no room lets them go at once.

use super::{Object, Store};
use crate::ids::Key;
use crate::limits::WARM_OBJECTS_MAX;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(super) struct Warm {
    objects: Cache<Key, Arc<Object>>,
    /// Somebody will let them go.
    is_timed: AtomicBool,
}

impl Default for Warm {
    fn default() -> Self {
        Self {
            objects: Cache::new(WARM_OBJECTS_MAX),
            is_timed: AtomicBool::new(false),
        }
    }
}

impl Store {
    /// Keeps an object open for a moment. True: have `cool` called after
    /// `WARM_MS`, which nobody has been asked to yet.
    pub(crate) fn warm(&self, object: &Arc<Object>) -> bool {
        // To close a file on a file system that may hang is left to others.
        if self.elsewhere() || object.is_broken() {
            return false;
        }
        let known = self.warm.objects.get(&object.key);
        if known.is_some_and(|known| Arc::ptr_eq(&known, object)) {
            return false;
        }
        self.warm.objects.insert(object.key, Arc::clone(object));
        !self.warm.is_timed.swap(true, Ordering::AcqRel)
    }

    /// Lets go of the objects that nobody uses, on a thread that may wait: the device frees
    /// those that have no name any more.
    pub(crate) fn cool_soon(self: &Arc<Self>) {
        self.send(|store| {
            store.cool();
        });
    }

    /// The same before the cache is closed, and waited for until `deadline`.
    pub(crate) fn cool_until(self: &Arc<Self>, deadline: Instant) {
        if let Err(error) = self.errand(deadline, |store| store.cool()) {
            tracing::warn!("objects of the cache stay open: {error}");
        }
    }

    /// Lets go of the objects that nobody uses. False: there were none.
    pub(crate) fn cool(&self) -> bool {
        self.warm.is_timed.store(false, Ordering::Release);
        let any = !self.warm.objects.is_empty();
        self.warm.objects.clear();
        any
    }
}
