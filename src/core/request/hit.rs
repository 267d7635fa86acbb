//! Bytes that are present: read from the object, straight into the caller's memory
//! where that is possible.

use super::{Again, Request, Shard, Target};
use crate::buf::{Buffer, Lent};
use crate::error::{Errno, describe};
use crate::exec::OpTarget;
use crate::file::Version;
use crate::io::{Op, Output, Terms, Verb};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::memory::Look;
use crate::store::Trust;
use crate::sys;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// How present bytes go straight to the caller's memory.
pub(crate) struct Straight<'a> {
    file: &'a Arc<OwnedFd>,
    /// As in [`Terms::direct`].
    direct: Option<NonZeroU32>,
    /// As in [`Terms::elsewhere`].
    elsewhere: bool,
}

/// Whether and how `length` present bytes at `offset` can be read straight to
/// `target`, which may be longer. None: they are a direct object's and something
/// is not aligned, so they go through a buffer of a shard. Queues, shards and
/// blocking reads all ask here.
pub(crate) fn straight(
    version: &Version,
    target: Lent,
    offset: u64,
    length: usize,
) -> Option<Straight<'_>> {
    let object = version.object.as_ref();
    let object = object.expect("present bytes are of an object");
    let elsewhere = object.store().elsewhere();
    let Some(direct) = object.direct() else {
        return Some(Straight {
            file: object.data(),
            direct: None,
            elsewhere,
        });
    };
    let address = target.as_ptr().addr();
    direct
        .fits(address, target.len(), offset, length)
        .then(|| Straight {
            file: direct.file(),
            direct: Some(direct.block()),
            elsewhere,
        })
}

/// Copies `length` present bytes, not 0, from the memory tier. False: their chunk is
/// not there, or they are of several. Who reads present bytes asks here first.
pub(crate) fn from_memory(version: &Version, target: Lent, offset: u64, length: usize) -> bool {
    let Some(object) = &version.object else {
        return false;
    };
    let Some(resident) = object.resident() else {
        return false;
    };
    let geometry = object.geometry();
    let chunk = geometry.chunk_of(offset);
    if geometry.chunk_of(offset + length as u64 - 1) != chunk {
        return false;
    }
    match resident.look(chunk) {
        Look::Here(held) => {
            let (start, _) = geometry.extent(chunk);
            held.copy((offset - start) as usize, length, target);
            return true;
        }
        Look::Absent => {}
        Look::Wanted => object.load(chunk),
    }
    false
}

impl Straight<'_> {
    /// As an engine's operation.
    pub(crate) fn op(&self, target: Lent, offset: u64, length: usize, terms: Terms) -> Op {
        Op {
            verb: Verb::Read,
            file: Arc::clone(self.file),
            buffer: Buffer::Lent(target.slice(0, length)),
            offset,
            terms: Terms {
                direct: self.direct,
                elsewhere: self.elsewhere,
                ..terms
            },
        }
    }

    /// On the calling thread: a plain pread(2), without a hop. Anything else than
    /// all of the bytes is an error of the cache.
    pub(super) fn read_here(&self, target: Lent, offset: u64, length: usize) -> Result<(), Errno> {
        let terms = Terms {
            direct: self.direct,
            ..Terms::default()
        };
        read_here(self.file.as_fd(), &terms, target, (offset, length))
    }
}

/// Reads on the calling thread. NODATA: the file ends before that.
pub(super) fn read_here(
    file: BorrowedFd<'_>,
    terms: &Terms,
    target: Lent,
    (offset, length): (u64, usize),
) -> Result<(), Errno> {
    let mut done = 0;
    while done < length {
        let span = terms.span(length - done).min(TRANSFER_BYTES_MAX);
        let piece = target.slice(done, span);
        let offset = offset + done as u64;
        // SAFETY: the contract of `Lent` makes the memory ours to write.
        match unsafe { sys::pread(file, piece.as_ptr(), span, offset) } {
            Ok(0) => return Err(Errno::NODATA),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if done < length && terms.met_the_end(done) {
            return Err(Errno::NODATA);
        }
    }
    Ok(())
}

/// Cached bytes could not be read back: of which chunk, a careful read will find. A
/// data file that is shorter than it was is not trusted any more at all.
pub(crate) fn unreadable(version: &Version, errno: Errno) {
    tracing::error!("cached bytes cannot be read back: {}", describe(errno));
    if let Some(object) = &version.object
        && errno == Errno::NODATA
    {
        object.discard_soon();
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
        let version = Arc::clone(&request.version);
        let guarded = request.trust() != Trust::Whole;
        let terms = Terms {
            priority: request.priority,
            ..Terms::default()
        };
        let start = (offset - request.offset) as usize;
        // Bytes that cannot go straight, one behind the other.
        let mut aside = offset..offset;
        // Aside while its pieces are handed out, so that none is allocated.
        let target = std::mem::replace(&mut request.target, Target::Nothing);
        for (memory, count) in target.shares(start, length as usize) {
            let end = offset + count as u64;
            if from_memory(&version, memory, offset, count) {
                self.bounce(slot, aside);
                aside = end..end;
                self.requests[slot].from_cache += count as u64;
                self.counters.bytes_from_memory.add(count as u64);
            } else if let Some(way) = straight(&version, memory, offset, count).filter(|_| !guarded)
            {
                self.bounce(slot, aside);
                aside = end..end;
                self.requests[slot].begin_reading();
                let op = way.op(memory, offset, count, terms);
                self.push(OpTarget::Request(slot), op);
            } else {
                aside.end = end;
            }
            offset = end;
        }
        self.requests[slot].target = target;
        self.bounce(slot, aside);
    }

    /// The engine has read a piece, or could not.
    pub(crate) fn hit_ended(&mut self, slot: usize, result: Result<Output, Errno>, buffer: Buffer) {
        let request = &mut self.requests[slot];
        request.outstanding -= 1;
        request.reading -= 1;
        request.reading_since = (request.reading > 0).then(Instant::now);
        match result {
            Ok(Output::Bytes(count)) if count == buffer.len() => {
                request.from_cache += count as u64;
            }
            Err(Errno::CANCELED) if request.late => request.restart(Again::Unreadable),
            Err(Errno::CANCELED) => request.fail(Errno::CANCELED),
            other => {
                let errno = other.err().unwrap_or(Errno::NODATA);
                unreadable(&request.version, errno);
                request.restart(match errno {
                    Errno::NODATA => Again::Unreadable,
                    _ => Again::Unclear,
                });
            }
        }
        self.advance(slot);
    }
}

impl Request {
    /// The cache device has one piece more.
    fn begin_reading(&mut self) {
        self.outstanding += 1;
        self.reading += 1;
        self.reading_since = Some(Instant::now());
    }

    /// So many pieces are not given to the device after all.
    pub(crate) fn not_begun(&mut self, pieces: u32) {
        self.outstanding -= pieces;
        self.reading -= pieces;
    }
}
