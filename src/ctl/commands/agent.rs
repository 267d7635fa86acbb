//! `cachefs agent`: has a cache open for programs that only look at it, and copies what
//! they miss.

use crate::args::Agent;
use crate::commands::stop::Stop;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use cachefs_control::reports::{Hello, OfServer, Whole};
use cachefs_control::{Command, Filler, Name, Out, Place, Refusal, Server, Service, operations};
use cachefs_core::{Cache, Errno, Origin};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);
/// Processes that are waited for; others only count when they ask.
const PROCESSES_MAX: usize = 1024;
/// What it writes to stdout once others can ask.
const READY: &[u8] = b"ready\n";

/// Starts it.
pub fn run(context: &Context, args: &Agent) -> Outcome {
    if args.background {
        return start(context, args.idle);
    }
    let cache = context.open()?;
    let place = context.place(&cache)?;
    let (origin, roots) = place.into_parts();
    // Joined to nothing, it would end with a slash, and be another name.
    let root: PathBuf = roots.full("".as_ref()).components().collect();
    let directory = canonical(context.cache_directory())?;
    let socket = Place::take(&directory, &root)
        .map_err(|error| Failure::new(format!("make a socket: {}", describe(&error))))?;
    let started = |error: std::io::Error| Failure::new(format!("start the agent: {error}"));
    let stop = Stop::on_signals().map_err(started)?;
    let inner = Arc::new(Inner {
        filler: Filler::start(origin.clone(), vec![root.clone()]).map_err(started)?,
        cache,
        origin,
        directory,
        root,
        capacity_bytes: context.config.completed()?.capacity_bytes,
        begun: Instant::now(),
        asked: AtomicU64::new(0),
        at_work: AtomicUsize::new(0),
        processes: Mutex::default(),
    });
    let user = rustix::process::geteuid().as_raw();
    let service = Arc::new(Asked(Arc::clone(&inner)));
    let server = Server::start(socket, user, service).map_err(started)?;
    let mut stdout = std::io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    if args.detached {
        detach().map_err(started)?;
    }
    let idle = Duration::from_secs(args.idle.into());
    while !stop.is_asked() && !inner.is_over(idle) {
        std::thread::sleep(LOOK);
    }
    drop(server);
    let inner = Arc::into_inner(inner).expect("the server and its threads have ended");
    drop((inner.filler, inner.origin));
    Ok(inner.cache.close()?)
}

/// Starts another process of this tool, which nobody is the parent of.
fn start(context: &Context, idle: u32) -> Outcome {
    let failed =
        |error: std::io::Error| Failure::new(format!("start the agent: {}", describe(&error)));
    // Whoever may hang up this terminal does not mean the agent. It fails for the leader of
    // a group, which is one that a shell has started for this alone.
    let _leader = rustix::process::setsid();
    let mut command = std::process::Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["agent", "--detached", "--idle"])
        .arg(idle.to_string());
    command.arg("--cache").arg(context.cache_directory());
    if let Some(root) = context.origin_root() {
        command.arg("--origin").arg(root);
    }
    for option in context.words_of_options() {
        command.args(["-o", option]);
    }
    command
        .env_remove(crate::options::VARIABLE)
        .env_remove("LD_PRELOAD")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut said = [0; READY.len()];
    let mut stdout = child.stdout.take().expect("it is a pipe");
    match std::io::Read::read_exact(&mut stdout, &mut said) {
        Ok(()) if said == *READY => Ok(()),
        // It has said why.
        _ => Err(Failure::told()),
    }
}

/// Lets go of what whoever has started it reads until its end.
fn detach() -> std::io::Result<()> {
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}

fn canonical(path: &std::path::Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| {
        let text = format!(
            "the cache {}: {}",
            crate::show::path(path),
            describe(&error)
        );
        Failure::new(text)
    })
}

