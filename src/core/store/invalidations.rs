//! Counters that say "what you know of this file may be wrong", shared by all processes
//! that use a cache directory, and read without a system call.
//!
//! Each file counts on two of them, by hashes: that of its origin and that of its path.
//! What shares a counter with something invalidated is asked for once more than it
//! need be, and that is all. Nothing else is ever derived from a counter, since any
//! process may have written it.

use crate::error::{Context, Errno, Result};
use crate::limits::CACHE_LOCK_MS_MAX;
use crate::sys::{self, Mapped};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Where they are, in the cache directory.
const FILE: &str = "cachefs.invalidations";
/// Counters of origins, and behind them those of paths.
const ORIGINS: u64 = 1 << 10;
const PATHS: u64 = 1 << 15;
const BYTES: u64 = (ORIGINS + PATHS) * 8;

pub(crate) struct Invalidations {
    counters: Mapped,
    /// Of this process alone, where the others cannot be told: counts for every file.
    here: AtomicU64,
}

/// The counters of one file of an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    origin: u16,
    path: u16,
}

/// What the counters of a file say: it is another one after each invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

impl Spot {
    pub(crate) fn new(origin: &[u8], path: &[u8]) -> Self {
        let of_origin = xxh3_64(origin);
        Self {
            origin: (of_origin % ORIGINS) as u16,
            path: (xxh3_64_with_seed(path, of_origin) % PATHS) as u16,
        }
    }
}

impl Invalidations {
    /// Those of a cache directory; without one, or where it cannot have them, those of
    /// this process alone. `is_elsewhere` as in [`Mapped::map`].
    pub(crate) fn open(directory: Option<&Path>, is_elsewhere: bool) -> Result<Self> {
        let shared = directory.map(|directory| {
            open_file(directory)
                .and_then(|file| Mapped::map(file.as_fd(), BYTES, is_elsewhere))
                .context(|| format!("share {}/{FILE}", directory.display()))
        });
        let counters = match shared {
            Some(Ok(counters)) => counters,
            Some(Err(error)) => {
                tracing::warn!("other processes are not told what is invalidated: {error}");
                Mapped::alone(BYTES).context(|| "map the counters of invalidations")?
            }
            None => Mapped::alone(BYTES).context(|| "map the counters of invalidations")?,
        };
        Ok(Self::of(counters))
    }

    fn of(counters: Mapped) -> Self {
        Self {
            counters,
            here: AtomicU64::new(0),
        }
    }

    /// Those of a cache directory, if it has them. Allocates nothing.
    pub(crate) fn look(root: BorrowedFd<'_>) -> std::result::Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = sys::open_at(root, FILE, flags, Mode::empty())?;
        if (rustix::fs::fstat(&file)?.st_size as u64) < BYTES {
            return Err(Errno::NODATA);
        }
        // Only where the slot table is, which is not on a file system of another process.
        let counters = Mapped::map(file.as_fd(), BYTES, false)?;
        Ok(Self::of(counters))
    }

    fn counter(&self, index: u64) -> &AtomicU64 {
        self.counters.word(index * 8)
    }

    fn of_origin(&self, spot: Spot) -> &AtomicU64 {
        self.counter(spot.origin.into())
    }

    fn of_path(&self, spot: Spot) -> &AtomicU64 {
        self.counter(ORIGINS + u64::from(spot.path))
    }

    /// Sample it before asking the origin. Acquire: whoever sees a new mark asks after
    /// what the invalidation was about.
    #[inline]
    pub(crate) fn mark(&self, spot: Spot) -> Mark {
        let of_origin = self.of_origin(spot).load(Ordering::Acquire);
        let of_path = self.of_path(spot).load(Ordering::Acquire);
        let here = self.here.load(Ordering::Acquire);
        // All only grow, so a sum is the same only if all are.
        Mark(of_origin.wrapping_add(of_path).wrapping_add(here))
    }

    /// Nothing that is known of a file counts any more.
    pub(crate) fn invalidate(&self, spot: Spot) {
        self.of_path(spot).fetch_add(1, Ordering::AcqRel);
    }

    /// Nothing that this process knows of any file counts any more.
    pub(crate) fn forget_all_here(&self) {
        self.here.fetch_add(1, Ordering::AcqRel);
    }

    /// The same of every file of the origin.
    pub(crate) fn invalidate_all(&self, spot: Spot) {
        self.of_origin(spot).fetch_add(1, Ordering::AcqRel);
    }
}

/// The file, with all its blocks: an access to one that is missing would raise SIGBUS.
fn open_file(directory: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let path = directory.join(FILE);
    let file = sys::open_at(rustix::fs::CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
    if rustix::fs::fstat(&file)?.st_size as u64 >= BYTES {
        return Ok(file);
    }
    // Whoever is second finds it made, and must not clear what was counted since.
    super::lock::lock(&file, CACHE_LOCK_MS_MAX)?;
    let size = rustix::fs::fstat(&file)?.st_size as u64;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP) => super::write_zeros(&file, size..BYTES)?,
        Err(errno) => return Err(errno),
    }
    rustix::fs::flock(&file, rustix::fs::FlockOperation::Unlock)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalidation_changes_the_mark_of_its_file_everywhere_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let here = Invalidations::open(Some(directory.path()), false).unwrap();
        let there = Invalidations::open(Some(directory.path()), false).unwrap();
        let (one, other) = (Spot::new(b"origin", b"one"), Spot::new(b"origin", b"other"));
        let before = (there.mark(one), there.mark(other));
        here.invalidate(one);
        assert_ne!(there.mark(one), before.0);
        assert_eq!(there.mark(other), before.1);
        assert_eq!(here.mark(one), there.mark(one));
    }

    #[test]
    fn an_invalidation_of_an_origin_changes_the_marks_of_its_files_and_of_no_other() {
        let counters = Invalidations::open(None, false).unwrap();
        let mine = Spot::new(b"mine", b"file");
        let theirs = Spot::new(b"theirs", b"file");
        let before = (counters.mark(mine), counters.mark(theirs));
        counters.invalidate_all(mine);
        assert_ne!(counters.mark(mine), before.0);
        assert_eq!(counters.mark(theirs), before.1);
    }

    #[test]
    fn what_was_counted_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let spot = Spot::new(b"origin", b"file");
        let count = |invalidate: bool| {
            let counters = Invalidations::open(Some(directory.path()), false).unwrap();
            if invalidate {
                counters.invalidate(spot);
            }
            counters.mark(spot)
        };
        let after = count(true);
        assert_eq!(count(false), after);
    }

    #[test]
    fn a_directory_that_cannot_have_them_leaves_the_process_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let counters = Invalidations::open(Some(&directory.path().join("missing")), false).unwrap();
        let spot = Spot::new(b"origin", b"file");
        let before = counters.mark(spot);
        counters.invalidate(spot);
        assert_ne!(counters.mark(spot), before);
    }
}
