//! The functions that open a file as a stream. libc opens it without any function that
//! could be replaced, and reads nothing of it yet: so the descriptor that it has is given
//! the cached file. Only where the origin is not asked, a stream is made of a descriptor.

use super::again::by_name;
use super::real;
use crate::redirect::{self, Call, Kind};
use crate::settings;
use crate::trust;
use libc::{AT_FDCWD, FILE, c_char};
use std::ffi::CStr;

/// The flags of open(2) that a mode of fopen(3) stands for, as far as they matter here.
///
/// # Safety
/// The mode is a C string or NULL.
unsafe fn flags_of(mode: *const c_char) -> i32 {
    if mode.is_null() {
        return libc::O_PATH;
    }
    // SAFETY: the caller's.
    let mode = unsafe { CStr::from_ptr(mode) }.to_bytes();
    // Behind a comma is the character set.
    let letters = mode.split(|byte| *byte == b',').next().unwrap_or_default();
    if letters.first() != Some(&b'r') || letters.contains(&b'+') {
        return libc::O_RDWR;
    }
    match letters.contains(&b'e') {
        true => libc::O_CLOEXEC,
        false => 0,
    }
}

/// # Safety
/// The mode is a C string or NULL.
unsafe fn has_comma(mode: *const c_char) -> bool {
    // SAFETY: the caller's.
    !mode.is_null() && unsafe { CStr::from_ptr(mode) }.to_bytes().contains(&b',')
}

/// # Safety
/// Both are C strings, or what the function of libc makes of others.
unsafe fn open_with(
    path: *const c_char,
    mode: *const c_char,
    may_be_made: bool,
    real: impl FnOnce(*const c_char) -> *mut FILE,
) -> *mut FILE {
    let Some(settings) = settings::get() else {
        return real(path);
    };
    // SAFETY: the caller's.
    let flags = unsafe { flags_of(mode) };
    // SAFETY: as above.
    let kind = unsafe { Kind::of(settings, AT_FDCWD, path, flags) };
    // SAFETY: as above.
    let trusted = unsafe { trust::Path::of(settings, kind, path, flags) };
    // fdopen(3) knows nothing of character sets.
    // SAFETY: the caller's.
    let may_be_made = may_be_made && !unsafe { has_comma(mode) };
    if may_be_made && let Some(fd) = trusted.and_then(|path| path.open(settings, flags)) {
        // SAFETY: the mode is the caller's.
        let stream = unsafe { libc::fdopen(fd, mode) };
        if !stream.is_null() {
            return stream;
        }
        // SAFETY: nobody else has it.
        unsafe { libc::close(fd) };
    }
    let stream = match redirect::is_change(flags) {
        // SAFETY: the caller's.
        true => unsafe { by_name(AT_FDCWD, path, real) },
        false => real(path),
    };
    if stream.is_null() {
        return stream;
    }
    // SAFETY: it is open.
    let fd = unsafe { libc::fileno(stream) };
    match kind {
        Kind::Read(place) => {
            let call = Call {
                settings,
                path,
                place,
                flags,
                trusted,
            };
            // SAFETY: it was opened just now, by this path.
            unsafe { redirect::replace_in_place(fd, call) };
        }
        // SAFETY: as above.
        Kind::Write(place) => unsafe { redirect::written(settings, fd, path, place) },
        Kind::Other => {}
    }
    stream
}

super::export! {
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
        let call = |path| real!(fopen(path, mode));
        // SAFETY: the caller's.
        unsafe { open_with(path, mode, true, call) }
    }

    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
        let call = |path| real!(fopen64(path, mode));
        // SAFETY: the caller's.
        unsafe { open_with(path, mode, true, call) }
    }

    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        let call = |path| real!(freopen(path, mode, stream));
        // SAFETY: the caller's.
        unsafe { open_with(path, mode, false, call) }
    }

    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        let call = |path| real!(freopen64(path, mode, stream));
        // SAFETY: the caller's.
        unsafe { open_with(path, mode, false, call) }
    }
}
