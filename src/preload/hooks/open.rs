//! The functions that open a file and give its descriptor.

use super::again::by_name;
use super::real;
use crate::redirect::{self, Call, Kind, Replaced};
use crate::settings;
use crate::trust;
use libc::{AT_FDCWD, c_char, c_int, c_uint, c_void, mode_t};

/// Opens, by libc's own function, and redirects what can be.
///
/// # Safety
/// The path is as the function of libc asks for it.
#[inline]
unsafe fn open_with(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(*const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_as(dir, path, (flags, true), real) }
}

/// The same; `may_trust`: the origin need not be asked, if it was a moment ago.
///
/// # Safety
/// As above.
#[inline]
unsafe fn open_as(
    dir: c_int,
    path: *const c_char,
    (flags, may_trust): (c_int, bool),
    real: impl Fn(*const c_char) -> c_int,
) -> c_int {
    let Some(settings) = settings::get() else {
        return real(path);
    };
    // SAFETY: the caller's.
    let kind = unsafe { Kind::of(settings, dir, path, flags) };
    match kind {
        Kind::Other if !redirect::is_change(flags) => real(path),
        // SAFETY: the caller's.
        Kind::Other => unsafe { by_name(dir, path, real) },
        Kind::Read(place) => {
            let trusted = match may_trust {
                // SAFETY: the caller's.
                true => unsafe { trust::Path::of(settings, kind, path, flags) },
                false => None,
            };
            if let Some(fd) = trusted.and_then(|path| path.open(settings, flags)) {
                return fd;
            }
            let fd = real(path);
            if fd < 0 {
                return fd;
            }
            let call = Call {
                settings,
                path,
                place,
                flags,
                trusted,
            };
            // SAFETY: it was opened just now, by this path.
            match unsafe { redirect::replace(fd, call) } {
                Replaced::No => fd,
                Replaced::By(other) => other,
                Replaced::Closed => real(path),
            }
        }
        Kind::Write(place) => {
            // SAFETY: the caller's.
            let fd = unsafe { by_name(dir, path, real) };
            if fd >= 0 {
                // SAFETY: as above.
                unsafe { redirect::written(settings, fd, path, place) };
            }
            fd
        }
    }
}

macro_rules! with_mode {
    ($($name:ident, $real:ident;)*) => {
        $(
            /// What the function in C calls.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
                let call = |path| real!($real(path, flags, mode));
                // SAFETY: the caller's.
                unsafe { open_with(AT_FDCWD, path, flags, call) }
            }
        )*
    };
}

with_mode! {
    cachefs_preload_open, open;
    cachefs_preload_open64, open64;
}

macro_rules! at_with_mode {
    ($($name:ident, $real:ident;)*) => {
        $(
            /// What the function in C calls.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(
                dir: c_int,
                path: *const c_char,
                flags: c_int,
                mode: c_uint,
            ) -> c_int {
                let call = |path| real!($real(dir, path, flags, mode));
                // SAFETY: the caller's.
                unsafe { open_with(dir, path, flags, call) }
            }
        )*
    };
}

at_with_mode! {
    cachefs_preload_openat, openat;
    cachefs_preload_openat64, openat64;
}

super::export! {
    fn __open_2(path: *const c_char, flags: c_int) -> c_int {
        let call = |path| real!(__open_2(path, flags));
        // SAFETY: the caller's.
        unsafe { open_with(AT_FDCWD, path, flags, call) }
    }

    fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
        let call = |path| real!(__open64_2(path, flags));
        // SAFETY: the caller's.
        unsafe { open_with(AT_FDCWD, path, flags, call) }
    }

    fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
        let call = |path| real!(__openat_2(dir, path, flags));
        // SAFETY: the caller's.
        unsafe { open_with(dir, path, flags, call) }
    }

    fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
        let call = |path| real!(__openat64_2(dir, path, flags));
        // SAFETY: the caller's.
        unsafe { open_with(dir, path, flags, call) }
    }

    fn creat(path: *const c_char, mode: mode_t) -> c_int {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        let call = |path| real!(creat(path, mode));
        // SAFETY: the caller's.
        unsafe { open_with(AT_FDCWD, path, flags, call) }
    }

    fn creat64(path: *const c_char, mode: mode_t) -> c_int {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        let call = |path| real!(creat64(path, mode));
        // SAFETY: the caller's.
        unsafe { open_with(AT_FDCWD, path, flags, call) }
    }

    fn openat2(dir: c_int, path: *const c_char, how: *const c_void, size: usize) -> c_int {
        let call = |path: *const c_char| match crate::real::openat2() {
            // SAFETY: the arguments are the caller's.
            Some(function) => unsafe { function(dir, path, how, size) },
            // glibc has it only of late.
            // SAFETY: as above.
            None => unsafe { libc::syscall(libc::SYS_openat2, dir, path, how, size) as c_int },
        };
        if how.is_null() || size < size_of::<u64>() {
            return call(path);
        }
        // SAFETY: openat2(2): it begins with the flags.
        let flags = unsafe { how.cast::<u64>().read_unaligned() };
        // Flags that are not of open(2) are the kernel's business.
        let flags = c_int::try_from(flags).unwrap_or(libc::O_PATH);
        // So is by which way a path may lead.
        let is_plain = size >= 3 * size_of::<u64>()
            // SAFETY: mode and resolve follow.
            && unsafe { how.cast::<u64>().add(2).read_unaligned() } == 0;
        // SAFETY: the caller's.
        unsafe { open_as(dir, path, (flags, is_plain), call) }
    }
}
