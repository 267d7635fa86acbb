//! Threads for calls that may block. Started when work comes, named, with
//! every signal blocked, and ended within a limit.

use crate::sys;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tracing::Dispatch;

/// One call that may block.
pub(crate) trait Job: Send + 'static {
    /// Does it. Must not panic.
    fn run(self);
}

/// A result that a thread waits for, and not for ever.
pub(crate) struct Awaited<T> {
    result: Mutex<Option<T>>,
    is_there: Condvar,
}

impl<T> Awaited<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            result: Mutex::new(None),
            is_there: Condvar::new(),
        })
    }

    /// Once.
    pub(crate) fn put(&self, result: T) {
        *self.result.lock() = Some(result);
        self.is_there.notify_one();
    }

    /// None: it is not there in time.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Option<T> {
        let mut result = self.result.lock();
        while result.is_none() {
            if self.is_there.wait_until(&mut result, deadline).timed_out() {
                break;
            }
        }
        result.take()
    }
}

/// Has a thread of its own do something that may block for ever, and waits until `deadline`.
/// None: it goes on by itself, and its result is dropped.
pub(crate) fn run_until<T: Send + 'static>(
    name: &str,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let awaited = Awaited::new();
    let log = tracing::dispatcher::get_default(Clone::clone);
    let there = Arc::clone(&awaited);
    let body = move || there.put(tracing::dispatcher::with_default(&log, work));
    match sys::spawn(name.to_owned(), body) {
        Ok(thread) => {
            let result = awaited.wait_until(deadline)?;
            // It lets go of the log, whose owner may be told by that, before anybody goes on.
            if thread.join().is_err() {
                tracing::error!("the thread for {name} had panicked");
            }
            Some(result)
        }
        Err(error) => {
            tracing::error!("no thread for {name}: {error}");
            None
        }
    }
}

/// A bounded number of threads that run jobs in order.
pub(crate) struct Workers<J> {
    name: &'static str,
    threads_max: u32,
    /// Where the threads' messages go.
    log: Dispatch,
    shared: Arc<Shared<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    /// There is a job, or the end has come.
    work: Condvar,
    /// A thread has left.
    left: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    running: u32,
    idle: u32,
    ending: bool,
}

impl<J: Job> Workers<J> {
    /// What the threads have to say goes where messages of this one go now.
    pub(crate) fn new(name: &'static str, threads_max: u32) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            running: 0,
            idle: 0,
            ending: false,
        };
        Self {
            name,
            threads_max,
            log: tracing::dispatcher::get_default(Clone::clone),
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                work: Condvar::new(),
                left: Condvar::new(),
            }),
            threads: Mutex::default(),
        }
    }

    /// Takes a job, or gives it back if no thread can be had for it.
    pub(crate) fn submit(&self, job: J) -> Result<(), J> {
        let mut state = self.shared.state.lock();
        if state.ending {
            return Err(job);
        }
        if state.idle <= state.jobs.len() as u32 && state.running < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let log = self.log.clone();
            let name = format!("{}-{}", self.name, state.running);
            let body = move || tracing::dispatcher::with_default(&log, || shared.serve());
            match sys::spawn(name, body) {
                Ok(thread) => {
                    state.running += 1;
                    self.threads.lock().push(thread);
                }
                Err(error) if state.running == 0 => {
                    let say = || tracing::error!("no thread for blocking calls: {error}");
                    tracing::dispatcher::with_default(&self.log, say);
                    return Err(job);
                }
                Err(error) => {
                    let running = state.running;
                    let say = || tracing::warn!("{running} threads for blocking calls: {error}");
                    tracing::dispatcher::with_default(&self.log, say);
                }
            }
        }
        state.jobs.push_back(job);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes back the jobs that no thread has begun.
    pub(crate) fn recall(&self, mut which: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut state = self.shared.state.lock();
        let (recalled, kept) = std::mem::take(&mut state.jobs)
            .into_iter()
            .partition(|job| which(job));
        state.jobs = kept;
        VecDeque::into(recalled)
    }

    /// Whether it has ended and every thread has left.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.shared.state.lock();
        state.ending && state.running == 0
    }

    /// Lets the threads end once the jobs are done. Does not wait.
    pub(crate) fn end(&self) {
        self.shared.state.lock().ending = true;
        self.shared.work.notify_all();
    }

    /// Ends the threads; returns how many were still inside a job at `deadline`.
    /// Those are left to themselves: a thread cannot be ended from outside.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        self.end();
        let mut state = self.shared.state.lock();
        while state.running > 0 {
            if self
                .shared
                .left
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                break;
            }
        }
        let stuck = state.running as usize;
        drop(state);
        if stuck == 0 {
            for thread in self.threads.lock().drain(..) {
                if thread.join().is_err() {
                    tracing::error!("a thread of {} had panicked", self.name);
                }
            }
        }
        stuck
    }

    /// Ends the threads as [`Self::shut_down`] does. If all have ended, jobs that come later
    /// have threads again.
    pub(crate) fn rest(&self, deadline: Instant) -> usize {
        let stuck = self.shut_down(deadline);
        if stuck == 0 {
            self.shared.state.lock().ending = false;
        }
        stuck
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        self.shared.state.lock().ending = true;
        self.shared.work.notify_all();
    }
}

impl<J: Job> Shared<J> {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job.run();
                state = self.state.lock();
            } else if state.ending {
                break;
            } else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
            }
        }
        state.running -= 1;
        self.left.notify_all();
    }
}
