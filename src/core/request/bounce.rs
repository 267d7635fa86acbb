//! Present bytes of a direct object that cannot go straight to the caller, because
//! address, offset or length is not aligned: whole blocks are read into a buffer
//! of the pool, and what was asked for is copied.

use super::Shard;
use crate::buf::{Buffer, PoolBuf};
use crate::error::Errno;
use crate::exec::OpTarget;
use crate::io::{Op, Output, Terms, Verb};
use std::ops::Range;
use std::sync::Arc;

/// A piece of a request on its way through a buffer.
pub(crate) struct Bounce {
    pub(crate) request: usize,
    /// Bytes of the file that the request wants of it.
    wanted: Range<u64>,
}

impl Shard {
    /// Reads bytes of one chunk of a direct object, if any, through a buffer.
    pub(super) fn bounce(&mut self, slot: usize, wanted: Range<u64>) {
        if wanted.is_empty() {
            return;
        }
        self.requests[slot].outstanding += 1;
        let bounce = self.bounces.insert(Bounce {
            request: slot,
            wanted,
        });
        self.waiting_bounces.push_back(bounce);
        self.feed_waiting();
    }

    /// Gives a bounce its buffer.
    pub(super) fn read_bounce(&mut self, slot: usize, buffer: PoolBuf) {
        let Bounce { request, wanted } = &self.bounces[slot];
        let version = &self.requests[*request].version;
        let object = version.object.as_ref();
        let object = object.expect("present bytes are of an object");
        let direct = object.was_direct().expect("others are read straight");
        // A chunk consists of whole blocks, but for the end of the file, and fits
        // a buffer; the engine rounds the length up.
        let begin = wanted.start - wanted.start % u64::from(direct.block().get());
        let op = Op {
            verb: Verb::Read,
            file: Arc::clone(direct.file()),
            buffer: Buffer::Pool(buffer, (wanted.end - begin) as usize),
            offset: begin,
            terms: Terms {
                direct: Some(direct.block()),
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
        let Bounce { request, wanted } = self.bounces.remove(slot);
        let Buffer::Pool(buffer, length) = buffer else {
            unreachable!("it was given a buffer of the pool");
        };
        let count = (wanted.end - wanted.start) as usize;
        let result = match result {
            Ok(Output::Bytes(read)) if read == length => {
                let bytes = &buffer.bytes(length)[length - count..];
                let owner = &self.requests[request];
                let start = (wanted.start - owner.offset) as usize;
                owner.target.write(start, bytes);
                Ok(Output::Bytes(count))
            }
            Ok(_) => Err(Errno::NODATA),
            Err(errno) => Err(errno),
        };
        drop(buffer);
        self.piece_ended(request, result, count);
        self.advance(request);
    }

    /// Takes back what has no buffer yet of a request that ends early, and asks
    /// for the end of the rest.
    pub(crate) fn abandon_bounces(&mut self, request: usize) {
        let (bounces, requests) = (&mut self.bounces, &mut self.requests);
        self.waiting_bounces.retain(|slot| {
            let ours = bounces[*slot].request == request;
            if ours {
                bounces.remove(*slot);
                requests[request].outstanding -= 1;
            }
            !ours
        });
        let ours = self.bounces.iter();
        let ours = ours.filter(|(_, bounce)| bounce.request == request);
        let reading: Vec<usize> = ours.map(|(slot, _)| slot).collect();
        for slot in reading {
            self.cancel_op(OpTarget::Bounce(slot));
        }
    }
}
