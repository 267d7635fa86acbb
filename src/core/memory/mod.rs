//! The memory tier: chunks that are read again and again, locked into memory, so
//! that a hit on one is a copy without a system call.
//!
//! A chunk of a buffered file is the page cache's own pages, mapped; of a file that
//! is read past the page cache, a copy. Either is locked (mlock(2)): a read never
//! waits for a device here, nor meets an error of one (which would be SIGBUS). The
//! bytes of a chunk that was published never change, so neither do those in memory.
//!
//! | file | what it does |
//! |---|---|
//! | `windows` | which chunk is where, and who is reading it: without a lock |
//! | `arena` | the memory |
//! | here | what comes in, and what has to go |
//!
//! Knows files by descriptors and serial numbers, and nothing of objects.

mod arena;
mod windows;

use crate::buf::Lent;
use crate::error::{Errno, Result, describe};
use crate::limits::{MEMORY_READS_MIN, MEMORY_WINDOWS_MAX};
use arena::Arena;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use windows::{Key, WAYS, Windows};

pub(crate) use arena::Content;

/// Windows for each chunk that the limit allows: sets fill unevenly, and the last
/// chunk of a file is shorter than a window.
const SPARE: usize = 2;
/// Counters of reads, for each window.
const COUNTERS: usize = 4;

/// The memory tier of one cache.
pub(crate) struct Tier {
    windows: Windows,
    arena: Arena,
    /// Reads of chunks that are not here, by their hash.
    reads: Box<[AtomicU32]>,
    /// Bytes that it may hold: less than it was told once the kernel refused more.
    limit: AtomicU64,
    books: Mutex<Books>,
    /// Bytes of open windows.
    held: AtomicU64,
    /// A chunk is coming in: one at a time, so that they never pile up.
    loading: AtomicBool,
    serials: AtomicU32,
}

/// Changed by whoever brings something in or takes it out.
struct Books {
    /// By place: how many bytes of it are used, or about to be.
    used: Box<[u32]>,
    /// Their sum.
    total: u64,
    /// Where the search for something to take out goes on.
    hand: usize,
}

/// What of one open file is in memory. Takes it out when it is dropped.
pub(crate) struct Resident {
    tier: Arc<Tier>,
    serial: u32,
    /// It has had windows.
    was_loaded: AtomicBool,
}

/// What a look for a chunk found.
pub(crate) enum Look<'a> {
    /// Its bytes.
    Here(Held<'a>),
    /// Nothing.
    Absent,
    /// Nothing, and it was read so often that it should be here: [`Resident::load`].
    Wanted,
}

/// The bytes of a chunk, which stay as long as this.
pub(crate) struct Held<'a> {
    tier: &'a Tier,
    place: usize,
    /// Of the chunk.
    length: usize,
}

/// The window of a chunk that stays until [`Resident::give_back`].
pub(crate) struct Kept {
    place: usize,
}