struct Inner {
    filler: Filler,
    cache: Cache,
    origin: Origin,
    directory: PathBuf,
    root: PathBuf,
    capacity_bytes: u64,
    begun: Instant,
    /// When somebody last asked for something, in milliseconds since it was begun.
    asked: AtomicU64,
    /// Commands that are being done.
    at_work: AtomicUsize,
    /// Those that have asked for something, and live.
    processes: Mutex<HashMap<Pid, OwnedFd>>,
}

impl Inner {
    fn note(&self) {
        let now = self.begun.elapsed().as_millis() as u64;
        self.asked.fetch_max(now, Ordering::Relaxed);
    }

    /// Whether nobody has asked for so long, and nobody is there who might.
    fn is_over(&self, idle: Duration) -> bool {
        let is_busy = self.at_work.load(Ordering::Relaxed) > 0 || !self.filler.is_idle();
        if is_busy || self.is_any_alive() {
            self.note();
            return false;
        }
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(asked) >= idle
    }

    fn is_any_alive(&self) -> bool {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.retain(|_, process| {
            let mut fds = [PollFd::new(process, PollFlags::IN)];
            let now = rustix::fs::Timespec::default();
            // It is readable once the process has ended (pidfd_open(2)).
            poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 0)
        });
        !processes.is_empty()
    }

    fn answer(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        let (cache, origin) = (&self.cache, &self.origin);
        match command {
            Command::Hello => json(&self.hello()),
            Command::Stat { origins } => json(&self.stat(*origins)?),
            Command::StatFile { path } => json(&operations::stat_file(origin, path)?),
            Command::Ls => {
                operations::list(cache, |entry| out.note(entry))?;
                Ok(Value::Null)
            }
            Command::Why { path } => json(&operations::why(origin, path)?),
            Command::Warm { path } => {
                let file = origin.open(&path.0)?;
                let watch = |done, total| out.is_wanted() && out.progress(done, total);
                json(&operations::warm(&file, watch)?)
            }
            Command::Pin { path } => json(&operations::pin(origin, path, true)?),
            Command::Unpin { path } => json(&operations::pin(origin, path, false)?),
            Command::Evict { path } => json(&operations::evict(origin, path)?),
            Command::Invalidate { path, below } => {
                json(&operations::invalidate(origin, path, *below)?)
            }
            Command::Verify { path } => {
                let watch = |_: &_| out.is_wanted();
                json(&operations::verify(cache, origin, path.as_ref(), watch)?)
            }
            Command::Open { .. } | Command::Reload => {
                let text = "an agent has no mount: this is for a cachefsd";
                Err(Refusal::new(Errno::OPNOTSUPP, text))
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            program: "cachefs agent".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            cache: Name::from(&self.directory),
            origin: Name::from(&self.root),
            mountpoint: None,
        }
    }

    fn stat(&self, origins: bool) -> Result<Whole, Refusal> {
        let counters = self.cache.stats();
        let counters = counters.numbers();
        Ok(Whole {
            cache: operations::stat(&self.cache, &self.directory, self.capacity_bytes, origins)?,
            server: Some(OfServer {
                hello: self.hello(),
                seconds: self.begun.elapsed().as_secs(),
                counters: counters.map(|(name, n)| (name.to_owned(), n)).collect(),
                origin_health: operations::health(&self.origin),
                mount: None,
            }),
        })
    }
}

fn json(answer: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(|error| Refusal::new(Errno::IO, error.to_string()))
}

/// What is asked on the socket.
struct Asked(Arc<Inner>);

impl Service for Asked {
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        self.0.note();
        self.0.at_work.fetch_add(1, Ordering::Relaxed);
        let answer = self.0.answer(command, out);
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    fn fill(&self, path: &[u8]) {
        self.0.note();
        self.0.filler.fill(path);
    }

    fn met(&self, process: Pid) {
        let mut processes = self
            .0
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if processes.len() < PROCESSES_MAX && !processes.contains_key(&process) {
            // One that has ended meanwhile needs nothing any more.
            if let Ok(fd) = pidfd_open(process, PidfdFlags::empty()) {
                processes.insert(process, fd);
            }
        }
    }
}
