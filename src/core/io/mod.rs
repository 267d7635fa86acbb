//! Engines: what performs I/O. Knows nothing of caching.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | what every engine promises |
//! | `factory` | which engine a cache gets, and why |
//! | `uring/` | io_uring |
//! | `psync` | threads with pread(2) and its siblings |
//! | `sim/` | for tests: a kernel that does what a seed says |
//! | `progress` | what is done about short transfers |
//! | `call` | one system call of an operation |
//! | `errno` | what an errno means to an engine |
//! | `metrics` | counters and latencies |
//! | `disk` | what was written reaches its device |
//!
//! An engine belongs to one thread. Operations are pushed, handed over by
//! `flush`, and come back through `reap`, each exactly once, in any order.
//! Every engine repeats short transfers itself: an outcome reports fewer bytes
//! than asked for only at the end of the file.

mod call;
mod disk;
mod errno;
mod factory;
mod metrics;
mod progress;
mod psync;
#[cfg(any(test, feature = "sim"))]
mod sim;
pub(crate) mod uring;

use crate::buf::{Buffer, Piece};
use crate::error::{Errno, Result};
use crate::limits::{DIRECT_ALIGNMENT_MAX, TRANSFER_BYTES_MAX};
use crate::sys::Attributes;
use std::num::NonZeroU32;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use disk::Disk;
pub(crate) use factory::EngineFactory;
pub use factory::{EngineChoice, EngineKind, EngineOptions, Refusal};
pub use metrics::{EngineStats, Latency};
#[cfg(any(test, feature = "sim"))]
pub use sim::{Faults, Injection, Manners, Rates, Simulation};
pub use uring::features::{FEATURE_NAMES, Feature, FeatureSet};
pub use uring::probe::{Finding, probe};

/// What an operation does, by its name: for tables of errnos and of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read `buffer.len()` bytes at `offset`.
    Read,
    /// Write `buffer.len()` bytes at `offset`.
    Write,
    /// Ask for the attributes of the file.
    Stat,
    /// splice(2): move the bytes of `Buffer::Fd` to `offset` of the file. One of
    /// the two is a pipe, whose offset is [`NO_OFFSET`].
    Splice,
    /// fallocate(2) without a mode: blocks for `buffer.len()` bytes at `offset`.
    Allocate,
    /// The same with FALLOC_FL_WRITE_ZEROES (Linux 6.17): blocks whose first
    /// write changes no metadata.
    AllocateZeroed,
}

/// The offset of a pipe.
pub(crate) const NO_OFFSET: u64 = u64::MAX;

/// Where to go on after `done` bytes: a pipe has no offsets.
fn after(offset: u64, done: u64) -> u64 {
    if offset == NO_OFFSET {
        NO_OFFSET
    } else {
        offset + done
    }
}

impl Verb {
    pub(crate) const COUNT: usize = 6;
    /// In the order of their numbers.
    pub(crate) const ALL: [Verb; Verb::COUNT] = [
        Verb::Read,
        Verb::Write,
        Verb::Stat,
        Verb::Splice,
        Verb::Allocate,
        Verb::AllocateZeroed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Stat => "stat",
            Verb::Splice => "splice",
            Verb::Allocate => "allocate",
            Verb::AllocateZeroed => "allocate_zeroed",
        }
    }

    /// Whether its result is a count of bytes, which may be short.
    fn moves_bytes(self) -> bool {
        matches!(self, Verb::Read | Verb::Write | Verb::Splice)
    }
}

/// An I/O priority as ioprio_set(2) has it: a class and a level. 0 is the
/// thread's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priority(pub(crate) u16);

impl Priority {
    /// Bits of the level (linux/ioprio.h, IOPRIO_CLASS_SHIFT).
    const CLASS_SHIFT: u16 = 13;
    const BEST_EFFORT: u16 = 2;
    const IDLE: u16 = 3;

    /// What nobody waits for: served when the device has nothing else to do.
    pub const BACKGROUND: Priority = Priority(Self::IDLE << Self::CLASS_SHIFT);
    /// Below what the thread has by default (level 4).
    pub const LOW: Priority = Priority(Self::BEST_EFFORT << Self::CLASS_SHIFT | 7);
    /// Above what the thread has by default.
    pub const HIGH: Priority = Priority(Self::BEST_EFFORT << Self::CLASS_SHIFT);
}

