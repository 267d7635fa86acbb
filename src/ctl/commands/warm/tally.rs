//! What came of it all.

use crate::show;
use indicatif::BinaryBytes;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counters of one run.
pub struct Tally {
    started: Instant,
    files: AtomicU64,
    copied_bytes: AtomicU64,
    present_bytes: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            files: AtomicU64::default(),
            copied_bytes: AtomicU64::default(),
            present_bytes: AtomicU64::default(),
            skipped: AtomicU64::default(),
            failed: AtomicU64::default(),
        }
    }
}

impl Tally {
    /// A file is in the cache now.
    pub fn count_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that were copied, and that were there before, of any file.
    pub fn count_bytes(&self, copied: u64, present: u64) {
        self.copied_bytes.fetch_add(copied, Ordering::Relaxed);
        self.present_bytes.fetch_add(present, Ordering::Relaxed);
    }

    /// Something was skipped.
    pub fn count_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Something failed.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How much failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = show::count(self.files.load(Ordering::Relaxed), "file");
        let copied = self.copied_bytes.load(Ordering::Relaxed);
        let present = BinaryBytes(self.present_bytes.load(Ordering::Relaxed));
        let skipped = self.skipped.load(Ordering::Relaxed);
        let failed = self.failed();
        write!(f, "{files} cached, {} copied", BinaryBytes(copied))?;
        if copied > 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = BinaryBytes((copied as f64 / seconds.max(0.001)) as u64);
            write!(f, " in {seconds:.1} s ({rate}/s)")?;
        }
        write!(
            f,
            ", {present} were there, {skipped} skipped, {failed} failed"
        )
    }
}
