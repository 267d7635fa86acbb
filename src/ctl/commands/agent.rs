//! `cachefs agent`: has a cache open for programs that only look at it, and copies what
//! they miss.

use crate::args::Agent;
use crate::commands::stop::Stop;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use cachefs_control::{
    About, Command, Commands, Host, Out, Place, Refusal, Server, Service, background,
};
use cachefs_core::{Cache, Origin};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);
/// Processes that are waited for; others only count when they ask.
const PROCESSES_MAX: usize = 1024;

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
    let started =
        |error: std::io::Error| Failure::new(format!("start the agent: {}", describe(&error)));
    let stop = Stop::on_signals().map_err(started)?;
    let about = About {
        program: "cachefs agent",
        directory,
        root,
        mountpoint: None,
    };
    let opened = Opened { cache, origin };
    let inner = Arc::new(Inner {
        commands: Commands::start(opened, about).map_err(started)?,
        asked: AtomicU64::new(0),
        at_work: AtomicUsize::new(0),
        processes: Mutex::default(),
    });
    let service = Arc::new(Asked(Arc::clone(&inner)));
    let server = Server::start(socket, service).map_err(started)?;
    background::tell_ready()?;
    if args.detached {
        background::let_go(None).map_err(started)?;
    }
    let idle = Duration::from_secs(args.idle.into());
    while !stop.is_asked() && !inner.is_over(idle) {
        std::thread::sleep(LOOK);
    }
    drop(server);
    let inner = Arc::into_inner(inner).expect("the server and its threads have ended");
    let Opened { cache, origin } = inner.commands.end();
    drop(origin);
    Ok(cache.close()?)
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
        .current_dir("/");
    match background::start(&mut command).map_err(failed)? {
        None => Ok(()),
        // It has said why.
        Some(_) => Err(Failure::told()),
    }
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

/// What an agent has open.
struct Opened {
    cache: Cache,
    origin: Origin,
}

impl Host for Opened {
    fn cache(&self) -> &Cache {
        &self.cache
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

struct Inner {
    commands: Commands<Opened>,
    /// When somebody last asked for something, in milliseconds since it was begun.
    asked: AtomicU64,
    /// Commands that are being done.
    at_work: AtomicUsize,
    /// Those that have asked for something, and live.
    processes: Mutex<HashMap<Pid, OwnedFd>>,
}

impl Inner {
    fn note(&self) {
        let now = self.commands.age().as_millis() as u64;
        self.asked.fetch_max(now, Ordering::Relaxed);
    }

    /// Whether nobody has asked for so long, and nobody is there who might.
    fn is_over(&self, idle: Duration) -> bool {
        let is_busy = self.at_work.load(Ordering::Relaxed) > 0 || !self.commands.is_idle();
        if is_busy || self.is_any_alive() {
            self.note();
            return false;
        }
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        self.commands.age().saturating_sub(asked) >= idle
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
}

/// What is asked on the socket.
struct Asked(Arc<Inner>);

impl Service for Asked {
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        self.0.note();
        self.0.at_work.fetch_add(1, Ordering::Relaxed);
        let answer = self.0.commands.run(command, out);
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    fn fill(&self, path: &[u8]) {
        self.0.note();
        self.0.commands.fill(path);
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
