//! Reads that pass the cache by on the thread of their caller, without a hop: of an origin
//! of this host, as long as the cache device is too slow (`qos/slow.rs`). Whatever is not as
//! simple as that is left to a shard, which does the same and more.

use super::complete::count;
use super::shares;
use crate::buf::Lent;
use crate::completion::{Completion, MissReason, Operation, Source as From};
use crate::exec::Message;
use crate::file::{FileInner, Version};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::origin::Source;
use crate::qos::READERS_AHEAD;
use crate::store::Trust;
use crate::sys;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

impl FileInner {
    /// Reads on this thread what is to pass the cache by: the bytes read. None: nothing was.
    pub(super) fn pass_here(
        self: &Arc<Self>,
        segments: &[Lent],
        offset: u64,
        asked: u64,
    ) -> Option<u64> {
        let shared = &self.origin.cache;
        let begun = shared.qos.slow.look()?;
        if !self.is_believed() || self.is_stale() {
            return None;
        }
        let version = self.version();
        let end = version.token.size.min(offset.saturating_add(asked));
        let length = end.checked_sub(offset).filter(|length| *length > 0)?;
        let source = version.near_source()?;
        let quota = &self.origin.quota;
        if !version.is_all_missing(offset, end)
            || self.origin.admit().is_err()
            || quota.waits(begun, READERS_AHEAD).is_some()
        {
            return None;
        }
        quota.take(length, 1, begun);
        shared.counters.origin_reads.add(1);
        read_all(source, segments, offset, length).ok()?;
        let token = sys::attributes(source).ok()?.into();
        self.origin.told(&Ok(()));
        // A shard finds the same, and moves on to that version.
        (version.token == token).then_some(())?;
        self.count_passed(length, begun);
        self.tell_passed(&version, offset, end);
        Some(length)
    }

    fn count_passed(&self, length: u64, begun: Instant) {
        let counters = &self.origin.cache.counters;
        counters.in_flight.add(1);
        counters.bytes_from_origin.add(length);
        counters.bytes_straight.add(length);
        counters.bytes_passed_by.add(length);
        let completion = Completion {
            tag: 0,
            result: Ok(length),
            bytes_from_cache: 0,
            latency_ns: begun.elapsed().as_nanos() as u64,
            operation: Operation::Read,
            source: From::Bypass,
            miss_reason: MissReason::NotAdmitted,
        };
        count(&completion, true, counters);
    }

    /// Has its shard store the chunks later. Once for each: a message costs as much as a read.
    fn tell_passed(self: &Arc<Self>, version: &Version, offset: u64, end: u64) {
        let Some(object) = &version.object else {
            return;
        };
        let geometry = object.geometry();
        let chunks = geometry.chunk_of(offset)..geometry.chunk_of(end - 1) + 1;
        if self.passes(chunks.end) {
            let message = Message::PassedBy(Arc::clone(self), chunks);
            // A closed port has nobody who could store.
            drop(self.origin.cache.ports[self.shard].post(message));
        }
    }
}

impl Version {
    /// The descriptor of an origin whose reads end.
    fn near_source(&self) -> Option<BorrowedFd<'_>> {
        match self.source.as_deref()? {
            Source::Descriptor {
                file, near: true, ..
            } => Some(file.as_fd()),
            _ => None,
        }
    }

    /// Nothing of these bytes is in the cache, nor perhaps, and there is something to store
    /// them in.
    fn is_all_missing(&self, start: u64, end: u64) -> bool {
        let Some(object) = &self.object else {
            return false;
        };
        let geometry = object.geometry();
        let mut chunks = geometry.chunk_of(start)..=geometry.chunk_of(end - 1);
        self.trust() != Trust::None
            && !chunks.any(|chunk| object.has(chunk) || object.doubts(chunk))
    }
}

/// All bytes of a range, which are there unless the file has changed.
fn read_all(
    source: BorrowedFd<'_>,
    segments: &[Lent],
    offset: u64,
    length: u64,
) -> Result<(), Errno> {
    let mut at = offset;
    for (memory, count) in shares(segments, 0, length as usize) {
        let mut done = 0;
        while done < count {
            let span = (count - done).min(TRANSFER_BYTES_MAX);
            let piece = memory.slice(done, span);
            // SAFETY: the contract of `Lent` makes the memory ours to write.
            match unsafe { sys::pread(source, piece.as_ptr(), span, at) } {
                Ok(0) => return Err(Errno::NODATA),
                Ok(read) => {
                    done += read;
                    at += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
