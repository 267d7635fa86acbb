//! A file that is open has names of its own, as `/proc/self/fd/3`. What is changed by one of
//! them has to be the origin's file, not the cached one. Here are also the functions that
//! change by a name what a file is.

use super::metadata::at_origin;
use super::{Failed, real};
use crate::errno;
use crate::give_back::{self, Found};
use crate::redirect;
use crate::settings;
use crate::text::link_of;
use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, c_char, c_int, c_void, gid_t, mode_t, timespec};
use libc::{timeval, uid_t, utimbuf};
use std::ffi::CStr;
use std::os::fd::AsRawFd;

/// Whether a name may be that of a descriptor, by the last part of it.
///
/// # Safety
/// The path is a C string.
unsafe fn may_name_descriptor(path: *const c_char) -> bool {
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match last.first() {
        Some(b'0'..=b'9') => last.iter().all(u8::is_ascii_digit),
        Some(b's') => [&b"stdin"[..], b"stdout", b"stderr"].contains(&last),
        _ => false,
    }
}

/// Calls libc's own function, with a name of the origin's file where the given one is of a
/// descriptor, and leads to the cached file. ESTALE: that of the origin cannot be found any
/// more.
///
/// # Safety
/// The path is a C string or NULL.
#[inline]
pub unsafe fn by_name<T: Failed>(
    dir: c_int,
    path: *const c_char,
    real: impl FnOnce(*const c_char) -> T,
) -> T {
    let is_off = settings::get().is_none() || path.is_null();
    // SAFETY: the caller's.
    if is_off || !unsafe { may_name_descriptor(path) } {
        return real(path);
    }
    // SAFETY: as above.
    match give_back::origin_named(dir, unsafe { CStr::from_ptr(path) }) {
        Found::Other => real(path),
        Found::Lost => {
            errno::set(libc::ESTALE);
            T::FAILED
        }
        Found::Origin(origin) => {
            let result = real(link_of(&origin).c_str().as_ptr());
            if let Some(settings) = settings::get() {
                // SAFETY: it is open; without a place, the path is not looked at.
                unsafe { redirect::written(settings, origin.as_raw_fd(), path, None) };
            }
            result
        }
    }
}

/// Whether a path stands for the descriptor that is given with it.
///
/// # Safety
/// The path is a C string or NULL.
pub unsafe fn is_descriptor(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller's; Linux takes NULL for an empty path (6.11).
    flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0)
}

macro_rules! by_name {
    ($(fn $name:ident(path $(, $argument:ident: $type:ty)*);)*) => {
        super::export! {
            $(fn $name(path: *const c_char, $($argument: $type),*) -> c_int {
                let call = |path| real!($name(path, $($argument),*));
                // SAFETY: the caller's.
                unsafe { by_name(AT_FDCWD, path, call) }
            })*
        }
    };
}

by_name! {
    fn chmod(path, mode: mode_t);
    fn chown(path, owner: uid_t, group: gid_t);
    fn utime(path, times: *const utimbuf);
    fn utimes(path, times: *const timeval);
    fn setxattr(path, name: *const c_char, value: *const c_void, size: usize, flags: c_int);
    fn removexattr(path, name: *const c_char);
}

macro_rules! by_place {
    ($(fn $name:ident(dir, path $(, $argument:ident: $type:ty)*; flags);)*) => {
        super::export! {
            $(fn $name(
                dir: c_int,
                path: *const c_char,
                $($argument: $type,)*
                flags: c_int,
            ) -> c_int {
                let call = |path| real!($name(dir, path, $($argument,)* flags));
                // SAFETY: the caller's.
                if unsafe { is_descriptor(path, flags) } {
                    at_origin(dir, || call(path))
                } else if flags & AT_SYMLINK_NOFOLLOW != 0 {
                    // A name of a descriptor is a link.
                    call(path)
                } else {
                    // SAFETY: as above.
                    unsafe { by_name(dir, path, call) }
                }
            })*
        }
    };
}

by_place! {
    fn fchmodat(dir, path, mode: mode_t; flags);
    fn fchownat(dir, path, owner: uid_t, group: gid_t; flags);
    fn utimensat(dir, path, times: *const timespec; flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors_are_known_by_their_ends() {
        // SAFETY: they are C strings.
        let is_one = |name: &CStr| unsafe { may_name_descriptor(name.as_ptr()) };
        for name in [
            c"/proc/self/fd/30",
            c"/proc/7/fd/0",
            c"/dev/fd/3",
            c"9",
            c"/dev/stderr",
        ] {
            assert!(is_one(name), "{name:?}");
        }
        for name in [
            c"",
            c"/",
            c"/3/",
            c"a3",
            c"3a",
            c"/dev/null",
            c"stdins",
            c"/proc/self/fd",
        ] {
            assert!(!is_one(name), "{name:?}");
        }
    }
}
