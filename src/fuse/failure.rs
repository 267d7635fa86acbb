//! Why the daemon ends before its work is done, and with which exit status.

pub use cachefs_control::describe;

/// The end of a daemon that was not asked for.
#[derive(Debug)]
pub struct Failure {
    message: String,
    status: u8,
}

/// Something did not work.
const FAILED: u8 = 1;
/// The command line or the configuration cannot be understood.
const USAGE: u8 = 2;

impl Failure {
    /// Something did not work.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            status: FAILED,
        }
    }

    /// The command line or the configuration cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            status: USAGE,
        }
    }

    /// What to say at the end.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl From<cachefs_core::Error> for Failure {
    fn from(error: cachefs_core::Error) -> Self {
        Self::new(error.message())
    }
}
