//! The functions that change what a name leads to: what is known of it counts no more, for
//! all who use the cache. And those that change where relative names begin.

use super::again::{by_name, is_descriptor};
use super::metadata::of_origin;
use super::real;
use crate::cwd;
use crate::redirect;
use crate::settings;
use libc::{AT_FDCWD, c_char, c_int, c_uint};

/// Notes a change of names that has been done.
///
/// # Safety
/// Paths are C strings or NULL.
#[inline]
unsafe fn done<const N: usize>(result: c_int, names: [(c_int, *const c_char); N]) -> c_int {
    if result == 0
        && let Some(settings) = settings::get()
    {
        for (dir, path) in names {
            // SAFETY: the caller's.
            unsafe { redirect::renamed(settings, dir, path) };
        }
    }
    result
}

macro_rules! changing {
    ($(fn $name:ident($($argument:ident: $type:ty),*) => $names:expr;)*) => {
        super::export! {
            $(fn $name($($argument: $type),*) -> c_int {
                let result = real!($name($($argument),*));
                // SAFETY: the caller's.
                unsafe { done(result, $names) }
            })*
        }
    };
}

changing! {
    fn rename(old: *const c_char, new: *const c_char) => [(AT_FDCWD, old), (AT_FDCWD, new)];
    fn renameat(from: c_int, old: *const c_char, to: c_int, new: *const c_char)
        => [(from, old), (to, new)];
    fn renameat2(from: c_int, old: *const c_char, to: c_int, new: *const c_char, flags: c_uint)
        => [(from, old), (to, new)];
    fn unlink(path: *const c_char) => [(AT_FDCWD, path)];
    fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) => [(dir, path)];
    fn remove(path: *const c_char) => [(AT_FDCWD, path)];
    fn link(old: *const c_char, new: *const c_char) => [(AT_FDCWD, old), (AT_FDCWD, new)];
}

super::export! {
    fn truncate(path: *const c_char, length: i64) -> c_int {
        let call = |path| real!(truncate(path, length));
        // SAFETY: the caller's.
        let result = unsafe { by_name(AT_FDCWD, path, call) };
        // SAFETY: as above.
        unsafe { done(result, [(AT_FDCWD, path)]) }
    }

    fn truncate64(path: *const c_char, length: i64) -> c_int {
        let call = |path| real!(truncate64(path, length));
        // SAFETY: the caller's.
        let result = unsafe { by_name(AT_FDCWD, path, call) };
        // SAFETY: as above.
        unsafe { done(result, [(AT_FDCWD, path)]) }
    }

    fn linkat(
        from: c_int,
        old: *const c_char,
        to: c_int,
        new: *const c_char,
        flags: c_int,
    ) -> c_int {
        // A second name of the cached file would be one to change it by.
        let call = |from, old| real!(linkat(from, old, to, new, flags));
        // SAFETY: the caller's.
        let result = if unsafe { is_descriptor(old, flags) } {
            of_origin(from, |from| call(from, old))
        } else if flags & libc::AT_SYMLINK_FOLLOW != 0 {
            // SAFETY: as above.
            unsafe { by_name(from, old, |old| call(from, old)) }
        } else {
            call(from, old)
        };
        // SAFETY: as above.
        unsafe { done(result, [(from, old), (to, new)]) }
    }
}

super::export! {
    fn chdir(path: *const c_char) -> c_int {
        let result = real!(chdir(path));
        cwd::changed();
        result
    }

    fn fchdir(fd: c_int) -> c_int {
        let result = real!(fchdir(fd));
        cwd::changed();
        result
    }
}
