//! Locks of open files, taken as another process would.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// All bytes of a file.
pub(super) const ALL: Range<i64> = 0..0;

/// Takes the lock of some bytes of a file; false: somebody has it.
pub(super) fn lock(file: &File, bytes: Range<i64>) -> bool {
    set(file, bytes, libc::F_WRLCK)
}

/// Gives it back.
pub(super) fn unlock(file: &File, bytes: Range<i64>) {
    assert!(set(file, bytes, libc::F_UNLCK));
}

fn set(file: &File, bytes: Range<i64>, kind: libc::c_int) -> bool {
    // SAFETY: `flock` is a C structure of integers, for which zero is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    (range.l_start, range.l_len) = (bytes.start, bytes.end - bytes.start);
    // SAFETY: fcntl(2) reads one `flock` during the call; the descriptor is open.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    let error = std::io::Error::last_os_error();
    let is_held = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES));
    assert!(result == 0 || is_held, "{error}");
    result == 0
}
