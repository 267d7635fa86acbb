//! Private memory of our own, page by page.

use crate::error::{Context, Errno, Result};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ptr::NonNull;

/// Page-aligned zeroed memory that forked children do not get. Its pages are
/// touched, and so paid for, on first use.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
    pages: Pages,
}

// SAFETY: the mapping belongs to the value, and the value only names it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Which pages memory is made of, where there is enough of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pages {
    /// Whatever the system does by itself.
    Small,
    /// Huge ones where the kernel finds some (MADV_HUGEPAGE, madvise(2)).
    #[default]
    Transparent,
    /// Huge ones of the reserve (MAP_HUGETLB, vm.nr_hugepages); transparent ones
    /// if it is too small.
    Reserved,
}

/// Bytes of a huge page of the default size on x86-64 and arm64.
const HUGE_BYTES: usize = 2 << 20;

impl Mapping {
    /// Maps `length` bytes, not 0, of such pages if they can be had.
    pub(crate) fn new(length: usize, pages: Pages) -> Result<Self> {
        let mapped = match pages {
            Pages::Reserved => match map(length.next_multiple_of(HUGE_BYTES), MapFlags::HUGETLB) {
                Ok(start) => Ok((start, length.next_multiple_of(HUGE_BYTES), Pages::Reserved)),
                // The reserve is empty, or this process may not have it.
                Err(_) => small(length, Pages::Transparent),
            },
            other => small(length, other),
        };
        let (start, length, pages) = mapped.context(|| format!("map {length} bytes of buffers"))?;
        let mapping = Self {
            start: NonNull::new(start.cast()).expect("mmap never returns NULL"),
            length,
            pages,
        };
        // A child of fork(2) must not share pages that the kernel still writes
        // to (copy-on-write would give one of the two the wrong copy).
        // SAFETY: the range is the mapping made above.
        unsafe { rustix::mm::madvise(start, length, Advice::LinuxDontFork) }
            .context(|| "keep the buffers from forked children")?;
        Ok(mapping)
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// What it is made of.
    pub(super) fn pages(&self) -> Pages {
        self.pages
    }
}

type Mapped = (*mut std::ffi::c_void, usize, Pages);

/// Ordinary pages, which the kernel may make huge ones of.
fn small(length: usize, pages: Pages) -> std::result::Result<Mapped, Errno> {
    let start = map(length, MapFlags::empty())?;
    if pages != Pages::Transparent || length < HUGE_BYTES {
        return Ok((start, length, Pages::Small));
    }
    // SAFETY: the range is the mapping made above.
    match unsafe { rustix::mm::madvise(start, length, Advice::LinuxHugepage) } {
        Ok(()) => Ok((start, length, Pages::Transparent)),
        // A kernel without them.
        Err(_) => Ok((start, length, Pages::Small)),
    }
}

fn map(length: usize, flags: MapFlags) -> std::result::Result<*mut std::ffi::c_void, Errno> {
    // Of the reserve, pages must be set aside now: a fault that finds none is SIGBUS.
    let reserve = if flags.contains(MapFlags::HUGETLB) {
        MapFlags::empty()
    } else {
        MapFlags::NORESERVE
    };
    // SAFETY: a fresh private mapping at an address of the kernel's choice
    // cannot touch memory that is in use.
    unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | reserve | flags,
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_had_whatever_pages_there_are() {
        for pages in [Pages::Small, Pages::Transparent, Pages::Reserved] {
            for length in [1, 4096, HUGE_BYTES, HUGE_BYTES + 1] {
                let mapping = Mapping::new(length, pages).unwrap();
                // SAFETY: the last byte is within the mapping, which is ours.
                unsafe { mapping.as_ptr().add(length - 1).write(7) };
            }
        }
    }

    #[test]
    fn what_was_had_is_told() {
        assert_eq!(
            Mapping::new(HUGE_BYTES, Pages::Small).unwrap().pages(),
            Pages::Small
        );
        let reserve = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap_or_default();
        let got = Mapping::new(HUGE_BYTES, Pages::Reserved).unwrap().pages();
        if reserve.trim() == "0" {
            assert_ne!(got, Pages::Reserved, "there is no reserve");
        }
    }
}
