//! Parameters that are pointers, checked before they are used.

use cachefs_core::{Errno, Error, Result};
use std::ffi::{CStr, c_char, c_void};

fn null(name: &str) -> Error {
    Error::new(Errno::INVAL, format!("{name} is NULL"))
}

/// A C string. EINVAL for NULL.
///
/// # Safety
/// `text` must be NULL or a C string that stays as it is for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a CStr> {
    if text.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller promises a C string.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// A place for a result, which is written only on success. EINVAL for NULL.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// `place` must be NULL or writable until `set`.
    pub(super) unsafe fn new(place: *mut T, name: &str) -> Result<Self> {
        if place.is_null() {
            return Err(null(name));
        }
        Ok(Self(place))
    }

    pub(super) fn set(self, value: T) {
        // SAFETY: `new`'s caller promised that it is writable.
        unsafe { self.0.write(value) }
    }
}

/// Memory that the program lends to a request: may be NULL only if it is empty.
///
/// # Safety
/// As [`cachefs_core::Lent::new`], if it is not NULL.
pub(super) unsafe fn lent(buffer: *mut c_void, length: u64) -> Result<cachefs_core::Lent> {
    if buffer.is_null() && length > 0 {
        return Err(null("the buffer"));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| isize::try_from(*length).is_ok())
        .ok_or_else(|| Error::new(Errno::INVAL, "the buffer is longer than memory"))?;
    let start = if buffer.is_null() {
        std::ptr::NonNull::dangling().as_ptr()
    } else {
        buffer
    };
    // SAFETY: the caller promises the memory.
    Ok(unsafe { cachefs_core::Lent::new(start.cast(), length) })
}

/// A pointer of the program, handed back to it on any thread.
#[derive(Clone, Copy)]
pub(super) struct User(pub(super) *mut c_void);

// SAFETY: the library never looks behind it; the header tells the program on
// which threads its callbacks run.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// A pointer of the program and what releases it: called exactly once.
pub(super) struct Owned {
    pub(super) user: User,
    free: super::types::cachefs_free_callback,
}

impl Owned {
    /// # Safety
    /// `free`, if it is not NULL, must be callable with `user`, once, on any thread.
    pub(super) unsafe fn new(user: *mut c_void, free: super::types::cachefs_free_callback) -> Self {
        let user = User(user);
        Self { user, free }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: `new`'s caller promised it; a drop happens once.
            unsafe { free(self.user.0) }
        }
    }
}