impl Tier {
    /// For `limit` bytes of chunks of `chunk_bytes`.
    pub(crate) fn new(limit: u64, chunk_bytes: u64) -> Result<Arc<Self>> {
        let chunks = usize::try_from(limit / chunk_bytes).unwrap_or(usize::MAX);
        let count = chunks.saturating_mul(SPARE).clamp(WAYS, MEMORY_WINDOWS_MAX);
        let windows = Windows::new(count.next_power_of_two());
        let count = windows.count();
        Ok(Arc::new(Self {
            arena: Arena::new(count, chunk_bytes as usize)?,
            windows,
            reads: (0..count * COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            limit: AtomicU64::new(limit),
            books: Mutex::new(Books {
                used: vec![0; count].into(),
                total: 0,
                hand: 0,
            }),
            held: AtomicU64::new(0),
            loading: AtomicBool::new(false),
            serials: AtomicU32::new(1),
        }))
    }

    /// A file that was opened. None: four billion have been, and there are no more
    /// numbers.
    pub(crate) fn resident(self: &Arc<Self>) -> Option<Resident> {
        let next = |serial: u32| serial.checked_add(1);
        let taken = self
            .serials
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Some(Resident {
            tier: Arc::clone(self),
            serial: taken.ok()?,
            was_loaded: AtomicBool::new(false),
        })
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts a read of a chunk that is not here; whether it is one too many.
    fn is_wanted(&self, key: Key) -> bool {
        let index = (key.hash() >> 16) as usize & (self.reads.len() - 1);
        // Two that count at once may count one: it is a rule of thumb.
        let reads = self.reads[index].load(Ordering::Relaxed) + 1;
        let enough = reads >= MEMORY_READS_MIN;
        self.reads[index].store(if enough { 0 } else { reads }, Ordering::Relaxed);
        let has_room = self.limit.load(Ordering::Relaxed) > 0;
        enough && has_room && !self.loading.swap(true, Ordering::Acquire)
    }

    /// A place for a chunk of `length` bytes, if there is room or can be made.
    fn reserve(&self, key: Key, length: u32) -> Option<usize> {
        let mut books = self.books.lock();
        let places = self.windows.places(key);
        let free = places.clone().find(|place| books.used[*place] == 0);
        // The oldest of the set; all of it is recent: the first that nobody reads.
        let place = free.or_else(|| self.take_out(&mut books, places.clone().chain(places)))?;
        let limit = self.limit.load(Ordering::Relaxed);
        while books.total + u64::from(length) > limit {
            let (hand, count) = (books.hand, self.windows.count());
            let round = (hand..hand + 2 * count).map(|place| place % count);
            let out = self.take_out(&mut books, round)?;
            books.hand = (out + 1) % count;
        }
        books.used[place] = length;
        books.total += u64::from(length);
        Some(place)
    }

    /// Takes out the first window that was not read since the last look and that
    /// nobody reads; says where it was.
    fn take_out(
        &self,
        books: &mut Books,
        mut places: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        let gone = |place: &usize| !self.windows.was_recent(*place) && self.windows.close(*place);
        let place = places.find(gone)?;
        self.forget(books, place);
        Some(place)
    }

    /// Gives back the memory of a window that is closed.
    fn forget(&self, books: &mut Books, place: usize) {
        // SAFETY: it is closed, so nobody reads it.
        unsafe { self.arena.empty(place) };
        let bytes = self.give_back(books, place);
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives back what was reserved for a window.
    fn give_back(&self, books: &mut Books, place: usize) -> u64 {
        let bytes = u64::from(std::mem::take(&mut books.used[place]));
        books.total -= bytes;
        bytes
    }

    /// The process may not lock more than it has now.
    fn lower_limit(&self, errno: Errno) {
        let total = self.books.lock().total;
        if self.limit.fetch_min(total, Ordering::Relaxed) > total {
            tracing::warn!(
                "memory_bytes: only {total} bytes can be locked: {}; RLIMIT_MEMLOCK (ulimit -l) \
                 may be too low",
                describe(errno)
            );
        }
    }
}

impl Resident {
    /// Looks for a chunk, and counts the read. Neither blocks nor allocates.
    pub(crate) fn look(&self, chunk: u64) -> Look<'_> {
        let key = Key::new(self.serial, chunk);
        let tier = &*self.tier;
        match tier.windows.hold(key) {
            Some((place, length)) => Look::Here(Held {
                tier,
                place,
                length,
            }),
            None if tier.is_wanted(key) => Look::Wanted,
            None => Look::Absent,
        }
    }

    /// Brings a chunk in that was wanted: the `range` of a file. Blocks. `alone`: the
    /// process locks nothing else, so that what it may not lock now it never may.
    pub(crate) fn load(&self, chunk: u64, content: Content<'_>, range: Range<u64>, alone: bool) {
        if let Err(errno) = self.try_load(chunk, content, range) {
            match errno {
                Errno::NOMEM | Errno::PERM | Errno::AGAIN if !alone => {}
                Errno::NOMEM | Errno::PERM | Errno::AGAIN => self.tier.lower_limit(errno),
                // The next read of it goes to the file, and is told there.
                errno => tracing::debug!("cannot load a chunk: {}", describe(errno)),
            }
        }
        self.give_up();
    }

    /// A chunk that was wanted is not brought in after all.
    pub(crate) fn give_up(&self) {
        self.tier.loading.store(false, Ordering::Release);
    }

    /// The end of what [`Held::keep`] began, with the same file.
    pub(crate) fn give_back(&self, kept: Kept) {
        self.tier.windows.release(kept.place);
    }

    fn try_load(
        &self,
        chunk: u64,
        content: Content<'_>,
        range: Range<u64>,
    ) -> std::result::Result<(), Errno> {
        let (tier, key) = (&*self.tier, Key::new(self.serial, chunk));
        let length = (range.end - range.start) as u32;
        if let Some((place, _)) = tier.windows.hold(key) {
            tier.windows.release(place);
            return Ok(());
        }
        let Some(place) = tier.reserve(key, length) else {
            return Ok(());
        };
        // SAFETY: the place is closed and reserved for us, so nobody reads it.
        let filled = unsafe { tier.arena.fill(place, content, range) };
        match filled {
            Ok(()) => {
                self.was_loaded.store(true, Ordering::Relaxed);
                tier.windows.open(place, key, length);
                tier.held.fetch_add(length.into(), Ordering::Relaxed);
            }
            Err(_) => {
                tier.give_back(&mut tier.books.lock(), place);
            }
        }
        filled
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if !*self.was_loaded.get_mut() {
            return;
        }
        let tier = &*self.tier;
        let mut books = tier.books.lock();
        for place in tier.windows.of_file(self.serial) {
            // Whoever holds a window of the file has the file, so nobody does but
            // for the moment in which a look turns out to be mistaken. Then it stays:
            // nobody can find it any more, and the hand will take it.
            if tier.windows.close(place) {
                tier.forget(&mut books, place);
            }
        }
    }
}

impl Held<'_> {
    /// Copies `length` bytes from byte `start` of the chunk.
    pub(crate) fn copy(&self, start: usize, length: usize, target: Lent) {
        target.write(0, self.bytes(start, length));
    }

    /// The `length` bytes from byte `start` of the chunk.
    pub(crate) fn bytes(&self, start: usize, length: usize) -> &[u8] {
        assert!(start <= self.length && length <= self.length - start);
        // SAFETY: the range is within the chunk. The window is held, so its bytes are
        // there and stay, and nobody writes to them: a published chunk does not change.
        unsafe {
            let chunk = self.tier.arena.at(self.place);
            std::slice::from_raw_parts(chunk.add(start), length)
        }
    }

    /// Keeps the window, and with it the bytes, for as long as the file is held and
    /// the window not given back.
    pub(crate) fn keep(self) -> Kept {
        let kept = Kept { place: self.place };
        std::mem::forget(self);
        kept
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.tier.windows.release(self.place);
    }
}

#[cfg(test)]
mod tests;
