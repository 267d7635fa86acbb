//! Version of the library.

use super::guard;
use std::ffi::{CStr, c_char};

const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut value, mut index) = (0, 0);
    while index < bytes.len() {
        value = value * 10 + (bytes[index] - b'0') as u32;
        index += 1;
    }
    value
}

const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

const TEXT: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL"),
    };

/// The version of the library that is loaded, which may be newer than the
/// header's CACHEFS_VERSION.
///
/// Returns `major << 16 | minor << 8 | patch`.
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_version() -> u32 {
    guard::number(|| VERSION)
}

/// The same as text.
///
/// Returns a static string, never NULL.
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_version_string() -> *const c_char {
    guard::text(|| TEXT.as_ptr())
}
