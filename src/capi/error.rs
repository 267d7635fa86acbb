//! The text of the last error.

use super::guard;
use cachefs_core::Error;
use std::cell::RefCell;
use std::ffi::c_char;

thread_local! {
    /// With its NUL. Empty: there was no error.
    static LAST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Called by the guard only.
pub(super) fn keep(error: &Error) {
    LAST.with_borrow_mut(|last| {
        last.clear();
        // A path in the text may contain anything but NUL; to be sure:
        last.extend(error.message().bytes().filter(|byte| *byte != 0));
        last.push(0);
    });
}

/// Called by the guard only.
pub(super) fn clear() {
    LAST.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
pub(super) fn text() -> String {
    LAST.with_borrow(|last| {
        String::from_utf8_lossy(last)
            .trim_end_matches('\0')
            .to_owned()
    })
}

/// What went wrong in this thread's last call that failed, in one line.
///
/// Completions carry no text: their `result` says all.
///
/// Returns a string, never NULL, valid until the thread's next call of the
/// library: empty if the last call succeeded.
///
/// Thread-safety: any thread; each has its own. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_last_error() -> *const c_char {
    guard::text(|| {
        LAST.with_borrow(|last| match last.first() {
            Some(_) => last.as_ptr().cast(),
            None => c"".as_ptr(),
        })
    })
}
