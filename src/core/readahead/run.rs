//! One run of reads: whether the next read belongs to it, and what comes after.

use crate::limits::{READAHEAD_HEAD_BYTES, READAHEAD_RUN_READS, READAHEAD_SLACK_CHUNKS};
use std::ops::{Range, RangeInclusive};

/// How a run moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One read: it may go either way.
    Unknown,
    /// Every chunk, upwards.
    Forward,
    /// Every chunk, downwards.
    Backward,
    /// Reads of the same length, so many bytes from each other: more than a chunk.
    Stride(i64),
}

/// Reads that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// No other run of the file has had it.
    pub(super) id: u64,
    pub(super) shape: Shape,
    /// Where its first read began.
    first: u64,
    /// The read that is farthest.
    pub(super) last: Range<u64>,
    reads: u32,
    /// Whether chunks are fetched ahead of it.
    pub(super) proven: bool,
    /// Chunks that are to be ahead of its reader.
    pub(super) window: u64,
    /// Steps ahead of the last read that have been asked for.
    pub(super) planned: u64,
    /// Where it was when the window last grew.
    pub(super) grown_at: Option<u64>,
    /// The number of its latest read.
    pub(super) used_at: u64,
}

impl Run {
    pub(super) fn new(id: u64, read: &Range<u64>, number: u64) -> Self {
        Self {
            id,
            shape: Shape::Unknown,
            first: read.start,
            last: read.clone(),
            reads: 1,
            proven: false,
            window: 0,
            planned: 0,
            grown_at: None,
            used_at: number,
        }
    }

    /// A run of `reads` reads that are `delta` bytes from each other, not 0.
    pub(super) fn strided(mut self, delta: i64, reads: u32, chunk_bytes: u64) -> Self {
        let is_dense = delta.unsigned_abs() <= chunk_bytes;
        self.shape = match (is_dense, delta > 0) {
            (true, true) => Shape::Forward,
            (true, false) => Shape::Backward,
            (false, _) => Shape::Stride(delta),
        };
        let back = delta.saturating_mul(i64::from(reads) - 1);
        self.first = self.last.start.saturating_add_signed(back.saturating_neg());
        self.reads = reads;
        self
    }

    /// Whether it is long enough to fetch ahead of it. A look at the head of a file
    /// is not.
    pub(super) fn is_long(&self) -> bool {
        let within_head = self.first.max(self.last.end) <= READAHEAD_HEAD_BYTES;
        self.reads >= READAHEAD_RUN_READS && !within_head
    }

    /// Whether a read belongs to it. One that is followed is known by its chunks,
    /// since not every read of it is looked at.
    pub(super) fn is_continued_by(&self, read: &Range<u64>, chunk_bytes: u64) -> bool {
        let chunk = |byte: u64| byte / chunk_bytes;
        match self.shape {
            Shape::Unknown => read.start == self.last.end || read.end == self.last.start,
            Shape::Forward if !self.proven => read.start == self.last.end,
            Shape::Backward if !self.proven => read.end == self.last.start,
            Shape::Forward => {
                let (here, next) = (chunk(self.last.end - 1), chunk(read.start));
                next + READAHEAD_SLACK_CHUNKS >= here && next <= here + 1 + READAHEAD_SLACK_CHUNKS
            }
            Shape::Backward => {
                let (here, next) = (chunk(self.last.start), chunk(read.end - 1));
                next <= here + READAHEAD_SLACK_CHUNKS && next + 1 + READAHEAD_SLACK_CHUNKS >= here
            }
            Shape::Stride(delta) => {
                let away = read.start as i64 - self.last.start as i64;
                away % delta == 0 && (0..=2).contains(&(away / delta))
            }
        }
    }

    /// Moves on to a read that belongs to it; by how many steps.
    pub(super) fn advance(&mut self, read: &Range<u64>, chunk_bytes: u64, number: u64) -> u64 {
        if self.shape == Shape::Unknown {
            self.shape = if read.start == self.last.end {
                Shape::Forward
            } else {
                Shape::Backward
            };
        }
        self.reads = self.reads.saturating_add(1);
        self.used_at = number;
        let before = self.last.clone();
        let chunk = |byte: u64| byte / chunk_bytes;
        let steps = match self.shape {
            Shape::Unknown => unreachable!("decided above"),
            Shape::Forward if read.end <= before.end => return 0,
            Shape::Backward if read.start >= before.start => return 0,
            Shape::Forward => chunk(read.end - 1) - chunk(before.end - 1),
            Shape::Backward => chunk(before.start) - chunk(read.start),
            Shape::Stride(delta) => {
                ((read.start as i64 - before.start as i64) / delta).unsigned_abs()
            }
        };
        self.last = read.clone();
        self.planned = self.planned.saturating_sub(steps);
        steps
    }

    /// The chunks that its reader wants after so many steps, in a file of `size` bytes;
    /// None beyond the file.
    pub(super) fn ahead(
        &self,
        steps: u64,
        size: u64,
        chunk_bytes: u64,
    ) -> Option<RangeInclusive<u64>> {
        let chunk = |byte: u64| byte / chunk_bytes;
        match self.shape {
            Shape::Unknown => None,
            Shape::Forward => {
                let next = chunk(self.last.end - 1).checked_add(steps)?;
                (next <= chunk(size.checked_sub(1)?)).then_some(next..=next)
            }
            Shape::Backward => {
                let next = chunk(self.last.start).checked_sub(steps)?;
                Some(next..=next)
            }
            Shape::Stride(delta) => {
                let away = delta.checked_mul(i64::try_from(steps).ok()?)?;
                let start = self.last.start.checked_add_signed(away)?;
                let length = self.last.end - self.last.start;
                let end = size.min(start.checked_add(length)?);
                (start < end).then(|| chunk(start)..=chunk(end - 1))
            }
        }
    }

    /// Steps that fill the window.
    pub(super) fn steps(&self, chunk_bytes: u64) -> u64 {
        let wide = match self.shape {
            Shape::Stride(_) => (self.last.end - self.last.start).div_ceil(chunk_bytes),
            _ => 1,
        };
        (self.window / wide).max(1)
    }

    /// Whether its reader has left a chunk behind, by more than it may come back.
    pub(super) fn has_passed(&self, chunk: u64, chunk_bytes: u64) -> bool {
        let upwards = match self.shape {
            Shape::Backward => false,
            Shape::Stride(delta) => delta > 0,
            Shape::Forward | Shape::Unknown => true,
        };
        if upwards {
            chunk + READAHEAD_SLACK_CHUNKS < self.last.start / chunk_bytes
        } else {
            chunk > (self.last.end - 1) / chunk_bytes + READAHEAD_SLACK_CHUNKS
        }
    }

    /// Whether a read of its that waits for this chunk is one of the latest.
    pub(super) fn is_near(&self, chunk: u64, chunk_bytes: u64) -> bool {
        let (low, high) = (
            self.last.start / chunk_bytes,
            (self.last.end - 1) / chunk_bytes,
        );
        let slack = self.window + READAHEAD_SLACK_CHUNKS;
        match self.shape {
            Shape::Unknown => false,
            Shape::Forward => chunk <= high && chunk + slack >= low,
            Shape::Backward => chunk >= low && chunk <= high + slack,
            Shape::Stride(_) => (low..=high).contains(&chunk),
        }
    }
}
