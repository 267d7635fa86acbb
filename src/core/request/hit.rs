//! Bytes that are present: read from the object into the caller's memory.

use super::{Again, Shard, Target};
use crate::buf::{Buffer, Lent};
use crate::error::{Errno, describe};
use crate::exec::OpTarget;
use crate::file::Version;
use crate::io::{Op, Output, Terms, Verb};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::sys;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Reads present bytes on the calling thread: a plain pread(2), without a hop.
/// Anything else than all of them is an error of the cache.
pub(super) fn read_present(version: &Version, target: Lent, offset: u64) -> Result<(), Errno> {
    let object = version
        .object
        .as_ref()
        .expect("present bytes are of an object");
    let mut done = 0;
    while done < target.len() {
        let length = (target.len() - done).min(TRANSFER_BYTES_MAX);
        let piece = target.slice(done, length);
        // SAFETY: the contract of `Lent` makes the memory ours to write.
        let read = unsafe {
            sys::pread(
                object.data().as_fd(),
                piece.as_ptr(),
                length,
                offset + done as u64,
            )
        };
        match read {
            Ok(0) => return Err(Errno::NODATA),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Stops serving from an object whose bytes could not be read back.
pub(crate) fn distrust(version: &Version, errno: Errno) {
    tracing::error!("cached bytes cannot be read back: {}", describe(errno));
    if let Some(object) = &version.object {
        object.discard();
    }
}

impl Shard {
    /// Has the engine read `length` present bytes from the request's cursor.
    pub(super) fn read_hit(&mut self, slot: usize, length: u64) {
        let request = &mut self.requests[slot];
        let offset = request.cursor;
        request.cursor += length;
        self.read_present_part(slot, offset, length);
    }

    /// Has the engine read present bytes that the cursor has passed.
    pub(super) fn read_present_part(&mut self, slot: usize, mut offset: u64, length: u64) {
        let request = &mut self.requests[slot];
        let object = request
            .version
            .object
            .as_ref()
            .expect("present bytes are of an object");
        let file = Arc::clone(object.data());
        let terms = Terms {
            priority: request.priority,
            ..Terms::default()
        };
        let start = (offset - request.offset) as usize;
        // Aside while its pieces are handed out, so that none is allocated.
        let target = std::mem::replace(&mut request.target, Target::Nothing);
        for piece in target.pieces(start, length as usize) {
            let op = Op {
                verb: Verb::Read,
                file: Arc::clone(&file),
                buffer: Buffer::Lent(piece),
                offset,
                terms,
            };
            offset += piece.len() as u64;
            self.requests[slot].outstanding += 1;
            self.push(OpTarget::Request(slot), op);
        }
        self.requests[slot].target = target;
    }

    /// The engine has read a piece, or could not.
    pub(crate) fn hit_ended(&mut self, slot: usize, result: Result<Output, Errno>, buffer: Buffer) {
        let request = &mut self.requests[slot];
        request.outstanding -= 1;
        match result {
            Ok(Output::Bytes(count)) if count == buffer.len() => {
                request.from_cache += count as u64;
            }
            Err(Errno::CANCELED) => request.fail(Errno::CANCELED),
            other => {
                distrust(&request.version, other.err().unwrap_or(Errno::NODATA));
                request.restart(Again::Unreadable);
            }
        }
        self.advance(slot);
    }
}
