//! What is done when the cache device does not answer, or gives errors: what waits for
//! it goes to the origin. What follows from it for others is `store/health`'s to say.

use super::fill::{Fetch, State, Waiter};
use super::{Again, Shard};
use crate::completion::{MissReason, Operation};
use crate::error::{Errno, describe};
use crate::exec::OpTarget;
use crate::store::{Object, Trust};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

impl Shard {
    /// When something of the device hangs, or has to be looked at.
    pub(crate) fn next_device_deadline(&self) -> Option<Instant> {
        let health = &self.store.as_ref()?.health;
        let oldest = self.requests.iter();
        let reading = oldest.filter_map(|(_, request)| request.reading_since);
        let bounces = self.bounces.iter().filter_map(|(_, bounce)| bounce.begun);
        let begun = reading.chain(bounces).min();
        let hangs = begun.map(|begun| health.hangs_at(begun));
        hangs.into_iter().chain(health.next_look()).min()
    }

    /// Gives up on what the device does not answer.
    pub(super) fn expire_device(&mut self, now: Instant) {
        let Some(store) = self.store.clone() else {
            return;
        };
        store.probe_if_due();
        let hangs = |begun: Option<Instant>| begun.filter(|one| store.health.hangs_at(*one) <= now);
        let requests = self.requests.iter();
        let late = requests.filter_map(|(slot, one)| Some((slot, hangs(one.reading_since)?)));
        for (slot, begun) in late.collect::<Vec<_>>() {
            store.health.hung(begun);
            let request = &mut self.requests[slot];
            request.reading_since = None;
            // What cannot be called back has the caller's memory: it is waited for.
            request.late = true;
            self.cancel_op(OpTarget::Request(slot));
        }
        let bounces = self.bounces.iter();
        let late = bounces.filter_map(|(slot, one)| Some((slot, hangs(one.begun)?)));
        for (slot, begun) in late.collect::<Vec<_>>() {
            store.health.hung(begun);
            self.give_up_bounce(slot);
        }
        if store.health.trust() == Trust::None {
            for slot in std::mem::take(&mut self.waiting_bounces) {
                self.give_up_bounce(slot);
                self.bounces.remove(slot);
            }
        }
        if store.health.may_store().is_err() {
            self.store_nothing_starved();
        }
    }

    /// What waits for a buffer to be stored from need not wait for the device.
    fn store_nothing_starved(&mut self) {
        let waiting: Vec<usize> = self.starved.iter().copied().collect();
        for slot in waiting {
            let fetch = &self.fetches[slot];
            if !fetch.doubted && fetch.chunk.is_some() {
                self.keep_nothing(slot, Errno::TIMEDOUT);
            }
        }
    }

    /// What a fetch gets is not stored: reads get it nevertheless, and fills fail.
    pub(super) fn keep_nothing(&mut self, slot: usize, errno: Errno) {
        let fetch = &mut self.fetches[slot];
        fetch.give_back_room();
        if let Some(flight) = fetch.flight.take() {
            self.flights.remove(&flight);
        }
        let requests = &mut self.requests;
        let is_fill = |waiter: &Waiter| requests[waiter.request].operation == Operation::Fill;
        let (fills, reads) = std::mem::take(&mut fetch.waiters)
            .into_iter()
            .partition(is_fill);
        fetch.waiters = reads;
        self.tell_waiters(fills, |request, _| request.fail(errno));
    }

    /// Has a bounce go on by itself, and its request ask the origin.
    fn give_up_bounce(&mut self, slot: usize) {
        let bounce = &mut self.bounces[slot];
        bounce.begun = None;
        let wanted = bounce.wanted.clone();
        if let Some(request) = bounce.request.take() {
            self.cancel_op(OpTarget::Bounce(slot));
            self.fetch_unread(request, wanted);
        }
    }

    /// Present bytes of one chunk could not be read, and are still under way for the
    /// request: they are fetched.
    fn fetch_unread(&mut self, request: usize, wanted: Range<u64>) {
        let one = &mut self.requests[request];
        one.outstanding -= 1;
        one.miss_reason = MissReason::CacheError;
        let waiter = Waiter {
            request,
            offset: wanted.start,
            length: wanted.end - wanted.start,
        };
        let object = Arc::clone(one.version.object.as_ref().expect("it was read"));
        let chunk = object.geometry().chunk_of(wanted.start);
        if object.has(chunk) {
            // The device has it, and may not give it: nothing is stored again.
            self.bypass(waiter, MissReason::CacheError);
        } else {
            self.fetch_again(waiter, chunk);
        }
    }

    /// The device could not give bytes of one chunk, which is dropped.
    pub(super) fn chunk_unreadable(&mut self, request: usize, wanted: Range<u64>, errno: Errno) {
        let one = &mut self.requests[request];
        let object = Arc::clone(one.version.object.as_ref().expect("it was read"));
        if errno == Errno::NODATA {
            super::unreadable(&one.version, errno);
            one.outstanding -= 1;
            one.restart(Again::Unreadable);
            return self.advance(request);
        }
        let chunk = object.geometry().chunk_of(wanted.start);
        drop_chunk(&object, chunk, errno);
        self.fetch_unread(request, wanted);
    }

    /// Gets present bytes from the origin, since the device is not asked any more.
    pub(super) fn pass_by(&mut self, slot: usize, length: u64) {
        let request = &mut self.requests[slot];
        let waiter = Waiter {
            request: slot,
            offset: request.cursor,
            length,
        };
        request.cursor += length;
        self.bypass(waiter, MissReason::CacheError);
    }

    /// When the device hangs that is given a fetch now.
    pub(super) fn device_deadline(&self, slot: usize) -> Option<Instant> {
        let object = self.fetches[slot].version.object.as_ref()?;
        Some(object.store().health.hangs_at(Instant::now()))
    }

    /// The device has a fetch for too long.
    pub(super) fn device_is_late(&mut self, slot: usize) {
        let fetch = &mut self.fetches[slot];
        let deadline = fetch.deadline.take().expect("it is late");
        let object = Arc::clone(fetch.version.object.as_ref().expect("the device has it"));
        object.store().health.hung_until(deadline);
        let waiters = std::mem::take(&mut fetch.waiters);
        if fetch.state == State::Storing {
            // The write goes on, and is published should it end. Only fills wait.
            fetch.late = true;
            return self.tell_waiters(waiters, |request, _| request.fail(Errno::TIMEDOUT));
        }
        debug_assert_eq!(fetch.state, State::Verifying);
        self.detach(slot);
        for waiter in waiters {
            let request = &mut self.requests[waiter.request];
            request.outstanding -= 1;
            self.bypass(waiter, MissReason::CacheError);
        }
    }
}

impl Fetch {
    /// Whether the cache device has it.
    pub(super) fn is_at_device(&self) -> bool {
        matches!(self.state, State::Storing | State::Verifying)
    }
}

fn drop_chunk(object: &Object, chunk: u64, errno: Errno) {
    let text = describe(errno);
    let dropped = match object.drop_unreadable(chunk) {
        true => "is dropped",
        false => "will be dropped",
    };
    tracing::warn!("chunk {chunk} cannot be read from the cache and {dropped}: {text}");
    object.store().health.read_failed(errno);
}
