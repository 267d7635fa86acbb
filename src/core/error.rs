//! The one error type of the core, and the errno that it becomes.

use std::fmt;

/// A positive errno value, as in errno(3).
pub use rustix::io::Errno;

/// What a call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// An errno with a sentence that says what failed, on what, and why.
#[derive(Debug, Clone)]
pub struct Error {
    errno: Errno,
    message: String,
}

impl Error {
    /// An error with its text: one line, a statement of fact.
    pub fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self {
            errno,
            message: message.into(),
        }
    }

    /// The errno.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Adds what was being done to a bare errno.
pub(crate) trait Context<T> {
    /// Turns an errno into an [`Error`]: `WHAT: TEXT OF THE ERRNO`.
    fn context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::new(errno, format!("{}: {}", what(), describe(errno))))
    }
}

/// The system's words for an errno, without the number that `io::Error` adds.
pub(crate) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
