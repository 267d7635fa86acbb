//! The history of one open file, and what to fetch ahead of its readers.
//!
//! Knows offsets and chunks only. Which of the chunks that it asked for are still to
//! be read is known one by one, so that the limit holds for exactly those.

use super::budget::Budget;
use super::run::{Run, Shape};
use crate::limits::{
    READAHEAD_CHUNKS_FIRST, READAHEAD_IDLE_READS, READAHEAD_RUN_BYTES_MAX, READAHEAD_RUNS_MAX,
    READAHEAD_STRIDE_READS, READAHEAD_WATCH_READS,
};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

/// What became of a chunk that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is on its way.
    Coming,
    /// The same, and somebody has read it already.
    Wanted,
    /// It is there, and nobody has read it.
    Unread,
}

struct Prefetched {
    run: u64,
    fate: Fate,
    /// When it came, of one that nobody has read.
    came: Option<Instant>,
}

/// What is to be done after a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// Chunks to fetch, the most urgent first.
    pub(super) fetch: Vec<u64>,
    /// Bytes that were fetched for nothing.
    pub(super) unused: u64,
}

/// Which hits have something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// None: nothing was missed for long.
    Nothing,
    /// Those that are not wholly in this chunk, where a run is.
    Leaving(u64),
    /// All.
    Everything,
}

pub(super) struct Predictor {
    chunk_bytes: u64,
    /// Of the file.
    size: u64,
    runs: Vec<Run>,
    chunks: HashMap<u64, Prefetched>,
    /// Reads that were recorded.
    reads: u64,
    /// Where the latest read without a run began, its distance from the one before, and
    /// how many had that distance.
    lonely: Option<u64>,
    distance: i64,
    equal: u32,
    /// Chunks to fetch ahead of the next run: fewer if the last ones were not read.
    first_window: u64,
    /// Hits without a run that are still looked at.
    patience: u32,
    watch: Watch,
}

impl Predictor {
    pub(super) fn new(chunk_bytes: u64) -> Self {
        Self {
            chunk_bytes,
            size: 0,
            runs: Vec::with_capacity(READAHEAD_RUNS_MAX),
            chunks: HashMap::new(),
            reads: 0,
            lonely: None,
            distance: 0,
            equal: 0,
            first_window: READAHEAD_CHUNKS_FIRST,
            patience: 0,
            watch: Watch::Nothing,
        }
    }

    /// Which hits are to be recorded.
    pub(super) fn watch(&self) -> Watch {
        self.watch
    }

    /// A read of these bytes, not none, of a file of `size` bytes. `missed`: not all
    /// of them were present. `present` tells which chunks need no fetch.
    pub(super) fn read(
        &mut self,
        read: Range<u64>,
        size: u64,
        missed: bool,
        present: impl Fn(u64) -> bool,
        budget: &Budget,
    ) -> Advice {
        self.reads += 1;
        self.size = size;
        if missed {
            self.patience = READAHEAD_WATCH_READS;
        }
        self.mark_read(&read, budget);
        let mut unused = self.end_idle_runs(budget);
        let found = self.find(&read);
        let run = match found {
            Some(index) => {
                unused += self.advance(index, &read, budget);
                Some(index)
            }
            None => {
                self.patience = self.patience.saturating_sub(1);
                unused += self.begin(&read, budget);
                self.runs.len().checked_sub(1)
            }
        };
        let fetch = run.map_or_else(Vec::new, |index| self.plan(index, present, budget));
        self.watch = self.next_watch(found, &read);
        Advice { fetch, unused }
    }

    /// A reader waits for a chunk: a run that it belongs to is to be farther ahead.
    pub(super) fn stalled(
        &mut self,
        chunk: u64,
        present: impl Fn(u64) -> bool,
        budget: &Budget,
    ) -> Vec<u64> {
        let chunk_bytes = self.chunk_bytes;
        let near = |run: &Run| run.proven && run.is_near(chunk, chunk_bytes);
        let Some(index) = self.runs.iter().position(near) else {
            return Vec::new();
        };
        let window_max = self.window_max();
        let run = &mut self.runs[index];
        // Once for each place where it was: a read may miss many chunks.
        let here = Some(run.last.start / chunk_bytes);
        if run.grown_at == here {
            return Vec::new();
        }
        run.grown_at = here;
        run.window = (run.window * 2).min(window_max);
        self.plan(index, present, budget)
    }

    /// A chunk has come. False: nobody is waiting for it any more.
    pub(super) fn arrived(&mut self, chunk: u64, now: Instant, budget: &Budget) -> bool {
        match self.chunks.get_mut(&chunk) {
            None => false,
            Some(one) if one.fate == Fate::Coming => {
                one.fate = Fate::Unread;
                one.came = Some(now);
                true
            }
            Some(_) => {
                self.remove(chunk, budget);
                true
            }
        }
    }

