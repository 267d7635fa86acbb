//! Which chunk is in which place, and who is reading it.
//!
//! A table in sets, as a processor's cache has it: a chunk may only be in one of the
//! few places of its set, so that a look takes a cache line and no lock. Who reads a
//! place holds it; who wants it back closes it first, which succeeds only while
//! nobody holds it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Places of a set: their keys are one cache line.
pub(super) const WAYS: usize = 8;

/// No chunk has this key.
const NOBODY: u64 = 0;
/// Of a window's state: nobody may take hold of it.
const CLOSED: u32 = 1 << 31;

/// A chunk of a file that is open: its serial number, which is not 0, and the
/// chunk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// A file of 16 TiB has 2^28 chunks of the smallest size.
    pub(super) fn new(serial: u32, chunk: u64) -> Self {
        let chunk = u32::try_from(chunk).expect("a file has fewer chunks");
        Self(u64::from(serial) << 32 | u64::from(chunk))
    }

    fn serial(key: u64) -> u32 {
        (key >> 32) as u32
    }

    /// Spread over 64 bits (Knuth's multiplicative hashing, by 2^64 / phi).
    pub(super) fn hash(self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

#[repr(C, align(64))]
#[derive(Default)]
struct Set {
    keys: [AtomicU64; WAYS],
    states: [State; WAYS],
    /// Bytes.
    lengths: [AtomicU32; WAYS],
    /// A read came since the hand passed.
    recent: [AtomicBool; WAYS],
}

/// How many hold a window, or that nobody may.
struct State(AtomicU32);

impl Default for State {
    fn default() -> Self {
        Self(AtomicU32::new(CLOSED))
    }
}

/// The table.
pub(super) struct Windows {
    sets: Box<[Set]>,
}

impl Windows {
    /// For `count` windows, a power of two of at least one set.
    pub(super) fn new(count: usize) -> Self {
        assert!(count.is_power_of_two() && count >= WAYS);
        Self {
            sets: (0..count / WAYS).map(|_| Set::default()).collect(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The places that a chunk may be in.
    pub(super) fn places(&self, key: Key) -> std::ops::Range<usize> {
        let set = (key.hash() >> 32) as usize & (self.sets.len() - 1);
        set * WAYS..(set + 1) * WAYS
    }

    fn of(&self, place: usize) -> (&AtomicU64, &AtomicU32, &AtomicBool) {
        let (set, way) = (&self.sets[place / WAYS], place % WAYS);
        (&set.keys[way], &set.states[way].0, &set.recent[way])
    }

    fn length(&self, place: usize) -> &AtomicU32 {
        &self.sets[place / WAYS].lengths[place % WAYS]
    }

    /// Takes hold of the window of a chunk, and says how many bytes it has;
    /// `release` gives it back.
    pub(super) fn hold(&self, key: Key) -> Option<(usize, usize)> {
        let place = self.places(key).find(|place| self.is_at(key, *place))?;
        let (_, state, recent) = self.of(place);
        // Acquire: what `open` did before is seen.
        if state.fetch_add(1, Ordering::Acquire) & CLOSED != 0 || !self.is_at(key, place) {
            // It was closed, and may have been opened for another chunk, meanwhile.
            self.release(place);
            return None;
        }
        if !recent.load(Ordering::Relaxed) {
            recent.store(true, Ordering::Relaxed);
        }
        Some((place, self.length(place).load(Ordering::Relaxed) as usize))
    }

    fn is_at(&self, key: Key, place: usize) -> bool {
        self.of(place).0.load(Ordering::Relaxed) == key.0
    }

    pub(super) fn release(&self, place: usize) {
        // Release: the reads are over before it can be closed.
        self.of(place).1.fetch_sub(1, Ordering::Release);
    }

    /// Lets a closed window be found. Its bytes are there, so many.
    pub(super) fn open(&self, place: usize, key: Key, length: u32) {
        let (at, state, recent) = self.of(place);
        self.length(place).store(length, Ordering::Relaxed);
        at.store(key.0, Ordering::Relaxed);
        recent.store(true, Ordering::Relaxed);
        let before = state.fetch_and(!CLOSED, Ordering::Release);
        debug_assert!(before & CLOSED != 0, "it was closed");
    }

    /// Closes a window that nobody holds. False: somebody does, or it is closed.
    pub(super) fn close(&self, place: usize) -> bool {
        let (at, state, _) = self.of(place);
        let closed = state.compare_exchange(0, CLOSED, Ordering::Acquire, Ordering::Relaxed);
        if closed.is_ok() {
            at.store(NOBODY, Ordering::Relaxed);
        }
        closed.is_ok()
    }

    /// Whether it was read since this was asked last.
    pub(super) fn was_recent(&self, place: usize) -> bool {
        self.of(place).2.swap(false, Ordering::Relaxed)
    }

    /// The windows of a file.
    pub(super) fn of_file(&self, serial: u32) -> impl Iterator<Item = usize> {
        let is_its =
            move |place: &usize| Key::serial(self.of(*place).0.load(Ordering::Relaxed)) == serial;
        (0..self.count()).filter(is_its)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_window_is_found_and_only_by_its_key() {
        let windows = Windows::new(64);
        let key = Key::new(1, 7);
        let place = windows.places(key).start + 3;
        assert_eq!(windows.hold(key), None);
        windows.open(place, key, 4096);
        assert_eq!(windows.hold(key), Some((place, 4096)));
        assert_eq!(windows.hold(Key::new(2, 7)), None);
        assert_eq!(windows.hold(Key::new(1, 8)), None);
    }

    #[test]
    fn a_window_that_is_held_stays_open() {
        let windows = Windows::new(8);
        let key = Key::new(1, 0);
        windows.open(5, key, 4096);
        assert_eq!(windows.hold(key), Some((5, 4096)));
        assert_eq!(windows.hold(key), Some((5, 4096)));
        windows.release(5);
        assert!(!windows.close(5), "one holder is left");
        windows.release(5);
        assert!(windows.close(5));
        assert!(!windows.close(5), "it is closed");
        assert_eq!(windows.hold(key), None);
    }

    #[test]
    fn the_windows_of_a_file_are_its_own() {
        let windows = Windows::new(16);
        windows.open(1, Key::new(1, 0), 4096);
        windows.open(9, Key::new(1, 3), 4096);
        windows.open(4, Key::new(2, 3), 4096);
        assert_eq!(windows.of_file(1).collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn readers_never_meet_what_another_chunk_left() {
        // Each window's memory names the chunk that it was opened for.
        let windows = Windows::new(8);
        let memory: [AtomicU64; 8] = Default::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut chunk = 0;
                    while !done.load(Ordering::Relaxed) {
                        chunk = (chunk + 1) % 16;
                        if let Some((place, _)) = windows.hold(Key::new(1, chunk)) {
                            let named = memory[place].load(Ordering::Relaxed);
                            assert_eq!(named, chunk, "place {place}");
                            windows.release(place);
                        }
                    }
                });
            }
            for round in 0..20_000 {
                let place = round % 8;
                let chunk = (round * 7 % 16) as u64;
                let elsewhere = windows
                    .places(Key::new(1, chunk))
                    .any(|other| other != place && windows.is_at(Key::new(1, chunk), other));
                let closed = windows.close(place) || round < 8;
                if closed && !elsewhere {
                    memory[place].store(chunk, Ordering::Relaxed);
                    windows.open(place, Key::new(1, chunk), 4096);
                } else if closed {
                    windows.open(place, Key::new(9, 0), 4096);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
