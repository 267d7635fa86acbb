//! What is said: a command of the client, one line of JSON; of the server any number of
//! notes and then its end, each a line of JSON.
//!
//! ```text
//! > {"cachefs":1,"do":"warm","path":"a/b"}
//! < {"progress":{"done":1048576,"total":4194304}}
//! < {"done":{"bytes":4194304}}
//! > {"cachefs":1,"do":"stat_file","path":"gone"}
//! < {"failed":{"errno":2,"message":"open gone: No such file or directory"}}
//! ```

use crate::name::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The version of the protocol. A server refuses commands of another one. What is added
/// without a change of what was there, as a field of an answer or a command, keeps it.
pub const VERSION: u32 = 1;
/// How the message begins that asks for a copy and has no answer; a path follows, to its
/// NUL. The path is absolute, below the origin's root or the mountpoint.
pub const FILL: &[u8] = b"fill ";
/// Bytes of a path, its NUL included (PATH_MAX).
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of a line of a client with its end: an array of numbers for the longest path,
/// and what is around it.
pub const REQUEST_BYTES_MAX: usize = 32 << 10;
/// Bytes of a line of a server with its end.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A line of the client.
#[derive(Debug, Deserialize, Serialize)]
pub struct Request {
    /// [`VERSION`].
    pub cachefs: u32,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// What a server is asked to do. Paths are below the origin's root. Each has its answer
/// in [`crate::reports`]; errors are errnos with a message, and those of the core.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Who is there: [`crate::reports::Hello`]. Waits for nothing.
    Hello,
    /// The cache and the server: [`crate::reports::Whole`].
    Stat {
        /// Also what of each origin is cached, for which all objects are looked at.
        #[serde(default)]
        origins: bool,
    },
    /// How much of a file is in the cache: [`crate::reports::OfFile`].
    StatFile {
        /// Of the file.
        path: Name,
    },
    /// The files that are open: [`crate::reports::OpenFiles`].
    Open {
        /// Files at most, those that were opened most first.
        most: usize,
    },
    /// The objects of the cache: a note [`crate::reports::Entry`] each; nothing.
    Ls,
    /// Why reads of a file are served as they are: [`crate::reports::Explained`].
    Why {
        /// Of the file.
        path: Name,
    },
    /// Copies a file into the cache: progress in bytes of the file; then
    /// [`crate::reports::Filled`]. It ends when the client goes.
    Warm {
        /// Of the file.
        path: Name,
    },
    /// Keeps what is cached of a file, and will be: nothing. ENODATA: nothing is.
    Pin {
        /// Of the file.
        path: Name,
    },
    /// The reverse: nothing.
    Unpin {
        /// Of the file.
        path: Name,
    },
    /// Removes what is cached of a file: nothing. ENODATA: nothing is. EBUSY: it is pinned.
    Evict {
        /// Of the file.
        path: Name,
    },
    /// What is known of a path counts no more. A mount has the kernel drop what it
    /// remembers, and the pages that it has, before this is answered:
    /// [`crate::reports::Invalidated`].
    Invalidate {
        /// Of a file or a directory; empty: the root.
        path: Name,
        /// The same of everything below it.
        #[serde(default)]
        below: bool,
    },
    /// Compares what is cached of a file with its checksums; without a path, of all:
    /// [`crate::reports::Verified`]. It ends when the client goes.
    Verify {
        /// Of the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<Name>,
    },
    /// Reads the configuration file anew: [`crate::reports::Reloaded`].
    Reload,
}

/// A line of the server.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One of several things that were asked for.
    Note(Value),
    /// How far it is.
    Progress {
        /// Of `total`.
        done: u64,
        /// As far as is known now.
        total: u64,
    },
    /// It is done; nothing else is said.
    Done(Value),
    /// It is not; nothing else is said.
    Failed(Refusal),
}

/// Why something was not done.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A positive errno.
    pub errno: i32,
    /// What failed, on what, for people: one line.
    pub message: String,
}

impl Refusal {
    /// An errno, and what it is about.
    pub fn new(errno: rustix::io::Errno, message: impl Into<String>) -> Self {
        Self {
            errno: errno.raw_os_error(),
            message: message.into(),
        }
    }
}

impl From<cachefs_core::Error> for Refusal {
    fn from(error: cachefs_core::Error) -> Self {
        Self::new(error.errno(), error.message())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_documented() {
        let command = Command::Warm {
            path: Name(b"a/b".to_vec()),
        };
        let request = Request {
            cachefs: VERSION,
            command,
        };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"cachefs":1,"do":"warm","path":"a/b"}"#);
        let verify: Request = serde_json::from_str(r#"{"cachefs":1,"do":"verify"}"#).unwrap();
        assert_eq!(verify.command, Command::Verify { path: None });
    }

    #[test]
    fn a_field_that_is_not_known_is_passed_over() {
        let line = r#"{"cachefs":1,"do":"hello","later":true}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(request.command, Command::Hello);
    }

    #[test]
    fn the_longest_path_fits_into_a_line() {
        let request = Request {
            cachefs: VERSION,
            command: Command::StatFile {
                path: Name(vec![0xff; PATH_BYTES_MAX]),
            },
        };
        assert!(serde_json::to_vec(&request).unwrap().len() < REQUEST_BYTES_MAX);
    }
}
