//! Room in the cache directory: reserved, given back, made by evicting.

use super::layout::Header;
use super::owed::Owed;
use super::slots::Held;
use super::space::Need;
use super::sync::Stored;
use super::trim::Alone;
use super::{Lock, Object, Pulse, Store, on_disk, read_header};
use crate::error::{Errno, Error, Result};
use crate::evict::{Entry, Handle, Level, Room, Standing};
use crate::ids::Key;
use crate::limits::{
    BLOCK_BYTES, CULL_MS_MAX, CULL_PAUSE_MS, EVICT_SKIPS_MAX, EVICTOR_WAIT_MS_MAX, ROOM_TRIES_MAX,
};
use crate::sys;
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::OFlags;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Inodes that an object takes.
const OBJECT_INODES: u64 = 2;

/// What becomes of asking for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Given,
    Refused,
    /// There is no room now: the rest is in use, or it takes its time to make some.
    Full,
    /// To write down that it is taken might mean to wait for the device: see `pulse`.
    Asleep,
}

/// What is kept of an object until it is counted.
pub(super) struct Closed {
    header: Header,
    stored: Arc<Stored>,
}

/// Those who make room for somebody who waits for it.
#[derive(Default)]
pub(super) struct Making(Mutex<Makers>);

#[derive(Default)]
struct Makers {
    count: usize,
    /// Since when none of them has come to an end.
    since: Option<Instant>,
}

/// One of them.
struct Maker(Arc<Making>);

impl Making {
    /// Begins to be one of them, who is waited for until then. None: nobody waits any more
    /// for those that are.
    fn begin(self: &Arc<Self>) -> Option<(Maker, Instant)> {
        let now = Instant::now();
        let mut makers = self.0.lock();
        let deadline = Pulse::late_at(*makers.since.get_or_insert(now));
        if deadline <= now {
            return None;
        }
        makers.count += 1;
        Some((Maker(Arc::clone(self)), deadline))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let mut makers = self.0.0.lock();
        makers.count -= 1;
        makers.since = (makers.count > 0).then(Instant::now);
    }
}

/// Why evicting beside the work was begun: it ends where that has ended.
#[derive(Clone, Copy)]
struct Needs {
    of_limits: bool,
    of_space: bool,
}

/// What the evictor has made of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freed {
    /// It is as it was: somebody uses it.
    Nothing,
    /// Its cold chunks are gone.
    Part,
    /// All of it is gone.
    All,
}

/// The right to evict: of one thread of one process.
pub(super) struct Evictor<'a> {
    process: Option<Held<'a>>,
    thread: Option<MutexGuard<'a, ()>>,
}

impl Drop for Evictor<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        // Whoever waits longest is next: the one that evicts beside the work comes again
        // at once.
        if let Some(thread) = self.thread.take() {
            MutexGuard::unlock_fair(thread);
        }
    }
}

impl Store {
    /// Room for so much more of an object. For whoever has just found that the device takes
    /// stores for this chunk: see `pulse`. Whoever evicts for it waits for the device, but
    /// not for long: library threads come here.
    pub(super) fn reserve(self: &Arc<Self>, object: &Object, chunk: u64, bytes: u64) -> Grant {
        let Some(handle) = object.account else {
            return Grant::Refused;
        };
        if !self.space.admits(bytes, 0, &self.directory.root) {
            self.keeper.ring();
            return Grant::Refused;
        }
        for tried in 0..ROOM_TRIES_MAX {
            // Whoever has just evicted may have waited.
            if tried > 0 && self.pulse.age_for(object, chunk).is_none() {
                return Grant::Asleep;
            }
            match self.accounts.reserve(handle, on_disk(bytes)) {
                Room::Granted => {
                    if self.accounts.level() == Level::High {
                        self.keeper.ring();
                    } else {
                        self.keeper.ring_later();
                    }
                    return Grant::Given;
                }
                Room::Refused => return Grant::Refused,
                full if self.have_room_made(full, handle, on_disk(bytes)) => {}
                _ => return Grant::Full,
            }
        }
        Grant::Full
    }

