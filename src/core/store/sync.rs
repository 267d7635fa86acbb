//! Epochs: what was stored is brought to the device, beside serving. Each takes the
//! objects that have changed since the last one began.
//!
//! The files of an object that waits for it are kept open: an error of the device, met
//! while the kernel wrote their pages, is told to descriptors that were open then. That
//! also keeps evictors of other processes away, until the next epoch; the own one has
//! it let go.

use super::layout::{Geometry, Header, Regions};
use super::{Bitmap, Object, Store};
use crate::error::{Error, Result, describe};
use crate::io::Disk;
use crate::limits::{SYNC_BYTES_PER_MS, UNSYNCED_OBJECTS_MAX};
use crate::upkeep::{Chore, Reminder, Upkeep};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The files of an object.
pub(super) struct Stored {
    nonce: u64,
    regions: Regions,
    geometry: Geometry,
    data: Arc<OwnedFd>,
    /// Holds the shared lock that keeps evictors of other processes away.
    metadata: OwnedFd,
    /// It waits to be synced.
    waits: AtomicBool,
}

impl Stored {
    pub(super) fn new(header: &Header, data: &Arc<OwnedFd>, metadata: OwnedFd) -> Self {
        Self {
            nonce: header.nonce,
            regions: header.regions(),
            geometry: header.geometry(),
            data: Arc::clone(data),
            metadata,
            waits: AtomicBool::new(false),
        }
    }

    /// The metadata file, which is locked against evictors.
    pub(super) fn metadata(&self) -> &OwnedFd {
        &self.metadata
    }

    fn bitmap(&self) -> Result<Bitmap> {
        Bitmap::map(self.metadata.as_fd(), self.regions)
    }
}

/// Objects that wait for the next epoch.
pub(super) struct Unsynced {
    interval: Duration,
    /// None once the cache is closed.
    objects: Mutex<Option<Vec<Arc<Stored>>>>,
    reminder: OnceCell<Reminder>,
}

impl Unsynced {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            objects: Mutex::new(Some(Vec::with_capacity(UNSYNCED_OBJECTS_MAX))),
            reminder: OnceCell::new(),
        }
    }

    /// Names the one that syncs.
    pub(super) fn begin(&self, upkeep: &Upkeep, syncer: Syncer) {
        let reminder = self.reminder.set(upkeep.add(syncer));
        assert!(reminder.is_ok(), "it is begun once");
    }

    /// Takes an object, if there is room for it.
    fn enter(&self, object: &Arc<Stored>) {
        let mut objects = self.objects.lock();
        let has_room = |list: &&mut Vec<_>| list.len() < UNSYNCED_OBJECTS_MAX;
        let Some(list) = objects.as_mut().filter(has_room) else {
            return object.waits.store(false, Ordering::Release);
        };
        list.push(Arc::clone(object));
        let count = list.len();
        drop(objects);
        let reminder = self.reminder.get().expect("it was begun at the open");
        if count == UNSYNCED_OBJECTS_MAX {
            reminder.now();
        } else if count == 1 {
            reminder.at(Instant::now() + self.interval);
        }
    }

    /// Takes all out; `for_good`: none comes in any more.
    fn take(&self, for_good: bool) -> Vec<Arc<Stored>> {
        let mut objects = self.objects.lock();
        let empty = (!for_good).then(|| Vec::with_capacity(UNSYNCED_OBJECTS_MAX));
        std::mem::replace(&mut *objects, empty).unwrap_or_default()
    }

    /// Takes out those of one object.
    fn forget(&self, nonce: u64) -> Vec<Arc<Stored>> {
        let mut objects = self.objects.lock();
        let list = objects.iter_mut().flatten();
        if !list.into_iter().any(|one| one.nonce == nonce) {
            return Vec::new();
        }
        let list = objects.as_mut().expect("it has one");
        list.extract_if(.., |one| one.nonce == nonce).collect()
    }
}

impl Object {
    /// Something of it was published.
    pub(super) fn changed(&self) {
        // Swapped also if it waits already: whoever takes it out sees what was
        // published before.
        if let Some(unsynced) = &self.store.unsynced
            && !self.stored.waits.swap(true, Ordering::AcqRel)
        {
            unsynced.enter(&self.stored);
        }
    }
}

impl Store {
    /// Keeps an object open no longer only to sync it.
    pub(super) fn forget_unsynced(&self, nonce: u64) {
        let unsynced = self.unsynced.as_ref();
        let objects = unsynced.map_or_else(Vec::new, |unsynced| unsynced.forget(nonce));
        for object in objects {
            object.waits.store(false, Ordering::Release);
        }
    }
}

/// The chore.
pub(super) struct Syncer {
    store: Weak<Store>,
    disk: Disk,
    /// What is left of the epoch.
    epoch: Vec<Arc<Stored>>,
}

impl Syncer {
    pub(super) fn new(store: &Arc<Store>, disk: Disk) -> Self {
        Self {
            store: Arc::downgrade(store),
            disk,
            epoch: Vec::new(),
        }
    }

    fn sync(&self, store: &Store, object: &Stored) {
        // From here on, what is published has it wait again.
        object.waits.swap(false, Ordering::AcqRel);
        let data = self.disk.sync(object.data.as_fd());
        let synced = data.and_then(|()| self.disk.sync(object.metadata.as_fd()));
        if let Err(errno) = synced {
            let text = format!("sync a cached file: {}", describe(errno));
            store.health.failed(&Error::new(errno, text));
        }
    }
}

impl Chore for Syncer {
    fn work(&mut self, _: &AtomicBool) -> Option<Instant> {
        let store = self.store.upgrade()?;
        if self.epoch.is_empty() {
            self.epoch = store.unsynced.as_ref()?.take(false);
        }
        let object = self.epoch.pop()?;
        self.sync(&store, &object);
        if !self.epoch.is_empty() {
            return Some(Instant::now());
        }
        store.counters.epochs.add(1);
        None
    }

    fn finish(&mut self, deadline: Instant) {
        let Some(store) = self.store.upgrade() else {
            return;
        };
        if let Some(unsynced) = &store.unsynced {
            self.epoch.extend(unsynced.take(true));
        }
        if self.epoch.is_empty() {
            return;
        }
        let mut skipped = 0;
        while let Some(object) = self.epoch.pop() {
            let bytes = object.bitmap().map(|bitmap| bitmap.bytes(object.geometry));
            let left = deadline.saturating_duration_since(Instant::now());
            let can_do = left.as_millis() as u64 * SYNC_BYTES_PER_MS;
            if bytes.is_ok_and(|bytes| bytes <= can_do) {
                self.sync(&store, &object);
            } else {
                skipped += 1;
            }
        }
        if skipped > 0 {
            tracing::info!("{skipped} cached files were not synced: there was no time");
        } else {
            store.counters.epochs.add(1);
        }
    }
}
