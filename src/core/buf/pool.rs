//! A fixed number of page-aligned buffers in one mapping.

use super::mapping::{Mapping, Pages};
use crate::error::Result;
use parking_lot::Mutex;
use std::sync::Arc;

/// Buffers of equal size. Pages are touched, and so paid for, on first use.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Region>);

struct Region {
    /// Each part of it belongs to at most one `PoolBuf`.
    memory: Mapping,
    buffer_bytes: usize,
    count: usize,
    free: Mutex<Vec<u32>>,
}

impl Pool {
    /// Maps `count` buffers of `buffer_bytes`, a multiple of the page size.
    pub(crate) fn new(count: usize, buffer_bytes: usize, pages: Pages) -> Result<Self> {
        Ok(Self(Arc::new(Region {
            memory: Mapping::new(count * buffer_bytes, pages)?,
            buffer_bytes,
            count,
            free: Mutex::new((0..count as u32).rev().collect()),
        })))
    }

    /// Where its buffers are. Whoever uses it sees to it that the pool lives.
    pub(crate) fn piece(&self) -> Piece {
        Piece {
            start: self.0.memory.as_ptr().addr(),
            buffer_bytes: self.0.buffer_bytes,
            pool: self.clone(),
        }
    }

    /// What its memory is made of.
    pub(crate) fn pages(&self) -> Pages {
        self.0.memory.pages()
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.0.free.lock().len()
    }

    /// A free buffer, or None. Its bytes are whatever was there before.
    pub(crate) fn take(&self) -> Option<PoolBuf> {
        self.take_leaving(0)
    }

    /// The same, or None if fewer than `spare` would be left.
    pub(crate) fn take_leaving(&self, spare: usize) -> Option<PoolBuf> {
        let mut free = self.0.free.lock();
        let index = if free.len() > spare { free.pop() } else { None }?;
        Some(PoolBuf {
            region: Arc::clone(&self.0),
            index,
        })
    }
}

/// The memory of a pool, for an engine that registers its buffers: holds on to
/// it for as long as they are registered.
pub(crate) struct Piece {
    start: usize,
    buffer_bytes: usize,
    pool: Pool,
}

impl Piece {
    /// Which buffer holds all of these bytes, where it begins, and its length.
    pub(crate) fn find(&self, start: usize, length: usize) -> Option<(usize, usize, usize)> {
        let offset = start.checked_sub(self.start)?;
        let index = offset / self.buffer_bytes;
        let within = offset % self.buffer_bytes;
        let inside = index < self.pool.0.count && length <= self.buffer_bytes - within;
        inside.then(|| {
            let begin = self.start + index * self.buffer_bytes;
            (index, begin, self.buffer_bytes)
        })
    }
}

/// One buffer of a pool; goes back to it when dropped.
pub(crate) struct PoolBuf {
    region: Arc<Region>,
    index: u32,
}

impl PoolBuf {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        let start = self.index as usize * self.region.buffer_bytes;
        // SAFETY: the index is below the count, so the offset is within the mapping.
        unsafe { self.region.memory.as_ptr().add(start) }
    }

    /// The first `length` bytes.
    pub(crate) fn bytes(&self, length: usize) -> &[u8] {
        assert!(length <= self.region.buffer_bytes);
        // SAFETY: mapped memory is initialised (zero-filled at first), and this
        // part of it is only ours; the kernel has given it back when we hold it.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), length) }
    }

    /// The first `length` bytes, to write.
    pub(crate) fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        assert!(length <= self.region.buffer_bytes);
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), length) }
    }
}

impl Drop for PoolBuf {
    fn drop(&mut self) {
        self.region.free.lock().push(self.index);
    }
}

impl std::fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolBuf({})", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_exactly_its_count_and_takes_back() {
        let pool = Pool::new(2, 4096, Pages::Small).unwrap();
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_ne!(first.as_ptr(), second.as_ptr());
        assert!(pool.take().is_none());
        drop(first);
        assert!(pool.take().is_some());
    }

    #[test]
    fn what_is_to_be_left_is_left() {
        let pool = Pool::new(2, 4096, Pages::Small).unwrap();
        let first = pool.take_leaving(1).unwrap();
        assert!(pool.take_leaving(1).is_none());
        assert!(pool.take().is_some());
        drop(first);
    }

    #[test]
    fn a_buffer_is_found_by_what_lies_wholly_in_it() {
        let pool = Pool::new(2, 4096, Pages::Small).unwrap();
        let piece = pool.piece();
        let start = piece.start;
        assert_eq!(piece.find(start, 4096), Some((0, start, 4096)));
        assert_eq!(piece.find(start + 8191, 1), Some((1, start + 4096, 4096)));
        assert_eq!(piece.find(start + 1, 4096), None, "across two");
        assert_eq!(piece.find(start + 8192, 1), None, "behind the last");
        assert_eq!(piece.find(start - 1, 1), None, "before the first");
    }

    #[test]
    fn a_buffer_outlives_its_pool() {
        let pool = Pool::new(1, 4096, Pages::Small).unwrap();
        let mut buffer = pool.take().unwrap();
        drop(pool);
        buffer.bytes_mut(4096).fill(7);
        assert_eq!(buffer.bytes(1)[0], 7);
    }
}
