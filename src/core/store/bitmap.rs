//! What changes of an object: which chunks are present, and whether they are written
//! past the page cache. Both are in its metadata file, mapped shared, so that every
//! process sees a chunk the moment it is there.

use super::layout::{Geometry, MODE_OFFSET};
use crate::error::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The mode of an object that is filled past the page cache.
const DIRECT_FOR_NOW: u64 = 1;

pub(crate) struct Bitmap {
    base: NonNull<u8>,
    mapped_bytes: usize,
    words_offset: usize,
    chunks: u64,
}

// SAFETY: the mapping belongs to the bitmap for its whole life and is accessed
// only through atomics.
unsafe impl Send for Bitmap {}
// SAFETY: as above.
unsafe impl Sync for Bitmap {}

impl Bitmap {
    /// Maps a metadata file of `file_bytes` whose words begin at `words_offset`.
    ///
    /// The file must have all its blocks and never shrink, or an access would
    /// raise SIGBUS: it is written in full before it gets its name, and is only
    /// ever unlinked.
    pub(crate) fn map(
        file: BorrowedFd<'_>,
        file_bytes: u64,
        words_offset: u64,
        chunks: u64,
    ) -> Result<Self> {
        assert!(words_offset.is_multiple_of(8));
        assert!(words_offset + chunks.div_ceil(64) * 8 <= file_bytes);
        assert!(MODE_OFFSET as u64 + 8 <= file_bytes);
        // SAFETY: a fresh mapping at an address of the kernel's choice cannot
        // touch memory that is in use.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                file_bytes as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }
        .context(|| "map the metadata of an object")?;
        Ok(Self {
            base: NonNull::new(base.cast()).expect("mmap never returns NULL"),
            mapped_bytes: file_bytes as usize,
            words_offset: words_offset as usize,
            chunks,
        })
    }

    fn word(&self, index: u64) -> &AtomicU64 {
        assert!(index < self.chunks.div_ceil(64));
        // SAFETY: the index is below the count, so by the assertions in `map`
        // the word is inside the mapping and aligned; everybody who shares the
        // page accesses it as this atomic.
        unsafe {
            let word = self
                .base
                .as_ptr()
                .add(self.words_offset + index as usize * 8);
            AtomicU64::from_ptr(word.cast())
        }
    }

    fn mode(&self) -> &AtomicU64 {
        // SAFETY: it is inside the mapping, by the assertion in `map`, and aligned;
        // everybody who shares the page accesses it as this atomic.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(MODE_OFFSET).cast()) }
    }

    /// Whether the data file is read and written past the page cache until every
    /// chunk is present.
    pub(crate) fn is_direct_for_now(&self) -> bool {
        u64::from_le(self.mode().load(Ordering::Acquire)) == DIRECT_FOR_NOW
    }

    /// From now on it is. Only for an object of which no chunk is present.
    pub(crate) fn become_direct(&self) {
        self.mode().store(DIRECT_FOR_NOW.to_le(), Ordering::Release);
    }

    /// It is not any more, if every chunk is present.
    pub(crate) fn settle(&self) {
        if self.is_direct_for_now() && self.is_complete() {
            self.mode().store(0, Ordering::Release);
        }
    }

    /// Whether no chunk is present.
    pub(crate) fn is_empty(&self) -> bool {
        (0..self.chunks.div_ceil(64)).all(|index| self.word(index).load(Ordering::Acquire) == 0)
    }

    /// Whether every chunk is present. From the end, which is what comes last.
    fn is_complete(&self) -> bool {
        (0..self.chunks).rev().step_by(64).all(|chunk| {
            let index = chunk / 64;
            let valid = (self.chunks - index * 64).min(64);
            let mask = u64::MAX >> (64 - valid);
            u64::from_le(self.word(index).load(Ordering::Acquire)) & mask == mask
        })
    }

    /// Whether a chunk may be read. Acquire: its bytes are in the data file.
    pub(crate) fn has(&self, chunk: u64) -> bool {
        assert!(chunk < self.chunks);
        u64::from_le(self.word(chunk / 64).load(Ordering::Acquire)) & 1 << (chunk % 64) != 0
    }

    /// Publishes a chunk whose bytes are in the data file.
    pub(crate) fn publish(&self, chunk: u64) {
        assert!(chunk < self.chunks);
        let bit = (1u64 << (chunk % 64)).to_le();
        self.word(chunk / 64).fetch_or(bit, Ordering::Release);
    }

    /// Chunks that are present.
    pub(crate) fn count(&self) -> u64 {
        (0..self.chunks.div_ceil(64))
            .map(|index| {
                let word = u64::from_le(self.word(index).load(Ordering::Acquire));
                // Bits beyond the file are another process's mistake: not chunks.
                let valid = (self.chunks - index * 64).min(64);
                let mask = u64::MAX >> (64 - valid);
                u64::from((word & mask).count_ones())
            })
            .sum()
    }

    /// Bytes of the file that are present.
    pub(crate) fn bytes(&self, geometry: Geometry) -> u64 {
        let Some(last) = self.chunks.checked_sub(1) else {
            return 0;
        };
        let short = geometry.chunk_bytes - geometry.extent(last).1;
        self.count() * geometry.chunk_bytes - if self.has(last) { short } else { 0 }
    }
}

impl Drop for Bitmap {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of a bitmap: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_object_is_direct_until_its_last_chunk_is_there() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        for chunks in [1, 64, 65, 130] {
            let bitmap = Bitmap::map(file.as_fd(), 4096, 192, chunks).unwrap();
            let other = Bitmap::map(file.as_fd(), 4096, 192, chunks).unwrap();
            rustix::io::pwrite(&file, &[0; 64], 192).unwrap();
            bitmap.become_direct();
            for chunk in (0..chunks).rev() {
                other.settle();
                assert!(other.is_direct_for_now(), "chunk {chunk} is missing");
                bitmap.publish(chunk);
            }
            other.settle();
            assert!(!bitmap.is_direct_for_now());
        }
    }

    #[test]
    fn chunks_are_counted_up_to_the_last_and_no_further() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let bitmap = Bitmap::map(file.as_fd(), 4096, 8, 65).unwrap();
        let other = Bitmap::map(file.as_fd(), 4096, 8, 65).unwrap();
        assert_eq!(bitmap.count(), 0);
        for chunk in [0, 63, 64] {
            bitmap.publish(chunk);
            assert!(other.has(chunk), "another mapping sees chunk {chunk}");
        }
        bitmap.word(1).fetch_or(1 << 7, Ordering::Relaxed);
        assert_eq!(other.count(), 3, "a bit beyond the end is no chunk");
        assert!(!other.has(1));
    }
}
