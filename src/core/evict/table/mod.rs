//! The slot table: what the cache knows of each of its objects, in one file that every
//! process maps.
//!
//! Whatever is read from it is checked before it is used: others may be dying, or
//! damage it. So the worst that it can do is to have the wrong object evicted, or too
//! little stored.
//!
//! Slots of a key come and go under the lock of the key's bucket, so that there is one
//! of each key; everything else is done by atomics, and takes no system call.

mod layout;
mod queues;
mod state;
mod sums;

use crate::error::Errno;
use crate::ids::Key;
use crate::sys::{Mapped, store_again};
use layout::{HEADER_BYTES, ORIGINS_MAX, PAGE_BYTES, Word};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use layout::{FIXED_BYTES, PROCESSES_MAX, Sizes};
pub(super) use queues::Head;
pub(crate) use state::{Kind, State, USES_MAX};

/// Words of a slot, behind two of the key and the nonce.
const STATE: u64 = 3;
const SEAL: u64 = 4;
/// Slots that one search looks at. With two of three in use, a run of used ones is
/// shorter than this in all but one of millions of tables.
const PROBES_MAX: u64 = 256;
/// Times that a change is tried again because somebody else was faster. More than that
/// is no race.
const TRIES_MAX: u32 = 1 << 16;

pub(crate) struct Table {
    memory: Mapped,
    sizes: Sizes,
}

/// A slot as long as it is of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Handle {
    pub(super) slot: u32,
    pub(super) generation: u16,
}

impl Handle {
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }
}

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) handle: Handle,
    pub(crate) key: Key,
    pub(crate) nonce: u64,
    pub(crate) state: State,
}

/// How far the table is what is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody can tell.
    Unknown,
    /// It is, or was when whoever used it died.
    Known,
    /// It is, and all of it is on the disk.
    Closed,
}

/// What all slots together have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) blocks: u64,
    pub(crate) objects: u64,
    pub(crate) short_blocks: u64,
    pub(crate) pinned_blocks: u64,
}

impl Table {
    /// Maps a file of `sizes.file_bytes()`.
    pub(crate) fn map(file: BorrowedFd<'_>, sizes: Sizes) -> Result<Self, Errno> {
        // Where another process serves the file system, each has a table of its own.
        let memory = Mapped::map(file, sizes.file_bytes(), false)?;
        Ok(Self { memory, sizes })
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        self.memory.word(word as u64)
    }

    fn of_slot(&self, slot: u64, word: u64) -> &AtomicU64 {
        assert!(slot < self.sizes.slots);
        self.memory.word(self.sizes.slot(slot) + word * 8)
    }

    fn state_word(&self, slot: u64) -> &AtomicU64 {
        self.of_slot(slot, STATE)
    }

