//! The queues of the table: two rings of places, and the fingerprints of what has gone.
//!
//! A place names a slot and its generation, and counts only as long as that slot says
//! that it is in the queue. So places need not be taken out when an object goes, and
//! one that is lost with its process costs no more than the order: see
//! [`Table::queue_anew`]. Anybody enters; only the evictor takes.

use super::layout::{CELLS_TOGETHER, Word};
use super::{Entry, Handle, Table};
use crate::ids::Key;
use std::sync::atomic::{AtomicU64, Ordering};

/// Turns for which one waits for a place that somebody has taken and not filled.
const TURNS_MAX: u32 = 1000;

/// What is at the head of a queue.
pub(in crate::evict) enum Head {
    /// Nothing is in it.
    Nothing,
    /// A place that does not count any more.
    Stale,
    /// The first of the queue.
    Entry(Entry),
}

/// | bits | of a place |
/// |---|---|
/// | 0..24 | slot |
/// | 24..40 | its generation |
/// | 40..64 | lap, from 1 on: which tour of the ring it was written in |
const LAP: u32 = 40;
const GENERATION: u32 = 24;

impl Table {
    fn ends(&self, is_long: bool) -> (&AtomicU64, &AtomicU64) {
        if is_long {
            (self.word(Word::LongHead), self.word(Word::LongTail))
        } else {
            (self.word(Word::ShortHead), self.word(Word::ShortTail))
        }
    }

    fn place(&self, is_long: bool, position: u64) -> (&AtomicU64, u64) {
        let index = position % self.sizes.places;
        let lap = (position / self.sizes.places + 1) & ((1 << (64 - LAP)) - 1);
        (self.memory.word(self.sizes.place(is_long, index)), lap)
    }

    /// Puts an object at the end of a queue.
    pub(in crate::evict) fn enter(&self, is_long: bool, handle: Handle) {
        let (head, tail) = self.ends(is_long);
        let position = tail.fetch_add(1, Ordering::AcqRel);
        let (place, lap) = self.place(is_long, position);
        let generation = u64::from(handle.generation) << GENERATION;
        let value = u64::from(handle.slot) | generation | lap << LAP;
        place.store(value, Ordering::Release);
        let length = position.wrapping_sub(head.load(Ordering::Acquire));
        if length >= self.sizes.places / 8 * 7 {
            self.word(Word::Crowded).store(1, Ordering::Release);
        }
    }

    /// How many places a queue has, those that do not count included.
    pub(in crate::evict) fn length(&self, is_long: bool) -> u64 {
        let (head, tail) = self.ends(is_long);
        let length = tail
            .load(Ordering::Acquire)
            .wrapping_sub(head.load(Ordering::Acquire));
        length.min(self.sizes.places)
    }

    /// The first of a queue. Only for the evictor.
    pub(in crate::evict) fn head(&self, is_long: bool) -> Head {
        let (head, tail) = self.ends(is_long);
        let end = tail.load(Ordering::Acquire);
        let mut position = head.load(Ordering::Acquire);
        if position == end {
            return Head::Nothing;
        }
        if end.wrapping_sub(position) > self.sizes.places {
            // The oldest were written over, or the words are damaged.
            position = end.saturating_sub(self.sizes.places);
            head.store(position, Ordering::Release);
            self.word(Word::Crowded).store(1, Ordering::Release);
        }
        let (place, lap) = self.place(is_long, position);
        for _ in 0..TURNS_MAX {
            let value = place.load(Ordering::Acquire);
            if value >> LAP == lap {
                let handle = Handle {
                    slot: (value & ((1 << GENERATION) - 1)) as u32,
                    generation: (value >> GENERATION) as u16,
                };
                let entry = self.get(handle);
                let counts =
                    |entry: &Entry| entry.state.is_long() == is_long && !entry.state.is_pinned();
                return entry.filter(counts).map_or(Head::Stale, Head::Entry);
            }
            std::hint::spin_loop();
        }
        // Whoever was to fill it has died, or sleeps: its object has no place.
        self.word(Word::Crowded).store(1, Ordering::Release);
        Head::Stale
    }

