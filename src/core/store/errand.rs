//! Work on the cache device that a thread waits for, and not for ever: a thread of the
//! library does it, and goes on with it when nobody waits any more.

use super::owed::Owed;
use super::{Object, Store, Trust};
use crate::error::{Errno, Error, Result};
use crate::workers::{Awaited, Job, Workers};
use std::sync::Arc;
use std::time::Instant;

/// What is to be done.
pub(super) struct Errand(Box<dyn FnOnce() + Send>);

impl Job for Errand {
    fn run(self) {
        (self.0)();
    }
}

/// What is said where the device has not answered in time.
pub(crate) fn too_late() -> Error {
    Error::new(Errno::TIMEDOUT, "the cache device does not answer")
}

/// The threads: none before the first errand.
pub(super) fn workers() -> Workers<Errand> {
    Workers::new("cachefs-store", crate::limits::ERRANDS_MAX)
}

impl Object {
    /// Has something of it done that may have to wait for the device: see
    /// [`Store::errand`].
    pub(crate) fn errand<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let object = Arc::clone(self);
        let deadline = self.store.health.hangs_at(Instant::now());
        self.store.errand(deadline, move |_| work(&object))?
    }
}

impl Store {
    /// Stores something to mapped pages, within the limit of the device. ETIMEDOUT: it is done
    /// once the device answers.
    pub(crate) fn gently(
        self: &Arc<Self>,
        work: impl FnOnce(&Store) + Send + 'static,
    ) -> Result<()> {
        if self.health.trust() != Trust::Whole {
            let store = Arc::downgrade(self);
            self.owe(Owed::Other(Box::new(move || {
                if let Some(store) = store.upgrade() {
                    work(&store);
                }
            })));
            return Err(too_late());
        }
        let deadline = self.health.hangs_at(Instant::now());
        self.errand(deadline, |store| work(store))
    }

    /// Has something done that may have to wait for the device.
    pub(super) fn send(self: &Arc<Self>, work: impl FnOnce(&Arc<Store>) + Send + 'static) {
        let store = Arc::clone(self);
        let errand = Errand(Box::new(move || work(&store)));
        if let Err(errand) = self.errands.submit(errand) {
            // No thread is to be had, so this one has to wait.
            errand.run();
        }
    }

    /// Has something done that may have to wait for the device, and waits for it until
    /// `deadline`. ETIMEDOUT: the device does not answer; what was begun goes on by itself,
    /// and its result is dropped.
    pub(super) fn errand<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Instant,
        work: impl FnOnce(&Arc<Store>) -> T + Send + 'static,
    ) -> Result<T> {
        if self.health.trust() != Trust::Whole {
            return Err(too_late());
        }
        let begun = Instant::now();
        let awaited = Awaited::new();
        let there = Arc::clone(&awaited);
        self.send(move |store| there.put(work(store)));
        awaited.wait_until(deadline).ok_or_else(|| {
            if self.health.hangs_at(begun) <= Instant::now() {
                self.health.hung(begun);
            }
            too_late()
        })
    }
}
