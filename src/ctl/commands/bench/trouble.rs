//! Why a row has no figures.

use crate::failure::describe;
use cachefs_core::Error;
use std::fmt::Display;
use std::io;

/// The end of a row before its figures.
#[derive(Debug)]
pub enum Trouble {
    /// It cannot be run here. Says why, and what would help.
    CannotRun(String),
    /// Something went wrong.
    Failed(String),
    /// A signal asks for the end of the whole.
    Interrupted(i32),
}

impl Trouble {
    /// The system refused `what`.
    pub fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed(format!("{what}: {}", describe(&error)))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error.message().to_owned())
    }
}