    /// Chunks that came before `limit` and that nobody has read count no more: their
    /// bytes, and when the oldest of the others came.
    pub(super) fn reclaim(&mut self, limit: Instant, budget: &Budget) -> (u64, Option<Instant>) {
        let is_old = |one: &Prefetched| one.came.is_some_and(|came| came <= limit);
        let unused = self.give_up(budget, |one, _| one.fate == Fate::Unread && is_old(one));
        let unread = self.chunks.values().filter(|one| one.fate == Fate::Unread);
        (unused, unread.filter_map(|one| one.came).min())
    }

    /// A chunk is not fetched now: it may be asked for again.
    pub(super) fn refused(&mut self, chunk: u64, budget: &Budget) {
        if let Some(id) = self.remove(chunk, budget)
            && let Some(run) = self.runs.iter_mut().find(|run| run.id == id)
        {
            run.planned = 0;
        }
    }

    /// A chunk cannot be fetched: its run ends. Bytes that were fetched for nothing.
    pub(super) fn failed(&mut self, chunk: u64, budget: &Budget) -> u64 {
        let Some(id) = self.remove(chunk, budget) else {
            return 0;
        };
        self.runs.retain(|run| run.id != id);
        self.first_window = 1;
        self.give_up(budget, |one, _| one.run == id)
    }

    /// The file is closed, or is another version: everything is forgotten. Bytes that
    /// were fetched for nothing.
    pub(super) fn forget(&mut self, budget: &Budget) -> u64 {
        let unused = self.give_up(budget, |_, _| true);
        let rest = std::mem::take(&mut self.chunks).len() as u64;
        budget.give_back(rest * self.chunk_bytes);
        self.runs.clear();
        self.lonely = None;
        unused
    }

    /// The same for the last time. Whether chunks were on their way, and the bytes.
    pub(super) fn close(&mut self, budget: &Budget) -> (bool, u64) {
        let mut fates = self.chunks.values().map(|one| one.fate);
        let coming = fates.any(|fate| fate != Fate::Unread);
        (coming, self.forget(budget))
    }

    fn window_max(&self) -> u64 {
        (READAHEAD_RUN_BYTES_MAX / self.chunk_bytes).max(1)
    }

    fn chunks_of(&self, read: &Range<u64>) -> Range<u64> {
        read.start / self.chunk_bytes..(read.end - 1) / self.chunk_bytes + 1
    }

    fn bytes_of(&self, chunk: u64) -> u64 {
        let start = chunk * self.chunk_bytes;
        self.size.saturating_sub(start).min(self.chunk_bytes)
    }

    /// Takes a chunk out of the account; the run that asked for it.
    fn remove(&mut self, chunk: u64, budget: &Budget) -> Option<u64> {
        let removed = self.chunks.remove(&chunk)?;
        budget.give_back(self.chunk_bytes);
        Some(removed.run)
    }

    fn mark_read(&mut self, read: &Range<u64>, budget: &Budget) {
        if self.chunks.is_empty() {
            return;
        }
        let chunks = self.chunks_of(read);
        if chunks.end - chunks.start <= self.chunks.len() as u64 {
            chunks.for_each(|chunk| self.mark_chunk_read(chunk, budget));
        } else {
            let ahead = self.chunks.keys().copied();
            let read: Vec<u64> = ahead.filter(|chunk| chunks.contains(chunk)).collect();
            for chunk in read {
                self.mark_chunk_read(chunk, budget);
            }
        }
    }

    fn mark_chunk_read(&mut self, chunk: u64, budget: &Budget) {
        match self.chunks.get_mut(&chunk) {
            None => {}
            Some(one) if one.fate == Fate::Unread => {
                self.remove(chunk, budget);
            }
            Some(one) => one.fate = Fate::Wanted,
        }
    }

    /// Gives up chunks that nobody has read; bytes of those that had come.
    fn give_up(&mut self, budget: &Budget, which: impl Fn(&Prefetched, u64) -> bool) -> u64 {
        let mut unused = 0;
        let gone: Vec<u64> = self
            .chunks
            .iter()
            .filter(|(chunk, one)| one.fate != Fate::Wanted && which(one, **chunk))
            .map(|(chunk, _)| *chunk)
            .collect();
        for chunk in gone {
            if self.chunks[&chunk].fate == Fate::Unread {
                unused += self.bytes_of(chunk);
            }
            self.remove(chunk, budget);
        }
        unused
    }

    /// Ends a run that has been left.
    fn end(&mut self, index: usize, budget: &Budget) -> u64 {
        let run = self.runs.swap_remove(index);
        if !run.proven {
            return 0;
        }
        let before = self.chunks.len();
        let unused = self.give_up(budget, |one, _| one.run == run.id);
        self.first_window = if self.chunks.len() < before {
            (self.first_window / 2).max(1)
        } else {
            READAHEAD_CHUNKS_FIRST
        };
        unused
    }