    /// Entries of a queue from its head on, as they are now. Only for the evictor.
    pub(in crate::evict) fn queued(&self, is_long: bool) -> impl Iterator<Item = Entry> {
        let head = self.ends(is_long).0.load(Ordering::Acquire);
        (0..self.length(is_long)).filter_map(move |step| {
            let (place, lap) = self.place(is_long, head.wrapping_add(step));
            let value = place.load(Ordering::Acquire);
            let handle = Handle {
                slot: (value & ((1 << GENERATION) - 1)) as u32,
                generation: (value >> GENERATION) as u16,
            };
            let entry = self.get(handle).filter(|_| value >> LAP == lap)?;
            let state = entry.state;
            (state.is_long() == is_long && !state.is_pinned()).then_some(entry)
        })
    }

    /// Takes the first of a queue off. Only for the evictor.
    pub(in crate::evict) fn advance(&self, is_long: bool) {
        self.ends(is_long).0.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives each object a place once more, in the order of the places that there are,
    /// and of the table for those that have none. Only for the evictor.
    pub(in crate::evict) fn queue_anew(&self) {
        self.word(Word::Crowded).store(0, Ordering::Release);
        for is_long in [false, true] {
            let mut seen = vec![0u64; self.sizes.slots.div_ceil(64) as usize];
            // What enters meanwhile is behind these.
            for _ in 0..self.length(is_long) {
                let entry = match self.head(is_long) {
                    Head::Nothing => break,
                    Head::Stale => None,
                    Head::Entry(entry) => Some(entry),
                };
                self.advance(is_long);
                let Some(entry) = entry else { continue };
                let bit = 1 << (entry.handle.slot % 64);
                let word = &mut seen[(entry.handle.slot / 64) as usize];
                if *word & bit == 0 {
                    *word |= bit;
                    self.enter(is_long, entry.handle);
                }
            }
            for entry in self.entries() {
                let slot = entry.handle.slot;
                let has_place = seen[(slot / 64) as usize] & 1 << (slot % 64) != 0;
                let state = entry.state;
                if !has_place && state.is_long() == is_long && !state.is_pinned() {
                    self.enter(is_long, entry.handle);
                }
            }
        }
        self.word(Word::Crowded).store(0, Ordering::Release);
    }

    /// Whether the queues have places to be given anew.
    pub(in crate::evict) fn is_crowded(&self) -> bool {
        self.word(Word::Crowded).load(Ordering::Acquire) != 0
    }

    fn cells(&self, fingerprint: u32) -> impl Iterator<Item = &AtomicU64> {
        let groups = self.sizes.cells / CELLS_TOGETHER;
        let group = (u64::from(fingerprint) * groups) >> 32;
        (0..CELLS_TOGETHER).map(move |cell| {
            self.memory
                .word(self.sizes.cell(group * CELLS_TOGETHER + cell))
        })
    }

    /// Remembers a key that went unused, in place of the oldest of those beside it.
    pub(in crate::evict) fn remember(&self, key: Key) {
        let fingerprint = fingerprint(key);
        // From 1 on: a cell of zeros is empty.
        let serial = self.word(Word::GoneSerial).fetch_add(1, Ordering::AcqRel);
        let serial = serial.wrapping_add(1) as u32;
        let age = |cell: &&AtomicU64| {
            let value = cell.load(Ordering::Acquire);
            if value == 0 {
                u32::MAX
            } else {
                serial.wrapping_sub(value as u32)
            }
        };
        if let Some(oldest) = self.cells(fingerprint).max_by_key(age) {
            let value = u64::from(fingerprint) << 32 | u64::from(serial);
            oldest.store(value, Ordering::Release);
        }
    }

    /// Forgets a key that went unused, if it is one of the last `room`. False: it is not.
    pub(in crate::evict) fn recall(&self, key: Key, room: u64) -> bool {
        let fingerprint = fingerprint(key);
        let serial = self.word(Word::GoneSerial).load(Ordering::Acquire) as u32;
        self.cells(fingerprint).any(|cell| {
            let value = cell.load(Ordering::Acquire);
            let age = serial.wrapping_sub(value as u32);
            let is_it = value >> 32 == fingerprint.into() && u64::from(age) <= room;
            value != 0
                && is_it
                && cell
                    .compare_exchange(value, 0, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
        })
    }
}

/// A key is a hash: any part of it will do.
fn fingerprint(key: Key) -> u32 {
    let [.., a, b, c, d] = key.0;
    u32::from_le_bytes([a, b, c, d])
}
