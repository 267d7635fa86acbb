//! A file mapped shared: words that every process sees change.

use crate::error::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Words in memory that is shared with everybody who maps the same file. Whatever they
/// say may have been written by another process.
pub(crate) struct Mapped {
    base: NonNull<u8>,
    bytes: usize,
    is_elsewhere: bool,
}

// SAFETY: the mapping belongs to the value for its whole life and is accessed only
// through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the first bytes of a file. It must have all its blocks and never shrink, or
    /// an access would raise SIGBUS. `is_elsewhere`: another process serves its file
    /// system, and may never answer.
    pub(crate) fn map(file: BorrowedFd<'_>, bytes: u64, is_elsewhere: bool) -> Result<Self, Errno> {
        Self::with(bytes, is_elsewhere, |bytes, protection| {
            let anywhere = std::ptr::null_mut();
            // SAFETY: a fresh mapping at an address of the kernel's choice cannot touch
            // memory that is in use.
            unsafe { rustix::mm::mmap(anywhere, bytes, protection, MapFlags::SHARED, file, 0) }
        })
    }

    /// The same memory without a file, for this process alone: zeros.
    pub(crate) fn alone(bytes: u64) -> Result<Self, Errno> {
        Self::with(bytes, false, |bytes, protection| {
            let anywhere = std::ptr::null_mut();
            // SAFETY: as in `map`.
            unsafe { rustix::mm::mmap_anonymous(anywhere, bytes, protection, MapFlags::PRIVATE) }
        })
    }

    fn with(
        bytes: u64,
        is_elsewhere: bool,
        map: impl FnOnce(usize, ProtFlags) -> Result<*mut std::ffi::c_void, Errno>,
    ) -> Result<Self, Errno> {
        let bytes = usize::try_from(bytes).map_err(|_| Errno::OVERFLOW)?;
        let base = map(bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self {
            base: NonNull::new(base.cast()).expect("mmap never returns NULL"),
            bytes,
            is_elsewhere,
        })
    }

    /// The 8 bytes at an offset, a multiple of 8 inside the mapping.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes as u64);
        // SAFETY: it is inside the mapping and aligned; everybody who shares the page
        // accesses it as this atomic.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset as usize).cast()) }
    }

    /// The 4 bytes at an offset, a multiple of 4 inside the mapping. Whoever accesses
    /// them, accesses them so.
    #[inline]
    pub(crate) fn half(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.bytes as u64);
        // SAFETY: it is inside the mapping and aligned; everybody who shares the page
        // accesses it as this atomic.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset as usize).cast()) }
    }
}

/// Has the processor bring what a word is in, for whoever loads it soon and does something
/// else first. A hint, where there is one.
#[inline]
pub(crate) fn prefetch(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it changes nothing that a program can see, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(word.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// Stores what is there already, so that its page can be written to: the kernel may have
/// the thread wait for that (page_mkwrite). Not by adding zero, which a compiler makes a load.
/// If somebody else is faster, they have done it.
pub(crate) fn store_again(word: &AtomicU64) {
    let now = word.load(Ordering::Relaxed);
    let _is_stored = word.compare_exchange(now, now, Ordering::AcqRel, Ordering::Relaxed);
}

/// The same of half a word.
pub(crate) fn store_half_again(half: &AtomicU32) {
    let now = half.load(Ordering::Relaxed);
    let _is_stored = half.compare_exchange(now, now, Ordering::AcqRel, Ordering::Relaxed);
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let base = self.base.as_ptr().cast();
        if self.is_elsewhere {
            // FUSE writes back what is dirty when it is unmapped (fuse_vma_close), and
            // waits for that while nobody else of the process may map or unmap
            // anything. msync(2) waits without. What it failed to write, the unmapping
            // fails to write as well, at once.
            // SAFETY: the mapping is ours; its memory stays as it is.
            let _ = unsafe { rustix::mm::msync(base, self.bytes, MsyncFlags::SYNC) };
        }
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(base, self.bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of a shared file: {unmapped:?}");
    }
}
