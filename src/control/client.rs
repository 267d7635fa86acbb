//! The end of whoever asks.

use crate::place;
use crate::protocol::{ANSWER_BYTES_MAX, Answer, Command, FILL, Refusal, Request, VERSION};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection to a server.
pub struct Client {
    reader: BufReader<UnixStream>,
}

/// Why a command has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The server says why.
    Refused(Refusal),
    /// The connection is broken, or was never made.
    Lost(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Lost(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::Lost(error.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused(refusal) => refusal.fmt(formatter),
            Failure::Lost(error) => write!(formatter, "the daemon does not answer: {error}"),
        }
    }
}

/// What is heard before an answer.
pub enum Heard {
    /// One of several things that were asked for.
    Note(Value),
    /// So much of so much is done.
    Progress(u64, u64),
}

impl Client {
    /// Connects to the socket at a path. ConnectionRefused and NotFound: nobody listens.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let reader = BufReader::new(place::connect(path)?);
        Ok(Self { reader })
    }

    /// Asks, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, command: Command) -> Result<T, Failure> {
        self.ask_and_hear(command, |_| {})
    }

    /// The same, where something may be said before that.
    pub fn ask_and_hear<T: DeserializeOwned>(
        &mut self,
        command: Command,
        mut hear: impl FnMut(Heard),
    ) -> Result<T, Failure> {
        let request = Request {
            cachefs: VERSION,
            command,
        };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        loop {
            match self.answer()? {
                Answer::Note(value) => hear(Heard::Note(value)),
                Answer::Progress { done, total } => hear(Heard::Progress(done, total)),
                Answer::Done(value) => return Ok(serde_json::from_value(value)?),
                Answer::Failed(refusal) => return Err(Failure::Refused(refusal)),
            }
        }
    }

    /// Has a file copied, by its absolute path, without an answer.
    pub fn fill(&mut self, path: &[u8]) -> io::Result<()> {
        if path.contains(&0) {
            return Err(Errno::INVAL.into());
        }
        let message = [FILL, path, &[0]].concat();
        self.reader.get_mut().write_all(&message)
    }

    fn answer(&mut self) -> Result<Answer, Failure> {
        let mut line = Vec::new();
        let longest = ANSWER_BYTES_MAX as u64;
        let mut limited = (&mut self.reader).take(longest);
        limited.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}
