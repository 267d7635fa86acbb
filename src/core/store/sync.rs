//! Epochs: what was stored is brought to the device, beside serving. Each takes the
//! objects that have changed since the last one began.
//!
//! The files of an object that waits for it are kept open: an error of the device, met
//! while the kernel wrote their pages, is told to descriptors that were open then. That
//! also keeps evictors of other processes away, until the next epoch; the own one has
//! it let go, but for the one that is being synced.

use super::layout::{Geometry, Header, Regions};
use super::{Bitmap, Object, Store};
use crate::error::{Context, Errno, Result};
use crate::ids::Key;
use crate::io::Disk;
use crate::limits::{SYNC_AT_CLOSE_MS, SYNC_BYTES_PER_MS, SYNC_WORDS_MAX, UNSYNCED_OBJECTS_MAX};
use crate::sys;
use crate::upkeep::{Chore, Reminder, Upkeep};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The files of an object.
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) nonce: u64,
    regions: Regions,
    geometry: Geometry,
    data: Arc<OwnedFd>,
    /// Holds the shared lock that keeps evictors of other processes away.
    pub(super) metadata: OwnedFd,
    /// It waits to be synced.
    waits: AtomicBool,
    /// Its names have been synced.
    named: AtomicBool,
    /// As in [`Mapped::map`](crate::sys::Mapped::map).
    is_elsewhere: bool,
}

impl Stored {
    pub(super) fn new(
        store: &Store,
        header: &Header,
        data: &Arc<OwnedFd>,
        metadata: OwnedFd,
    ) -> Self {
        Self {
            key: header.identity.key(),
            nonce: header.nonce,
            regions: header.regions(),
            geometry: header.geometry(),
            data: Arc::clone(data),
            metadata,
            waits: AtomicBool::new(false),
            named: AtomicBool::new(false),
            is_elsewhere: store.elsewhere(),
        }
    }

    /// The metadata file, which is locked against evictors.
    pub(super) fn metadata(&self) -> &OwnedFd {
        &self.metadata
    }

    pub(super) fn bitmap(&self) -> Result<Bitmap> {
        Bitmap::map(self.metadata.as_fd(), self.regions, self.is_elsewhere)
    }
}

/// The right to change durable bits, against those who have opened the metadata file
/// for themselves: a lock of the second byte (the first is the users').
pub(super) struct DurableLock<'a>(BorrowedFd<'a>);

impl<'a> DurableLock<'a> {
    const RANGE: (u64, u64) = (1, 1);

    /// EAGAIN if somebody else has it.
    pub(super) fn take(metadata: BorrowedFd<'a>) -> std::result::Result<Self, Errno> {
        sys::lock_range(metadata, Self::RANGE, true)?;
        Ok(Self(metadata))
    }
}

impl Drop for DurableLock<'_> {
    fn drop(&mut self) {
        if let Err(errno) = sys::lock_range(self.0, Self::RANGE, false) {
            tracing::warn!("an object stays locked until it is closed: {errno}");
        }
    }
}

/// Objects that wait to be synced.
pub(super) struct Unsynced {
    interval: Duration,
    lists: Mutex<Lists>,
    reminder: OnceCell<Reminder>,
}

struct Lists {
    /// For the next epoch.
    next: Vec<Arc<Stored>>,
    /// What is left of the one that is under way.
    epoch: Vec<Arc<Stored>>,
    /// The cache is closed.
    is_over: bool,
}

impl Unsynced {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            lists: Mutex::new(Lists {
                next: Vec::with_capacity(UNSYNCED_OBJECTS_MAX),
                epoch: Vec::with_capacity(UNSYNCED_OBJECTS_MAX),
                is_over: false,
            }),
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
        let mut lists = self.lists.lock();
        if lists.is_over || lists.next.len() == UNSYNCED_OBJECTS_MAX {
            return object.waits.store(false, Ordering::Release);
        }
        lists.next.push(Arc::clone(object));
        let count = lists.next.len();
        drop(lists);
        let reminder = self.reminder.get().expect("it was begun at the open");
        if count == UNSYNCED_OBJECTS_MAX {
            reminder.now();
        } else if count == 1 {
            reminder.at(Instant::now() + self.interval);
        }
    }

    /// Takes one out of the epoch, and begins the next one where that is over.
    fn take(&self) -> Option<Arc<Stored>> {
        let lists = &mut *self.lists.lock();
        if lists.epoch.is_empty() {
            std::mem::swap(&mut lists.epoch, &mut lists.next);
        }
        lists.epoch.pop()
    }

    /// Whether nothing is left of the epoch.
    fn is_done(&self) -> bool {
        self.lists.lock().epoch.is_empty()
    }

    /// Takes all out, and no more in.
    fn end(&self) -> Vec<Arc<Stored>> {
        let lists = &mut *self.lists.lock();
        lists.is_over = true;
        let mut all = std::mem::take(&mut lists.epoch);
        all.append(&mut lists.next);
        all
    }

    /// Takes out those of one object.
    fn forget(&self, nonce: u64) -> Vec<Arc<Stored>> {
        let lists = &mut *self.lists.lock();
        let is_it = |one: &mut Arc<Stored>| one.nonce == nonce;
        let mut out: Vec<_> = lists.next.extract_if(.., is_it).collect();
        out.extend(lists.epoch.extract_if(.., is_it));
        out
    }
}

