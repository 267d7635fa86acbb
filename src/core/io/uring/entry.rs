//! A slot as a submission queue entry: one way for files and buffers that the
//! ring knows by number and for those that it does not.

use super::inflight::Inflight;
use super::registered::Named;
use crate::buf::Buffer;
use crate::io::{Op, Verb, after};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::sys::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_WRITE_ZEROES, STATX_MASK};
use io_uring::{opcode, squeue, types};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

impl Inflight {
    /// What the kernel is to do next for this slot.
    pub(super) fn entry(&mut self, index: u32, named: Named) -> squeue::Entry {
        let user_data = self.user_data(index);
        let (slot, aside) = self.parts(index);
        let op = slot.op();
        // A slot's number in place of a descriptor, as the flag below says.
        let file = types::Fd(named.file);
        let left = op.buffer.len() - slot.progress.done;
        let length = op.terms.span(left).min(TRANSFER_BYTES_MAX) as u32;
        // SAFETY: `done` is at most the length, so the address stays in the buffer.
        let start = unsafe { op.buffer.as_ptr().add(slot.progress.done) };
        let done = slot.progress.done as u64;
        let offset = after(op.offset, done);
        let priority = op.terms.priority.0;
        let elsewhere = op.terms.elsewhere;
        let entry = match (op.verb, named.buffer) {
            (Verb::Read, None) => opcode::Read::new(file, start, length)
                .offset(offset)
                .ioprio(priority)
                .build(),
            (Verb::Read, Some(buffer)) => opcode::ReadFixed::new(file, start, length, buffer)
                .offset(offset)
                .ioprio(priority)
                .build(),
            (Verb::Write, None) => opcode::Write::new(file, start, length)
                .offset(offset)
                .ioprio(priority)
                .build(),
            (Verb::Write, Some(buffer)) => opcode::WriteFixed::new(file, start, length, buffer)
                .offset(offset)
                .ioprio(priority)
                .build(),
            (Verb::Stat, _) => {
                let target = (&raw mut aside.statx).cast();
                opcode::Statx::new(file, c"".as_ptr(), target)
                    .flags(libc::AT_EMPTY_PATH)
                    .mask(STATX_MASK)
                    .build()
            }
            (Verb::Splice, _) => splice(op, done, file, length),
            (Verb::Allocate, _) => opcode::Fallocate::new(file, left as u64)
                .offset(offset)
                .mode(FALLOC_FL_KEEP_SIZE)
                .build(),
            (Verb::AllocateZeroed, _) => opcode::Fallocate::new(file, left as u64)
                .offset(offset)
                .mode(FALLOC_FL_WRITE_ZEROES)
                .build(),
        };
        let mut flags = squeue::Flags::empty();
        flags.set(squeue::Flags::FIXED_FILE, named.is_slot);
        flags.set(squeue::Flags::ASYNC, elsewhere);
        entry.flags(flags).user_data(user_data)
    }

    /// The entry that ends the one before it at the slot's time.
    pub(super) fn timeout_entry(&mut self, index: u32, until: Instant) -> squeue::Entry {
        let left = until.saturating_duration_since(Instant::now());
        let (_, aside) = self.parts(index);
        // Zero would be no time-out at all.
        aside.timeout = types::Timespec::from(left.max(Duration::from_nanos(1)));
        opcode::LinkTimeout::new(&raw const aside.timeout).build()
    }
}

fn splice(op: &Op, done: u64, file: types::Fd, length: u32) -> squeue::Entry {
    let Buffer::Fd {
        file: source,
        offset: from,
        ..
    } = &op.buffer
    else {
        unreachable!("a splice moves bytes of a file")
    };
    // No offset is -1, which is what `NO_OFFSET` is as a signed number.
    let from = after(*from, done) as i64;
    let to = after(op.offset, done) as i64;
    opcode::Splice::new(types::Fd(source.as_raw_fd()), from, file, to, length)
        .flags(libc::SPLICE_F_MOVE)
        .build()
}
