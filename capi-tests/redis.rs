//! A Redis server of a test's own, and a client that speaks its protocol.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// Everything ends within a second; this is for a machine under load.
const LIMIT: Duration = Duration::from_secs(60);

/// How often something is looked at that nobody tells of.
const POLL: Duration = Duration::from_millis(10);

/// The server under the name that the package redis-tools has it by, which comes
/// without the service of redis-server: one program is both.
fn program() -> Command {
    let mut command = Command::new("redis-check-rdb");
    command.arg0("redis-server");
    command
}

/// Why there can be no server here; None if there can.
pub fn missing() -> Option<String> {
    let output = match program().arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return Some(format!("redis-check-rdb (package redis-tools): {error}")),
    };
    let version = output.split_once("v=").map_or("", |(_, rest)| rest);
    let major = version
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(7..) => None,
        _ => Some(format!("Redis 7.0 is needed; there is {}", output.trim())),
    }
}

/// Asks `check` until it is true.
///
/// # Panics
///
/// If it is not true in time.
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !check() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        thread::sleep(POLL);
    }
}

/// A server that listens on a socket in a directory of its own, and saves nothing.
pub struct Server {
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Starts one with these lines at the end of its configuration. It need not
    /// come up: see [`Server::is_up`].
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(configuration: &str) -> Server {
        // The path of a socket has little room, so not in the target directory.
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| directory.path().join(name);
        let (socket, log) = (path("socket"), path("log"));
        let text = format!(
            "port 0\nunixsocket {}\nlogfile {}\ndir {}\nsave \"\"\nappendonly no\n\
             enable-module-command local\n{configuration}\n",
            socket.display(),
            log.display(),
            directory.path().display(),
        );
        fs::write(path("configuration"), text).expect("it can be written");
        File::create(&log).expect("it can be made");
        let child = program()
            .arg(path("configuration"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        Server { child, directory }
    }

    /// Waits until it answers: true; or has ended: false.
    pub fn is_up(&mut self) -> bool {
        let mut up = None;
        wait_until("redis-server comes up", || {
            if self.child.try_wait().expect("it is ours").is_some() {
                up = Some(false);
            } else if self
                .log()
                .contains("The server is now ready to accept connections")
            {
                up = Some(true);
            }
            up.is_some()
        });
        up == Some(true)
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        let stream = UnixStream::connect(self.directory.path().join("socket"));
        Client::new(stream.expect("it listens"))
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("there is one")
    }

    /// Its directory, where BGSAVE writes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The names of its threads, and how many descriptors it has open. Without
    /// the threads of its allocator, which come as that sees fit.
    pub fn threads_and_descriptors(&self) -> (Vec<String>, usize) {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let entries = |name: &str| {
            let entries = fs::read_dir(process.join(name)).expect("the process is there");
            entries.map(|entry| entry.expect("it can be read").path())
        };
        let named = entries("task").filter_map(|task| fs::read_to_string(task.join("comm")).ok());
        let mut names: Vec<String> = named.filter(|name| !name.starts_with("jemalloc")).collect();
        names.sort();
        (names, entries("fd").count())
    }

    /// Runs `work` while the server stands still, so that it finds everything
    /// that was sent to it in one turn of its event loop.
    pub fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("it is there");
        waitpid(Some(pid), WaitOptions::UNTRACED).expect("it is ours");
        let result = work();
        kill_process(pid, Signal::CONT).expect("it is there");
        result
    }

    /// Has it shut down, and returns its status and its log.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn shut_down(mut self) -> (ExitStatus, String) {
        self.client().send(&[b"SHUTDOWN", b"NOSAVE"]);
        let mut status = None;
        wait_until("redis-server ends", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        (status.expect("it has ended"), self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A status.
    Status(String),
    /// An error, its code first.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Nil,
    /// Several, one after another; maps are keys and values in turn.
    List(Vec<Reply>),
}

impl Reply {
    /// The number of a map's key.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn number(&self, key: &str) -> i64 {
        match self.field(key) {
            Some(Reply::Number(number)) => *number,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// The text of a map's key.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn text(&self, key: &str) -> String {
        match self.field(key) {
            Some(Reply::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{key}: {other:?}"),
        }
    }

    fn field(&self, key: &str) -> Option<&Reply> {
        let Reply::List(list) = self else { return None };
        let mut pairs = list.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0] == Reply::Bytes(key.as_bytes().to_vec()));
        pair.map(|pair| &pair[1])
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn new(stream: UnixStream) -> Client {
        let limited = stream.set_read_timeout(Some(LIMIT));
        limited.expect("a time limit can be set");
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a command without waiting for the answer.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn send(&mut self, words: &[&[u8]]) {
        let mut message = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            message.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            message.extend_from_slice(word);
            message.extend_from_slice(b"\r\n");
        }
        let sent = self.stream.get_mut().write_all(&message);
        sent.expect("the server takes it");
    }

    /// The next answer; None: the server has closed the connection.
    ///
    /// # Panics
    ///
    /// If none comes in time, or if it is not of the protocol.
    pub fn receive(&mut self) -> Option<Reply> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => panic!("no answer: {error}"),
        }
        let (kind, rest) = line.trim_end().split_at(1);
        Some(match (kind, rest) {
            ("+", _) => Reply::Status(rest.to_owned()),
            ("-", _) => Reply::Error(rest.to_owned()),
            (":", _) => Reply::Number(rest.parse().expect("it is a number")),
            ("$" | "*", "-1") => Reply::Nil,
            ("$", _) => {
                let mut bytes = vec![0; rest.parse::<usize>().expect("it is a length") + 2];
                let whole = self.stream.read_exact(&mut bytes);
                whole.expect("as many bytes as it said");
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            ("*", _) => {
                let count: usize = rest.parse().expect("it is a count");
                let replies = (0..count).map(|_| self.receive().expect("as many as it said"));
                Reply::List(replies.collect())
            }
            _ => panic!("no kind of answer: {line:?}"),
        })
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Panics
    ///
    /// As [`Client::send`] and [`Client::receive`], and if the connection is closed.
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.send(words);
        self.receive().expect("the connection is open")
    }

    /// The same for a command in one line of text.
    ///
    /// # Panics
    ///
    /// As [`Client::ask`].
    pub fn say(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask(&words)
    }
}
