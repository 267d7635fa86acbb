//! What one submission of an operation comes to.

use super::{Faults, Injection, Random, Simulation};
use crate::buf::Buffer;
use crate::error::Errno;
use crate::io::call::call;
use crate::io::errno::expected;
use crate::io::{NO_OFFSET, Op, Output, Verb};
use crate::limits::TRANSFER_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;

/// One in so many errnos is none that the manual pages list.
const UNLISTED_ONE_IN: u64 = 8;
/// No manual page lists these for any operation on a file.
const UNLISTED: [Errno; 4] = [
    Errno::XFULL,
    Errno::NOTUNIQ,
    Errno::HWPOISON,
    Errno::KEYREJECTED,
];

/// What a submission comes to.
pub(super) enum Attempt {
    /// The kernel's answer.
    Answered(Result<Output, Errno>),
    /// It does not end by itself; if deaf, nothing ends it.
    Hangs { deaf: bool },
    /// Somebody else has to read or write a pipe first.
    NotReady,
}

/// The rest of an operation.
pub(super) struct Submission<'a> {
    pub(super) tag: u64,
    pub(super) op: &'a Op,
    /// Bytes that are done.
    pub(super) done: usize,
    pub(super) may_hang: bool,
}

impl Submission<'_> {
    /// Has the host's kernel do it.
    pub(super) fn attempt(&self, host: &Simulation, random: &mut Random) -> Attempt {
        let (op, done) = (self.op, self.done);
        let (faults, below) = host.faults_of(&op.file);
        let note = |errno, deaf| {
            host.note(Injection {
                tag: self.tag,
                operation: op.verb.name(),
                below: below.clone(),
                errno,
                deaf,
            });
        };
        if self.may_hang && random.chance(faults.hung.of(op.verb)) {
            let deaf = random.chance(faults.deaf);
            note(None, deaf);
            return Attempt::Hangs { deaf };
        }
        if random.chance(faults.interrupted) {
            let errno = random.pick(&[Errno::INTR, Errno::AGAIN]);
            return Attempt::Answered(Err(*errno.expect("there are two")));
        }
        if op.verb == Verb::Splice && !is_ready(op) {
            return Attempt::NotReady;
        }
        if random.chance(faults.failed.of(op.verb)) {
            // The kernel does not say how far it came, nor does it tidy up. The bytes
            // of a pipe are not lost by what it answers.
            if op.verb.moves_bytes() && op.verb != Verb::Splice && random.chance(500) {
                let limit = short(random, op, done);
                perform(host, op, done, limit).ok();
            }
            let errno = an_errno(random, &faults, op.verb);
            note(Some(errno), false);
            return Attempt::Answered(Err(errno));
        }
        let limit = match op.verb.moves_bytes() && random.chance(faults.short) {
            true => short(random, op, done),
            false => TRANSFER_BYTES_MAX,
        };
        Attempt::Answered(perform(host, op, done, limit))
    }
}

fn an_errno(random: &mut Random, faults: &Faults, verb: Verb) -> Errno {
    let choices = match faults.errnos.as_slice() {
        [] if random.below(UNLISTED_ONE_IN) == 0 => UNLISTED.as_slice(),
        [] => expected(verb),
        given => given,
    };
    *random.pick(choices).expect("no list is empty")
}

/// At least one byte, and at most all that is left. Direct I/O moves blocks.
fn short(random: &mut Random, op: &Op, done: usize) -> usize {
    let left = (op.buffer.len() - done) as u64;
    let unit = op.terms.direct.map_or(1, |block| u64::from(block.get()));
    let units = left.div_ceil(unit);
    ((1 + random.below(units)) * unit) as usize
}

fn perform(host: &Simulation, op: &Op, done: usize, limit: usize) -> Result<Output, Errno> {
    if [Verb::Write, Verb::Splice].contains(&op.verb) && op.offset != NO_OFFSET {
        let length = limit.min(op.buffer.len() - done);
        let offset = op.offset + done as u64;
        host.0.journal.lock().before_write(&op.file, offset, length);
    }
    call(op, done, limit)
}

/// Whether both ends of a splice can go on, so that the call does not block.
fn is_ready(op: &Op) -> bool {
    let Buffer::Fd { file: source, .. } = &op.buffer else {
        unreachable!("a splice moves bytes of a file")
    };
    let mut ends = [
        PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(op.file.as_fd(), PollFlags::OUT),
    ];
    // What cannot be polled is said by the splice itself.
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut ends, Some(&at_once)).is_err() || ends.iter().all(|end| !end.revents().is_empty())
}
