//! The end of a request: the only place that makes a completion and counts it.

use super::{Request, Shard, Sink};
use crate::completion::{Completion, MissReason, Operation, Source};
use crate::error::Errno;
use crate::stats::Counters;

impl Shard {
    /// Completes a request that has nothing under way.
    pub(super) fn complete(&mut self, slot: usize) {
        let request = self.take_out(slot);
        let (sink, completion) = request.into_completion(None, &self.counters);
        self.finish(sink, completion);
    }
}

impl Request {
    /// Ends the request, with `errno` if it is given.
    pub(crate) fn into_completion(
        self,
        errno: Option<Errno>,
        counters: &Counters,
    ) -> (Sink, Completion) {
        let bytes = self.from_cache + self.from_origin;
        let result = errno.or(self.failure).map_or(Ok(bytes), Err);
        let delivered = if result.is_ok() { bytes } else { 0 };
        let source = if delivered == 0 {
            Source::None
        } else if self.from_origin == 0 && self.file.is_stale() {
            Source::Stale
        } else if self.from_origin == 0 {
            Source::Hit
        } else if self.from_cache > 0 {
            Source::Mixed
        } else if self.bypassed == self.from_origin {
            Source::Bypass
        } else {
            Source::Miss
        };
        let completion = Completion {
            tag: self.id,
            result,
            bytes_from_cache: delivered.min(self.from_cache),
            latency_ns: self.started.elapsed().as_nanos() as u64,
            operation: self.operation,
            source,
            miss_reason: self.miss_reason,
        };
        count(&completion, self.bypassed > 0, counters);
        (self.sink, completion)
    }
}

/// The completion of a read that was served on the caller's thread or queue.
pub(crate) fn hit_completion(tag: u64, bytes: u64, latency_ns: u64) -> Completion {
    Completion {
        tag,
        result: Ok(bytes),
        bytes_from_cache: bytes,
        latency_ns,
        operation: Operation::Read,
        source: if bytes == 0 {
            Source::None
        } else {
            Source::Hit
        },
        miss_reason: MissReason::None,
    }
}

/// Counts the end of a request whose beginning was counted in `in_flight`.
pub(crate) fn count(completion: &Completion, bypassed: bool, counters: &Counters) {
    counters.in_flight.sub(1);
    if completion.operation == Operation::Read {
        match (completion.result, completion.source) {
            (Err(_), _) => counters.errors.add(1),
            (Ok(_), Source::None | Source::Hit) => counters.hits.add(1),
            (Ok(_), Source::Stale) => {
                counters.hits.add(1);
                counters.stale_reads.add(1);
            }
            (Ok(_), _) if bypassed => counters.bypasses.add(1),
            (Ok(_), _) => counters.misses.add(1),
        }
        counters.bytes_from_cache.add(completion.bytes_from_cache);
    }
}

/// Reads that were served whole from the cache, not counted yet.
pub(crate) struct Served {
    pub(crate) hits: u64,
    pub(crate) bytes: u64,
    /// The least that one of them took, in ns.
    pub(crate) shortest_ns: u64,
}

impl Default for Served {
    fn default() -> Self {
        Self {
            hits: 0,
            bytes: 0,
            shortest_ns: u64::MAX,
        }
    }
}

/// Counts the end of reads whose beginning was counted in `in_flight`.
pub(crate) fn count_hits(served: Served, counters: &Counters) {
    counters.in_flight.sub(served.hits);
    counters.hits.add(served.hits);
    counters.bytes_from_cache.add(served.bytes);
}

/// Counts a read that has passed the cache by on its caller's thread.
pub(super) fn count_passed(bytes: u64, counters: &Counters) {
    counters.bypasses.add(1);
    counters.bytes_from_origin.add(bytes);
    counters.bytes_straight.add(bytes);
    counters.bytes_passed_by.add(bytes);
}