    /// Has room made for somebody who waits, but not for long. False: there is none yet.
    fn have_room_made(self: &Arc<Self>, full: Room, handle: Handle, bytes: u64) -> bool {
        let Some((maker, deadline)) = self.making.begin() else {
            return false;
        };
        let made = self.errand(deadline, move |store| {
            let _maker = maker;
            match full {
                Room::OverQuota => store.make_room_beside(handle, bytes),
                _ => store.make_room(bytes, 0),
            }
        });
        made.unwrap_or(false)
    }

    pub(super) fn release(&self, object: &Object, bytes: u64) {
        if let Some(handle) = object.account {
            self.owe(Owed::Release(handle, on_disk(bytes)));
        }
    }

    /// An object is not in use any more in this process. If nobody else uses it, what it
    /// takes is counted: less than was written where that was compressed or given up.
    pub(super) fn closed(&self, object: &Object) {
        if self.uncounted(&object.header).is_some() {
            let closed = Closed {
                header: object.header.clone(),
                stored: Arc::clone(&object.stored),
            };
            self.owe(Owed::Count(Box::new(closed)));
        }
    }

    /// The slot of an object that is to be counted: not the one that it had when it was
    /// opened, which may have been damaged.
    fn uncounted(&self, header: &Header) -> Option<Handle> {
        self.accounts.uncounted(header.identity.key(), header.nonce)
    }

