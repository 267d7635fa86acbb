//! The daemon's end: one thread takes connections, and one for each of them serves it.

use crate::place::{self, Place};
use crate::protocol::{Answer, Command, FILL, PATH_BYTES_MAX, Refusal, Request};
use crate::protocol::{REQUEST_BYTES_MAX, VERSION};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Connections that are served at once; others wait.
pub const CONNECTIONS_MAX: usize = 64;
/// For how long a client may say nothing, or take nothing.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What a server does for its clients: on several threads at once.
pub trait Service: Send + Sync + 'static {
    /// Does what a command asks for; what it comes to, as JSON. May take as long as it
    /// needs, and should look now and then whether it is still wanted.
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal>;

    /// Somebody has opened a file, by this absolute path, and would like it to be in the
    /// cache. Does not wait for that.
    fn fill(&self, path: &[u8]);

    /// A process that may command has connected.
    fn met(&self, _process: Pid) {}
}

/// Says things to a client before its command is done.
pub struct Out<'a> {
    stream: &'a UnixStream,
    is_gone: bool,
}

impl Out<'_> {
    /// One of several things that were asked for. False: nobody listens any more.
    pub fn note(&mut self, note: &impl Serialize) -> bool {
        match serde_json::to_value(note) {
            Ok(value) => self.say(&Answer::Note(value)),
            Err(error) => {
                tracing::error!("a note to a client: {error}");
                true
            }
        }
    }

    /// How far it is. False: nobody listens any more.
    pub fn progress(&mut self, done: u64, total: u64) -> bool {
        self.say(&Answer::Progress { done, total })
    }

    /// Whether the client is still there.
    pub fn is_wanted(&mut self) -> bool {
        let mut fds = [PollFd::new(self.stream, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.is_gone |= poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
        !self.is_gone
    }

    fn say(&mut self, answer: &Answer) -> bool {
        self.is_gone = self.is_gone || say(self.stream, answer).is_err();
        !self.is_gone
    }
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// A server, which ends when this is dropped: its clients are cut off, and the commands
/// that are under way are waited for.
pub struct Server {
    inner: Arc<Inner>,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
    place: Place,
}

struct Inner {
    service: Arc<dyn Service>,
    /// Besides root, the one who may come.
    user: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    next: u64,
    connections: HashMap<u64, Connection>,
}

struct Connection {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens for those who may command: root, and the user that this process runs as.
    pub fn start(
        (place, listener): (Place, UnixListener),
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            service,
            user: rustix::process::geteuid().as_raw(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (taking, own) = (Arc::clone(&inner), listener.try_clone()?);
        let thread = thread::Builder::new().name("cachefs-control".to_owned());
        let thread = thread.spawn(move || taking.take_connections(&own))?;
        Ok(Self {
            inner,
            listener,
            thread: Some(thread),
            place,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let threads: Vec<_> = {
            let mut state = self.inner.state.lock();
            state.is_over = true;
            let connections = state.connections.values_mut();
            let threads = connections.filter_map(|connection| {
                // ENOTCONN: it has ended.
                let _ended = connection.stream.shutdown(Shutdown::Both);
                connection.thread.take()
            });
            threads.collect()
        };
        self.inner.changed.notify_all();
        // It wakes whoever waits in accept(2), with EINVAL.
        let _woken = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for thread in self.thread.take().into_iter().chain(threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the control socket has panicked");
            }
        }
    }
}

impl Inner {
    fn take_connections(self: &Arc<Self>, listener: &UnixListener) {
        while self.has_room() {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.take(stream) {
                        tracing::warn!("a client of the control socket: {error}");
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR | Errno::CONNABORTED) => {}
                    // It was shut down.
                    Some(Errno::INVAL) => return,
                    _ => {
                        tracing::warn!("take a connection of the control socket: {error}");
                        // Too many descriptors are open, or there is no memory.
                        thread::sleep(Duration::from_millis(100));
                    }
                },
            }
        }
    }

    /// Waits for room for one more connection. False: it is over.
    fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        while !state.is_over && state.connections.len() >= CONNECTIONS_MAX {
            self.changed.wait(&mut state);
        }
        !state.is_over
    }

    fn take(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE_MAX))?;
        stream.set_write_timeout(Some(IDLE_MAX))?;
        let own = stream.try_clone()?;
        let mut state = self.state.lock();
        if state.is_over {
            return Ok(());
        }
        let number = state.next;
        state.next += 1;
        let inner = Arc::clone(self);
        let thread = thread::Builder::new().name(format!("cachefs-ctl-{number}"));
        let thread = thread.spawn(move || {
            if let Err(error) = inner.serve(&own) {
                tracing::debug!("a client of the control socket: {error}");
            }
            // Its handle is not needed any more, unless it is being waited for.
            inner.state.lock().connections.remove(&number);
            inner.changed.notify_all();
        })?;
        let connection = Connection {
            stream,
            thread: Some(thread),
        };
        state.connections.insert(number, connection);
        Ok(())
    }

    fn serve(&self, stream: &UnixStream) -> io::Result<()> {
        let (user, process) = place::peer(stream)?;
        if user != 0 && user != self.user {
            tracing::warn!("user {user} may not command this daemon");
            let text = format!("only root and user {} may command this daemon", self.user);
            return say(stream, &Answer::Failed(Refusal::new(Errno::PERM, text)));
        }
        if let Some(process) = process {
            self.service.met(process);
        }
        let mut reader = BufReader::new(stream);
        while let Some(first) = reader.fill_buf()?.first() {
            match first {
                b'f' => self.take_fill(&mut reader)?,
                _ => self.take_command(&mut reader, stream)?,
            }
        }
        Ok(())
    }

    fn take_fill(&self, reader: &mut BufReader<&UnixStream>) -> io::Result<()> {
        let mut message = Vec::new();
        let longest = (FILL.len() + PATH_BYTES_MAX) as u64;
        reader.take(longest).read_until(0, &mut message)?;
        let path = message
            .strip_suffix(&[0])
            .and_then(|path| path.strip_prefix(FILL));
        match path {
            Some(path) => {
                self.service.fill(path);
                Ok(())
            }
            None => Err(io::Error::other("it sent what is no path")),
        }
    }

    fn take_command(
        &self,
        reader: &mut BufReader<&UnixStream>,
        stream: &UnixStream,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        let longest = REQUEST_BYTES_MAX as u64;
        reader.take(longest).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            let text = format!("a command ends within {REQUEST_BYTES_MAX} bytes, with a newline");
            say(stream, &Answer::Failed(Refusal::new(Errno::MSGSIZE, text)))?;
            // Where the next one begins is not known.
            return Err(io::Error::other("it sent what is no command"));
        }
        let mut out = Out {
            stream,
            is_gone: false,
        };
        let outcome = parse(&line).and_then(|command| self.service.run(&command, &mut out));
        let answer = match outcome {
            Ok(value) => Answer::Done(value),
            Err(refusal) => Answer::Failed(refusal),
        };
        say(stream, &answer)
    }
}

/// What a line asks for.
fn parse(line: &[u8]) -> Result<Command, Refusal> {
    /// The part that all versions have.
    #[derive(Deserialize)]
    struct Version {
        cachefs: u32,
    }
    let wrong =
        |error: serde_json::Error| Refusal::new(Errno::INVAL, format!("not a command: {error}"));
    let version: Version = serde_json::from_slice(line).map_err(wrong)?;
    if version.cachefs != VERSION {
        let text = format!(
            "version {} of the protocol is not spoken here: it is version {VERSION}",
            version.cachefs
        );
        return Err(Refusal::new(Errno::PROTONOSUPPORT, text));
    }
    let request: Request = serde_json::from_slice(line).map_err(wrong)?;
    Ok(request.command)
}