/// How an operation is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) priority: Priority,
    /// It fails with ETIMEDOUT if it has not ended after so long. Where it cannot
    /// be called back (a psync thread has begun it) it goes on to its own end.
    pub(crate) timeout: Option<Duration>,
    /// The operation that is pushed next begins only once this one has done all
    /// that it was to do, and has ECANCELED if it has not.
    pub(crate) linked: bool,
    /// The file is open with O_DIRECT, which moves whole blocks of so many bytes:
    /// address and offset are aligned, and there is memory for the whole of the
    /// last block, whose rest may be written to. A device that can be polled is.
    pub(crate) direct: Option<NonZeroU32>,
    /// A thread of the kernel does it, however ready the file says that it is.
    ///
    /// io_uring reads a file on the submitting thread if that will not block. Of
    /// file systems that do not tell it asks poll(2) for that (`file_can_poll` in
    /// io_uring/rw.c), and FUSE answers for regular files, too: always ready. So
    /// a server that does not answer would hold up all that the thread does.
    pub(crate) elsewhere: bool,
}

impl Terms {
    /// Bytes to ask the kernel for where `left` are wanted.
    pub(crate) fn span(&self, left: usize) -> usize {
        self.direct
            .map_or(left, |block| left.next_multiple_of(block.get() as usize))
    }

    /// Whether a transfer that stopped after `done` bytes has met the end of the
    /// file: elsewhere whole blocks are moved, and the rest of a block cannot be
    /// asked for.
    pub(crate) fn met_the_end(&self, done: usize) -> bool {
        self.direct
            .is_some_and(|block| !done.is_multiple_of(block.get() as usize))
    }
}

// A transfer that the kernel cuts must not look like one that met the end.
const _: () = assert!(TRANSFER_BYTES_MAX.is_multiple_of(DIRECT_ALIGNMENT_MAX as usize));

/// One operation. The engine owns all of it until its outcome.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) verb: Verb,
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
    pub(crate) terms: Terms,
}

impl Op {
    /// Bytes of memory that the kernel may touch.
    fn span(&self) -> usize {
        self.terms.span(self.buffer.len())
    }
}

/// What came of an operation.
#[derive(Debug)]
pub(crate) enum Output {
    /// Bytes moved; 0 of an operation that moves none.
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

/// Ends a `reap` of another thread that sleeps, or its next one. From any thread.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);

    /// A ring that can be told in place of `wake`, once `claim` says that it has
    /// to be. It is open for as long as `self` lives.
    fn ring(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Counts it as woken from here on. False: it was already.
    fn claim(&self) -> bool {
        true
    }

    /// Wakes it although it is claimed: its ring could not be told.
    fn insist(&self) {
        self.wake();
    }
}

/// Which operations to end early.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// Those with this tag.
    Tag(u64),
    /// Every one.
    All,
}

impl Which {
    fn is(&self, tag: u64) -> bool {
        match self {
            Which::Tag(wanted) => *wanted == tag,
            Which::All => true,
        }
    }
}

/// Whose thread an engine belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The library's own.
    Library,
    /// The program's; movable: other threads may use it later, one at a time.
    Program { movable: bool },
}

/// What performs I/O.
pub(crate) trait Engine {
    /// Takes an operation, or gives it back if `space` is 0. Whoever pushes one
    /// that is linked sees to it first that there is room for its whole chain,
    /// of at most [`crate::limits::CHAIN_MAX`].
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op>;

    /// Hands over what was pushed. Never sleeps.
    fn flush(&mut self);

    /// Appends the outcomes of what has ended; sleeps as `wait` allows while
    /// there are too few. May return with fewer: at the instant, or when woken.
    /// Hands over what was pushed, in the same system call where it can.
    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>);

    /// Asks for the end of operations. Each still has its outcome: ECANCELED,
    /// or what it would have been. Returns how many were asked to end.
    fn cancel(&mut self, which: Which) -> usize;

    /// Operations that may still be pushed.
    fn space(&self) -> usize;

    /// Operations pushed and without an outcome.
    fn in_flight(&self) -> usize;

    /// What wakes this engine.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Wakes another engine, with its own next submission where it can.
    fn nudge(&mut self, other: &Arc<dyn Wake>) {
        other.wake();
    }

    /// Makes this eventfd readable whenever operations may have ended.
    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()>;

    /// Takes note of buffers that its operations will use again and again.
    fn adopt(&mut self, buffers: Piece) {
        let _none_are_registered = buffers;
    }

    /// Ends the engine. What the kernel has not given back by `deadline` is
    /// leaked, never freed; the count is returned.
    fn shut_down(&mut self, deadline: Instant) -> usize;
}

/// Adds one to an eventfd. Its counter is never read by more than 2^64 - 2
/// writes, so this cannot block; a full counter would be readable all the same.
pub(crate) fn signal(event: BorrowedFd<'_>) {
    let written = rustix::io::write(event, &1u64.to_ne_bytes());
    debug_assert!(written.is_ok(), "write to an eventfd: {written:?}");
}

#[cfg(test)]
mod tests;
