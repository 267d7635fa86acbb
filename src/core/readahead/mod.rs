//! Readahead: what is fetched before it is asked for.
//!
//! Decides only: which chunks, how far ahead, and how much over all files. The rule is
//! in `docs/readahead.md`; `request/ahead.rs` does the fetching.

mod budget;
mod predictor;
mod run;
#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};
use predictor::{Predictor, Watch};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use budget::{Budget, Place, Places};

/// No hit is looked at.
const NOTHING: u64 = u64::MAX;
/// Every hit is.
const EVERYTHING: u64 = u64::MAX - 1;

/// What one open file knows of its readers.
pub(crate) struct Ahead {
    budget: Arc<Budget>,
    chunk_shift: u32,
    /// The chunk within which hits have nothing to tell, or one of the above.
    watch: AtomicU64,
    state: Mutex<State>,
    /// All of the file was asked for.
    whole: AtomicBool,
    /// Its shard looks for what came and is not read.
    watched: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Made by the first miss: most files that are open have none.
    predictor: Option<Box<Predictor>>,
    /// The version of the file that it knows.
    changes: u64,
    closed: bool,
}

/// What is to be done: see [`predictor::Advice`].
pub(crate) struct Advice {
    pub(crate) fetch: Vec<u64>,
    pub(crate) unused: u64,
}

/// A read, and the file as it is.
pub(crate) struct Seen {
    /// Bytes of the file, not none.
    pub(crate) read: Range<u64>,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Grows whenever the file has another version.
    pub(crate) changes: u64,
    /// Library threads serve it.
    pub(crate) missed: bool,
}

impl Ahead {
    pub(crate) fn new(budget: &Arc<Budget>, chunk_bytes: u64) -> Self {
        Self {
            budget: Arc::clone(budget),
            chunk_shift: chunk_bytes.trailing_zeros(),
            watch: AtomicU64::new(NOTHING),
            state: Mutex::default(),
            whole: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        }
    }

    /// Whether a hit, not of 0 bytes, has something to tell. On the way of every hit:
    /// one load, and no lock.
    pub(crate) fn watches(&self, offset: u64, length: u64) -> bool {
        let watch = self.watch.load(Ordering::Relaxed);
        let chunk = |byte: u64| byte >> self.chunk_shift;
        watch != NOTHING && !(chunk(offset) == watch && chunk(offset + length - 1) == watch)
    }

    /// Records a read; what is to be done after it. A hit does not wait for others that
    /// are being recorded. `present` tells which chunks need no fetch.
    pub(crate) fn saw(&self, seen: Seen, present: impl Fn(u64) -> bool) -> Option<Advice> {
        if !self.budget.is_open() {
            return None;
        }
        let mut state = if seen.missed {
            self.state.lock()
        } else {
            self.state.try_lock()?
        };
        if state.closed {
            return None;
        }
        let other = std::mem::replace(&mut state.changes, seen.changes) != seen.changes;
        let chunk_bytes = 1 << self.chunk_shift;
        let fresh = || Box::new(Predictor::new(chunk_bytes));
        let predictor = state.predictor.get_or_insert_with(fresh);
        let gone = if other {
            predictor.forget(&self.budget)
        } else {
            0
        };
        let advice = predictor.read(seen.read, seen.size, seen.missed, present, &self.budget);
        let watch = match predictor.watch() {
            Watch::Nothing => NOTHING,
            Watch::Everything => EVERYTHING,
            Watch::Leaving(chunk) => chunk,
        };
        self.watch.store(watch, Ordering::Relaxed);
        Some(Advice {
            fetch: advice.fetch,
            unused: advice.unused + gone,
        })
    }

    /// A reader waits for a chunk; what is to be fetched so that it need not again.
    pub(crate) fn stalled(&self, chunk: u64, present: impl Fn(u64) -> bool) -> Vec<u64> {
        let stalled = |one: &mut Predictor| one.stalled(chunk, present, &self.budget);
        self.state()
            .predictor
            .as_deref_mut()
            .map_or_else(Vec::new, stalled)
    }

    /// A chunk has come. False: for nothing.
    pub(crate) fn arrived(&self, chunk: u64, now: Instant) -> bool {
        let arrived = |one: &mut Predictor| one.arrived(chunk, now, &self.budget);
        self.state().predictor.as_deref_mut().is_some_and(arrived)
    }

    /// Whether somebody has to look for what is not read, who does not yet.
    pub(crate) fn is_to_be_watched(&self) -> bool {
        !self.watched.swap(true, Ordering::Relaxed)
    }

    /// What came before `limit` and was not read counts no more: its bytes, and when the
    /// oldest of the others came. None: there are no others to be watched.
    pub(crate) fn reclaim(&self, limit: Instant) -> (u64, Option<Instant>) {
        let mut state = self.state();
        let reclaim = |one: &mut Predictor| one.reclaim(limit, &self.budget);
        let (unused, oldest) = state.predictor.as_deref_mut().map_or((0, None), reclaim);
        if oldest.is_none() {
            // Under the lock, so that what comes now is watched anew.
            self.watched.store(false, Ordering::Relaxed);
        }
        (unused, oldest)
    }

    /// None of these is fetched now.
    pub(crate) fn refused_all(&self, chunks: &[u64]) {
        chunks.iter().for_each(|chunk| self.refused(*chunk));
    }

    /// A chunk is not fetched now.
    pub(crate) fn refused(&self, chunk: u64) {
        if let Some(predictor) = &mut self.state().predictor {
            predictor.refused(chunk, &self.budget);
        }
    }

    /// A chunk cannot be fetched; bytes that were fetched for nothing.
    pub(crate) fn failed(&self, chunk: u64) -> u64 {
        let failed = |one: &mut Predictor| one.failed(chunk, &self.budget);
        self.state().predictor.as_deref_mut().map_or(0, failed)
    }

    /// The file is closed. Whether chunks are on their way, and the bytes that were
    /// fetched for nothing.
    pub(crate) fn close(&self) -> (bool, u64) {
        let mut state = self.state();
        state.closed = true;
        self.watch.store(NOTHING, Ordering::Relaxed);
        let predictor = state.predictor.take();
        predictor.map_or((false, 0), |mut one| one.close(&self.budget))
    }

    /// Asks for all of the file; whether it is the first time.
    pub(crate) fn asks_whole(&self) -> bool {
        !self.whole.swap(true, Ordering::Relaxed)
    }

    /// Whether the file is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
