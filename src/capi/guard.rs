//! What every export goes through: no panic leaves, nothing runs in a forked
//! child, and the text of an error is kept for cachefs_last_error().

use super::{error, fork};
use cachefs_core::{Errno, Error, Result};
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// For functions that return 0 or a negative errno.
pub(super) fn status(body: impl FnOnce() -> Result<()>) -> i32 {
    count(|| body().map(|()| 0))
}

/// For functions that return a count that fits an `int`, or a negative errno.
pub(super) fn count(body: impl FnOnce() -> Result<i32>) -> i32 {
    run(body).unwrap_or_else(|errno| -errno.raw_os_error())
}

/// For functions that return bytes, or a negative errno.
pub(super) fn bytes(body: impl FnOnce() -> Result<u64>) -> i64 {
    // A length is clipped to a file's, which is below 2^63.
    run(body).map_or_else(
        |errno| i64::from(-errno.raw_os_error()),
        |bytes| bytes as i64,
    )
}

/// For functions that return nothing: the error can only be asked for.
pub(super) fn nothing(body: impl FnOnce() -> Result<()>) {
    // cachefs_last_error() has it, which is all that a `void` function can say.
    let _kept = run(body);
}

/// For functions that need no cache and work in a forked child as well.
pub(super) fn anywhere(body: impl FnOnce() -> Result<()>) -> i32 {
    caught(body).map_or_else(|errno| -errno.raw_os_error(), |()| 0)
}

/// For functions that return a number, cannot fail, and leave the last error alone.
pub(super) fn number(body: impl FnOnce() -> u32) -> u32 {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(0)
}

/// The same for a text: empty if there was a bug.
pub(super) fn text(body: impl FnOnce() -> *const c_char) -> *const c_char {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(c"".as_ptr())
}

fn run<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, Errno> {
    if fork::in_child() {
        let text = "this process was forked from one that uses the library: exec first";
        error::keep(&Error::new(Errno::CHILD, text));
        return Err(Errno::CHILD);
    }
    caught(body)
}

fn caught<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, Errno> {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let text = "a bug in the library was caught: close the cache and report it";
        Err(Error::new(Errno::NOTRECOVERABLE, text))
    });
    match result {
        Ok(value) => {
            error::clear();
            Ok(value)
        }
        Err(error) => {
            error::keep(&error);
            Err(error.errno())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_errno_with_a_text() {
        let result = status(|| panic!("seen in the test's output"));
        assert_eq!(result, -libc::ENOTRECOVERABLE);
        assert!(error::text().contains("bug"));
    }

    #[test]
    fn success_clears_the_text() {
        assert_eq!(status(|| Err(Error::new(Errno::IO, "text"))), -libc::EIO);
        assert_eq!(error::text(), "text");
        assert_eq!(status(|| Ok(())), 0);
        assert_eq!(error::text(), "");
    }
}
