//! The address space of the memory tier: a place for each window, whose pages come
//! and go.

use crate::buf::pin;
use crate::error::{Context, Errno, Result};
use crate::sys;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// Where the bytes of a window come from.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// The pages that the page cache has of a file: they are mapped.
    Mapped(BorrowedFd<'a>),
    /// A file that is read past the page cache: they are copied. Reads are of
    /// whole blocks of so many bytes, and may end with the file.
    Copied(BorrowedFd<'a>, usize),
}

/// Places of equal size, in a row, that forked children do not get.
pub(super) struct Arena {
    start: NonNull<u8>,
    /// Bytes of a place: whole pages.
    place: usize,
    places: usize,
}

// SAFETY: the address space belongs to the value; who may touch which place is
// for the windows to say.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Takes the address space; there is no memory behind it yet.
    pub(super) fn new(places: usize, place: usize) -> Result<Self> {
        assert!(place.is_multiple_of(rustix::param::page_size()) && places > 0);
        let length = places * place;
        // SAFETY: a fresh mapping at an address of the kernel's choice cannot
        // touch memory that is in use.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::empty(), NOTHING)
        }
        .context(|| format!("map {length} bytes of addresses"))?;
        Ok(Self {
            start: NonNull::new(start.cast()).expect("mmap never returns NULL"),
            place,
            places,
        })
    }

    /// Where a place begins.
    pub(super) fn at(&self, index: usize) -> *const u8 {
        self.address(index).cast_const().cast()
    }

    fn address(&self, index: usize) -> *mut c_void {
        assert!(index < self.places);
        // SAFETY: the index is below the count, so it is inside the mapping.
        unsafe { self.start.as_ptr().add(index * self.place) }.cast()
    }

    /// Gives a place the `range` of a file, and keeps it in memory. ENOMEM, EPERM
    /// or EAGAIN: the process may not lock as much (mlock(2)).
    ///
    /// # Safety
    /// Nobody may be reading the place.
    pub(super) unsafe fn fill(
        &self,
        index: usize,
        content: Content<'_>,
        range: Range<u64>,
    ) -> std::result::Result<(), Errno> {
        let length = (range.end - range.start) as usize;
        assert!(length <= self.place);
        let filled = match content {
            // SAFETY: the caller promises that nobody reads the place.
            Content::Mapped(file) => unsafe { self.map(index, file, range.start, length) },
            Content::Copied(file, block) => {
                // SAFETY: as above.
                unsafe { self.copy(index, file, block, range.start, length) }
            }
        };
        if filled.is_err() {
            // SAFETY: as above.
            unsafe { self.empty(index) };
        }
        filled
    }

    unsafe fn map(
        &self,
        index: usize,
        file: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> std::result::Result<(), Errno> {
        let address = self.address(index);
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the place is inside the arena, which is ours, and by the caller's
        // promise nobody reads it.
        unsafe {
            rustix::mm::mmap(address, length, ProtFlags::READ, flags, file, offset)?;
            pin(address, length)
        }
    }

    unsafe fn copy(
        &self,
        index: usize,
        file: BorrowedFd<'_>,
        block: usize,
        offset: u64,
        length: usize,
    ) -> std::result::Result<(), Errno> {
        let address = self.address(index);
        let whole = length.next_multiple_of(block.max(rustix::param::page_size()));
        assert!(whole <= self.place);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: as in `map`.
        unsafe {
            rustix::mm::mmap_anonymous(address, whole, access, flags)?;
            rustix::mm::madvise(address, whole, Advice::LinuxDontFork)?;
            rustix::mm::mlock(address, whole)?;
        }
        let mut done = 0;
        while done < length {
            // SAFETY: the rest of the place was mapped above, and is nobody else's.
            let read = unsafe {
                let rest = address.cast::<u8>().add(done);
                sys::pread(file, rest, whole - done, offset + done as u64)
            };
            match read {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Takes the pages of a place away.
    ///
    /// # Safety
    /// Nobody may be reading the place.
    pub(super) unsafe fn empty(&self, index: usize) {
        let address = self.address(index);
        // SAFETY: the place is inside the arena, which is ours, and by the caller's
        // promise nobody reads it.
        let emptied = unsafe {
            let flags = NOTHING | MapFlags::FIXED;
            rustix::mm::mmap_anonymous(address, self.place, ProtFlags::empty(), flags)
        };
        if let Err(errno) = emptied {
            // Only for want of memory for the kernel's books. The pages stay, which
            // costs memory and harms nobody: the next content replaces them.
            tracing::warn!("cannot give memory back: {errno}");
        }
    }
}

/// Addresses without memory.
const NOTHING: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

impl Drop for Arena {
    fn drop(&mut self) {
        let length = self.places * self.place;
        // SAFETY: the mapping is ours, and whoever could read it holds the tier.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), length) };
        debug_assert!(unmapped.is_ok(), "munmap of the memory tier: {unmapped:?}");
    }
}