impl Object {
    /// Something of it was published.
    pub(super) fn changed(&self) {
        // Swapped also if it waits already: whoever takes it out sees what was
        // published before.
        self.stored.wait(&self.store);
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
}

impl Syncer {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        Self {
            store: Arc::downgrade(store),
        }
    }

    /// Has an object outlive a crash of the host as it is now.
    fn sync(&self, store: &Store, object: &Arc<Stored>) {
        // From here on, what is published has it wait again.
        object.waits.swap(false, Ordering::AcqRel);
        match object.sync(store) {
            Ok(Synced::All) => {}
            Ok(Synced::Busy | Synced::InPart) => object.wait(store),
            Err(error) => {
                store.health.failed(&error);
                store.discard(object.key, object.nonce);
            }
        }
    }
}

/// How much of an object has become durable.
enum Synced {
    All,
    /// There is more.
    InPart,
    /// Somebody takes chunks of it back just now.
    Busy,
}

impl Stored {
    /// The order is what makes a durable bit believable, wherever one is found: first
    /// the bytes are on the device, then it is set. Whoever takes a chunk back, against
    /// whom the lock is, goes the other way.
    fn sync(&self, store: &Store) -> Result<Synced> {
        let disk = &store.disk;
        let Ok(_lock) = DurableLock::take(self.metadata.as_fd()) else {
            return Ok(Synced::Busy);
        };
        let bitmap = self.bitmap()?;
        let unsynced = bitmap.unsynced(SYNC_WORDS_MAX);
        if !unsynced.is_empty() {
            if let Err(errno) = disk.sync(self.data.as_fd()) {
                // The kernel takes its pages for clean, and may read others at any time.
                store.unsealed(self.key, self.nonce, || bitmap.keep_only_durable());
                return Err(errno).context(|| "sync a cached file");
            }
            if unsynced.is_unsound {
                let synced = disk.sync(self.metadata.as_fd());
                synced.context(|| "sync the metadata of a cached file")?;
            }
            if store.trusts_durable {
                let times = rustix::fs::fstat(&self.metadata);
                let fresh = bitmap.set_durable(&unsynced);
                store.counters.chunks_durable.add(fresh);
                if let Ok(times) = times {
                    self.keep_times(&times);
                }
            }
        }
        let synced = disk.sync(self.metadata.as_fd());
        synced.context(|| "sync the metadata of a cached file")?;
        if !self.named.load(Ordering::Relaxed) {
            store.sync_names(disk, self.key)?;
            self.named.store(true, Ordering::Relaxed);
        }
        Ok(match unsynced.is_all || !store.trusts_durable {
            true => Synced::All,
            false => Synced::InPart,
        })
    }

    /// Changes through a mapping are uses to the file system, and not to eviction.
    fn keep_times(&self, was: &rustix::fs::Stat) {
        let time = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
        let times = rustix::fs::Timestamps {
            last_access: time(was.st_atime, was.st_atime_nsec as _),
            last_modification: time(was.st_mtime, was.st_mtime_nsec as _),
        };
        if let Err(errno) = rustix::fs::futimens(&self.metadata, &times) {
            tracing::debug!("cannot set the times of metadata: {errno}");
        }
    }

    fn wait(self: &Arc<Self>, store: &Store) {
        if let Some(unsynced) = &store.unsynced
            && !self.waits.swap(true, Ordering::AcqRel)
        {
            unsynced.enter(self);
        }
    }
}

impl Store {
    /// Has the names of the objects of a bucket outlive a crash of the host.
    fn sync_names(&self, disk: &Disk, key: Key) -> Result<()> {
        let bucket = key.bucket();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = self.openat(&bucket, flags);
        let synced = directory.and_then(|directory| disk.sync(directory.as_fd()));
        let synced = synced.and_then(|()| disk.sync(self.directory.objects.as_fd()));
        match synced {
            // A file system that syncs no directories.
            Err(Errno::INVAL) => Ok(()),
            synced => synced.context(|| format!("sync the directory {bucket}")),
        }
    }
}

impl Chore for Syncer {
    fn work(&mut self, _: &AtomicBool) -> Option<Instant> {
        let store = self.store.upgrade()?;
        let unsynced = store.unsynced.as_ref()?;
        let object = unsynced.take()?;
        self.sync(&store, &object);
        if !unsynced.is_done() {
            return Some(Instant::now());
        }
        store.counters.epochs.add(1);
        None
    }

    fn finish(&mut self, deadline: Instant) {
        let Some(store) = self.store.upgrade() else {
            return;
        };
        let left = store.unsynced.as_ref().map(Unsynced::end);
        let Some(objects) = left.filter(|left| !left.is_empty()) else {
            return;
        };
        // Nobody likes to wait for what can as well be verified later.
        let deadline = deadline.min(Instant::now() + Duration::from_millis(SYNC_AT_CLOSE_MS));
        let mut skipped = 0;
        for object in objects.into_iter().rev() {
            let bytes = object
                .bitmap()
                .map(|bitmap| bitmap.bytes_unsynced(object.geometry));
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