    fn end_idle_runs(&mut self, budget: &Budget) -> u64 {
        let reads = self.reads;
        let idle = |run: &Run| reads - run.used_at > READAHEAD_IDLE_READS;
        let mut unused = 0;
        while let Some(index) = self.runs.iter().position(idle) {
            unused += self.end(index, budget);
        }
        unused
    }

    /// The run that a read belongs to: one that is followed rather than a new one, and
    /// of several the latest.
    fn find(&self, read: &Range<u64>) -> Option<usize> {
        let fits = |run: &Run| run.is_continued_by(read, self.chunk_bytes);
        (0..self.runs.len())
            .filter(|index| fits(&self.runs[*index]))
            .max_by_key(|index| (self.runs[*index].proven, self.runs[*index].used_at))
    }

    fn advance(&mut self, index: usize, read: &Range<u64>, budget: &Budget) -> u64 {
        let (chunk_bytes, window_max) = (self.chunk_bytes, self.window_max());
        let run = &mut self.runs[index];
        let proven = run.proven;
        let steps = run.advance(read, chunk_bytes, self.reads);
        if !proven && run.is_long() {
            run.proven = true;
            run.window = self.first_window.min(window_max);
        }
        if !proven || steps <= 1 || self.chunks.is_empty() {
            return 0;
        }
        // It may have left something out.
        let (id, run) = (run.id, run.clone());
        let before = self.chunks.len();
        let passed = |chunk| run.has_passed(chunk, chunk_bytes);
        let unused = self.give_up(budget, |one, chunk| one.run == id && passed(chunk));
        if self.chunks.len() < before {
            let run = &mut self.runs[index];
            run.window = (run.window / 2).max(1);
        }
        unused
    }

    /// A read that belongs to no run may be the first of one, or one of several at
    /// equal distances. The run is the last of the list then.
    fn begin(&mut self, read: &Range<u64>, budget: &Budget) -> u64 {
        let id = self.reads;
        let mut run = Run::new(id, read, self.reads);
        if let Some(before) = self.lonely.replace(read.start) {
            let distance = read.start as i64 - before as i64;
            self.equal = if distance == self.distance {
                self.equal + 1
            } else {
                1
            };
            self.distance = distance;
            let reads = self.equal + 1;
            if distance != 0 && reads >= READAHEAD_STRIDE_READS {
                let strided = run.clone().strided(distance, reads, self.chunk_bytes);
                if strided.is_long() {
                    run = strided;
                    run.proven = true;
                    run.window = self.first_window.min(self.window_max());
                }
            }
        }
        let mut unused = 0;
        if self.runs.len() == READAHEAD_RUNS_MAX {
            // Single reads before runs that are followed, the oldest first.
            let oldest = (0..self.runs.len()).min_by_key(|index| {
                let run = &self.runs[*index];
                (run.proven, run.used_at)
            });
            unused = self.end(oldest.expect("there are some"), budget);
        }
        self.runs.push(run);
        unused
    }

    /// Asks for what is not ahead of a run yet, once it is a part of the window.
    fn plan(&mut self, index: usize, present: impl Fn(u64) -> bool, budget: &Budget) -> Vec<u64> {
        let run = &mut self.runs[index];
        let steps = run.steps(self.chunk_bytes);
        let enough = steps - (steps / 4).max(1);
        let mut fetch = Vec::new();
        if !run.proven || run.planned > enough {
            return fetch;
        }
        'plan: while run.planned < steps {
            let Some(chunks) = run.ahead(run.planned + 1, self.size, self.chunk_bytes) else {
                run.planned = steps;
                break;
            };
            for chunk in chunks {
                if self.chunks.contains_key(&chunk) || present(chunk) {
                    continue;
                }
                let own = self.chunks.len() as u64 * self.chunk_bytes;
                if !budget.take(self.chunk_bytes, own) {
                    break 'plan;
                }
                let fate = Fate::Coming;
                let (run, came) = (run.id, None);
                self.chunks.insert(chunk, Prefetched { run, fate, came });
                fetch.push(chunk);
            }
            run.planned += 1;
        }
        fetch
    }

    fn next_watch(&self, found: Option<usize>, read: &Range<u64>) -> Watch {
        let followed = self.runs.iter().any(|run| run.proven);
        if !followed && self.patience == 0 && self.chunks.is_empty() {
            return Watch::Nothing;
        }
        let run = found.map(|index| &self.runs[index]);
        match run.filter(|run| run.proven).map(|run| run.shape) {
            Some(Shape::Forward) => Watch::Leaving((read.end - 1) / self.chunk_bytes),
            Some(Shape::Backward) => Watch::Leaving(read.start / self.chunk_bytes),
            _ => Watch::Everything,
        }
    }
}
