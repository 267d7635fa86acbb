//! The slot table and the directory are brought to agree, beside the work: after a
//! process has died, or when the table was lost, damaged, or left by another boot.
//!
//! Whoever makes an object enters it before there is a file of it, and whoever removes
//! one removes its files first. So what a dead process has left always has a slot, and
//! only a table that was lost needs a look at every file.

use super::layout::Header;
use super::list::{buckets, data_in, key_in, names, open_bucket, open_object};
use super::{Bitmap, Lock, STAT_BLOCK_BYTES, Store, newcomer, on_disk, read_header};
use crate::error::{Context, Errno, Error, Result};
use crate::evict::{Entry, Handle, Newcomer, Standing};
use crate::ids::Key;
use crate::limits::{BUSY_MS_MAX, KEEP_MS, QUIET_MS, RECOUNT_PAUSES_MAX, REPAIR_NAMES};
use crate::sys;
use rustix::fs::{AtFlags, Stat};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Objects that were entered, with the time of their metadata.
type Entered = Vec<(i64, Handle)>;

/// What brings table and directory to agree, a bucket at a time. For the keeper of the
/// table.
pub(super) struct Repair {
    /// Nobody knows when somebody has last looked.
    is_first: bool,
    /// Of somebody who has died.
    died: bool,
    /// Every metadata file is looked into.
    all: bool,
    step: Step,
    entered: Entered,
    /// What somebody used when it was looked at.
    in_use: Vec<Handle>,
    /// When it goes on.
    next: Instant,
}

enum Step {
    /// Tries before this one.
    Begin(u32),
    /// Names that are left, and the slots that there were.
    Buckets(Vec<String>, ByBucket),
    /// Slots that may have no file.
    Slots(ByBucket),
    Count(u32),
    Done,
}

impl Store {
    /// Whether somebody has to look.
    pub(super) fn needs_repair(&self) -> bool {
        let table = self.accounts.table();
        table.standing() == Standing::Unknown || table.died().load(Ordering::Acquire) != 0
    }
}

impl Repair {
    pub(super) fn new(is_first: bool) -> Self {
        Self {
            is_first,
            died: false,
            all: false,
            step: Step::Begin(0),
            entered: Entered::new(),
            in_use: Vec::new(),
            next: Instant::now(),
        }
    }

    /// When there is more to do.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// What has to be counted once nobody uses it, in case whoever does was just closing
    /// it and did not see that.
    pub(super) fn in_use(self) -> Vec<Handle> {
        self.in_use
    }

    /// Leaves it to others.
    pub(super) fn give_up(self, store: &Store) {
        if self.died {
            store.accounts.table().died().store(1, Ordering::Release);
        }
    }

    /// Does the next piece; whether it was the last one.
    pub(super) fn go_on(&mut self, store: &Store) -> bool {
        self.next = Instant::now();
        self.step = match std::mem::replace(&mut self.step, Step::Done) {
            Step::Begin(tries) => self.begin(store, tries),
            Step::Buckets(names, slots) => self.look_at_bucket(store, names, slots),
            Step::Slots(slots) => self.look_at_slots(store, slots),
            Step::Count(tries) => self.count(store, tries),
            Step::Done => Step::Done,
        };
        matches!(self.step, Step::Done)
    }

    fn begin(&mut self, store: &Store, tries: u32) -> Step {
        let table = store.accounts.table();
        self.died |= table.died().swap(0, Ordering::AcqRel) != 0;
        let is_known = || table.standing() == Standing::Known;
        // Also after a death: whoever is killed hardly ever is in the middle of a change,
        // and damage looks like somebody who died.
        if (self.is_first || self.died) && is_known() {
            match table.is_sound() {
                Some(true) => {}
                Some(false) => {
                    tracing::warn!("the slot table is damaged: it is compared with the directory");
                    table.stand(Standing::Unknown);
                }
                None => return self.try_again(Step::Begin(tries + 1), tries),
            }
        }
        self.all = !is_known();
        if !self.died && !self.all {
            if self.is_first {
                count_filling(store);
            }
            return Step::Done;
        }
        let busy = table.busy();
        if !busy.is_empty() {
            // Longer than it takes anybody who lives.
            std::thread::sleep(Duration::from_millis(BUSY_MS_MAX));
            table.free_busy(&busy);
        }
        let lost = table.drop_lost();
        if lost > 0 {
            tracing::warn!("{lost} slots were damaged");
        }
        count_filling(store);
        match buckets(&store.directory.objects) {
            Ok(names) => Step::Buckets(names, ByBucket::new(store)),
            Err(error) => self.again(Step::Begin(0), &error),
        }
    }

    /// There was too much going on, so many times before: each time waits a little
    /// longer, since others wait while it is tried.
    fn try_again(&mut self, step: Step, tries: u32) -> Step {
        self.next += Duration::from_millis(QUIET_MS) * tries.min(RECOUNT_PAUSES_MAX);
        step
    }

    /// Waits a while after an error.
    fn again(&mut self, step: Step, error: &Error) -> Step {
        tracing::warn!("the cache directory cannot be compared with its table: {error}");
        self.next += Duration::from_millis(KEEP_MS);
        step
    }

