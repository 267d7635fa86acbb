//! O_DIRECT on the data file of an object.
//!
//! An object is direct or buffered for all of its life, or direct until it is
//! complete: at no time both, since the two do not mix. Readahead over a hole leaves
//! pages of zeros in the page cache, and a direct write behind them may fail to drop
//! them. A direct object is read with O_DIRECT only. Its chunks are written with
//! O_DIRECT, too, but for the last one of a file that does not end with a page: that
//! would make the file longer. It is written through the page cache: nobody reads it
//! from there, and a direct read has the kernel write it back first.

use crate::error::Errno;
use crate::filesystem::{self, Distance};
use crate::limits::DIRECT_ALIGNMENT_MAX;
use crate::sys::{self, DirectAlignment};
use rustix::fs::{Mode, OFlags};
use std::mem::MaybeUninit;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The way past the page cache.
pub(crate) struct Direct {
    file: Arc<OwnedFd>,
    /// To which addresses are aligned, in bytes.
    memory: usize,
    /// To which offsets and lengths are, in bytes.
    block: NonZeroU32,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The file system cannot, and says so in these words.
    Unable(&'static str),
    /// Something else went wrong.
    Failed(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Refusal::Failed(errno)
    }
}

impl Direct {
    /// Opens a data file, which is open as `data`, once more; `open` does that by
    /// its name.
    pub(super) fn open(
        data: BorrowedFd<'_>,
        open: impl FnOnce(OFlags) -> Result<OwnedFd, Errno>,
    ) -> Result<Self, Refusal> {
        if filesystem::distance(data)? == Distance::Memory {
            // Since 6.6 tmpfs takes the flag, and uses its pages all the same.
            return Err(Refusal::Unable("its file system is in memory"));
        }
        let told = sys::direct_alignment(data)?;
        let alignment = told.unwrap_or(GUESS);
        let (memory, Some(block)) = (alignment.memory as usize, NonZeroU32::new(alignment.offset))
        else {
            return Err(Refusal::Unable("its file system has no O_DIRECT"));
        };
        if alignment.memory.max(alignment.offset) > DIRECT_ALIGNMENT_MAX {
            return Err(Refusal::Unable("its device has blocks of more than 4 KiB"));
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECT;
        let file = match open(flags) {
            Err(Errno::INVAL) => {
                return Err(Refusal::Unable("its file system refuses O_DIRECT"));
            }
            other => other?,
        };
        if told.is_none() {
            try_guess(file.as_fd())?;
        }
        Ok(Self {
            file: Arc::new(file),
            memory,
            block,
        })
    }

    /// Opens a data file once more, whether or not it still has a name.
    pub(super) fn reopen(data: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let path = format!("/proc/self/fd/{}", data.as_raw_fd());
        // What is there is a link.
        let open = |flags: OFlags| {
            let flags = flags.difference(OFlags::NOFOLLOW);
            sys::open_at(rustix::fs::CWD, &path, flags, Mode::empty())
        };
        Self::open(data, open)
    }

    /// Open for reading and writing with O_DIRECT.
    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Bytes to which offsets and lengths are aligned: a power of two.
    pub(crate) fn block(&self) -> NonZeroU32 {
        self.block
    }

    /// Whether `length` bytes at `offset` can be read to an address that has
    /// `room` bytes behind it: whole blocks are.
    pub(crate) fn fits(&self, address: usize, room: usize, offset: u64, length: usize) -> bool {
        let block = self.block.get();
        address.is_multiple_of(self.memory)
            && offset.is_multiple_of(block.into())
            && length.next_multiple_of(block as usize) <= room
    }

    /// Whether so many bytes of a chunk can be written from a buffer of the pool.
    pub(crate) fn takes(&self, length: usize) -> bool {
        length.is_multiple_of(rustix::param::page_size())
    }
}

/// Where statx(2) does not tell: a page, the largest block that disks have today
/// and that the page cache of every file system takes. One read tells whether it
/// is enough.
const GUESS: DirectAlignment = DirectAlignment {
    memory: 4096,
    offset: 4096,
};

#[repr(C, align(4096))]
struct Page([u8; 4096]);

fn try_guess(file: BorrowedFd<'_>) -> Result<(), Refusal> {
    let mut page = MaybeUninit::<Page>::uninit();
    let (start, length) = (page.as_mut_ptr().cast(), size_of::<Page>());
    // SAFETY: the page is ours and lives during the call.
    match unsafe { sys::pread(file, start, length, 0) } {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(Errno::INVAL) => Err(Refusal::Unable(
            "its file system does not tell how to align",
        )),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(memory: usize, block: u32) -> Direct {
        Direct {
            file: Arc::new(tempfile::tempfile().unwrap().into()),
            memory,
            block: NonZeroU32::new(block).unwrap(),
        }
    }

    #[test]
    fn address_offset_and_room_have_to_fit() {
        let direct = direct(4, 512);
        assert!(direct.fits(8, 512, 1024, 512));
        assert!(direct.fits(8, 512, 1024, 1), "the block is larger");
        assert!(!direct.fits(9, 512, 1024, 512), "the address");
        assert!(!direct.fits(8, 512, 1025, 512), "the offset");
        assert!(!direct.fits(8, 511, 1024, 511), "no room for the block");
        assert!(!direct.fits(8, 1023, 1024, 513), "nor for the second");
        assert!(direct.fits(8, 1024, 1024, 513));
    }

    #[test]
    fn only_whole_pages_are_written_directly() {
        let page = rustix::param::page_size();
        let direct = direct(4, 512);
        assert!(direct.takes(page) && direct.takes(7 * page));
        assert!(!direct.takes(page - 1) && !direct.takes(page + 512));
    }

    #[test]
    fn a_file_in_memory_is_refused() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        let refused = Direct::open(file.as_fd(), |_| unreachable!("it is not opened"));
        assert!(matches!(refused, Err(Refusal::Unable(_))));
    }

    #[test]
    fn a_file_system_that_refuses_the_flag_is_told_from_one_that_fails() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let open = |errno| Direct::open(file.as_fd(), move |_| Err(errno)).err();
        // On a file system without O_DIRECT it does not come to that.
        assert!(matches!(open(Errno::INVAL), Some(Refusal::Unable(_))));
        let failed = open(Errno::MFILE);
        assert!(matches!(
            failed,
            Some(Refusal::Failed(Errno::MFILE) | Refusal::Unable(_))
        ));
    }
}
