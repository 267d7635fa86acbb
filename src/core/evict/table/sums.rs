//! What is counted of all slots together, and how it is put right after somebody died
//! in the middle of a change.

use super::layout::{ORIGINS_MAX, Word};
use super::{Kind, State, Table, Totals};
use crate::limits::QUIET_MS;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A change of a slot, until it is dropped.
pub(super) struct Change<'a>(&'a Table);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.word(Word::Ended).fetch_add(1, Ordering::AcqRel);
    }
}

/// Nanoseconds of the clock that all processes of this boot share.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Table {
    /// Begins a change, once nobody asks for quiet.
    pub(super) fn begin(&self) -> Change<'_> {
        let quiet_until = self.word(Word::QuietUntil);
        // However long a damaged table asks for.
        for _ in 0..2 * QUIET_MS {
            let until = quiet_until.load(Ordering::Acquire);
            if until == 0 || until <= now_ns() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.word(Word::Begun).fetch_add(1, Ordering::AcqRel);
        Change(self)
    }

    /// Looks whether what is counted is what the slots have. None: there is too much
    /// going on.
    pub(crate) fn is_sound(&self) -> Option<bool> {
        self.quietly(|| {
            let sums = self.sum();
            Some(sums.totals == self.totals())
        })
    }

    /// Counts anew. False: there is too much going on. Not for two at once.
    pub(crate) fn recount(&self) -> bool {
        let done = self.quietly(|| {
            let begun = self.word(Word::Begun).load(Ordering::Acquire);
            let sums = self.sum();
            if self.word(Word::Begun).load(Ordering::Acquire) != begun {
                return None;
            }
            let store = |word, value| self.word(word).store(value, Ordering::Release);
            store(Word::Used, sums.totals.blocks);
            store(Word::Objects, sums.totals.objects);
            store(Word::ShortBlocks, sums.totals.short_blocks);
            store(Word::PinnedBlocks, sums.totals.pinned_blocks);
            for (index, blocks) in sums.origins.iter().enumerate() {
                let word = self.origin_blocks(index as u64);
                word.store(*blocks, Ordering::Release);
            }
            // Whoever has not ended by now never will.
            store(Word::Ended, begun);
            Some(())
        });
        done.is_some()
    }

    /// Runs `body` while nobody changes anything.
    fn quietly<T>(&self, mut body: impl FnMut() -> Option<T>) -> Option<T> {
        let until = now_ns() + QUIET_MS * 1_000_000;
        let quiet_until = self.word(Word::QuietUntil);
        quiet_until.store(until, Ordering::SeqCst);
        // Changes are over in a moment; what a dead one has begun stays begun.
        let going_on = || {
            let ended = self.word(Word::Ended).load(Ordering::SeqCst);
            self.word(Word::Begun).load(Ordering::SeqCst) != ended
        };
        let wait_until = until - QUIET_MS * 1_000_000 / 2;
        while going_on() && now_ns() < wait_until {
            std::thread::yield_now();
        }
        let begun = self.word(Word::Begun).load(Ordering::SeqCst);
        let result = body();
        let disturbed = self.word(Word::Begun).load(Ordering::SeqCst) != begun;
        quiet_until.store(0, Ordering::SeqCst);
        result.filter(|_| !disturbed)
    }

    fn sum(&self) -> Sums {
        let mut sums = Sums {
            totals: Totals::default(),
            origins: [0; ORIGINS_MAX as usize],
        };
        for slot in 0..self.sizes.slots {
            let state = State(self.state_word(slot).load(Ordering::Acquire));
            if !state.is_live() {
                continue;
            }
            sums.totals.objects += 1;
            sums.totals.blocks += state.blocks();
            sums.totals.short_blocks += if state.is_long() { 0 } else { state.blocks() };
            sums.totals.pinned_blocks += if state.is_pinned() { state.blocks() } else { 0 };
            sums.origins[state.origin() as usize] += state.blocks();
        }
        sums
    }

    /// Slots that somebody was about to write a key into.
    pub(crate) fn busy(&self) -> Vec<(u64, State)> {
        let state = |slot| State(self.state_word(slot).load(Ordering::Acquire));
        let all = (0..self.sizes.slots).map(|slot| (slot, state(slot)));
        all.filter(|(_, state)| state.kind() == Kind::Busy)
            .collect()
    }

    /// Frees those of them that still are as they were.
    pub(crate) fn free_busy(&self, slots: &[(u64, State)]) {
        for (slot, state) in slots {
            let gone = state.turned(Kind::Gone);
            let word = self.state_word(*slot);
            let freed = word.compare_exchange(state.0, gone.0, Ordering::AcqRel, Ordering::Relaxed);
            tracing::debug!("a slot that somebody died over is free again: {freed:?}");
        }
    }

    /// Frees slots that a search for their key would not find, or finds another one
    /// before: damage. Gives how many.
    pub(crate) fn drop_lost(&self) -> u64 {
        let lost = self.entries().filter(|entry| {
            let found = self.find(entry.key);
            found.is_none_or(|found| found.handle.slot != entry.handle.slot)
        });
        lost.filter_map(|entry| self.remove(entry.handle)).count() as u64
    }
}

struct Sums {
    totals: Totals,
    origins: [u64; ORIGINS_MAX as usize],
}
