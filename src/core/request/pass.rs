//! Reads that pass the cache by on the thread of their caller, without a hop: of an origin
//! of this host, as long as the cache device is too slow (`qos/slow.rs`). Whatever is not as
//! simple as that is left to a shard, which does the same and more.

use super::complete::count_passed;
use super::hit::read_here;
use super::shares;
use crate::buf::Lent;
use crate::exec::Message;
use crate::file::{FileInner, Version};
use crate::io::Terms;
use crate::qos::READERS_AHEAD;
use crate::store::Trust;
use crate::sys;
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
        if !shared.qos.slow.is_slow() || !self.is_believed() {
            return None;
        }
        let version = self.version();
        let end = version.token.size.min(offset.saturating_add(asked));
        let length = end.checked_sub(offset).filter(|length| *length > 0)?;
        let source = version.near_source()?;
        let (quota, now) = (&self.origin.quota, Instant::now());
        if !version.is_all_missing(offset, end)
            || !self.origin.is_in_reach()
            || quota.waits(now, READERS_AHEAD).is_some()
        {
            return None;
        }
        quota.take(length, 1, now);
        shared.counters.origin_reads.add(1);
        let mut at = offset;
        for (memory, count) in shares(segments, 0, length as usize) {
            read_here(source, &Terms::default(), memory, (at, count)).ok()?;
            at += count as u64;
        }
        let token = sys::attributes(source).ok()?.into();
        self.origin.told(&Ok(()));
        // A shard finds the same, and moves on to that version.
        (version.token == token).then_some(())?;
        count_passed(length, &shared.counters);
        self.tell_passed(&version, offset, end);
        Some(length)
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
        let source = self.source.as_deref().filter(|source| source.is_near())?;
        source.descriptor().map(AsFd::as_fd)
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
