//! The functions that stand in the place of libc's, a file for each kind.
//!
//! | file | functions that |
//! |---|---|
//! | `variadic` | are exported here and written in C: they only read their arguments |
//! | `open`, `stream` | open a file |
//! | `stat` | tell what a file is |
//! | `again` | change an open file by a name that its descriptor has |
//! | `metadata` | lock an open file or change what it is |
//! | `ioctl` | do the rest of that |
//! | `names` | change what a name leads to, and where relative ones begin |
//!
//! Each calls libc's own, always: without settings, or for files that are of no origin, it
//! does nothing else.

mod again;
mod ioctl;
mod metadata;
mod names;
mod open;
mod stat;
mod stream;
mod variadic;

/// Defines functions with libc's names and types. In tests they are not exported, or they
/// would replace those of the test itself.
macro_rules! export {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty $body:block
    )*) => {
        $(
            $(#[$attribute])*
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[allow(clippy::missing_safety_doc, missing_docs, reason = "libc's manual has it")]
            pub unsafe extern "C" fn $name($($argument: $type),*) -> $result $body
        )*
    };
}
use export;

/// Calls libc's own function; where there is none, as the kernel does for an unknown call.
macro_rules! real {
    ($name:ident($($argument:expr),* $(,)?)) => {
        match crate::real::$name() {
            // SAFETY: the arguments are those that the caller gave for this function.
            Some(function) => unsafe { function($($argument),*) },
            None => {
                crate::errno::set(libc::ENOSYS);
                crate::hooks::Failed::FAILED
            }
        }
    };
}
use real;

/// What functions of libc return for an error.
trait Failed {
    const FAILED: Self;
}

impl Failed for i32 {
    const FAILED: Self = -1;
}

impl Failed for isize {
    const FAILED: Self = -1;
}

impl Failed for *mut libc::FILE {
    const FAILED: Self = std::ptr::null_mut();
}
