//! Private memory of our own, page by page.

use crate::error::{Context, Result};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ptr::NonNull;

/// Page-aligned zeroed memory that forked children do not get. Its pages are
/// touched, and so paid for, on first use.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the value, and the value only names it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes, not 0.
    pub(super) fn new(length: usize) -> Result<Self> {
        // SAFETY: a fresh private mapping at an address of the kernel's choice
        // cannot touch memory that is in use.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .context(|| format!("map {length} bytes of buffers"))?;
        let mapping = Self {
            start: NonNull::new(start.cast()).expect("mmap never returns NULL"),
            length,
        };
        // A child of fork(2) must not share pages that the kernel still writes
        // to (copy-on-write would give one of the two the wrong copy).
        // SAFETY: the range is the mapping made above.
        unsafe { rustix::mm::madvise(start, length, Advice::LinuxDontFork) }
            .context(|| "keep the buffers from forked children")?;
        Ok(mapping)
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever used it is done: a pool's
        // buffers hold it, and a program frees what no request uses.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "munmap of buffers: {unmapped:?}");
    }
}
