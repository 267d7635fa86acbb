//! Chunks that another boot of the host has left: nobody knows which of their bytes
//! reached the disk, so they are read and compared with their checksum before their
//! first use. What is wrong is fetched, by the same fetch.

use super::fill::{State, Waiter};
use super::{Again, Request, Shard};
use crate::buf::{Buffer, PoolBuf};
use crate::completion::{MissReason, Operation};
use crate::error::{Errno, describe};
use crate::exec::OpTarget;
use crate::io::{Op, Outcome, Output, Terms, Verb};
use crate::store::{Claim, Direct, Takes};
use std::sync::Arc;
use std::time::Instant;

impl Request {
    /// Takes its share of a chunk that begins at `start`, whose bytes are what was
    /// written.
    fn take_verified(&mut self, waiter: &Waiter, start: u64, bytes: &[u8]) {
        let begin = (waiter.offset - start) as usize;
        let piece = &bytes[begin..begin + waiter.length as usize];
        let target_start = (waiter.offset - self.offset) as usize;
        if !self.target.segments().is_empty() {
            self.target.write(target_start, piece);
        }
        self.from_cache += waiter.length;
        self.filled(waiter.length);
    }
}

impl Shard {
    /// Reads a doubted chunk, whole; one that is known to be wrong is fetched.
    pub(super) fn read_doubted(&mut self, slot: usize, buffer: PoolBuf) {
        let fetch = &self.fetches[slot];
        let object = fetch.version.object.as_ref();
        let object = object.expect("it has a doubted chunk");
        let chunk = fetch.chunk.expect("it is of the object");
        if !object.has_sum(chunk) {
            match self.device_takes(Some((object, chunk))) {
                Takes::Now => return self.replace_doubted(slot, buffer),
                Takes::Soon => return self.hold_fetch(slot),
                Takes::Late => {}
            }
            self.fetches[slot].doubted = false;
            return self.replace_nothing(slot, buffer, Errno::TIMEDOUT);
        }
        self.progress = Instant::now();
        let deadline = self.device_deadline(slot);
        let fetch = &mut self.fetches[slot];
        fetch.state = State::Verifying;
        fetch.deadline = deadline;
        let object = fetch.version.object.as_ref();
        let object = object.expect("it has a doubted chunk");
        let direct = object.direct();
        let op = Op {
            verb: Verb::Read,
            file: Arc::clone(direct.map_or(object.data(), Direct::file)),
            buffer: Buffer::Pool(buffer, fetch.length),
            offset: fetch.offset,
            terms: Terms {
                direct: direct.map(Direct::block),
                elsewhere: object.store().elsewhere(),
                ..fetch.terms()
            },
        };
        self.push(OpTarget::Fetch(slot), op);
    }

    /// A doubted chunk has been read, or could not be.
    pub(super) fn doubted_read(
        &mut self,
        slot: usize,
        read: Result<usize, Errno>,
        buffer: Option<PoolBuf>,
    ) {
        let buffer = buffer.expect("it was given one of the pool");
        let fetch = &mut self.fetches[slot];
        let object = Arc::clone(fetch.version.object.as_ref().expect("it was read"));
        let chunk = fetch.chunk.expect("it is of the object");
        let length = fetch.length;
        let bytes = buffer.bytes(length);
        let is_right = read == Ok(length) && object.is_right(chunk, bytes);
        let requests = &self.requests;
        let fills = |one: &Waiter| requests[one.request].operation == Operation::Fill;
        // Who only reads need not wait for long until what is right is said to be.
        let may_owe = is_right && !fetch.waiters.iter().any(fills);
        let takes = self.device_takes(Some((&object, chunk)));
        let may_store = takes == Takes::Now;
        let owes = may_owe && takes == Takes::Late;
        if !may_store && !owes {
            return self.hold_outcome(Outcome {
                tag: OpTarget::Fetch(slot).tag(),
                result: read.map(Output::Bytes),
                buffer: Buffer::Pool(buffer, length),
            });
        }
        let fetch = &mut self.fetches[slot];
        if is_right {
            match may_store {
                true => object.confirm(chunk),
                false => object.confirm_soon(chunk),
            }
            self.counters.chunks_verified.add(1);
            let waiters = std::mem::take(&mut fetch.waiters);
            for waiter in &waiters {
                let request = &mut self.requests[waiter.request];
                request.take_verified(waiter, fetch.offset, bytes);
            }
            drop(buffer);
            self.drop_fetch(slot);
            return self.tell_waiters(waiters, |_, _| ());
        }
        self.counters.chunks_dropped.add(1);
        let path = String::from_utf8_lossy(&fetch.file.path);
        match read {
            Err(errno) => {
                object.store().health.read_failed(errno);
                let errno = describe(errno);
                tracing::warn!("chunk {chunk} of {path} cannot be read and is dropped: {errno}");
            }
            Ok(_) => tracing::warn!("chunk {chunk} of {path} is not what was written: dropped"),
        }
        self.replace_doubted(slot, buffer);
    }

    /// Fetches what is doubted, and wrong.
    fn replace_doubted(&mut self, slot: usize, buffer: PoolBuf) {
        let fetch = &mut self.fetches[slot];
        let object = Arc::clone(fetch.version.object.as_ref().expect("it has the chunk"));
        let chunk = fetch.chunk.expect("it is of the object");
        object.drop_doubted(chunk);
        // What it takes on disk is reserved for the bytes that will replace it.
        fetch.doubted = false;
        if fetch.waiters.is_empty() {
            return self.drop_fetch(slot);
        }
        for waiter in &fetch.waiters {
            self.requests[waiter.request].miss_reason = MissReason::FailedChecksum;
        }
        match Claim::take(&object, fetch.offset, fetch.length as u64) {
            Ok(claim) if !object.has(chunk) => {
                fetch.claim = Some(claim);
                self.read_origin(slot, buffer);
            }
            // Another process has found the same, and has fetched it, or is at it.
            Ok(_) | Err(Errno::AGAIN) => {
                drop(buffer);
                self.end_fetch(slot, |request, _| request.restart(Again::Anew));
            }
            Err(errno) => self.replace_nothing(slot, buffer, errno),
        }
    }

    /// Fetches what is doubted and wrong for those who read it, and stores nothing.
    fn replace_nothing(&mut self, slot: usize, buffer: PoolBuf, errno: Errno) {
        let fetch = &self.fetches[slot];
        let path = String::from_utf8_lossy(&fetch.file.path);
        let offset = fetch.offset;
        tracing::warn!(
            "the chunk at {offset} of {path} is not stored: {}",
            describe(errno)
        );
        self.keep_nothing(slot, errno);
        if self.fetches[slot].waiters.is_empty() {
            return self.drop_fetch(slot);
        }
        self.read_origin(slot, buffer);
    }
}