    fn look_at_bucket(&mut self, store: &Store, mut names: Vec<String>, slots: ByBucket) -> Step {
        let Some(bucket) = names.pop() else {
            return Step::Slots(slots);
        };
        if let Err(error) = self.bucket(store, &bucket) {
            names.push(bucket);
            return self.again(Step::Buckets(names, slots), &error);
        }
        Step::Buckets(names, slots)
    }

    fn bucket(&mut self, store: &Store, bucket: &str) -> Result<()> {
        let directory = open_bucket(store, bucket)?;
        let mut names = names(&directory).context(|| format!("list the directory {bucket}"))?;
        // What an object's metadata says comes before its data.
        names.sort_by_key(|name| !name.ends_with(".meta"));
        let number = u8::from_str_radix(bucket, 16).expect("it was looked at");
        let all = self.all;
        let look = Look {
            store,
            directory,
            all,
        };
        for some in names.chunks(REPAIR_NAMES) {
            // Held for a moment each time: others make objects.
            let _lock = store.lock_bucket_of(number)?;
            for name in some {
                let looked = look.at(name);
                self.entered.extend(looked.entered);
                self.in_use.extend(looked.in_use);
            }
        }
        Ok(())
    }

    fn look_at_slots(&mut self, store: &Store, mut slots: ByBucket) -> Step {
        let Some(last) = slots.0.pop() else {
            return Step::Count(0);
        };
        let number = slots.0.len() as u8;
        for some in last.chunks(REPAIR_NAMES) {
            let _lock = match store.lock_bucket_of(number) {
                Ok(lock) => lock,
                Err(error) => {
                    slots.0.push(last);
                    return self.again(Step::Slots(slots), &error);
                }
            };
            for slot in some {
                drop_without_file(store, *slot);
            }
        }
        Step::Slots(slots)
    }

    fn count(&mut self, store: &Store, tries: u32) -> Step {
        if !store.accounts.table().recount() {
            return self.try_again(Step::Count(tries + 1), tries);
        }
        let Some(_evictor) = store.evictor() else {
            return Step::Count(tries + 1);
        };
        self.entered.sort_by_key(|(time, _)| *time);
        let entered = std::mem::take(&mut self.entered);
        store
            .accounts
            .queue_anew(entered.into_iter().map(|(_, handle)| handle));
        if self.all {
            store.accounts.table().stand(Standing::Known);
        }
        Step::Done
    }
}

/// Counts what room was reserved for, where nobody uses it any more.
fn count_filling(store: &Store) {
    let table = store.accounts.table();
    for entry in table.entries().filter(|entry| entry.state.is_filling()) {
        store.count_unused(&entry);
    }
}

/// Slots by the bucket of their key.
struct ByBucket(Vec<Vec<u32>>);

impl ByBucket {
    fn new(store: &Store) -> Self {
        let mut all = vec![Vec::new(); 256];
        for entry in store.accounts.table().entries() {
            all[usize::from(entry.key.0[0])].push(entry.handle.slot());
        }
        Self(all)
    }
}

/// Frees the slot of an object that has no metadata. The lock of its bucket is held.
fn drop_without_file(store: &Store, slot: u32) {
    let Some(entry) = store.accounts.table().at(slot.into()) else {
        return;
    };
    let objects = &store.directory.objects;
    let name = entry.key.metadata_name();
    let found = rustix::fs::statat(objects, name, AtFlags::SYMLINK_NOFOLLOW);
    if found.err() == Some(Errno::NOENT) {
        store.unlink(&entry.key.data_name(entry.nonce));
        store.accounts.table().remove(entry.handle);
    }
}

/// One bucket, whose lock is held.
struct Look<'a> {
    store: &'a Store,
    directory: OwnedFd,
    all: bool,
}

/// What became of a name.
#[derive(Default)]
struct Looked {
    entered: Option<(i64, Handle)>,
    in_use: Option<Handle>,
}

