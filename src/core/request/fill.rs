//! One fetch: a buffer, the origin's bytes, the check of their version, the
//! answer to whoever waits, and then the write to the object.
//!
//! ```text
//! Starved ─┬─▶ Reading ─▶ Checking ─▶ (answer) ─▶ Storing ─▶ (publish)
//!          │      └──── time-out ───▶ Overdue: keeps the buffer until the origin
//!          │                          gives it back
//!          └─▶ Verifying ─▶ (answer), or Reading: see `verify`
//! ```

use super::ahead::Ahead;
use super::{Again, Request, Shard, store_op};
use crate::buf::{Buffer, Lent, PoolBuf};
use crate::completion::Operation;
use crate::error::{Errno, Error, describe};
use crate::exec::{FetchId, OpTarget};
use crate::file::{FileInner, Version};
use crate::io::{Op, Output, Priority, Terms, Verb};
use crate::limits::{BOUNCE_BUFFERS, STORE_POOL_SPARE};
use crate::origin::{OriginRead, ReadReply, Source, StatReply};
use crate::store::{Claim, Geometry, Object, checksum};
use crate::token::VersionToken;
use std::sync::Arc;
use std::time::Instant;

/// A request's share of a fetch.
pub(crate) struct Waiter {
    pub(crate) request: usize,
    /// First byte of the file, and how many.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Waiter {
    /// Its shares of each chunk.
    pub(super) fn by_chunk(&self, geometry: Geometry) -> impl Iterator<Item = Waiter> {
        let (request, end) = (self.request, self.offset + self.length);
        let mut offset = self.offset;
        std::iter::from_fn(move || {
            let (start, whole) = geometry.extent(geometry.chunk_of(offset.min(end - 1)));
            let length = end
                .min(start + whole)
                .checked_sub(offset)
                .filter(|one| *one > 0)?;
            offset += length;
            Some(Waiter {
                request,
                offset: offset - length,
                length,
            })
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a buffer.
    Starved,
    /// The object is being read: a doubted chunk may be there.
    Verifying,
    /// The origin has the buffer.
    Reading,
    /// The version is being asked for. With an errno, the bytes are not good even
    /// if it is the same.
    Checking { unless_changed: Option<Errno> },
    /// The bytes are good; the object is being written.
    Storing,
    /// The origin has the buffer, and nobody waits any more.
    Overdue,
}

/// One read of an origin.
pub(crate) struct Fetch {
    pub(crate) serial: u64,
    pub(super) file: Arc<FileInner>,
    pub(super) version: Arc<Version>,
    /// The chunk to store it as; None: it is not kept.
    pub(super) chunk: Option<u64>,
    /// It was begun before anybody wanted it.
    pub(super) ahead: Option<Ahead>,
    /// Of the request that leads it.
    pub(super) priority: Priority,
    /// Its entry in the table of flights.
    pub(super) flight: Option<(u64, u64)>,
    pub(super) offset: u64,
    pub(super) length: usize,
    /// The memory of the only request that waits, if the bytes go straight there.
    pub(super) lent: Option<Lent>,
    /// None while the engine or the origin has it.
    pub(super) buffer: Option<PoolBuf>,
    /// The good bytes: shared with the engine while it writes them, since
    /// requests that come meanwhile are answered from them.
    pub(super) good: Option<Arc<PoolBuf>>,
    /// The chunk is fetched and written by nobody else; a doubted one only once it is
    /// known to be wrong.
    pub(super) claim: Option<Claim>,
    pub(super) state: State,
    /// The chunk is there, with its room, and is not fetched if it can be verified.
    pub(super) doubted: bool,
    /// It is being stored, and the device has not answered in time.
    pub(super) late: bool,
    /// Since when it waits for what its origin may be asked for.
    pub(super) throttled: Option<Instant>,
    pub(crate) waiters: Vec<Waiter>,
    /// When whoever waits is told that the origin does not answer, or the cache device.
    pub(crate) deadline: Option<Instant>,
}

impl Version {
    /// Of a version that something is read of: its request has waited for it.
    pub(super) fn asked_source(&self) -> &Source {
        self.source.as_ref().expect("the origin was asked first")
    }
}

impl Fetch {
    fn source(&self) -> &Source {
        self.version.asked_source()
    }

    /// Returns the room that was reserved for a chunk that is not stored, and the claim
    /// on it: other processes need not wait.
    pub(crate) fn give_back_room(&mut self) {
        self.claim = None;
        if let (Some(_), Some(object)) = (self.chunk.take(), &self.version.object)
            && !self.doubted
        {
            object.release(self.length as u64);
        }
    }

    /// Its chunk is being written.
    pub(super) fn is_being_stored(&self) -> bool {
        self.state == State::Storing
    }

    /// Which chunk of which object that is.
    pub(super) fn stored_chunk(&self) -> Option<(&Arc<Object>, u64)> {
        self.version.object.as_ref().zip(self.chunk)
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            priority: self.priority,
            ..Terms::default()
        }
    }

    /// Whether the engine may be writing to the memory of the request that waits.
    pub(crate) fn has_lent_memory(&self) -> bool {
        self.lent.is_some() && matches!(self.state, State::Reading | State::Overdue)
    }

    /// Copies a request's share of the good bytes to it.
    fn copy_to(&self, request: &mut Request, waiter: &Waiter) {
        let good = self.good.as_ref().expect("the version was checked");
        let start = (waiter.offset - self.offset) as usize;
        let piece = &good.bytes(self.length)[start..start + waiter.length as usize];
        let target_start = (waiter.offset - request.offset) as usize;
        request.target.write(target_start, piece);
        request.from_origin += waiter.length;
        request.bypassed += if self.chunk.is_some() {
            0
        } else {
            waiter.length
        };
    }
}

impl Shard {
    /// Gives buffers to who waits for one. Fetches leave some, so that hits do not
    /// wait for an origin.
    pub(crate) fn feed_waiting(&mut self) {
        while let Some((slot, buffer)) = self.next_fed() {
            if self.fetches[slot].doubted {
                self.read_doubted(slot, buffer);
            } else {
                self.read_origin(slot, buffer);
            }
        }
        while !self.waiting_bounces.is_empty() && self.may_bounce() {
            let Some(buffer) = self.pool.take() else {
                return;
            };
            let slot = self.waiting_bounces.pop_front().expect("checked above");
            self.read_bounce(slot, buffer);
        }
    }

    /// Buffers that what will be stored leaves: some are for what will not.
    pub(super) fn spare_of_stored(&self) -> usize {
        BOUNCE_BUFFERS + (self.config.pool_buffers / STORE_POOL_SPARE).max(1)
    }

    fn begin_read(&mut self, slot: usize) -> &Fetch {
        self.progress = Instant::now();
        self.counters.origin_reads.add(1);
        let fetch = &mut self.fetches[slot];
        let quota = &fetch.file.origin.quota;
        quota.take(fetch.length as u64, 1, self.progress);
        fetch.state = State::Reading;
        fetch.deadline = Some(self.progress + self.config.origin_timeout);
        fetch
    }

    /// Has the engine read bytes that are not kept into the memory of who waits.
    pub(super) fn read_straight(&mut self, slot: usize, lent: Lent) {
        let fetch = self.begin_read(slot);
        let Source::Descriptor {
            file: descriptor,
            elsewhere,
            ..
        } = fetch.source()
        else {
            unreachable!("custom origins get buffers of ours");
        };
        let op = Op {
            verb: Verb::Read,
            file: Arc::clone(descriptor),
            buffer: Buffer::Lent(lent),
            offset: fetch.offset,
            terms: Terms {
                elsewhere: *elsewhere,
                ..fetch.terms()
            },
        };
        self.push(OpTarget::Fetch(slot), op);
    }

    pub(super) fn read_origin(&mut self, slot: usize, buffer: PoolBuf) {
        let fetch = self.begin_read(slot);
        let (file, version) = (Arc::clone(&fetch.file), Arc::clone(&fetch.version));
        match version.asked_source() {
            Source::Descriptor {
                file: descriptor,
                elsewhere,
                ..
            } => {
                let op = Op {
                    verb: Verb::Read,
                    file: Arc::clone(descriptor),
                    buffer: Buffer::Pool(buffer, fetch.length),
                    offset: fetch.offset,
                    terms: Terms {
                        elsewhere: *elsewhere,
                        ..fetch.terms()
                    },
                };
                self.push(OpTarget::Fetch(slot), op);
            }
            Source::Path(path) => {
                let reply = ReadReply {
                    port: Arc::clone(&self.port),
                    fetch: self.fetch_id(slot),
                };
                let fetch = &self.fetches[slot];
                let read = OriginRead::new(
                    Arc::clone(path),
                    fetch.version.token,
                    (fetch.offset, fetch.length),
                    buffer,
                    reply,
                );
                file.origin.custom_code().read(read);
            }
        }
    }

    fn fetch_id(&self, slot: usize) -> FetchId {
        FetchId {
            slot,
            serial: self.fetches[slot].serial,
        }
    }

    /// An engine's operation for a fetch has ended.
    pub(crate) fn fetch_ended(
        &mut self,
        slot: usize,
        result: Result<Output, Errno>,
        buffer: Buffer,
    ) {
        let pool_buffer = match buffer {
            Buffer::Pool(buffer, _) => Some(buffer),
            _ => None,
        };
        match (self.fetches[slot].state, result) {
            // Whoever lent it memory waits for this, and has failed already.
            (State::Overdue, _) => self.end_fetch(slot, |_, _| ()),
            (state @ (State::Reading | State::Verifying), result) => {
                let count = result.map(|output| match output {
                    Output::Bytes(count) => count,
                    Output::Attributes(_) => unreachable!("a read moves bytes"),
                });
                match state {
                    State::Verifying => self.doubted_read(slot, count, pool_buffer),
                    _ => self.fetch_read(slot, count, pool_buffer),
                }
            }
            (State::Checking { .. }, result) => {
                let token = result.map(|output| match output {
                    Output::Attributes(attributes) => attributes.into(),
                    Output::Bytes(_) => unreachable!("a stat moves no bytes"),
                });
                self.fetch_checked(slot, token);
            }
            (State::Storing, result) => {
                let count = result.map(|output| match output {
                    Output::Bytes(count) => count,
                    Output::Attributes(_) => unreachable!("a write moves bytes"),
                });
                self.fetch_stored(slot, count);
            }
            (State::Starved, _) => unreachable!("a starved fetch has nothing under way"),
        }
    }

    /// The origin has given its bytes, or an error. None: they are in the memory
    /// of who waits.
    pub(crate) fn fetch_read(
        &mut self,
        slot: usize,
        read: Result<usize, Errno>,
        buffer: Option<PoolBuf>,
    ) {
        self.progress = Instant::now();
        let fetch = &mut self.fetches[slot];
        if fetch.state == State::Overdue {
            drop(buffer);
            self.drop_fetch(slot);
            return;
        }
        fetch.buffer = buffer;
        if let Some(ahead) = &mut fetch.ahead {
            ahead.place = None;
        }
        let checked_by_read = match fetch.source() {
            Source::Descriptor { .. } => false,
            Source::Path(_) => fetch.file.origin.custom_code().checks_version(),
        };
        match read {
            Ok(count) => {
                fetch.file.origin.told(&read);
                self.counters.bytes_from_origin.add(count as u64);
                // A file that has become shorter is another version; one that
                // has not gave less than it has.
                let unless_changed = (count < fetch.length).then_some(Errno::IO);
                fetch.state = State::Checking { unless_changed };
                if checked_by_read && unless_changed.is_none() {
                    let token = fetch.version.token;
                    self.fetch_checked(slot, Ok(token));
                } else {
                    self.check_version(slot);
                }
            }
            // The origin says that there is another version: ask which.
            Err(Errno::STALE) if checked_by_read => {
                fetch.state = State::Checking {
                    unless_changed: Some(Errno::STALE),
                };
                self.check_version(slot);
            }
            Err(errno) => {
                fetch.file.origin.told(&read);
                self.fail_fetch(slot, errno);
            }
        }
    }

    fn check_version(&mut self, slot: usize) {
        let fetch = &self.fetches[slot];
        let (file, version) = (Arc::clone(&fetch.file), Arc::clone(&fetch.version));
        match version.asked_source() {
            Source::Descriptor { file, .. } => {
                let op = Op {
                    verb: Verb::Stat,
                    file: Arc::clone(file),
                    buffer: Buffer::None,
                    offset: 0,
                    terms: Terms::default(),
                };
                self.push(OpTarget::Fetch(slot), op);
            }
            Source::Path(path) => {
                let reply = StatReply {
                    port: Arc::clone(&self.port),
                    fetch: self.fetch_id(slot),
                };
                file.origin.custom_code().stat(Arc::clone(path), reply);
            }
        }
    }

    /// The version after the read is known: the bytes are good only if it is
    /// the one that the object is of.
    pub(crate) fn fetch_checked(&mut self, slot: usize, token: Result<VersionToken, Errno>) {
        let fetch = &mut self.fetches[slot];
        let State::Checking { unless_changed } = fetch.state else {
            // Overdue: nobody waits, and the buffer is here.
            self.drop_fetch(slot);
            return;
        };
        fetch.file.origin.told(&token);
        match token {
            Err(errno) => self.fail_fetch(slot, errno),
            Ok(token) if token != fetch.version.token => {
                self.counters.stale_fetches.add(1);
                self.blame_prefetch(slot);
                let seen = Arc::clone(&self.fetches[slot].version);
                self.end_fetch(slot, |request, _| {
                    request.restart(Again::Changed(token, Arc::clone(&seen)));
                });
            }
            Ok(_) => match unless_changed {
                None => self.answer(slot),
                Some(errno) => {
                    tracing::error!("the origin did not give what it has: {}", describe(errno));
                    self.fail_fetch(slot, errno);
                }
            },
        }
    }

    /// The bytes are good: whoever waits for them gets them now, and the object
    /// is written afterwards.
    fn answer(&mut self, slot: usize) {
        let fetch = &mut self.fetches[slot];
        if fetch.lent.is_some() {
            self.counters.bytes_straight.add(fetch.length as u64);
            self.end_fetch(slot, |request, length| {
                request.from_origin += length;
                request.bypassed += length;
            });
            return;
        }
        let deadline = self.device_deadline(slot);
        let fetch = &mut self.fetches[slot];
        fetch.state = State::Storing;
        fetch.deadline = deadline;
        let good = Arc::new(fetch.buffer.take().expect("the origin gave it back"));
        fetch.good = Some(Arc::clone(&good));
        self.prefetched(slot);
        let fetch = &mut self.fetches[slot];
        let object = fetch.chunk.and(fetch.version.object.as_ref());
        let qos = &self.config.qos;
        let write = object.map(|object| {
            let terms = Terms {
                priority: qos.priority_of(fetch.priority),
                ..fetch.terms()
            };
            qos.fills.take(fetch.length as u64, 1, Instant::now());
            let bytes = (good, fetch.length);
            store_op(object, bytes, fetch.offset, terms)
        });
        self.deliver(slot);
        match write {
            Some(op) => {
                self.begin_store();
                self.push(OpTarget::Fetch(slot), op);
            }
            None => self.drop_fetch(slot),
        }
    }

    /// Copies good bytes to the reads that wait. Fills wait until they are stored.
    fn deliver(&mut self, slot: usize) {
        let (fetch, requests) = (&mut self.fetches[slot], &mut self.requests);
        let waiters = std::mem::take(&mut fetch.waiters);
        let (reads, fills) = waiters
            .into_iter()
            .partition(|waiter| requests[waiter.request].operation == Operation::Read);
        fetch.waiters = fills;
        for waiter in &reads {
            fetch.copy_to(&mut requests[waiter.request], waiter);
        }
        self.tell_waiters(reads, |_, _| {});
    }

    /// A further request wants a part of a fetch that is under way, which its cursor has
    /// passed: it gets it at once if the bytes are good already.
    pub(super) fn join(&mut self, slot: usize, waiter: Waiter) {
        let fetch = &mut self.fetches[slot];
        let request = &mut self.requests[waiter.request];
        if fetch.good.is_some() && request.operation == Operation::Read {
            fetch.copy_to(request, &waiter);
        } else if fetch.late {
            request.fail(Errno::TIMEDOUT);
        } else {
            self.wait_for_fetch(slot, waiter);
        }
    }

    fn wait_for_fetch(&mut self, slot: usize, waiter: Waiter) {
        let fetch = &mut self.fetches[slot];
        let request = &mut self.requests[waiter.request];
        if fetch.is_wanted_by(request) {
            // The time that the origin has is the reader's from now on.
            fetch.deadline = Some(Instant::now() + self.config.origin_timeout);
            self.counters.prefetch_stalls.add(1);
        }
        request.outstanding += 1;
        fetch.waiters.push(waiter);
    }

    /// `whole` bytes have been written to the object, or could not be. Only fills
    /// still wait.
    fn fetch_stored(&mut self, slot: usize, written: Result<usize, Errno>) {
        self.storing -= 1;
        let fetch = &mut self.fetches[slot];
        let object = fetch.version.object.as_ref().expect("it was being stored");
        let failure = match written {
            Ok(count) if count == fetch.length => None,
            Ok(_) => Some(Errno::NOSPC),
            Err(errno) => Some(errno),
        };
        match failure {
            None => {
                let chunk = fetch.chunk.take().expect("it was being stored");
                let good = fetch.good.as_ref().expect("it was written");
                object.publish(chunk, Some(checksum(good.bytes(fetch.length))));
                self.counters.chunks_stored.add(1);
                if fetch.ahead.is_none() {
                    let (file, object) = (Arc::clone(&fetch.file), Arc::clone(object));
                    self.maybe_fill_whole(&file, &object);
                }
            }
            Some(errno) => {
                self.counters.store_errors.add(1);
                let text = format!("write to the cache: {}", describe(errno));
                object.store().health.failed(&Error::new(errno, text));
                // A part of it may have been written.
                if fetch.chunk.take().is_some() {
                    let length = fetch.length as u64;
                    object.give_up((fetch.offset, length), length, fetch.claim.take());
                }
            }
        }
        self.end_fetch(slot, |request, length| match failure {
            Some(errno) => request.fail(errno),
            None => {
                request.from_origin += length;
                request.filled(length);
            }
        });
    }

    fn fail_fetch(&mut self, slot: usize, errno: Errno) {
        if self.fetches[slot].is_ahead() {
            return self.prefetch_failed(slot, errno);
        }
        self.end_fetch(slot, |request, _| request.origin_failed(errno));
    }

    /// Ends a fetch and tells each request that still waits for it.
    pub(super) fn end_fetch(&mut self, slot: usize, tell: impl Fn(&mut Request, u64)) {
        let waiters = std::mem::take(&mut self.fetches[slot].waiters);
        self.drop_fetch(slot);
        self.tell_waiters(waiters, tell);
    }

    pub(super) fn tell_waiters(&mut self, waiters: Vec<Waiter>, tell: impl Fn(&mut Request, u64)) {
        for waiter in waiters {
            let request = &mut self.requests[waiter.request];
            request.outstanding -= 1;
            tell(request, waiter.length);
            self.advance(waiter.request);
        }
    }

    /// Removes a fetch that nothing is under way for. A chunk that was stored
    /// keeps its room; the next request for another one leads its own fetch.
    pub(super) fn drop_fetch(&mut self, slot: usize) {
        let mut fetch = self.fetches.remove(slot);
        fetch.give_back_room();
        if fetch.ahead.as_ref().is_some_and(|ahead| ahead.later) {
            self.later.under_way -= 1;
        }
        if let Some(flight) = fetch.flight {
            self.flights.remove(&flight);
        }
    }

    /// Gives up on origins that do not answer.
    pub(super) fn expire_fetches(&mut self, now: Instant) {
        let overdue = |fetch: &Fetch| fetch.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<usize> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| overdue(fetch))
            .map(|(slot, _)| slot)
            .collect();
        for slot in late {
            if self.fetches[slot].is_at_device() {
                self.device_is_late(slot);
            } else {
                self.give_up(slot);
            }
        }
        self.expire_copies(now);
        if now >= self.starved_until() {
            for slot in std::mem::take(&mut self.starved) {
                self.fail_fetch(slot, Errno::TIMEDOUT);
            }
        }
    }

    /// Nobody waits any more; the buffer stays where it is until it comes back.
    /// Who lent memory has to wait for just that.
    fn give_up(&mut self, slot: usize) {
        self.blame_prefetch(slot);
        let fetch = &mut self.fetches[slot];
        fetch.file.origin.told::<()>(&Err(Errno::TIMEDOUT));
        tracing::warn!(
            "the origin has not answered a read of {} bytes at {} in time",
            fetch.length,
            fetch.offset
        );
        if fetch.has_lent_memory() {
            for waiter in &fetch.waiters {
                self.requests[waiter.request].origin_failed(Errno::TIMEDOUT);
            }
            return self.detach(slot);
        }
        let waiters = std::mem::take(&mut fetch.waiters);
        self.detach(slot);
        self.tell_waiters(waiters, |request, _| request.origin_failed(Errno::TIMEDOUT));
    }

    /// Takes a request that ends early out of the fetches that it waits for. Of
    /// those that have its memory, it asks for the end and waits on.
    pub(crate) fn abandon_fetches(&mut self, request: usize) {
        let mut reading = Vec::new();
        for (slot, fetch) in self.fetches.iter_mut() {
            let before = fetch.waiters.len();
            if before > 0 && fetch.has_lent_memory() {
                reading.extend((fetch.waiters[0].request == request).then_some(slot));
                continue;
            }
            fetch.waiters.retain(|waiter| waiter.request != request);
            self.requests[request].outstanding -= (before - fetch.waiters.len()) as u32;
        }
        for slot in reading {
            self.cancel_op(OpTarget::Fetch(slot));
        }
    }

    /// Drops what has not begun; the rest is dropped as it ends.
    pub(crate) fn close_fetches(&mut self) {
        for slot in std::mem::take(&mut self.starved) {
            self.drop_fetch(slot);
        }
        let slots: Vec<usize> = self.fetches.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            // A chunk that is being written is finished: it is good.
            if self.fetches[slot].state != State::Storing {
                self.detach(slot);
            }
        }
    }

    /// Leaves a fetch to whoever has its buffer.
    pub(super) fn detach(&mut self, slot: usize) {
        let fetch = &mut self.fetches[slot];
        fetch.state = State::Overdue;
        fetch.deadline = None;
        fetch.give_back_room();
        if let Some(flight) = fetch.flight.take() {
            self.flights.remove(&flight);
        }
        self.cancel_op(OpTarget::Fetch(slot));
    }
}
