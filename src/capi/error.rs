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
    change(|last| {
        last.clear();
        // A path in the text may contain anything but NUL; to be sure:
        last.extend(error.message().bytes().filter(|byte| *byte != 0));
        last.push(0);
    });
}

/// Called by the guard only.
pub(super) fn clear() {
    change(Vec::clear);
}

/// A thread that is ending, and calls us from a destructor of its own, may have
/// no place for a text any more: it has the errno.
fn change(change: impl FnOnce(&mut Vec<u8>)) {
    let _gone = LAST.try_with(|last| change(&mut last.borrow_mut()));
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
        let text = LAST.try_with(|last| match last.borrow().first() {
            Some(_) => last.borrow().as_ptr().cast(),
            None => c"".as_ptr(),
        });
        text.unwrap_or(c"".as_ptr())
    })
}
