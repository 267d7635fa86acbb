//! Who has to go: accounts of the cache directory and the order of eviction, in a table
//! that all processes share.
//!
//! Decides only; the store removes.

#[cfg(any(test, feature = "bench"))]
mod lru;
mod s3fifo;
mod table;
#[cfg(any(test, feature = "bench"))]
pub mod traces;

use crate::config::Config;
use crate::error::Errno;
use crate::ids::Key;
use crate::limits::BLOCK_BYTES;
use crate::stats::Stats;

use table::USES_MAX;

pub(crate) use table::{Entry, FIXED_BYTES, Handle, PROCESSES_MAX, Sizes, Standing, State, Table};

/// Gives the order in which objects are evicted.
#[cfg(any(test, feature = "bench"))]
trait Policy {
    /// The object is new, of no bytes, or it was used.
    fn touch(&mut self, key: Key);
    /// It has so many bytes now.
    fn resize(&mut self, key: Key, bytes: u64);
    /// It is gone.
    fn forget(&mut self, key: Key);
    /// The next to go, of those that may. It is known until it is forgotten.
    fn next(&mut self, may_go: impl FnMut(Key) -> bool) -> Option<Key>;
}

/// The bytes and objects of one directory, as all its processes know them.
pub(crate) struct Accounts {
    table: Table,
    capacity_blocks: u64,
    /// Percents of the limits at which evicting beside the work ends and begins.
    /// Blocks that pinned objects may have.
    pinned_blocks_max: u64,
    run_percent: u64,
    cull_percent: u64,
}

/// An object that may be new to the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) key: Key,
    pub(crate) nonce: u64,
    /// What it takes in the directory, if it is new.
    pub(crate) bytes: u64,
    /// The name of its origin.
    pub(crate) origin: &'a [u8],
    pub(crate) pinned: bool,
}

/// How near the directory is to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Below the mark at which evicting beside the work ends.
    Low,
    /// Above that, and below the one at which it begins.
    Middle,
    /// Above both.
    High,
}

/// An answer to [`Accounts::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The bytes are reserved.
    Granted,
    /// Something has to go first.
    Full,
    /// Something of its own origin has to go first.
    OverQuota,
    /// The object is no longer in the directory, or nobody knows what is there.
    Refused,
}

