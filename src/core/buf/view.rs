//! A part of a file, mapped for reading.

use crate::error::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// Pages of the page cache, mapped and mostly locked: whoever looks at those never waits
/// for the device, nor meets an error of it, which would be SIGBUS. Forked children do
/// not get them.
pub(crate) struct View {
    start: NonNull<c_void>,
    /// Bytes of the mapping.
    length: usize,
    /// Bytes before the range: it need not begin with a page.
    before: usize,
}

// SAFETY: the mapping belongs to the value, and is only read.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Maps a range of a file, not an empty one. ENOMEM, EPERM or EAGAIN: the process
    /// may not map or lock as much (mlock(2)); another errno: the bytes cannot be had.
    /// Blocks while they are read in.
    pub(crate) fn new(file: BorrowedFd<'_>, range: Range<u64>) -> Result<Self, Errno> {
        let view = Self::of(file, range)?;
        // SAFETY: the range is the mapping made above.
        unsafe { pin(view.start.as_ptr(), view.length)? };
        Ok(view)
    }

    /// The same, neither read in nor locked: whoever looks at it waits for the device, and
    /// meets its errors as SIGBUS, so it is only for system calls to look at, which say
    /// EFAULT. A page at a time is read from the device, so it is for small pieces in no
    /// order. ENOMEM, EPERM or EAGAIN: the process may not map as much.
    pub(crate) fn unread(file: BorrowedFd<'_>, range: Range<u64>) -> Result<Self, Errno> {
        let view = Self::of(file, range)?;
        // SAFETY: the range is the mapping made above.
        unsafe {
            let start = view.start.as_ptr();
            rustix::mm::madvise(start, view.length, Advice::LinuxDontFork)?;
            rustix::mm::madvise(start, view.length, Advice::Random)?;
        }
        Ok(view)
    }

    fn of(file: BorrowedFd<'_>, range: Range<u64>) -> Result<Self, Errno> {
        let before = (range.start % rustix::param::page_size() as u64) as usize;
        let length = (range.end - range.start) as usize + before;
        let offset = range.start - before as u64;
        let access = ProtFlags::READ;
        // SAFETY: a fresh mapping at an address of the kernel's choice cannot touch
        // memory that is in use.
        let start = unsafe {
            let anywhere = std::ptr::null_mut();
            rustix::mm::mmap(anywhere, length, access, MapFlags::SHARED, file, offset)?
        };
        Ok(Self {
            start: NonNull::new(start).expect("mmap never returns NULL"),
            length,
            before,
        })
    }

    /// Where the range begins.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: so many bytes before the range are part of the mapping.
        unsafe { self.start.cast().add(self.before) }
    }
}

/// Reads the pages of a mapped file in, and keeps them in memory and from forked
/// children. The errors are those of [`View::new`].
///
/// # Safety
/// The range must be a mapping of the caller's.
pub(crate) unsafe fn pin(start: *mut c_void, length: usize) -> Result<(), Errno> {
    // SAFETY: the caller promises the range, whose bytes none of the calls changes.
    unsafe {
        rustix::mm::madvise(start, length, Advice::LinuxDontFork)?;
        // What the device cannot give is an error here, and no SIGBUS later.
        match rustix::mm::madvise(start, length, Advice::LinuxPopulateRead) {
            // Linux 5.14 and later; before, mlock does it and says ENOMEM.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        rustix::mm::mlock(start, length)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever could read it holds this.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.length) };
        debug_assert!(unmapped.is_ok(), "munmap of a view: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn file() -> (std::fs::File, Vec<u8>) {
        let bytes: Vec<u8> = (0..20_000).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn a_view_is_the_range_of_the_file() {
        let (file, bytes) = file();
        for (start, end) in [(0, 1), (4095, 4097), (4096, 8192), (19_999, 20_000)] {
            let view = View::new(file.as_fd(), start..end).unwrap();
            let length = (end - start) as usize;
            // SAFETY: the view has so many bytes, and nobody writes to the file.
            let seen = unsafe { std::slice::from_raw_parts(view.as_ptr().as_ptr(), length) };
            assert!(
                seen == &bytes[start as usize..end as usize],
                "{start}..{end}"
            );
        }
    }

    #[test]
    fn what_the_file_does_not_have_is_an_errno_and_no_signal() {
        let (file, _) = file();
        assert!(View::new(file.as_fd(), 0..1 << 20).is_err());
    }
}
