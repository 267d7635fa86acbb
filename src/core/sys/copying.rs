//! System calls that copy files and look at what is in them.

use super::{check, last_errno, to_off};
use crate::error::Errno;
use rustix::fs::{Mode, OFlags, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// What copy_file_range(2) and FICLONERANGE of ioctl_ficlonerange(2) are given.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) source: BorrowedFd<'a>,
    pub(crate) target: BorrowedFd<'a>,
}

/// Has the target share the blocks of the source in a range (FICLONERANGE).
pub(crate) fn reflink(files: Files<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    let range = libc::file_clone_range {
        src_fd: files.source.as_raw_fd().into(),
        src_offset: offset,
        src_length: length,
        dest_offset: offset,
    };
    // SAFETY: the ioctl reads one structure during the call; both descriptors are borrowed.
    let result = unsafe {
        libc::ioctl(
            files.target.as_raw_fd(),
            libc::FICLONERANGE,
            &raw const range,
        )
    };
    check(result as isize).map(drop)
}

/// copy_file_range(2) to the same place; 0 at the end of the source.
pub(crate) fn copy_range(files: Files<'_>, offset: u64, length: usize) -> Result<usize, Errno> {
    let (mut from, mut to) = (offset, offset);
    rustix::fs::copy_file_range(
        files.source,
        Some(&mut from),
        files.target,
        Some(&mut to),
        length,
    )
}

/// Where there is data from `offset` on: its first byte, and the first byte of
/// the hole behind it (lseek(2), SEEK_DATA). None: there is none up to the end.
pub(crate) fn data_from(file: BorrowedFd<'_>, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Err(Errno::NXIO) => return Ok(None),
        other => other?,
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
    Ok(Some((begin, end)))
}

/// Makes a part of a file a hole (fallocate(2), FALLOC_FL_PUNCH_HOLE).
pub(crate) fn punch(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    super::fallocate(file, mode, offset, length)
}

/// Opens an open file again for reads past the page cache. Through /proc: its
/// name may lead to another file by now.
pub(crate) fn open_direct(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Pages of a range that are in the page cache, and how many of them have not
/// been written back.
pub(crate) fn pages_cached(
    file: BorrowedFd<'_>,
    offset: u64,
    length: u64,
) -> Result<(u64, u64), Errno> {
    let counts = count_pages(file, offset, length)?;
    Ok((counts[0], counts[1] + counts[2]))
}

/// Pages of a range that were stored to and whose writing back has not begun. Where a file
/// system does not tell, as one in memory, there are none.
pub(crate) fn pages_dirty(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<u64, Errno> {
    count_pages(file, offset, length).map(|counts| counts[1])
}

/// Those that are cached, dirty, being written back, evicted, and evicted lately
/// (cachestat(2), Linux 6.5).
fn count_pages(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<[u64; 5], Errno> {
    const CACHESTAT: libc::c_long = 451;
    // The kernel was found not to have it.
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    if IS_MISSING.load(Ordering::Relaxed) {
        return Err(Errno::NOSYS);
    }
    let range = [offset, length];
    let mut counts = [0u64; 5];
    // SAFETY: cachestat(2) reads two numbers and writes five during the call.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            counts.as_mut_ptr(),
            0,
        )
    };
    let counted = check(result as isize).map(|_| counts);
    if counted == Err(Errno::NOSYS) {
        IS_MISSING.store(true, Ordering::Relaxed);
    }
    counted
}

/// Which file system a file is on, as long as it is mounted.
pub(crate) fn device(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(file.as_fd())?.st_dev)
}

/// Locks a range of a file against other open files, or unlocks it, without
/// waiting (fcntl(2), F_OFD_SETLK). EAGAIN: another one has a part of it.
pub(crate) fn lock_range(
    file: BorrowedFd<'_>,
    (offset, length): (u64, u64),
    lock: bool,
) -> Result<(), Errno> {
    // SAFETY: `flock` is a C structure of integers, for which zero is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = if lock { libc::F_WRLCK } else { libc::F_UNLCK } as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    (range.l_start, range.l_len) = (to_off(offset)?, to_off(length)?);
    loop {
        // SAFETY: fcntl(2) reads one `flock` during the call; the descriptor is borrowed.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
        match last_of(result) {
            Err(Errno::INTR) => {}
            Err(Errno::ACCESS) => return Err(Errno::AGAIN),
            other => return other,
        }
    }
}

/// Whether nobody else has a file open that is open for writing here, mappings included:
/// EAGAIN if somebody has. For a file that nobody can open meanwhile, who would have to
/// wait. EINVAL where the file system has no leases, EACCES if it is another user's.
///
/// By a lease for writing, which the kernel gives to nobody else's reader (fcntl(2),
/// F_SETLEASE, F_WRLCK), and which is given back at once.
pub(crate) fn has_no_other_user(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let set = |command, value: libc::c_int| {
        // SAFETY: these commands of fcntl(2) take a number; the descriptor is borrowed.
        last_of(unsafe { libc::fcntl(file.as_raw_fd(), command, value) })
    };
    // Not SIGIO, which ends a process that does not expect it, should anybody open it.
    set(F_SETSIG, libc::SIGURG)?;
    set(libc::F_SETLEASE, libc::F_WRLCK)?;
    set(libc::F_SETLEASE, libc::F_UNLCK)
}

/// fcntl(2); the crate libc has it for few systems (asm-generic/fcntl.h).
const F_SETSIG: libc::c_int = 10;

/// Whether no other open file has a lock of a byte (fcntl(2), F_OFD_GETLK).
pub(crate) fn is_free(file: BorrowedFd<'_>, byte: u64) -> Result<bool, Errno> {
    // SAFETY: `flock` is a C structure of integers, for which zero is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    (range.l_start, range.l_len) = (to_off(byte)?, 1);
    // SAFETY: fcntl(2) reads and writes one `flock` during the call; the descriptor is
    // borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
    last_of(result)?;
    Ok(libc::c_int::from(range.l_type) == libc::F_UNLCK)
}

fn last_of(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn data_is_found_between_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        assert_eq!(data_from(file.as_fd(), 0), Ok(None));
        file.write_all_at(b"x", 1 << 20).unwrap();
        let (begin, end) = data_from(file.as_fd(), 0).unwrap().unwrap();
        assert!(begin <= 1 << 20 && end > 1 << 20 && end < 4 << 20);
        assert_eq!(data_from(file.as_fd(), end), Ok(None));
        punch(file.as_fd(), begin, end - begin).unwrap();
        assert_eq!(data_from(file.as_fd(), 0), Ok(None));
    }

    #[test]
    fn a_range_is_locked_against_other_open_files() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (named.reopen().unwrap(), named.reopen().unwrap());
        assert_eq!(lock_range(one.as_fd(), (0, 10), true), Ok(()));
        assert_eq!(lock_range(one.as_fd(), (5, 10), true), Ok(()), "its own");
        assert_eq!(lock_range(other.as_fd(), (9, 1), true), Err(Errno::AGAIN));
        assert_eq!(is_free(other.as_fd(), 9), Ok(false));
        assert_eq!(is_free(one.as_fd(), 9), Ok(true), "but for its own");
        assert_eq!(lock_range(other.as_fd(), (15, 1), true), Ok(()));
        assert_eq!(lock_range(one.as_fd(), (0, 10), false), Ok(()));
        assert_eq!(lock_range(other.as_fd(), (9, 1), true), Ok(()));
    }
}
