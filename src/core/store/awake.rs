//! Which pages of an object's metadata, and of the slot table, take stores at once.
//!
//! A page that was written back can be stored to only once the file system was asked
//! (page_mkwrite), which changes the time in the file's inode: with a journal whose disk hangs,
//! that waits, although nothing is frozen. So before a library thread stores to them, the thread
//! of the beats stores what is there already (see `pulse`), and they must be dirty since.

use super::Object;
use super::layout::{PAGE_BYTES, SUM_BYTES};
use crate::limits::{AWAKE_PAGES, CHUNK_BYTES_MIN, COPY_RUN_CHUNKS_MAX, OBJECT_BYTES_MAX};
use crate::sys;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bits of a word that say which page: the checksums of the largest file are in fewer.
const PAGE_BITS: u32 = 20;
const _: () =
    assert!((OBJECT_BYTES_MAX / CHUNK_BYTES_MIN * SUM_BYTES) / PAGE_BYTES + 2 <= 1 << PAGE_BITS);
/// Who stores for a run of chunks looks at both of its ends, and all others are beside them.
const _: () = assert!(COPY_RUN_CHUNKS_MAX * SUM_BYTES <= PAGE_BYTES);

/// The pages that were stored to last, each with the time of that.
#[derive(Debug, Default)]
pub(super) struct Awake([AtomicU64; AWAKE_PAGES]);

impl Awake {
    fn of(&self, page: u64) -> Option<&AtomicU64> {
        let is_it = |word: &&AtomicU64| {
            let word = word.load(Ordering::Acquire);
            word != 0 && word & ((1 << PAGE_BITS) - 1) == page
        };
        self.0.iter().find(is_it)
    }

    /// A page was stored to, so long after the epoch of the pulse. Of two that are
    /// noted at once, one may be lost.
    fn note(&self, page: u64, at: Duration) {
        let oldest = || {
            self.0
                .iter()
                .min_by_key(|word| word.load(Ordering::Relaxed))
        };
        let word = (at.as_micros() as u64) << PAGE_BITS | page;
        if let Some(place) = self.of(page).or_else(oldest) {
            place.store(word, Ordering::Release);
        }
    }

    /// How long ago that was at most; None: others were since.
    fn age(&self, page: u64, now: Duration) -> Option<Duration> {
        let word = self.of(page)?.load(Ordering::Acquire);
        // Of the microseconds, the words have the lower bits: enough for 200 days.
        let since = (now.as_micros() as u64).wrapping_sub(word >> PAGE_BITS);
        let since = since & (u64::MAX >> PAGE_BITS);
        Some(Duration::from_micros(since + 1))
    }
}

/// Whether the file system says of pages that they are dirty, once they are: one in memory
/// does not, nor does a kernel before Linux 6.5.
#[derive(Debug, Default)]
pub(super) struct DirtyTells {
    of_objects: AtomicBool,
    of_table: AtomicBool,
}

impl DirtyTells {
    /// By an object that was just stored to.
    fn learn(&self, object: &Object, chunk: u64) {
        let learn = |known: &AtomicBool, is_dirty: &dyn Fn() -> bool| {
            if !known.load(Ordering::Relaxed) && is_dirty() {
                known.store(true, Ordering::Relaxed);
            }
        };
        learn(&self.of_objects, &|| object.is_dirty_itself(chunk));
        learn(&self.of_table, &|| {
            object.account.is_some() && object.is_counted_dirty()
        });
    }
}

impl Object {
    /// Stores what is there to all that is written down of some chunk, and of those beside it.
    /// May wait for the device.
    pub(super) fn wake(&self, chunk: u64) {
        let page = self.bitmap.page_of(chunk);
        let begun = self.store.pulse.now();
        self.bitmap.wake(page);
        if let Some(handle) = self.account {
            self.store.accounts.table().wake(handle);
        }
        self.awake.note(page, begun);
        self.store.dirty_tells.learn(self, chunk);
    }

    /// Whether no page is being written back, or was, that what is written down of a chunk is
    /// stored to: as far as the file system tells.
    pub(super) fn is_dirty(&self, chunk: u64) -> bool {
        let tells = &self.store.dirty_tells;
        let of_object = tells.of_objects.load(Ordering::Relaxed);
        let of_table = tells.of_table.load(Ordering::Relaxed);
        (!of_object || self.is_dirty_itself(chunk)) && (!of_table || self.is_counted_dirty())
    }

    fn is_dirty_itself(&self, chunk: u64) -> bool {
        let places = self.bitmap.places(chunk);
        // Of a small object, all are in one page.
        let is_new = |index: &usize| *index == 0 || places[*index] != places[index - 1];
        let is_dirty = |index: usize| {
            let dirty = sys::pages_dirty(self.stored.metadata().as_fd(), places[index], PAGE_BYTES);
            dirty == Ok(1)
        };
        (0..places.len()).filter(is_new).all(is_dirty)
    }

    fn is_counted_dirty(&self) -> bool {
        let file = self.store.membership.table();
        let is_dirty = |place: Range<u64>| {
            let bytes = place.end - place.start;
            sys::pages_dirty(file, place.start, bytes) == Ok(bytes / PAGE_BYTES)
        };
        let places = self
            .account
            .map(|one| self.store.accounts.table().places(one));
        places.is_none_or(|places| places.into_iter().all(is_dirty))
    }

    /// See [`super::Bitmap::page_of`].
    pub(super) fn page_of(&self, chunk: u64) -> u64 {
        self.bitmap.page_of(chunk)
    }

    /// How long ago that was at most. MAX: it was not, or not for this chunk.
    pub(super) fn woken_for(&self, chunk: u64) -> Duration {
        let page = self.bitmap.page_of(chunk);
        let age = self.awake.age(page, self.store.pulse.now());
        age.unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_awake_since_they_were_stored_to() {
        let awake = Awake::default();
        let at = Duration::from_millis;
        assert_eq!(awake.age(0, at(1)), None);
        for page in 0..AWAKE_PAGES as u64 {
            awake.note(page, at(1 + page));
        }
        assert_eq!(awake.age(2, at(10)), Some(Duration::from_micros(7001)));
        awake.note(0, at(9));
        assert_eq!(awake.age(0, at(10)), Some(Duration::from_micros(1001)));
        awake.note(77, at(10));
        assert_eq!(awake.age(77, at(10)), Some(Duration::from_micros(1)));
        assert_eq!(awake.age(1, at(10)), None, "it was the oldest");
    }

    #[test]
    fn ages_are_right_when_the_bits_of_the_time_are_used_up() {
        let awake = Awake::default();
        let turn = Duration::from_micros(1 << (64 - PAGE_BITS));
        let step = Duration::from_micros(5);
        awake.note(1, turn - step);
        let age = awake.age(1, turn + step);
        assert_eq!(age, Some(step * 2 + Duration::from_micros(1)));
    }
}
