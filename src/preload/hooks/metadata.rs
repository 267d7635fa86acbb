//! The functions that lock an open file, or change what it is: they have to reach the
//! origin's file. Those that only ask for its attributes are asked of that, and the
//! descriptor stays as it is.

use super::{Failed, real};
use crate::errno;
use crate::give_back::{self, Found};
use crate::locks;
use libc::{c_char, c_int, c_void, gid_t, mode_t, timespec, timeval, uid_t};
use std::os::fd::AsRawFd;

/// Calls libc's own function once the descriptor is of the origin's file. ESTALE: that
/// cannot be found any more, so nothing is done.
#[inline]
pub(super) fn at_origin<T: Failed>(fd: c_int, real: impl FnOnce() -> T) -> T {
    match give_back::give_back(fd) {
        Ok(()) => real(),
        Err(_) => {
            errno::set(libc::ESTALE);
            T::FAILED
        }
    }
}

/// Calls it with another descriptor, of the origin's file.
#[inline]
pub(super) fn of_origin<T: Failed>(fd: c_int, real: impl FnOnce(c_int) -> T) -> T {
    match give_back::origin_of(fd) {
        Found::Other => real(fd),
        Found::Origin(origin) => real(origin.as_raw_fd()),
        Found::Lost => {
            errno::set(libc::ESTALE);
            T::FAILED
        }
    }
}

/// Commands of fcntl(2) that are about the file, not the descriptor, but for locks of the
/// process.
fn is_of_file(command: c_int) -> bool {
    /// Of Linux, where the C library has them under names of its own.
    const OTHERS: [c_int; 3] = [libc::F_SETLEASE, libc::F_GETLEASE, libc::F_NOTIFY];
    let locks = [
        libc::F_GETLK,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
    ];
    locks.contains(&command) || OTHERS.contains(&command)
}

/// The same of a command of fcntl(2).
#[inline]
fn fcntl_at_origin(fd: c_int, command: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if [libc::F_SETLK, libc::F_SETLKW].contains(&command) {
        lock_at_origin(fd, real)
    } else if is_of_file(command) {
        at_origin(fd, real)
    } else {
        real()
    }
}

/// The same where that takes a lock of the process.
fn lock_at_origin(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    at_origin(fd, || {
        locks::note(fd);
        real()
    })
}

/// # Safety
/// As of fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn cachefs_preload_fcntl(
    fd: c_int,
    command: c_int,
    argument: *mut c_void,
) -> c_int {
    fcntl_at_origin(fd, command, || real!(fcntl(fd, command, argument)))
}

/// # Safety
/// As of fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn cachefs_preload_fcntl64(
    fd: c_int,
    command: c_int,
    argument: *mut c_void,
) -> c_int {
    fcntl_at_origin(fd, command, || real!(fcntl64(fd, command, argument)))
}

macro_rules! at_origin {
    ($(fn $name:ident(fd $(, $argument:ident: $type:ty)*);)*) => {
        super::export! {
            $(fn $name(fd: c_int, $($argument: $type),*) -> c_int {
                at_origin(fd, || real!($name(fd, $($argument),*)))
            })*
        }
    };
}

at_origin! {
    fn flock(fd, operation: c_int);
    fn fchmod(fd, mode: mode_t);
    fn fchown(fd, owner: uid_t, group: gid_t);
    fn futimens(fd, times: *const timespec);
    fn futimes(fd, times: *const timeval);
    fn fsetxattr(fd, name: *const c_char, value: *const c_void, size: usize, flags: c_int);
    fn fremovexattr(fd, name: *const c_char);
}

super::export! {
    fn lockf(fd: c_int, operation: c_int, length: i64) -> c_int {
        lock_at_origin(fd, || real!(lockf(fd, operation, length)))
    }

    fn lockf64(fd: c_int, operation: c_int, length: i64) -> c_int {
        lock_at_origin(fd, || real!(lockf64(fd, operation, length)))
    }

    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: usize) -> isize {
        of_origin(fd, |fd| real!(fgetxattr(fd, name, value, size)))
    }

    fn flistxattr(fd: c_int, list: *mut c_char, size: usize) -> isize {
        of_origin(fd, |fd| real!(flistxattr(fd, list, size)))
    }
}