    /// What a slot is at this moment.
    fn read(&self, slot: u64) -> Option<Entry> {
        let before = State(self.state_word(slot).load(Ordering::Acquire));
        if !before.is_live() {
            return None;
        }
        let words = [0, 1, 2].map(|word| self.of_slot(slot, word).load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let state = State(self.state_word(slot).load(Ordering::Relaxed));
        let same = state.is_live() && state.generation() == before.generation();
        same.then(|| Entry {
            handle: Handle {
                slot: slot as u32,
                generation: state.generation(),
            },
            key: Key::of_words([words[0], words[1]]),
            nonce: words[2],
            state,
        })
    }

    /// Where the search for a key begins.
    fn home(&self, key: Key) -> u64 {
        let (first, second) = halves(key);
        let mixed = (first ^ self.sizes.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ second;
        ((u128::from(mixed) * u128::from(self.sizes.slots)) >> 64) as u64
    }

    fn probes(&self, key: Key) -> impl Iterator<Item = u64> + use<> {
        let (home, slots) = (self.home(key), self.sizes.slots);
        (0..PROBES_MAX.min(slots)).map(move |step| (home + step) % slots)
    }

    /// The slot of a key.
    pub(crate) fn find(&self, key: Key) -> Option<Entry> {
        let (first, _) = halves(key);
        for slot in self.probes(key) {
            let state = State(self.state_word(slot).load(Ordering::Acquire));
            if state.kind() == Kind::Empty {
                return None;
            }
            let near = self.of_slot(slot, 0).load(Ordering::Relaxed) == first;
            if !state.is_live() || !near {
                continue;
            }
            if let Some(entry) = self.read(slot).filter(|entry| entry.key == key) {
                return Some(entry);
            }
        }
        None
    }

    /// What is behind a handle, if it is still the same.
    pub(crate) fn get(&self, handle: Handle) -> Option<Entry> {
        let slot = u64::from(handle.slot);
        (slot < self.sizes.slots)
            .then(|| self.read(slot))
            .flatten()
            .filter(|entry| entry.handle == handle)
    }

    /// Whatever is at a place of the table.
    pub(crate) fn at(&self, slot: u64) -> Option<Entry> {
        (slot < self.sizes.slots).then(|| self.read(slot)).flatten()
    }

    /// Every object that is there as it comes by.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.sizes.slots).filter_map(|slot| self.read(slot))
    }

    /// Gives a key that has none a slot, with all of `state` but kind and generation.
    /// None: there is no room. For whoever has the lock of the key's bucket.
    pub(crate) fn insert(&self, key: Key, nonce: u64, state: State) -> Option<Handle> {
        let begun = self.begin();
        let limit = self.sizes.objects_max;
        if self.word(Word::Objects).fetch_add(1, Ordering::AcqRel) >= limit {
            take_off(self.word(Word::Objects), 1);
            return None;
        }
        let Some((slot, busy)) = self.claim(key) else {
            take_off(self.word(Word::Objects), 1);
            return None;
        };
        let live = State(busy.turned(Kind::Live).0 | state.0 & state_fields());
        self.settle(None, Some(live), false);
        let (first, second) = halves(key);
        for (word, value) in [(0, first), (1, second), (2, nonce)] {
            self.of_slot(slot, word).store(value, Ordering::Relaxed);
        }
        self.seal_word(slot).store(0, Ordering::Relaxed);
        self.state_word(slot).store(live.0, Ordering::Release);
        drop(begun);
        Some(Handle {
            slot: slot as u32,
            generation: live.generation(),
        })
    }

    /// Makes a slot that of another object of its key.
    pub(crate) fn renew(&self, handle: Handle, nonce: u64) {
        if self.get(handle).is_some() {
            self.put_seal(handle, 0);
            let word = self.of_slot(handle.slot.into(), 2);
            word.store(nonce, Ordering::SeqCst);
        }
    }

    /// Makes a free slot busy. Until it is live, nobody else touches it.
    fn claim(&self, key: Key) -> Option<(u64, State)> {
        for slot in self.probes(key) {
            let word = self.state_word(slot);
            let state = State(word.load(Ordering::Acquire));
            if !matches!(state.kind(), Kind::Empty | Kind::Gone) {
                continue;
            }
            let busy = state.turned(Kind::Busy);
            let claimed =
                word.compare_exchange(state.0, busy.0, Ordering::AcqRel, Ordering::Relaxed);
            if claimed.is_ok() {
                // Whoever reads the words that follow sees that it is busy.
                fence(Ordering::Release);
                return Some((slot, busy));
            }
        }
        None
    }

    fn seal_word(&self, slot: u64) -> &AtomicU64 {
        self.of_slot(slot, SEAL)
    }

    /// What says that an object is whole; 0: nobody does. SeqCst: see `store/seal.rs`.
    pub(crate) fn put_seal(&self, handle: Handle, seal: u64) {
        if u64::from(handle.slot) < self.sizes.slots {
            self.seal_word(handle.slot.into())
                .store(seal, Ordering::SeqCst);
        }
    }

    /// What was put there. Acquire: what it vouches for was done before.
    pub(crate) fn seal(&self, handle: Handle) -> u64 {
        if u64::from(handle.slot) < self.sizes.slots {
            self.seal_word(handle.slot.into()).load(Ordering::Acquire)
        } else {
            0
        }
    }

    /// How often something of an object was taken back, of any.
    pub(crate) fn taken_back(&self) -> u64 {
        self.word(Word::TakenBack).load(Ordering::Acquire)
    }

    /// It was once more.
    pub(crate) fn take_back(&self) {
        self.word(Word::TakenBack).fetch_add(1, Ordering::SeqCst);
    }

    /// Puts another seal in the place of one that is still there.
    pub(crate) fn replace_seal(&self, handle: Handle, seal: u64, other: u64) {
        if u64::from(handle.slot) < self.sizes.slots {
            let word = self.seal_word(handle.slot.into());
            // What is there otherwise is of somebody who knows more.
            let _ = word.compare_exchange(seal, other, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// Whether this is the table of its directory, and not one that was replaced.
    pub(crate) fn is_current(&self) -> bool {
        let start = self.memory.word(0).load(Ordering::Acquire);
        start.to_ne_bytes() == self.sizes.encode()[..8]
    }

    /// Changes the state of a slot that is still the same. Gives what it was and is.
    fn change(&self, handle: Handle, change: impl Fn(State) -> State) -> Option<(State, State)> {
        if u64::from(handle.slot) >= self.sizes.slots {
            return None;
        }
        let word = self.state_word(handle.slot.into());
        let mut found = word.load(Ordering::Acquire);
        for _ in 0..TRIES_MAX {
            let before = State(found);
            if !before.is_live() || before.generation() != handle.generation {
                return None;
            }
            let after = change(before);
            match word.compare_exchange_weak(found, after.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((before, after)),
                Err(now) => found = now,
            }
        }
        None
    }

    /// Frees a slot. Gives what it was.
    pub(crate) fn remove(&self, handle: Handle) -> Option<State> {
        let _begun = self.begin();
        self.put_seal(handle, 0);
        let (before, _) = self.change(handle, |state| state.turned(Kind::Gone))?;
        self.settle(Some(before), None, false);
        take_off(self.word(Word::Objects), 1);
        Some(before)
    }

    /// The same with everything that is counted put right.
    pub(crate) fn update(&self, handle: Handle, change: impl Fn(State) -> State) -> Option<State> {
        let _begun = self.begin();
        let (before, after) = self.change(handle, change)?;
        self.settle(Some(before), Some(after), false);
        Some(after)
    }

    /// Counts one more use, up to what there is room for: nothing is written to a page that
    /// has that already.
    pub(crate) fn touch(&self, handle: Handle) -> Option<State> {
        let state = self.get(handle)?.state;
        if state.uses() == USES_MAX {
            return Some(state);
        }
        let used = |state: State| state.with_uses(state.uses() + 1);
        self.change(handle, used).map(|(_, after)| after)
    }

    /// Where its pages are in the file that counting for an object stores to: one or two next
    /// to each other each time.
    pub(crate) fn places(&self, handle: Handle) -> [Range<u64>; 2] {
        let slot = self.sizes.slot(handle.slot.into());
        let page = |word: u64| (slot + word * 8) / PAGE_BYTES * PAGE_BYTES;
        [0..HEADER_BYTES, page(STATE)..page(SEAL) + PAGE_BYTES]
    }

    /// Has the pages made writable that counting for an object stores to. May wait for the
    /// device.
    pub(crate) fn wake(&self, handle: Handle) {
        // One word of each page.
        store_again(self.word(Word::Used));
        store_again(self.origin_blocks(0));
        store_again(self.state_word(handle.slot.into()));
        store_again(self.seal_word(handle.slot.into()));
    }

    /// Reserves blocks for an object. Err(true): there is no room under `limit`;
    /// Err(false): the slot is no longer its.
    pub(crate) fn reserve(&self, handle: Handle, blocks: u64, limit: u64) -> Result<(), bool> {
        let _begun = self.begin();
        let used = self.word(Word::Used);
        let before = used.fetch_add(blocks, Ordering::AcqRel);
        if not_negative(before).saturating_add(blocks) > limit {
            take_off(used, blocks);
            return Err(true);
        }
        let more = |state: State| {
            let blocks = state.blocks() + blocks;
            state.with_blocks(blocks).with_filling(true)
        };
        let Some((before, after)) = self.change(handle, more) else {
            take_off(used, blocks);
            return Err(false);
        };
        self.settle(Some(before), Some(after), true);
        Ok(())
    }

    /// Counts that a slot was something and now is something else. Of all blocks, more is
    /// counted before it is there, by whoever calls, so that they are never less than
    /// what is there. The others may be below zero for a moment: see [`count_of`].
    fn settle(&self, before: Option<State>, after: Option<State>, counted: bool) {
        let of = |state: Option<State>, when: &dyn Fn(State) -> bool| {
            state.filter(|state| when(*state)).map_or(0, State::blocks)
        };
        let moved = |word: &AtomicU64, when: &dyn Fn(State) -> bool| {
            let (before, after) = (of(before, when), of(after, when));
            if after != before {
                word.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
            }
        };
        if !counted {
            moved(self.word(Word::Used), &|_| true);
        }
        moved(self.word(Word::ShortBlocks), &|state| !state.is_long());
        moved(self.word(Word::PinnedBlocks), &State::is_pinned);
        let origins = [before, after].map(|state| state.map(State::origin));
        for (index, origin) in origins.into_iter().enumerate() {
            // One is of both, but where damage is put right.
            if let Some(origin) = origin.filter(|_| index == 0 || origins[0] != origins[1]) {
                moved(self.origin_blocks(origin), &|state| {
                    state.origin() == origin
                });
            }
        }
    }

    fn origin_blocks(&self, index: u64) -> &AtomicU64 {
        self.memory.word(self.sizes.origin(index) + 8)
    }

    fn origin_limit(&self, index: u64) -> &AtomicU64 {
        self.memory.word(self.sizes.origin(index) + 16)
    }

    fn origin_share(&self, index: u64) -> &AtomicU64 {
        self.memory.word(self.sizes.origin(index) + 24)
    }

    /// Sets how many blocks an origin may have, and from how many on its objects go
    /// first; 0: no limit.
    pub(crate) fn limit_origin(&self, index: u64, limit: u64, share: u64) {
        // Those that are not told apart share none.
        if index < ORIGINS_MAX - 1 {
            self.origin_limit(index).store(limit, Ordering::Release);
            self.origin_share(index).store(share, Ordering::Release);
        }
    }

    /// Blocks that an origin has beyond what it may, if it gets so many more.
    pub(crate) fn origin_excess(&self, index: u64, more: u64) -> u64 {
        let limit = self.origin_limit(index).load(Ordering::Acquire);
        let blocks = count_of(self.origin_blocks(index));
        match limit {
            0 => 0,
            limit => blocks.saturating_add(more).saturating_sub(limit),
        }
    }

    /// The origin that has most beyond its share, and how much that is.
    pub(crate) fn above_share(&self) -> Option<(u64, u64)> {
        let excess = |index| {
            let share = self.origin_share(index).load(Ordering::Acquire);
            let blocks = count_of(self.origin_blocks(index));
            (share > 0 && blocks > share).then(|| (index, blocks - share))
        };
        (0..ORIGINS_MAX).filter_map(excess).max_by_key(|one| one.1)
    }

    /// The number of an origin. The last one is that of all that are too many.
    pub(crate) fn origin(&self, name: &[u8]) -> u64 {
        let hash = xxh3_64(name).max(1);
        let others = ORIGINS_MAX - 1;
        for step in 0..others {
            let index = (hash % others + step) % others;
            let word = self.memory.word(self.sizes.origin(index));
            match word.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return index,
                Err(found) if found == hash => return index,
                Err(_) => {}
            }
        }
        others
    }

    pub(crate) fn totals(&self) -> Totals {
        let load = |word| count_of(self.word(word));
        Totals {
            blocks: load(Word::Used),
            objects: load(Word::Objects),
            short_blocks: load(Word::ShortBlocks),
            pinned_blocks: load(Word::PinnedBlocks),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.word(Word::Standing).load(Ordering::Acquire) {
            1 => Standing::Known,
            2 => Standing::Closed,
            _ => Standing::Unknown,
        }
    }

    pub(crate) fn stand(&self, standing: Standing) {
        let number = match standing {
            Standing::Unknown => 0,
            Standing::Known => 1,
            Standing::Closed => 2,
        };
        self.word(Word::Standing).store(number, Ordering::Release);
    }

    fn boot_words(&self) -> [&AtomicU64; 2] {
        [0, 8].map(|offset| self.memory.word(Word::Boot as u64 + offset))
    }

    /// Whether this boot of the host was the last that wrote to it.
    pub(crate) fn is_of_boot(&self, boot_id: [u8; 16]) -> bool {
        let (first, second) = halves(Key(boot_id));
        let found = self.boot_words().map(|word| word.load(Ordering::Acquire));
        found == [first, second]
    }

    pub(crate) fn come_to_boot(&self, boot_id: [u8; 16]) {
        let (first, second) = halves(Key(boot_id));
        for (word, half) in self.boot_words().into_iter().zip([first, second]) {
            word.store(half, Ordering::Release);
        }
    }

    /// The number of a process; 0: nobody is there.
    pub(crate) fn process(&self, index: u64) -> &AtomicU64 {
        assert!(index < PROCESSES_MAX);
        self.memory.word(self.sizes.process(index))
    }

    /// Nobody asks for quiet.
    pub(crate) fn calm(&self) {
        self.word(Word::QuietUntil).store(0, Ordering::Release);
    }

    /// Not 0: a process has died, and what it left has not been put right.
    pub(crate) fn died(&self) -> &AtomicU64 {
        self.word(Word::Died)
    }
}

/// What a new slot takes from the state that it is given.
fn state_fields() -> u64 {
    let none = State(0);
    none.with_blocks(u64::MAX)
        .with_uses(USES_MAX)
        .with_long(true)
        .with_pinned(true)
        .with_filling(true)
        .with_origin(ORIGINS_MAX - 1)
        .0
}

impl Default for State {
    /// Of no bytes, in the short queue.
    fn default() -> Self {
        State(0)
    }
}

/// What a word counts. Of two changes of a slot, the later may be counted first; a word
/// that stopped at zero meanwhile would be wrong for ever.
fn count_of(word: &AtomicU64) -> u64 {
    not_negative(word.load(Ordering::Acquire))
}

fn not_negative(count: u64) -> u64 {
    u64::try_from(count.cast_signed()).unwrap_or(0)
}

/// Never below 0, whatever a damaged table says.
fn take_off(word: &AtomicU64, count: u64) {
    if count > 0 {
        let less = |found: u64| Some(found.saturating_sub(count));
        let changed = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        debug_assert!(changed.is_ok(), "it always has an answer");
    }
}

fn halves(key: Key) -> (u64, u64) {
    let [first, second] = key.words();
    (first, second)
}

#[cfg(test)]
mod tests;
