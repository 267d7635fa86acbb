//! Why a command ends before its work is done, and with which exit status.

use std::io;

pub use cachefs_control::describe;

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Something did not work.
const FAILED: u8 = 1;
/// The command line cannot be understood.
const USAGE: u8 = 2;
/// Something in the cache was damaged, and was dropped.
const DAMAGED: u8 = 3;

/// The end of a command that did not do all it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// None: everything has been said already.
    message: Option<String>,
    status: u8,
}

impl Failure {
    /// Something did not work.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            status: FAILED,
        }
    }

    /// The command line cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            status: USAGE,
        }
    }

    /// Something did not work, and there is a status for that.
    pub fn with_status(message: impl Into<String>, status: u8) -> Self {
        Self {
            message: Some(message.into()),
            status,
        }
    }

    /// Something did not work, and the user has been told what.
    pub fn told() -> Self {
        Self {
            message: None,
            status: FAILED,
        }
    }

    /// Something in the cache was damaged, and the user has been told what.
    pub fn damaged() -> Self {
        Self {
            message: None,
            status: DAMAGED,
        }
    }

    /// A signal asked for the end; `status` is what shells say of it.
    pub fn interrupted(status: u8) -> Self {
        Self {
            message: Some("interrupted".to_owned()),
            status,
        }
    }

    /// What to say at the end.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
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

impl From<cachefs_control::Refusal> for Failure {
    fn from(refusal: cachefs_control::Refusal) -> Self {
        Self::new(crate::show::text(&refusal.message))
    }
}

/// Errors of writing to stdout: nothing else of a command is bare `io`.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever reads has seen enough, as in `cachefs ls | head`.
            return Self {
                message: None,
                status: 0,
            };
        }
        Self::new(format!("write to stdout: {}", describe(&error)))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}