/// Blocks that bytes take.
pub(crate) fn blocks_of(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

impl Accounts {
    /// Of a completed configuration, but for its limit.
    pub(crate) fn new(table: Table, capacity_bytes: u64, config: &Config) -> Self {
        Self {
            table,
            capacity_blocks: capacity_bytes / BLOCK_BYTES,
            pinned_blocks_max: capacity_bytes / 100 * config.pinned_percent / BLOCK_BYTES,
            run_percent: config.capacity_run_percent,
            cull_percent: config.capacity_cull_percent,
        }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Enters an object, in place of an older one of its key, or counts a use of it.
    /// None: the table is full. For whoever has the lock of the key's bucket.
    pub(crate) fn enter(&self, newcomer: &Newcomer<'_>) -> Option<Handle> {
        let (key, nonce) = (newcomer.key, newcomer.nonce);
        if let Some(known) = self.table.find(key) {
            if known.nonce == nonce {
                self.table.touch(known.handle);
                return Some(known.handle);
            }
            self.table.remove(known.handle);
            // It is the file that was pinned, and not its version.
            let pinned = newcomer.pinned || known.state.is_pinned();
            let state = self.state_of(newcomer).with_pinned(pinned);
            return s3fifo::enter(&self.table, key, nonce, state);
        }
        s3fifo::enter(&self.table, key, nonce, self.state_of(newcomer))
    }

    fn state_of(&self, newcomer: &Newcomer<'_>) -> State {
        State::default()
            .with_blocks(blocks_of(newcomer.bytes))
            .with_origin(self.table.origin(newcomer.origin))
            .with_pinned(newcomer.pinned)
    }

    /// Enters an object that was found, in place of an older one of its key, and gives it
    /// no place in a queue: see [`Self::queue_anew`]. None: the table is full. For
    /// whoever has the lock of the key's bucket.
    pub(crate) fn enter_unqueued(&self, newcomer: &Newcomer<'_>) -> Option<Handle> {
        if let Some(known) = self.table.find(newcomer.key) {
            self.table.remove(known.handle);
        }
        let state = self.state_of(newcomer);
        self.table.insert(newcomer.key, newcomer.nonce, state)
    }

    /// Gives each object its place in a queue, these first. Only for the evictor.
    pub(crate) fn queue_anew(&self, first: impl Iterator<Item = Handle>) {
        for handle in first {
            self.table.enter(false, handle);
        }
        self.table.queue_anew();
    }

    /// Whether an object that was entered just now had been evicted not long ago.
    pub(crate) fn came_back(&self, handle: Handle) -> bool {
        let entry = self.table.get(handle);
        entry.is_some_and(|entry| entry.state.is_long())
    }

    /// The slot of an object that is known.
    pub(crate) fn handle_of(&self, key: Key, nonce: u64) -> Option<Handle> {
        self.known(key, nonce).map(|entry| entry.handle)
    }

    /// Whether one more use of an object makes a difference.
    pub(crate) fn counts_use(&self, handle: Handle) -> bool {
        let entry = self.table.get(handle);
        entry.is_some_and(|entry| entry.state.uses() < USES_MAX)
    }

    fn known(&self, key: Key, nonce: u64) -> Option<Entry> {
        self.table.find(key).filter(|entry| entry.nonce == nonce)
    }

    /// Asks for room for `bytes` more of an object in use.
    pub(crate) fn reserve(&self, handle: Handle, bytes: u64) -> Room {
        if self.table.standing() == Standing::Unknown {
            return Room::Refused;
        }
        let blocks = blocks_of(bytes);
        let Some(state) = self.table.get(handle).map(|entry| entry.state) else {
            return Room::Refused;
        };
        if self.table.origin_excess(state.origin(), blocks) > 0 {
            return Room::OverQuota;
        }
        let pinned = self.table.totals().pinned_blocks;
        if state.is_pinned() && pinned.saturating_add(blocks) > self.pinned_blocks_max {
            return Room::Refused;
        }
        match self.table.reserve(handle, blocks, self.capacity_blocks) {
            Ok(()) => Room::Granted,
            Err(true) => Room::Full,
            Err(false) => Room::Refused,
        }
    }

    /// Whether there is room for so much more.
    pub(crate) fn has_room(&self, bytes: u64, objects: u64) -> Room {
        let totals = self.table.totals();
        let blocks = totals.blocks.saturating_add(blocks_of(bytes));
        if self.table.standing() == Standing::Unknown {
            Room::Refused
        } else if blocks <= self.capacity_blocks
            && totals.objects.saturating_add(objects) <= self.objects_max()
        {
            Room::Granted
        } else {
            Room::Full
        }
    }

    /// Objects that it may have at most.
    pub(crate) fn objects_max(&self) -> u64 {
        self.table.sizes().objects_max
    }

    /// Gives back bytes that were reserved and not written.
    pub(crate) fn release(&self, handle: Handle, bytes: u64) {
        let less = |state: State| {
            let left = state.blocks().saturating_sub(blocks_of(bytes));
            state.with_blocks(left)
        };
        self.table.update(handle, less);
    }

    /// An object becomes another one of its key, which takes as much; it is being made, so
    /// it is counted anew in the end. For whoever has the lock of the key's bucket.
    pub(crate) fn renew(&self, handle: Handle, nonce: u64) {
        self.table.update(handle, |state| state.with_filling(true));
        self.table.renew(handle, nonce);
    }

    /// The nonce of the object of a key.
    pub(crate) fn nonce_of(&self, key: Key) -> Option<u64> {
        self.table.find(key).map(|entry| entry.nonce)
    }

    /// Has the slot of an object say what its files do, whatever it said before. For
    /// whoever has the object locked against all its users, so that nothing is reserved.
    pub(crate) fn put_right(&self, handle: Handle, found: &Newcomer<'_>) {
        let Some(before) = self.table.get(handle).map(|entry| entry.state) else {
            return;
        };
        let (origin, blocks) = (self.table.origin(found.origin), blocks_of(found.bytes));
        let change = |state: State| {
            let state = state.with_origin(origin).with_pinned(found.pinned);
            state.with_blocks(blocks).with_filling(false)
        };
        let after = self.table.update(handle, change);
        if let Some(after) = after.filter(|after| before.is_pinned() && !after.is_pinned()) {
            self.table.enter(after.is_long(), handle);
        }
    }

    /// The same of an object that others use. What they have reserved is not told from
    /// damage, so between what it takes and what all of it would, the slot is believed
    /// until it is counted; so is whether it is pinned.
    pub(crate) fn put_right_in_use(&self, handle: Handle, found: &Newcomer<'_>, bytes_max: u64) {
        let origin = self.table.origin(found.origin);
        let least = blocks_of(found.bytes);
        let most = blocks_of(bytes_max).max(least);
        let change = |state: State| {
            let blocks = state.blocks().clamp(least, most);
            let state = state.with_origin(origin).with_blocks(blocks);
            state.with_filling(true)
        };
        self.table.update(handle, change);
    }

    /// The slot of an object that has to be counted once nobody uses it: room was
    /// reserved for it, or nobody knows.
    pub(crate) fn uncounted(&self, key: Key, nonce: u64) -> Option<Handle> {
        let known = self.known(key, nonce);
        let known = known.filter(|entry| entry.state.is_filling());
        known.map(|entry| entry.handle)
    }

    /// An object was found to take so many bytes less than before.
    pub(crate) fn shrunk(&self, key: Key, nonce: u64, bytes: u64) {
        if let Some(known) = self.known(key, nonce) {
            self.release(known.handle, bytes / BLOCK_BYTES * BLOCK_BYTES);
        }
    }

    /// The object is no longer in the directory.
    pub(crate) fn forget(&self, key: Key, nonce: u64) {
        if let Some(known) = self.known(key, nonce) {
            self.table.remove(known.handle);
        }
    }

    /// Nobody says of an object any more that it is whole, or is believed who said so.
    pub(crate) fn break_seal(&self, key: Key, nonce: u64) {
        self.table.take_back();
        if let Some(known) = self.known(key, nonce) {
            self.table.put_seal(known.handle, 0);
        }
    }

    /// The object was evicted.
    pub(crate) fn evicted(&self, entry: &Entry) {
        s3fifo::evicted(&self.table, entry.handle, entry.key);
    }

    /// Keeps an object from being evicted, or no longer. ENOSPC: pinned objects have as
    /// much as they may; ENOENT: it is no longer in the directory.
    pub(crate) fn pin(&self, handle: Handle, pinned: bool) -> Result<(), Errno> {
        let before = self.table.get(handle).ok_or(Errno::NOENT)?.state;
        if before.is_pinned() == pinned {
            return Ok(());
        }
        let set = |pinned| {
            let change = |state: State| state.with_pinned(pinned);
            self.table.update(handle, change).ok_or(Errno::NOENT)
        };
        let after = set(pinned)?;
        if pinned && self.table.totals().pinned_blocks > self.pinned_blocks_max {
            let after = set(false)?;
            self.table.enter(after.is_long(), handle);
            return Err(Errno::NOSPC);
        }
        if !pinned {
            self.table.enter(after.is_long(), handle);
        }
        Ok(())
    }

    /// Whether an object is kept from being evicted.
    pub(crate) fn is_pinned(&self, handle: Handle) -> bool {
        let entry = self.table.get(handle);
        entry.is_some_and(|entry| entry.state.is_pinned())
    }

    /// Limits what objects of an origin may take; 0: no limit. The share counts in
    /// percent of the whole.
    pub(crate) fn limit_origin(&self, origin: &[u8], quota_bytes: u64, share_percent: u64) {
        let share = self.capacity_blocks / 100 * share_percent;
        let index = self.table.origin(origin);
        self.table
            .limit_origin(index, quota_bytes.div_ceil(BLOCK_BYTES), share);
    }

    /// Whether an object's origin has room for so much more.
    pub(crate) fn is_within_quota(&self, handle: Handle, bytes: u64) -> bool {
        let entry = self.table.get(handle);
        entry.is_none_or(|entry| {
            let origin = entry.state.origin();
            self.table.origin_excess(origin, blocks_of(bytes)) == 0
        })
    }

    /// The next to be evicted of an object's origin, which has too much. Only for the
    /// evictor.
    pub(crate) fn victim_beside(
        &self,
        handle: Handle,
        mut may_go: impl FnMut(Key) -> bool,
    ) -> Option<Entry> {
        let origin = self.table.get(handle)?.state.origin();
        s3fifo::next_of(&self.table, origin, |entry| may_go(entry.key))
    }

    /// The next to be evicted, of those that may. Only for the evictor; it stays the
    /// next until it is evicted or kept.
    pub(crate) fn victim(&self, mut may_go: impl FnMut(Key) -> bool) -> Option<Entry> {
        if self.table.is_crowded() {
            self.table.queue_anew();
        }
        if let Some((origin, _)) = self.table.above_share() {
            let own = s3fifo::next_of(&self.table, origin, |entry| may_go(entry.key));
            if own.is_some() {
                return own;
            }
        }
        s3fifo::next(&self.table, |entry| may_go(entry.key))
    }

    /// The next could not be removed: somebody uses it.
    pub(crate) fn keep(&self, entry: &Entry) {
        s3fifo::keep(&self.table, entry);
    }

    /// How near the directory is to its limits.
    pub(crate) fn level(&self) -> Level {
        let totals = self.table.totals();
        let above = |percent: u64| {
            let of = |limit: u64| limit / 100 * percent + limit % 100 * percent / 100;
            totals.blocks > of(self.capacity_blocks) || totals.objects > of(self.objects_max())
        };
        if above(self.cull_percent) {
            Level::High
        } else if above(self.run_percent) {
            Level::Middle
        } else {
            Level::Low
        }
    }

    /// Fills in what is counted of the directory.
    pub(crate) fn tell(&self, stats: &mut Stats) {
        let totals = self.table.totals();
        stats.cached_bytes = totals.blocks.saturating_mul(BLOCK_BYTES);
        stats.cached_objects = totals.objects;
        stats.objects_max = self.objects_max();
        stats.pinned_bytes = totals.pinned_blocks.saturating_mul(BLOCK_BYTES);
    }
}
