//! The functions that tell what a file is. Of a cached file that was opened in the place of
//! an origin's, they tell what that is: programs compare device and inode of a descriptor
//! with those of its name.

use super::real;
use crate::identity::{self, Asked};
use crate::settings;
use libc::{c_char, c_int, c_uint};
use std::ffi::CStr;

/// # Safety
/// The answer is one that the function of libc has written.
#[inline]
unsafe fn fixed(
    result: c_int,
    asked: impl FnOnce() -> Option<Asked<'static>>,
    answer: *mut libc::stat,
) -> c_int {
    if result == 0
        && settings::get().is_some()
        && let Some(asked) = asked()
    {
        let _errno = crate::errno::Kept::new();
        // SAFETY: the caller's.
        identity::fix_stat(&asked, unsafe { &mut *answer });
    }
    result
}

/// Names lead to the origin, but for those of descriptors.
///
/// # Safety
/// The path is a C string; what is returned may not outlive it.
#[inline]
unsafe fn of_path(path: *const c_char) -> Option<Asked<'static>> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(path) };
    let bytes = path.to_bytes();
    (bytes.starts_with(b"/proc/") || bytes.starts_with(b"/dev/")).then_some(Asked::Path(path))
}

/// # Safety
/// As above.
#[inline]
unsafe fn of_place(dir: c_int, path: *const c_char, flags: c_int) -> Option<Asked<'static>> {
    // SAFETY: the caller's; Linux takes NULL for an empty path (6.11).
    if flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0) {
        return Some(Asked::Descriptor(dir));
    }
    if flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
        return None;
    }
    // SAFETY: the caller's.
    unsafe { of_path(path) }
}

macro_rules! stats {
    ($($name:ident($($version:ident)?);)*) => {
        super::export! {
            $(fn $name($($version: c_int,)? path: *const c_char, answer: *mut libc::stat) -> c_int {
                let result = real!($name($($version,)? path, answer));
                // SAFETY: the caller's.
                unsafe { fixed(result, || of_path(path), answer) }
            })*
        }
    };
}

stats! {
    stat();
    stat64();
    __xstat(version);
    __xstat64(version);
}

macro_rules! fstats {
    ($($name:ident($($version:ident)?);)*) => {
        super::export! {
            $(fn $name($($version: c_int,)? fd: c_int, answer: *mut libc::stat) -> c_int {
                let result = real!($name($($version,)? fd, answer));
                // SAFETY: the caller's.
                unsafe { fixed(result, || Some(Asked::Descriptor(fd)), answer) }
            })*
        }
    };
}

fstats! {
    fstat();
    fstat64();
    __fxstat(version);
    __fxstat64(version);
}

macro_rules! fstatats {
    ($($name:ident($($version:ident)?);)*) => {
        super::export! {
            $(fn $name(
                $($version: c_int,)?
                dir: c_int,
                path: *const c_char,
                answer: *mut libc::stat,
                flags: c_int,
            ) -> c_int {
                let result = real!($name($($version,)? dir, path, answer, flags));
                // SAFETY: the caller's.
                unsafe { fixed(result, || of_place(dir, path, flags), answer) }
            })*
        }
    };
}

fstatats! {
    fstatat();
    fstatat64();
    __fxstatat(version);
    __fxstatat64(version);
}

super::export! {
    fn statx(
        dir: c_int,
        path: *const c_char,
        flags: c_int,
        mask: c_uint,
        answer: *mut libc::statx,
    ) -> c_int {
        let result = real!(statx(dir, path, flags, mask, answer));
        if result == 0 && settings::get().is_some() {
            // SAFETY: the caller's.
            if let Some(asked) = unsafe { of_place(dir, path, flags) } {
                let _errno = crate::errno::Kept::new();
                // SAFETY: libc has written it.
                identity::fix_statx(&asked, unsafe { &mut *answer });
            }
        }
        result
    }
}
