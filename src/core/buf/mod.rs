//! Memory for I/O. Knows nothing of caching.

mod mapping;
mod pool;
mod region;
mod view;

pub(crate) use mapping::Mapping;
pub use mapping::Pages;
pub(crate) use pool::{Piece, Pool, PoolBuf};
pub(crate) use region::{Region, Regions};
pub(crate) use view::{View, pin};

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What one operation reads into, writes from or moves. The engine's in-flight slab
/// owns it for as long as the kernel may touch it.
#[derive(Debug)]
pub(crate) enum Buffer {
    /// An operation without bytes.
    None,
    /// A buffer of the pool and how much of it takes part.
    Pool(PoolBuf, usize),
    /// The same, for a write: others may read it meanwhile. Or for a read, by who lets
    /// nobody else look at it before that has ended.
    Shared(Arc<PoolBuf>, usize),
    /// The caller's memory, lent until the completion.
    Lent(Lent),
    /// Bytes of another open file, which pass through no memory of ours.
    Fd {
        /// The file.
        file: Arc<OwnedFd>,
        /// Where they are in it.
        offset: u64,
        /// How many.
        length: usize,
    },
    /// So many bytes of the file itself.
    Span(u64),
}

impl Buffer {
    /// Where the bytes are, if they are in memory.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        match self {
            Buffer::None | Buffer::Fd { .. } | Buffer::Span(_) => {
                std::ptr::NonNull::dangling().as_ptr()
            }
            Buffer::Pool(buffer, _) => buffer.as_ptr(),
            Buffer::Shared(buffer, _) => buffer.as_ptr(),
            Buffer::Lent(lent) => lent.ptr,
        }
    }

    /// How many bytes take part.
    pub(crate) fn len(&self) -> usize {
        match self {
            Buffer::None => 0,
            Buffer::Pool(_, length) | Buffer::Shared(_, length) => *length,
            Buffer::Lent(lent) => lent.len,
            Buffer::Fd { length, .. } => *length,
            Buffer::Span(length) => *length as usize,
        }
    }
}

/// Memory that a caller lends from the submission to the completion of a request.
#[derive(Debug, Clone, Copy)]
pub struct Lent {
    ptr: *mut u8,
    len: usize,
}

// SAFETY: a `Lent` is an address; the contract of `Lent::new` makes the memory
// behind it the library's on whichever thread it is.
unsafe impl Send for Lent {}
// SAFETY: as above; shared references give no access to the memory.
unsafe impl Sync for Lent {}

impl Lent {
    /// Lends `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The memory must be writable, and neither read nor written nor freed by
    /// others, until the request it is lent to has completed.
    pub unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        Self { ptr, len }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing to write to.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// The part from `start`, at most `len` bytes.
    pub(crate) fn slice(&self, start: usize, len: usize) -> Lent {
        assert!(start <= self.len && len <= self.len - start);
        Lent {
            // SAFETY: `start` is within the memory, by the assertion.
            ptr: unsafe { self.ptr.add(start) },
            len,
        }
    }

    /// Copies `bytes` to `start`.
    pub(crate) fn write(&self, start: usize, bytes: &[u8]) {
        let target = self.slice(start, bytes.len());
        // SAFETY: `target` is within memory that by the contract of `new` is
        // ours to write; `bytes` is another object, since it is borrowed.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.ptr, bytes.len()) }
    }
}
