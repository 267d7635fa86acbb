//! One system call of an operation, for the engines that make them one by one.

use super::{NO_OFFSET, Op, Output, Verb, after};
use crate::buf::Buffer;
use crate::error::Errno;
use crate::limits::TRANSFER_BYTES_MAX;
use crate::sys;
use std::os::fd::AsFd;

/// Makes the next call of an operation of which `done` bytes are done. It moves
/// at most `limit` bytes, and blocks for as long as the kernel does.
pub(super) fn call(op: &Op, done: usize, limit: usize) -> Result<Output, Errno> {
    let left = op.buffer.len() - done;
    let length = op.terms.span(left).min(limit).min(TRANSFER_BYTES_MAX);
    let file = op.file.as_fd();
    let offset = after(op.offset, done as u64);
    // SAFETY: `done` is at most the length, so the address stays in the buffer.
    let start = unsafe { op.buffer.as_ptr().add(done) };
    let moved = match op.verb {
        // SAFETY: the buffer belongs to the operation, which this thread owns.
        Verb::Read => unsafe { sys::pread(file, start, length, offset) },
        // SAFETY: as above.
        Verb::Write => unsafe { sys::pwrite(file, start, length, offset) },
        Verb::Stat => return sys::attributes(file).map(Output::Attributes),
        Verb::Splice => {
            let Buffer::Fd {
                file: source,
                offset: from,
                ..
            } = &op.buffer
            else {
                unreachable!("a splice moves bytes of a file")
            };
            let place = |offset| (offset != NO_OFFSET).then_some(offset);
            let from = place(after(*from, done as u64));
            sys::splice(source.as_fd(), from, file, place(offset), length)
        }
        Verb::Allocate => sys::allocate(file, offset, left as u64).map(|()| left),
        Verb::AllocateZeroed => sys::allocate_zeroed(file, offset, left as u64).map(|()| left),
    };
    moved.map(Output::Bytes)
}
