//! Where requests wait for what their origin and the cache's device may be asked for: by
//! the timers of their shard. What may be asked is `qos/`'s to say.

use super::fill::Fetch;
use super::{Request, Shard};
use crate::buf::PoolBuf;
use crate::completion::Operation;
use crate::file::FileInner;
use crate::limits::{BOUNCE_BUFFERS, QOS_WAITING_MAX};
use crate::origin::Inner;
use crate::qos::{Qos, READERS_AHEAD};
use slab::Slab;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fill that waits, and since when.
pub(crate) struct Paused {
    pub(crate) request: usize,
    pub(crate) until: Instant,
    since: Instant,
}

/// What tells an origin from others.
fn number(origin: &Arc<Inner>) -> usize {
    Arc::as_ptr(origin).addr()
}

impl Shard {
    /// Until when a fill of a file has to wait that nobody's read depends on.
    pub(super) fn fill_waits(&self, file: &FileInner, now: Instant) -> Option<Instant> {
        fill_waits(&self.config.qos, file, now)
    }

    /// Whether what a reader misses is not kept, so that it need not wait for fills. Of
    /// an origin elsewhere, no byte is read twice because the cache writes slowly.
    pub(super) fn passes_by(&self, slot: usize) -> bool {
        let request = &self.requests[slot];
        let is_read = request.operation == Operation::Read;
        let qos = &self.config.qos;
        let is_slow = request.version.is_near() && qos.slow.is_slow();
        let waits = || qos.fills.waits(Instant::now(), Duration::ZERO);
        is_read && (is_slow || waits().is_some())
    }

    /// A fetch is written to the cache from now on. If half of all buffers are, the device is
    /// slower than the origins.
    pub(super) fn begin_store(&mut self) {
        self.storing += 1;
        self.config.qos.pace.fills();
        if self.storing >= (self.config.pool_buffers / 2).max(2) {
            self.config.qos.slow.found();
        }
    }

    /// Has a fill plan nothing more until then.
    pub(super) fn pause(&mut self, slot: usize, until: Instant) {
        let request = &mut self.requests[slot];
        request.surveying = true;
        request.outstanding += 1;
        self.counters.throttled.add(1);
        self.paused.push(Paused {
            request: slot,
            until,
            since: Instant::now(),
        });
    }

    /// Lets those go on whose time has come.
    pub(crate) fn resume(&mut self, now: Instant) {
        while let Some(index) = self.paused.iter().position(|one| one.until <= now) {
            let one = self.paused.swap_remove(index);
            let waited = now.saturating_duration_since(one.since).as_nanos();
            self.counters.throttled_ns.add(waited as u64);
            self.unpause(one.request);
            self.advance(one.request);
        }
    }

    fn unpause(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        request.surveying = false;
        request.outstanding -= 1;
    }

    /// A request ends early.
    pub(crate) fn leave_pause(&mut self, slot: usize) {
        if let Some(index) = self.paused.iter().position(|one| one.request == slot) {
            self.paused.swap_remove(index);
            self.unpause(slot);
        }
    }

    /// When something that waits may go on.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        let paused = self.paused.iter().map(|one| one.until);
        paused.chain(self.feed_at).min()
    }

    /// A fetch that has waited, whose turn it is, and a buffer for it. Those that will be
    /// stored, or are read from the cache, leave some buffers to the others.
    pub(super) fn next_fed(&mut self) -> Option<(usize, PoolBuf)> {
        self.feed_at = None;
        if self.starved.is_empty() {
            return None;
        }
        let (now, free) = (Instant::now(), self.pool.free());
        let kept = free > self.spare_of_stored();
        let any = free > BOUNCE_BUFFERS;
        let (fetches, requests, qos) = (&mut self.fetches, &self.requests, &*self.config.qos);
        let feed_at = &mut self.feed_at;
        let counters = &self.counters;
        let ready = |(place, slot): (usize, &usize)| {
            let fetch = &mut fetches[*slot];
            if !(if fetch.chunk.is_some() { kept } else { any }) {
                return None;
            }
            if let Some(until) = fetch_waits(fetch, requests, qos, now) {
                counters.throttled.add(u64::from(fetch.throttled.is_none()));
                fetch.throttled.get_or_insert(now);
                *feed_at = Some(feed_at.map_or(until, |at| at.min(until)));
                return None;
            }
            Some((place, number(&fetch.file.origin)))
        };
        let waiting = self.starved.iter().take(QOS_WAITING_MAX).enumerate();
        let next = self.shares.next(waiting.filter_map(ready));
        if self.feed_at.is_some() {
            // It is not for want of progress.
            self.progress = now;
        }
        let place = next?;
        let buffer = self.pool.take()?;
        let slot = self.starved.remove(place).expect("it is there");
        let fetch = &mut self.fetches[slot];
        if let Some(since) = fetch.throttled.take() {
            let waited = now.saturating_duration_since(since).as_nanos();
            self.counters.throttled_ns.add(waited as u64);
        }
        let (file, length) = (Arc::clone(&fetch.file), fetch.length as u64);
        self.served(&file, length);
        Some((slot, buffer))
    }

    /// Has the copy that waits and whose turn it is be the first.
    pub(super) fn turn_copies(&mut self) {
        let copying = &mut self.copying;
        if copying.waiting_count() < 2 {
            return;
        }
        let files = copying.waiting_files().take(QOS_WAITING_MAX).enumerate();
        let waiting = files.map(|(place, file)| (place, number(&file.origin)));
        if let Some(place) = self.shares.next(waiting) {
            copying.make_first(place);
        }
    }

    /// An origin was given its turn.
    pub(super) fn served(&mut self, file: &FileInner, bytes: u64) {
        if self.starved.is_empty() && !self.copying.is_starved() {
            return self.shares.forget();
        }
        let origin = &file.origin;
        self.shares.served(number(origin), bytes, origin.weight);
    }
}

fn fill_waits(qos: &Qos, file: &FileInner, now: Instant) -> Option<Instant> {
    let origin = file.origin.quota.waits(now, Duration::ZERO);
    origin.max(qos.fills.waits(now, Duration::ZERO))
}

/// Until when a fetch has to wait.
fn fetch_waits(
    fetch: &Fetch,
    requests: &Slab<Request>,
    qos: &Qos,
    now: Instant,
) -> Option<Instant> {
    let is_read = |request: usize| requests[request].operation == Operation::Read;
    if fetch.doubted {
        None
    } else if fetch.waiters.iter().any(|one| is_read(one.request)) {
        fetch.file.origin.quota.waits(now, READERS_AHEAD)
    } else {
        fill_waits(qos, &fetch.file, now)
    }
}
