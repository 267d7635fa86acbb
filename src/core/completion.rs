//! The end of a request, as every door delivers it.

use crate::error::Errno;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read a range.
    Read,
    /// Copy a range into the cache.
    Fill,
}

/// Where the bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No bytes were delivered.
    None,
    /// The cache.
    Hit,
    /// The origin; the cache was filled with them.
    Miss,
    /// Some from the cache, some from the origin.
    Mixed,
    /// The origin; none were kept.
    Bypass,
    /// The cache; the origin could not be reached to ask for the version.
    Stale,
}

/// Why bytes did not come from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissReason {
    /// They did.
    None,
    /// The range was not in the cache.
    NeverCached,
    /// The origin's file has another version than the cached one.
    VersionChanged,
    /// They were not kept: fills take what they may already (docs/qos.md), or for a reason
    /// that has no name of its own.
    NotAdmitted,
    /// Cached bytes could not be read back.
    CacheError,
    /// What was cached is not what was written.
    FailedChecksum,
    /// The file was evicted, not long ago.
    Evicted,
    /// There was no room to keep them.
    NoRoom,
    /// The file changed too recently to be trusted, so they were not kept.
    TooYoung,
    /// The cache stores nothing now: see its report.
    NotStoring,
    /// Another process was getting them, and took too long.
    FetchedElsewhere,
}

/// The end of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's tag; of a callback request, its id.
    pub tag: u64,
    /// Bytes read or filled.
    pub result: Result<u64, Errno>,
    /// Bytes of `result` that came from the cache.
    pub bytes_from_cache: u64,
    /// From submission to completion, in nanoseconds.
    pub latency_ns: u64,
    /// What was asked for.
    pub operation: Operation,
    /// Where the bytes came from.
    pub source: Source,
    /// Why not from the cache.
    pub miss_reason: MissReason,
}
