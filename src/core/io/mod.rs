//! Engines: what performs I/O. Knows nothing of caching.
//!
//! An engine belongs to one thread. Operations are pushed, handed over by
//! `flush`, and come back through `reap`, each exactly once, in any order.
//! Every engine repeats short transfers itself: an outcome reports fewer bytes
//! than asked for only at the end of the file.

mod errno;
mod psync;
pub(crate) mod uring;

use crate::buf::Buffer;
use crate::error::{Errno, Result};
use crate::sys::Attributes;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

pub(crate) use psync::PsyncPool;
pub use uring::probe::{Finding, probe};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read `buffer.len()` bytes at `offset`.
    Read,
    /// Write `buffer.len()` bytes at `offset`.
    Write,
    /// Ask for the attributes of the file.
    Stat,
}

/// One operation. The engine owns all of it until its outcome.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) verb: Verb,
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
}

/// What came of an operation.
#[derive(Debug)]
pub(crate) enum Output {
    /// Bytes read or written.
    Bytes(usize),
    /// The attributes of the file.
    Attributes(Attributes),
}

/// The end of one operation; gives back what the engine owned.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As given to `push`.
    pub(crate) tag: u64,
    pub(crate) result: std::result::Result<Output, Errno>,
    pub(crate) buffer: Buffer,
}

/// How long `reap` may sleep when nothing has ended yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until there are so many outcomes, or the instant, or for ever. More than
    /// one only if nobody uses the waker meanwhile: a wake counts as one.
    For(usize, Option<Instant>),
}

/// Ends a `reap` of another thread that sleeps, or its next one.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

/// What performs I/O.
pub(crate) trait Engine {
    /// Takes an operation, or gives it back if `space` is 0.
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op>;

    /// Hands over what was pushed. Never sleeps.
    fn flush(&mut self);

    /// Appends the outcomes of what has ended; sleeps as `wait` allows while
    /// there are too few. May return with fewer: at the instant, or when woken.
    /// Hands over what was pushed, in the same system call where it can.
    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>);

    /// Asks for the end of every operation with this tag. Each still has its
    /// outcome: ECANCELED, or what it would have been.
    fn cancel(&mut self, tag: u64);

    /// Operations that may still be pushed.
    fn space(&self) -> usize;

    /// Operations pushed and without an outcome.
    fn in_flight(&self) -> usize;

    /// What wakes this engine.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Makes this eventfd readable whenever operations may have ended.
    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()>;

    /// Ends the engine. What the kernel has not given back by `deadline` is
    /// leaked, never freed; the count is returned.
    fn shut_down(&mut self, deadline: Instant) -> usize;
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// `uring` where the kernel grants it, else `psync`.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// Threads with pread(2) and pwrite(2).
    Psync,
}

/// The engine that a cache uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// Threads with pread(2) and pwrite(2).
    Psync,
}

/// Makes the engines of one cache, all of the kind that the probe at open chose.
pub(crate) struct EngineFactory {
    kind: EngineKind,
    reason: String,
    ring_flags: u32,
    psync: Arc<PsyncPool>,
}

impl EngineFactory {
    /// Chooses the kind. EOPNOTSUPP if `choice` names one that is refused here.
    pub(crate) fn new(choice: EngineChoice, depth: u32, psync_threads: u32) -> Result<Self> {
        let psync = PsyncPool::new(psync_threads);
        let made = |kind, reason, ring_flags| Self {
            kind,
            reason,
            ring_flags,
            psync: Arc::clone(&psync),
        };
        if choice == EngineChoice::Psync {
            return Ok(made(EngineKind::Psync, "psync was asked for".into(), 0));
        }
        match uring::Uring::new(depth, true) {
            Ok(ring) => {
                let (flags, reason) = ring.granted();
                Ok(made(EngineKind::Uring, reason, flags))
            }
            Err(error) if choice == EngineChoice::Auto => {
                let reason = format!("psync, because io_uring is refused: {error}");
                Ok(made(EngineKind::Psync, reason, 0))
            }
            Err(error) => Err(error),
        }
    }

    /// An engine for the calling thread; if `movable`, one that other threads
    /// may use later. Where a further ring is refused (RLIMIT_MEMLOCK, descriptors),
    /// it is psync, and the log says so.
    pub(crate) fn create(&self, depth: u32, movable: bool) -> Box<dyn Engine + Send> {
        if self.kind == EngineKind::Uring {
            match uring::Uring::new(depth, !movable) {
                Ok(ring) => return Box::new(ring),
                Err(error) => tracing::warn!("this queue uses psync: {error}"),
            }
        }
        Box::new(self.psync.engine(depth))
    }

    pub(crate) fn kind(&self) -> EngineKind {
        self.kind
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn ring_flags(&self) -> u32 {
        self.ring_flags
    }

    /// Ends the psync threads; returns how many were still inside a system call.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        self.psync.shut_down(deadline)
    }
}

/// Adds one to an eventfd. Its counter is never read by more than 2^64 - 2
/// writes, so this cannot block; a full counter would be readable all the same.
pub(crate) fn signal(event: BorrowedFd<'_>) {
    let written = rustix::io::write(event, &1u64.to_ne_bytes());
    debug_assert!(written.is_ok(), "write to an eventfd: {written:?}");
}

#[cfg(test)]
mod tests;
