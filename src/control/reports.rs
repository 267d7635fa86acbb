//! What commands are answered. Names that are not UTF-8 are shown as well as they can be,
//! and their exact bytes stand beside them.

use crate::name::Name;
use cachefs_core::Verification;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers `hello`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hello {
    /// `cachefsd` or another name of a program.
    pub program: String,
    /// Of the program.
    pub version: String,
    /// Of its process.
    pub pid: u32,
    /// The cache directory, from `/`.
    pub cache: Name,
    /// The origin's root, from `/` and without links.
    pub origin: Name,
    /// Where it is mounted, without links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mountpoint: Option<Name>,
}

/// Answers `stat`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Whole {
    /// The cache.
    #[serde(flatten)]
    pub cache: OfCache,
    /// Who has it open. None: whoever asks has opened it only for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<OfServer>,
}

/// The cache as a whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OfCache {
    /// Where it is.
    pub directory: String,
    /// Its exact bytes, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_bytes: Option<Vec<u8>>,
    /// `normal`, `degraded`, `off` or `pass-through`.
    pub state: String,
    /// Why not normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// `uring` or `psync`.
    pub engine: String,
    /// Why this one, and what the kernel did not grant.
    pub engine_reason: String,
    /// What it may hold at most.
    pub capacity_bytes: u64,
    /// What the directory holds, metadata included.
    pub cached_bytes: u64,
    /// Files of which it holds something.
    pub cached_objects: u64,
    /// By origin.
    pub origins: Vec<OfOrigin>,
}

/// What of one origin is cached.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct OfOrigin {
    /// Its root or name.
    pub origin: String,
    /// Its exact bytes, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_bytes: Option<Vec<u8>>,
    /// Files of which something is cached.
    pub objects: u64,
    /// Those that are wholly cached.
    pub complete_objects: u64,
    /// Of the files that have objects.
    pub file_bytes: u64,
    /// Of them, in the cache.
    pub bytes_present: u64,
}

/// The process that has the cache open.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OfServer {
    /// As in [`Hello`].
    #[serde(flatten)]
    pub hello: Hello,
    /// Seconds since it has begun.
    pub seconds: u64,
    /// The counters of `cachefs_stats` by name, since then.
    pub counters: BTreeMap<String, u64>,
    /// Whether the origin answers.
    pub origin_health: Health,
    /// What only a mount has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<OfMount>,
}

/// Whether an origin answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Health {
    /// Whether it is asked: `closed` (it is), `open` (it is not), `half open` (it is tried).
    pub circuit: String,
    /// Failures since the last answer.
    pub failures: u64,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Questions that were asked again after a failure.
    pub retries: u64,
}

/// A mount.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct OfMount {
    /// Why complete files are not handed to the kernel; None: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_passthrough: Option<String>,
    /// Names and versions that the kernel knows.
    pub nodes: u64,
    /// Files that are open.
    pub files_open: u64,
    /// Those of them that the kernel reads without the daemon.
    pub files_handed_over: u64,
    /// Requests of the kernel that were answered.
    pub requests: u64,
    /// Those of them that were reads.
    pub reads: u64,
    /// Threads that answer, at most.
    pub threads: u64,
}

/// Answers `open`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct OpenFiles {
    /// Those that are open more often come first.
    pub files: Vec<OpenFile>,
}

/// A file that is open.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OpenFile {
    /// Below the origin's root.
    pub path: Name,
    /// How often it is open.
    pub opens: u64,
    /// The kernel reads it without the daemon.
    pub is_handed_over: bool,
    /// Bytes that were read through the daemon since it is open.
    pub bytes_read: u64,
    /// Of the version that is served.
    pub size: u64,
    /// Of them, in the cache.
    pub bytes_present: u64,
}

/// Answers `stat_file`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OfFile {
    /// Bytes.
    pub size: u64,
    /// A hash that changes when the file does.
    pub version: String,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Of the origin.
    pub inode: u64,
    /// All of it is in the cache.
    pub complete: bool,
    /// Bytes that are.
    pub bytes_present: u64,
    /// Rounded down.
    pub percent_present: u64,
    /// Chunks that are.
    pub chunks_present: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
}

/// A note of `ls`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Entry {
    /// Root or name of its origin.
    pub origin: Name,
    /// Below the root, when it was cached.
    pub path: Name,
    /// Bytes of the file.
    pub size: u64,
    /// Of them, in the cache.
    pub bytes_present: u64,
    /// Chunks in the cache.
    pub chunks_present: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
}

/// Answers `why`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Explained {
    /// `complete`, `in part`, `other version`, `unusable` or `not cached`.
    pub state: String,
    /// Sentences that say why.
    pub why: Vec<String>,
    /// What the cache has of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<OfObject>,
}

/// What the cache has of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OfObject {
    /// Below `objects` of the cache directory.
    pub name: String,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
    /// Chunks that may be read.
    pub chunks_present: u64,
    /// To be verified before they are used.
    pub chunks_doubted: u64,
    /// The first byte of each missing range and the byte behind it; the first few.
    pub missing: Vec<(u64, u64)>,
    /// Bytes on the disk.
    pub disk_bytes: u64,
}

/// Answers `warm`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Filled {
    /// Bytes of the file, all of which are in the cache.
    pub bytes: u64,
    /// Those of them that were there before.
    pub present_before: u64,
}

/// Answers `invalidate`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Invalidated {
    /// Names and versions that the kernel was made to forget.
    pub nodes: u64,
}

/// Answers `verify`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Verified {
    /// Objects that were looked at.
    pub objects: u64,
    /// Whose metadata were damaged: they are gone.
    pub objects_dropped: u64,
    /// Whose bytes have their checksum.
    pub chunks_verified: u64,
    /// That had no checksum before.
    pub chunks_summed: u64,
    /// That were damaged: they are fetched again.
    pub chunks_dropped: u64,
    /// Of which nothing is known.
    pub busy: u64,
    /// That were read.
    pub bytes: u64,
}

impl Verified {
    /// Counts what was found of one more file.
    pub fn add(&mut self, found: &Verified) {
        self.objects += found.objects;
        self.objects_dropped += found.objects_dropped;
        self.chunks_verified += found.chunks_verified;
        self.chunks_summed += found.chunks_summed;
        self.chunks_dropped += found.chunks_dropped;
        self.busy += found.busy;
        self.bytes += found.bytes;
    }
}

impl From<&Verification> for Verified {
    fn from(found: &Verification) -> Self {
        Self {
            objects: found.objects,
            objects_dropped: found.objects_dropped,
            chunks_verified: found.chunks_verified,
            chunks_summed: found.chunks_summed,
            chunks_dropped: found.chunks_dropped,
            busy: found.busy,
            bytes: found.bytes,
        }
    }
}

/// Answers `reload`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Reloaded {
    /// Options that are in force from now on, as NAME=VALUE.
    pub changed: Vec<String>,
    /// Options that have changed and take a new mount.
    pub needs_remount: Vec<String>,
}

/// The bytes of a name that its text does not give exactly.
pub fn exact(bytes: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(bytes).is_err().then(|| bytes.to_vec())
}

/// How much of a whole is there, rounded down, so that 100 means all of it.
pub fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 100,
        _ => (u128::from(part.min(whole)) * 100 / u128::from(whole)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_is_everything() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 100);
    }
}
