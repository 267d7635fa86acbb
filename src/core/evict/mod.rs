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
use crate::ids::Key;
use crate::limits::BLOCK_BYTES;
use crate::stats::Stats;

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
        }
        s3fifo::enter(&self.table, key, nonce, self.state_of(newcomer))
    }

    fn state_of(&self, newcomer: &Newcomer<'_>) -> State {
        State::default()
            .with_blocks(blocks_of(newcomer.bytes))
            .with_origin(self.table.origin(newcomer.origin))
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

    /// Counts a use of an object that is known.
    pub(crate) fn used(&self, key: Key, nonce: u64) -> Option<Handle> {
        let known = self.known(key, nonce)?;
        self.table.touch(known.handle);
        Some(known.handle)
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
        } else if blocks <= self.capacity_blocks && totals.objects + objects <= self.objects_max() {
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

    /// An object takes so many bytes, and nothing of it is reserved.
    pub(crate) fn counted(&self, handle: Handle, bytes: u64) {
        let blocks = blocks_of(bytes);
        let counted = |state: State| state.with_blocks(blocks).with_filling(false);
        self.table.update(handle, counted);
    }

    /// Whether room was reserved for it since it was counted.
    pub(crate) fn is_filling(&self, handle: Handle) -> bool {
        let entry = self.table.get(handle);
        entry.is_some_and(|entry| entry.state.is_filling())
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

    /// The object was evicted.
    pub(crate) fn evicted(&self, entry: &Entry) {
        s3fifo::evicted(&self.table, entry.handle, entry.key);
    }

    /// The next to be evicted, of those that may. Only for the evictor; it stays the
    /// next until it is evicted or kept.
    pub(crate) fn victim(&self, mut may_go: impl FnMut(Key) -> bool) -> Option<Entry> {
        if self.table.is_crowded() {
            self.table.queue_anew();
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