    /// Counts it, unless somebody else uses it.
    pub(super) fn count_closed(&self, closed: &Closed) {
        let (header, metadata) = (&closed.header, closed.stored.metadata());
        let Some(handle) = self.uncounted(header) else {
            return;
        };
        // What is left is counted by the next one that closes it.
        let Ok(_bucket) = self.lock_bucket_within(header.identity.key().0[0], 0) else {
            return;
        };
        if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
            return;
        }
        if let Some(found) = self.found(header, metadata) {
            self.accounts.put_right(handle, &found);
        }
        // Whoever gets the bucket next must find it unlocked.
        if let Err(errno) = sys::try_lock(metadata.as_fd(), Lock::Shared) {
            tracing::warn!("an object stays locked until it is closed: {errno}");
        }
    }

    /// Whether there is room for one more object as it is.
    pub(crate) fn has_room_for_object(&self) -> bool {
        self.accounts.has_room(BLOCK_BYTES, 1) == Room::Granted
    }

    /// Has room for one more object, whose metadata takes `bytes`. EBUSY: the rest is in use,
    /// or it takes its time to make some; EAGAIN: nothing is stored now.
    pub(super) fn make_room_for_object(&self, bytes: u64) -> Result<()> {
        if !self
            .space
            .admits(bytes, OBJECT_INODES, &self.directory.root)
        {
            self.keeper.ring();
            let text = "the file system of the cache has too little free";
            return Err(Error::new(Errno::AGAIN, text));
        }
        for _ in 0..ROOM_TRIES_MAX {
            match self.accounts.has_room(on_disk(bytes), 1) {
                Room::Granted => return Ok(()),
                Room::Refused | Room::OverQuota => break,
                Room::Full if self.make_room(on_disk(bytes), 1) => {}
                Room::Full => {
                    let text = "there is no room for one more object: all are in use";
                    return Err(Error::new(Errno::BUSY, text));
                }
            }
        }
        Err(match self.waits_for() {
            Some(text) => Error::new(Errno::AGAIN, text),
            None => Error::new(Errno::BUSY, "others are faster to take room"),
        })
    }

    /// The right to evict, once whoever has it is done. None: that takes too long.
    pub(super) fn evictor(&self) -> Option<Evictor<'_>> {
        let deadline = Instant::now() + Duration::from_millis(EVICTOR_WAIT_MS_MAX);
        let Some(thread) = self.evicting.try_lock_until(deadline) else {
            self.counters.eviction_waits.add(1);
            return None;
        };
        loop {
            if let Some(process) = self.membership.evictor() {
                return Some(Evictor {
                    process: Some(process),
                    thread: Some(thread),
                });
            }
            if Instant::now() >= deadline {
                self.counters.eviction_waits.add(1);
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Evicts until there is room for so much. False: the rest is in use, or another
    /// one evicts.
    fn make_room(&self, bytes: u64, objects: u64) -> bool {
        let Some(_evictor) = self.evictor() else {
            return false;
        };
        self.pay_accounts();
        let mut skipped = 0;
        while skipped < EVICT_SKIPS_MAX {
            match self.accounts.has_room(bytes, objects) {
                Room::Granted => return true,
                Room::Refused | Room::OverQuota => return false,
                Room::Full => {}
            }
            let Some(entry) = self.accounts.victim(|key| !self.is_open(key)) else {
                // What is only kept open for its next reader can be let go.
                if self.cool() {
                    // Until it is counted, it is as in use.
                    self.pay_accounts();
                    skipped += 1;
                    continue;
                }
                return false;
            };
            skipped += usize::from(!self.evict(&entry));
        }
        false
    }

    /// Evicts objects of the same origin until that has room for so much. False: the
    /// rest is in use, or another one evicts.
    fn make_room_beside(&self, handle: Handle, bytes: u64) -> bool {
        let Some(_evictor) = self.evictor() else {
            return false;
        };
        let mut skipped = 0;
        while skipped < EVICT_SKIPS_MAX {
            if self.accounts.is_within_quota(handle, bytes) {
                return true;
            }
            let may_go = |key| !self.is_open(key);
            let Some(entry) = self.accounts.victim_beside(handle, may_go) else {
                return false;
            };
            skipped += usize::from(!self.evict(&entry));
        }
        false
    }

    /// See [`crate::evict::Accounts::pin`]. Whoever pins has it open, so that nobody is
    /// evicting it.
    pub(super) fn pin(&self, handle: Handle, pinned: bool) -> std::result::Result<(), Errno> {
        self.accounts.pin(handle, pinned)
    }

    /// Whether an object is kept from being evicted.
    pub(super) fn is_pinned(&self, handle: Handle) -> bool {
        self.accounts.is_pinned(handle)
    }

    /// Limits what objects of an origin may take: see its options.
    pub(crate) fn limit_origin(&self, origin: &[u8], quota_bytes: u64, share_percent: u64) {
        self.accounts
            .limit_origin(origin, quota_bytes, share_percent);
    }

    /// Whether this process has an object open, or is about to.
    fn is_open(&self, key: Key) -> bool {
        match self.part_of(key).try_lock() {
            Some(open) => open.get(key).is_some(),
            None => true,
        }
    }

    /// Evicts beside the work: from the marks at which that begins to those at which it
    /// ends.
    pub(super) fn cull(&self, over: &dyn Fn() -> bool) {
        self.space.look(&self.directory.root);
        let need = Needs {
            of_limits: self.accounts.level() == Level::High,
            of_space: self.space.need() == Need::Much,
        };
        if !(need.of_limits || need.of_space)
            || self.accounts.table().standing() == Standing::Unknown
        {
            return;
        }
        let mut skipped = 0;
        while skipped < EVICT_SKIPS_MAX && !over() {
            // Who waits for room comes in between, also one of another process.
            std::thread::sleep(Duration::from_millis(CULL_PAUSE_MS));
            let Some(_evictor) = self.evictor() else {
                return;
            };
            let until = Instant::now() + Duration::from_millis(CULL_MS_MAX);
            while Instant::now() < until {
                if self.cull_one(need, &mut skipped).is_none() {
                    return;
                }
            }
        }
    }

    /// Evicts one object, or passes it over. None: there is no need to, or nothing more.
    fn cull_one(&self, need: Needs, skipped: &mut usize) -> Option<()> {
        let for_limits = need.of_limits && self.accounts.level() != Level::Low;
        let for_space = need.of_space && self.space.need() != Need::Nothing;
        if !for_limits && !for_space {
            return None;
        }
        let entry = self.accounts.victim(|key| !self.is_open(key))?;
        let freed = self.evict_some(&entry);
        match freed {
            Freed::Nothing => *skipped += 1,
            Freed::Part => {}
            Freed::All => self.counters.evictions_ahead.add(1),
        }
        if freed != Freed::Nothing && need.of_space {
            self.space.look(&self.directory.root);
        }
        (*skipped < EVICT_SKIPS_MAX).then_some(())
    }

    /// Makes some room, unless somebody uses the object: then its turn comes later.
    fn evict(&self, entry: &Entry) -> bool {
        self.evict_some(entry) != Freed::Nothing
    }

    /// Removes an object, or what is cold of it.
    fn evict_some(&self, entry: &Entry) -> Freed {
        let freed = self.try_evict(entry);
        match freed {
            Freed::Nothing => self.accounts.keep(entry),
            Freed::Part => self.counters.trims.add(1),
            Freed::All => {
                self.accounts.evicted(entry);
                self.counters.evictions.add(1);
            }
        }
        freed
    }

    fn try_evict(&self, entry: &Entry) -> Freed {
        let (key, nonce) = (entry.key, entry.nonce);
        self.forget_unsynced(nonce);
        let Ok(bucket) = self.lock_bucket_within(key.0[0], EVICTOR_WAIT_MS_MAX) else {
            return Freed::Nothing;
        };
        // Else another object has its key now.
        let is_same = self.accounts.table().get(entry.handle).is_some();
        let name = key.metadata_name();
        match self.openat(&name, OFlags::RDWR | OFlags::CLOEXEC) {
            Ok(metadata) => {
                if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
                    return Freed::Nothing;
                }
                let current = read_header(&metadata).ok().flatten();
                let is_it = |header: &&Header| header.nonce == nonce;
                if let Some(header) = current.as_ref().filter(is_it)
                    && is_same
                    && self.is_very_large(entry)
                {
                    let alone = Alone {
                        header,
                        metadata: &metadata,
                        bucket: &bucket,
                    };
                    if self.trim(entry, alone) {
                        return Freed::Part;
                    }
                }
                let other = current
                    .map(|header| header.nonce)
                    .filter(|one| *one != nonce);
                if other.is_none() || is_same {
                    self.unlink(&name);
                }
                if let Some(other) = other.filter(|_| is_same) {
                    tracing::warn!("the slot of {name} was damaged");
                    self.unlink(&key.data_name(other));
                }
            }
            // An object without a slot may be the one that this slot was of.
            Err(Errno::NOENT) if is_same => {
                self.accounts.table().died().store(1, Ordering::Release);
                self.keeper.ring();
            }
            Err(Errno::NOENT) => {}
            Err(errno) => {
                tracing::debug!("cannot evict {name}: {errno}");
                return Freed::Nothing;
            }
        }
        self.unlink(&key.data_name(nonce));
        self.pulse.took();
        Freed::All
    }

    /// Trusts nothing of an object any more, whether or not it is open here.
    pub(super) fn discard(&self, key: Key, nonce: u64) {
        let open = self.part_of(key).lock().get(key);
        match open.filter(|object| object.header.nonce == nonce) {
            Some(object) => object.discard(),
            None => self.remove(key, nonce),
        }
    }

    /// Removes an object although it is in use: its users keep their handles.
    pub(super) fn remove(&self, key: Key, nonce: u64) {
        self.accounts.break_seal(key, nonce);
        self.forget_unsynced(nonce);
        let bucket = self.lock_bucket(key);
        if let Err(error) = &bucket {
            tracing::warn!("a damaged object stays in the directory: {error}");
            return;
        }
        let name = key.metadata_name();
        let current = self.openat(&name, OFlags::RDONLY | OFlags::CLOEXEC);
        let header = current
            .ok()
            .and_then(|file| read_header(&file).ok().flatten());
        if header.is_none_or(|header| header.nonce == nonce) {
            self.unlink(&name);
        }
        self.unlink(&key.data_name(nonce));
        self.accounts.forget(key, nonce);
    }
}
