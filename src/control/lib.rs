//! How programs speak with a daemon that has a cache open: `cachefsd`, or an agent.
//!
//! | file | what it does |
//! |---|---|
//! | `protocol` | what is said: commands, answers, and their limits |
//! | `reports` | what commands are answered, as JSON |
//! | `name` | names that need not be UTF-8, in JSON |
//! | `place` | where the socket is, and who may come |
//! | `server` | the daemon's end |
//! | `client` | the other end |
//! | `filler` | copies what was asked for without an answer |
//! | `operations`, `explain` | the commands that only take a cache and an origin |
//! | `commands` | all of them, as every daemon does them |
//! | `background` | how daemons are started |
//! | `words` | what daemons and the tool say in the same words |
//!
//! The socket is a stream. A message begins with its form: `{` a command, as one line of
//! JSON, which is answered; `fill ` a path to its NUL, which is not. `docs/control.md`
//! describes it for those who write the other end in another language.

pub mod background;
mod client;
mod commands;
mod explain;
mod filler;
mod name;
pub mod operations;
mod place;
mod protocol;
pub mod reports;
mod server;
mod words;

pub use client::{Client, Failure, Heard};
pub use commands::{About, Commands, Host};
pub use filler::{Filler, WAITING_MAX};
pub use name::Name;
pub use place::{DIRECTORY, Place, XATTR, hash_of, sockets};
pub use protocol::{
    Answer, Command, FILL, PATH_BYTES_MAX, REQUEST_BYTES_MAX, Refusal, Request, VERSION,
};
pub use server::{CONNECTIONS_MAX, Out, Server, Service};
pub use words::{LOG_VARIABLE, describe, log_directives};
