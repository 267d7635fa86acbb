//! `cachefs warm`: copies files and directories into the cache.
//!
//! One thread walks the directories and hands files to several that copy; the
//! main thread waits for them, and for Ctrl-C.

mod copy;
mod progress;
mod tally;
mod walk;
mod ways;

use super::stop::{self, Stop};
use crate::access::Access;
use crate::args::Warm;
use crate::console::Console;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::place::Roots;
use cachefs_core::Cache;
use progress::Progress;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tally::Tally;

/// Files that the walk may be ahead of the copies: the total of the progress
/// bar is soon right, and memory stays bounded in a tree of any size.
const AHEAD_MAX: usize = 1 << 16;
/// How often the main thread looks whether it was asked to stop.
const TICK: Duration = Duration::from_millis(20);

/// A file to copy.
struct Item {
    /// Below the root of the origin.
    path: PathBuf,
    /// It was named on the command line: then it is an error if it is skipped.
    named: bool,
    /// Bytes that the progress bar expects of it.
    expected: u64,
}

/// What the threads share.
struct Job {
    access: Access,
    /// The cache directory without links: not walked.
    cache_directory: PathBuf,
    console: Console,
    progress: Progress,
    tally: Tally,
    stop: Stop,
    quiet: bool,
}

/// Copies everything that was named.
pub fn run(context: &Context, args: &Warm) -> Outcome {
    let access = context.access_files(Context::open)?;
    let whole = access.stat(false)?;
    if let Some(reason) = &whole.cache.state_reason {
        let reason = crate::show::text(reason);
        return Err(Failure::new(format!("nothing can be stored: {reason}")));
    }
    access.roots()?;
    let directory = match access.daemon() {
        Some(daemon) => daemon.hello.cache.path(),
        None => context.cache_directory(),
    };
    let cache_directory = directory.canonicalize().map_err(|error| {
        let shown = crate::show::path(directory);
        Failure::new(format!("the cache {shown}: {}", describe(&error)))
    })?;
    let job = Arc::new(Job {
        access,
        cache_directory,
        console: context.console.clone(),
        progress: Progress::new(args.quiet),
        tally: Tally::default(),
        stop: Stop::on_signals()
            .map_err(|error| Failure::new(format!("handle signals: {}", describe(&error))))?,
        quiet: args.quiet,
    });
    job.console.share(job.progress.bar());
    let mut named = Vec::new();
    for path in &args.paths {
        match job.roots().find(path) {
            Ok(path) => named.push(path),
            Err(message) => job.failed(message),
        }
    }
    let ended = start(&job, args.jobs, named)?;
    wait(&job, &ended);
    job.progress.finish();
    job.console.share(None);
    if let Some(signal) = job.stop.signal() {
        job.console.say(format_args!("interrupted: {}", job.tally));
        // Closing would wait for I/O that may be stuck. A cache survives being
        // killed at any point, so it survives this.
        std::process::exit(stop::status(signal));
    }
    finish(&job)
}

/// Starts the walk and the copies. The receiver is cut off once all have ended.
fn start(job: &Arc<Job>, jobs: u16, named: Vec<PathBuf>) -> Result<Receiver<Infallible>, Failure> {
    let (alive, ended) = mpsc::channel();
    let (items, source): (SyncSender<Item>, _) = mpsc::sync_channel(AHEAD_MAX);
    let source = Arc::new(Mutex::new(source));
    let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
        let thread = thread::Builder::new().name(name).spawn(work);
        thread
            .map(drop)
            .map_err(|error| Failure::new(format!("start a thread: {}", describe(&error))))
    };
    for number in 0..jobs {
        let (job, source, alive) = (Arc::clone(job), Arc::clone(&source), alive.clone());
        let access = job.access.another()?;
        let work = move || {
            copy::serve(&job, &access, &source);
            drop(alive);
        };
        spawn(format!("copy-{number}"), Box::new(work))?;
    }
    let job = Arc::clone(job);
    let work = move || {
        walk::walk(&job, named, items);
        drop(alive);
    };
    spawn("walk".to_owned(), Box::new(work))?;
    Ok(ended)
}

/// Waits until all threads have ended or, after a signal, no longer than they
/// need if they can end at all.
fn wait(job: &Job, ended: &Receiver<Infallible>) {
    while !job.stop.is_overdue() {
        match ended.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(never) => match never {},
        }
    }
}

fn finish(job: &Job) -> Outcome {
    if !job.quiet {
        let mut summary = job.tally.to_string();
        // A daemon's counters are about others as well.
        if let Some(stats) = job.access.cache().map(Cache::stats) {
            if let Some(ways) = ways::tell(&stats) {
                summary += &format!("; {ways}");
            }
            if stats.evictions > 0 {
                let evicted = crate::show::count(stats.evictions, "object");
                summary += &format!("; {evicted} evicted to make room");
            }
        }
        job.console.say(summary);
    }
    match job.tally.failed() {
        0 => Ok(()),
        // The summary has the number.
        _ if !job.quiet => Err(Failure::told()),
        failed => Err(Failure::new(format!("{failed} failed"))),
    }
}

impl Job {
    /// How names are understood.
    fn roots(&self) -> &Roots {
        self.access.roots().expect("there is an origin")
    }

    /// Something could not be copied.
    fn failed(&self, message: String) {
        self.tally.count_failed();
        self.console.say(message);
    }

    /// Something that was found is not copied, for a reason that is no error.
    fn skipped(&self, message: String) {
        self.tally.count_skipped();
        if !self.quiet {
            self.console.say(format_args!("skipped {message}"));
        }
    }

    /// The one or the other: what was named was asked for.
    fn left_out(&self, named: bool, message: String) {
        if named {
            self.failed(message);
        } else {
            self.skipped(message);
        }
    }
}
