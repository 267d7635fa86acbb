//! Present bytes that cannot go straight to the caller: of a direct object, because
//! address, offset or length is not aligned; of any, because the device may not answer,
//! and would keep the caller's memory. They are read into a buffer of the pool, and what
//! was asked for is copied.

use super::Shard;
use crate::buf::{Buffer, PoolBuf};
use crate::error::Errno;
use crate::exec::OpTarget;
use crate::io::{Op, Output, Terms, Verb};
use crate::store::Direct;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A piece of a request on its way through a buffer: bytes of one chunk.
pub(crate) struct Bounce {
    /// None: nobody waits for it any more.
    pub(crate) request: Option<usize>,
    /// Bytes of the file that the request wants of it.
    pub(super) wanted: Range<u64>,
    /// When the device was asked, if it is still to answer in time.
    pub(super) begun: Option<Instant>,
}

impl Shard {
    /// Reads present bytes, if any, through buffers.
    pub(super) fn bounce(&mut self, slot: usize, wanted: Range<u64>) {
        let chunk_bytes = self.config.chunk_bytes;
        let mut start = wanted.start;
        while start < wanted.end {
            let end = wanted.end.min((start / chunk_bytes + 1) * chunk_bytes);
            self.requests[slot].outstanding += 1;
            let bounce = self.bounces.insert(Bounce {
                request: Some(slot),
                wanted: start..end,
                begun: None,
            });
            self.waiting_bounces.push_back(bounce);
            start = end;
        }
        self.feed_waiting();
    }

    /// Whether another bounce may have a buffer: a device that hangs never has all.
    pub(super) fn may_bounce(&self) -> bool {
        let begun = self.bounces.len() - self.waiting_bounces.len();
        begun < (self.config.pool_buffers - 1).max(1)
    }

    /// Gives a bounce its buffer.
    pub(super) fn read_bounce(&mut self, slot: usize, buffer: PoolBuf) {
        let bounce = &mut self.bounces[slot];
        bounce.begun = Some(Instant::now());
        let request = bounce.request.expect("what waits is somebody's");
        let version = &self.requests[request].version;
        let object = version.object.as_ref();
        let object = object.expect("present bytes are of an object");
        let direct = object.was_direct();
        // A chunk consists of whole blocks, but for the end of the file, and fits
        // a buffer; the engine rounds the length up.
        let block = direct.map_or(1, |direct| u64::from(direct.block().get()));
        let wanted = &bounce.wanted;
        let begin = wanted.start - wanted.start % block;
        let op = Op {
            verb: Verb::Read,
            file: Arc::clone(direct.map_or(object.data(), Direct::file)),
            buffer: Buffer::Pool(buffer, (wanted.end - begin) as usize),
            offset: begin,
            terms: Terms {
                direct: direct.map(Direct::block),
                elsewhere: object.store().elsewhere(),
                ..Terms::default()
            },
        };
        self.push(OpTarget::Bounce(slot), op);
    }

    /// The engine has read whole blocks, or could not.
    pub(crate) fn bounce_ended(
        &mut self,
        slot: usize,
        result: Result<Output, Errno>,
        buffer: Buffer,
    ) {
        let Bounce {
            request, wanted, ..
        } = self.bounces.remove(slot);
        let Buffer::Pool(buffer, length) = buffer else {
            unreachable!("it was given a buffer of the pool");
        };
        let Some(request) = request else {
            return;
        };
        let count = (wanted.end - wanted.start) as usize;
        let errno = match result {
            Ok(Output::Bytes(read)) if read == length => {
                let bytes = &buffer.bytes(length)[length - count..];
                let owner = &mut self.requests[request];
                let start = (wanted.start - owner.offset) as usize;
                owner.target.write(start, bytes);
                owner.outstanding -= 1;
                owner.from_cache += count as u64;
                return self.advance(request);
            }
            Ok(_) => Errno::NODATA,
            Err(errno) => errno,
        };
        // Before what follows, which may want it.
        drop(buffer);
        self.chunk_unreadable(request, wanted, errno);
    }

    /// Takes back what has no buffer yet of a request that ends early; the rest has
    /// buffers of its own, and ends by itself.
    pub(crate) fn abandon_bounces(&mut self, request: usize) {
        let (bounces, requests) = (&mut self.bounces, &mut self.requests);
        self.waiting_bounces.retain(|slot| {
            let ours = bounces[*slot].request == Some(request);
            if ours {
                bounces.remove(*slot);
                requests[request].outstanding -= 1;
            }
            !ours
        });
        let mut reading = Vec::new();
        for (slot, bounce) in self.bounces.iter_mut() {
            if bounce.request == Some(request) {
                bounce.request = None;
                self.requests[request].outstanding -= 1;
                reading.push(slot);
            }
        }
        for slot in reading {
            self.cancel_op(OpTarget::Bounce(slot));
        }
    }
}