impl Look<'_> {
    fn at(&self, name: &str) -> Looked {
        if let Some(digits) = name.strip_suffix(".meta") {
            let key = key_in(digits);
            let is_known = key.is_some_and(|key| self.slot_of(key).is_some());
            if is_known && !self.all {
                return Looked::default();
            }
            return self.at_metadata(name, key);
        }
        if name.ends_with(".new") {
            self.remove(name);
        }
        if name.ends_with(".data") {
            return self.at_data(name);
        }
        Looked::default()
    }

    fn slot_of(&self, key: Key) -> Option<Entry> {
        self.store.accounts.table().find(key)
    }

    fn at_data(&self, name: &str) -> Looked {
        let Some((key, nonce)) = data_in(name) else {
            self.remove(name);
            return Looked::default();
        };
        if self.slot_of(key).is_some_and(|entry| entry.nonce == nonce) {
            return Looked::default();
        }
        let metadata_name = format!("{}.meta", key.hex());
        match self.read(&metadata_name, key) {
            // The slot is wrong, and not the file.
            Ok(Some((header, _))) if header.nonce == nonce => {
                return self.at_metadata(&metadata_name, Some(key));
            }
            Ok(_) => self.remove(name),
            Err(errno) => tracing::warn!("cannot look into {metadata_name}: {errno}"),
        }
        Looked::default()
    }

    fn at_metadata(&self, name: &str, key: Option<Key>) -> Looked {
        let accounts = &self.store.accounts;
        let known = key.and_then(|key| self.slot_of(key));
        let read = key.map_or(Ok(None), |key| self.read(name, key));
        let (header, metadata) = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                if let Some(entry) = known {
                    accounts.table().remove(entry.handle);
                }
                self.remove(name);
                return Looked::default();
            }
            Err(errno) => {
                tracing::warn!("cannot look into {name}: {errno}");
                return Looked::default();
            }
        };
        // Before its files are looked at: until it is locked, somebody may fill it.
        let is_alone = sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_ok();
        let Some(found) = self.store.found(&header, &metadata) else {
            return Looked::default();
        };
        let known = known.filter(|entry| entry.nonce == header.nonce);
        let is_new = known.is_none();
        let handle = match known {
            Some(entry) => Some(entry.handle),
            None => accounts.enter_unqueued(&found),
        };
        let Some(handle) = handle else {
            // There are more of them than there may be.
            self.remove(name);
            self.store.unlink(&found.key.data_name(header.nonce));
            return Looked::default();
        };
        if is_alone {
            accounts.put_right(handle, &found);
        } else {
            let bytes_max = header.file_bytes() + on_disk(header.token.size);
            accounts.put_right_in_use(handle, &found, bytes_max);
        }
        Looked {
            entered: is_new.then(|| (time_of(&metadata), handle)),
            in_use: (!is_alone).then_some(handle),
        }
    }

    /// The header of an object. None: it is damaged, or has no data.
    fn read(&self, name: &str, key: Key) -> std::result::Result<Option<(Header, OwnedFd)>, Errno> {
        let Some((header, metadata)) = open_object(&self.directory, name)? else {
            return Ok(None);
        };
        if header.identity.key() != key {
            return Ok(None);
        }
        let data_name = key.data_name(header.nonce);
        let objects = &self.store.directory.objects;
        match rustix::fs::statat(objects, data_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            other => other.map(|_| Some((header, metadata))),
        }
    }

    fn remove(&self, name: &str) {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) => tracing::info!("removed the remains {name}"),
            Err(errno) => tracing::warn!("cannot remove {name}: {errno}"),
        }
    }
}

/// What a file takes on its disk.
fn bytes_of(stat: &Stat) -> u64 {
    stat.st_blocks as u64 * STAT_BLOCK_BYTES
}

/// When a file was last written, in nanoseconds; 0 where nobody knows.
fn time_of(file: &OwnedFd) -> i64 {
    rustix::fs::fstat(file).map_or(0, |stat| {
        let seconds = stat.st_mtime.saturating_mul(1_000_000_000);
        seconds.saturating_add(stat.st_mtime_nsec as i64)
    })
}

impl Store {
    /// Counts what an object takes, unless somebody uses it: then whoever is the last
    /// to close it does. Whether it is done.
    pub(super) fn count_unused(&self, entry: &Entry) -> bool {
        let Ok(_bucket) = self.lock_bucket_of(entry.key.0[0]) else {
            return false;
        };
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let metadata = match self.openat(&entry.key.metadata_name(), flags) {
            Ok(metadata) => metadata,
            Err(Errno::NOENT) => {
                drop_without_file(self, entry.handle.slot());
                return true;
            }
            Err(errno) => {
                tracing::debug!("an object cannot be counted: {errno}");
                return false;
            }
        };
        if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
            return false;
        }
        let header = read_header(&metadata).ok().flatten();
        let found = header.as_ref().map(|one| (one, self.found(one, &metadata)));
        match found {
            Some((header, Some(found))) if header.nonce == entry.nonce => {
                self.accounts.put_right(entry.handle, &found);
            }
            // Whoever was about to make another object of it has died: see `trim`.
            Some((header, None)) if header.nonce != entry.nonce => self.drop_half(entry),
            _ => {}
        }
        true
    }

    /// Removes what has metadata of one object and the data of another.
    fn drop_half(&self, entry: &Entry) {
        self.unlink(&entry.key.metadata_name());
        self.unlink(&entry.key.data_name(entry.nonce));
        self.accounts.table().remove(entry.handle);
    }

    /// What the files of an object say of it. None: they cannot be looked at.
    pub(super) fn found<'a>(&self, header: &'a Header, metadata: &OwnedFd) -> Option<Newcomer<'a>> {
        let objects = &self.directory.objects;
        let data_name = header.identity.key().data_name(header.nonce);
        let data = rustix::fs::statat(objects, data_name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let bytes = bytes_of(&data) + bytes_of(&rustix::fs::fstat(metadata).ok()?);
        let pinned = Bitmap::is_pinned_in(metadata.as_fd()).ok()?;
        Some(newcomer(header, bytes, pinned))
    }
}
