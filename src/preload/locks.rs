//! Which files this process may have locks of its own of, as fcntl(2) and lockf(3) give
//! them (POSIX record locks).
//!
//! Such locks are dropped when the process closes any descriptor of their file, also one
//! that the program knows nothing of. So of these files this library closes none: they are
//! opened at the origin from then on. Locks that another thread takes at the moment in
//! which it closes one are not seen, nor those that were taken before exec(2).

use crate::attach;
use crate::errno::Kept;
use crate::identity::device_of;
use crate::settings;
use rustix::fs::Stat;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Files that are told apart; with more, any may be one.
const FILES_MAX: usize = 64;

static FILES: Files = Files::new();

/// Device and inode of each; one of them is 0 as long as it is being noted.
struct Files {
    count: AtomicUsize,
    all: [[AtomicU64; 2]; FILES_MAX],
}

impl Files {
    const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            all: [const { [const { AtomicU64::new(0) }; 2] }; FILES_MAX],
        }
    }

    /// SeqCst: whoever closes one later sees it.
    fn note(&self, device: u64, inode: u64) {
        if self.has(device, inode) {
            return;
        }
        let index = self.count.fetch_add(1, Ordering::SeqCst);
        if let Some([of_device, of]) = self.all.get(index) {
            of_device.store(device, Ordering::SeqCst);
            of.store(inode, Ordering::SeqCst);
        }
    }

    fn has(&self, device: u64, inode: u64) -> bool {
        let count = self.count.load(Ordering::SeqCst);
        count > FILES_MAX
            || self.all.iter().take(count).any(|file| {
                let [noted, of] = file.each_ref().map(|word| word.load(Ordering::SeqCst));
                of == 0 || (noted, of) == (device, inode)
            })
    }
}

/// Notes, before a lock is taken, of which file it is: of one that may be an origin's.
pub fn note(fd: RawFd) {
    let Some(settings) = settings::get().filter(|_| fd >= 0) else {
        return;
    };
    let _errno = Kept::new();
    // SAFETY: a number that is no descriptor gives EBADF, and it is not kept.
    let Ok(stat) = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(fd) }) else {
        return;
    };
    let Some(attached) = attach::get(settings) else {
        return;
    };
    let mut roots = attached.origins.iter().flatten();
    if roots.any(|root| root.device == device_of(&stat)) {
        FILES.note(stat.st_dev, stat.st_ino);
    }
}

/// Whether this process may have locks of a file.
#[inline]
pub fn may_have(stat: &Stat) -> bool {
    FILES.has(stat.st_dev, stat.st_ino)
}

/// A file of an origin that this library has opened for itself. It stays open where closing
/// it might drop a lock.
pub struct Own {
    fd: ManuallyDrop<OwnedFd>,
    stat: Stat,
}

impl Own {
    pub fn new(fd: OwnedFd, stat: Stat) -> Self {
        let fd = ManuallyDrop::new(fd);
        Self { fd, stat }
    }

    /// Whether closing it might drop a lock.
    pub fn is_locked(&self) -> bool {
        may_have(&self.stat)
    }
}

impl AsFd for Own {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Own {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.is_locked() {
            // SAFETY: it is not used any more, and dropped once.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_up_to_the_limit_and_then_all_may_be_locked() {
        let files = Files::new();
        assert!(!files.has(1, 1));
        for inode in 1..=FILES_MAX as u64 {
            files.note(1, inode);
            files.note(1, inode);
            assert!(files.has(1, inode) && !files.has(2, inode) && !files.has(1, 1000));
        }
        files.note(1, 999);
        assert!(files.has(1, 1000));
    }

    #[test]
    fn one_that_is_being_noted_may_be_any() {
        let files = Files::new();
        files.count.store(1, Ordering::SeqCst);
        assert!(files.has(1, 1));
    }
}
