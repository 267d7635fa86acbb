//! Fetches ahead of readers: what `readahead/` asks for is begun here, as fetches that
//! nobody waits for. A reader that comes meanwhile joins them as any other.
//!
//! They take only what is free: a chunk that finds no buffer, no place at the origin or
//! no room is dropped, and may be asked for again.

use super::copy::Flight;
use super::fill::{Fetch, State, Waiter};
use super::{Again, Request, Shard};
use crate::buf::PoolBuf;
use crate::error::{Errno, describe};
use crate::exec::Message;
use crate::file::{FileInner, Version};
use crate::io::Priority;
use crate::limits::{BOUNCE_BUFFERS, READAHEAD_POOL_SPARE, READAHEAD_UNREAD_MS};
use crate::origin::Source;
use crate::readahead::{Place, Seen};
use crate::store::{Claim, Grant, Object, Takes};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so long, what came and was not read counts no more.
const UNREAD: Duration = Duration::from_millis(READAHEAD_UNREAD_MS);

/// What a fetch ahead has.
pub(super) struct Ahead {
    pub(super) chunk: u64,
    /// Its place at the origin, until that has answered.
    pub(super) place: Option<Place>,
    /// It is of no run of reads: see `later`.
    pub(super) later: bool,
}

impl Version {
    /// Whether a chunk needs no fetch ahead: it is there, or would not be kept.
    fn needs_none(&self, chunk: u64) -> bool {
        // What is doubted is looked at when it is read.
        let needs_none = |object: &Object| object.has(chunk) || object.doubts(chunk);
        self.object.as_deref().is_none_or(needs_none)
    }
}

/// On the threads of readers.
impl FileInner {
    /// A read, of `length` bytes of the file, was served from the cache.
    #[inline]
    pub(crate) fn saw_hit(self: &Arc<Self>, offset: u64, length: u64) {
        if length > 0 && self.ahead.watches(offset, length) {
            self.saw((offset, length), false);
        }
    }

    /// Library threads are to serve a read.
    pub(crate) fn saw_miss(self: &Arc<Self>, offset: u64, asked: u64) {
        let end = self.glance().token.size.min(offset.saturating_add(asked));
        if offset < end {
            self.saw((offset, end - offset), true);
        }
    }

    #[cold]
    fn saw(self: &Arc<Self>, (offset, length): (u64, u64), missed: bool) {
        // Before the version: one that comes in between is another one next time.
        let changes = self.changes();
        let version = self.glance();
        let seen = Seen {
            read: offset..offset + length,
            size: version.token.size,
            changes,
            missed,
        };
        let needs_none = |chunk| version.needs_none(chunk);
        let Some(advice) = self.ahead.saw(seen, needs_none) else {
            return;
        };
        let cache = &self.origin.cache;
        if advice.unused > 0 {
            cache.counters.bytes_prefetched_unused.add(advice.unused);
        }
        if !advice.fetch.is_empty() {
            let message = Message::Prefetch(Arc::clone(self), advice.fetch);
            // A closed port has nobody who could fetch.
            drop(cache.ports[self.shard].post(message));
        }
    }

    /// The last handle is gone: nobody will read what is ahead.
    pub(crate) fn forget_ahead(self: &Arc<Self>) {
        let (coming, unused) = self.ahead.close();
        let cache = &self.origin.cache;
        cache.counters.bytes_prefetched_unused.add(unused);
        if coming {
            let message = Message::ForgetPrefetches(Arc::clone(self));
            drop(cache.ports[self.shard].post(message));
        }
    }
}

impl Shard {
    /// Has chunks fetched that nobody has asked for yet, once those that somebody waits for
    /// have their buffers.
    pub(crate) fn prefetch(&mut self, file: &Arc<FileInner>, chunks: Vec<u64>) {
        self.wanted_ahead.push_back((Arc::clone(file), chunks));
    }

    /// Begins what is wanted ahead, in order: what comes later does not take the buffers and
    /// places of what waits for the device.
    pub(crate) fn feed_ahead(&mut self) {
        while let Some((file, mut chunks)) = self.wanted_ahead.pop_front() {
            let begun = self.begin_prefetches(&file, &chunks);
            if begun < chunks.len() {
                chunks.drain(..begun);
                self.wanted_ahead.push_front((file, chunks));
                return self.have_it_told();
            }
        }
    }

    /// Begins fetches, or refuses them. Those after so many wait for the device.
    fn begin_prefetches(&mut self, file: &Arc<FileInner>, chunks: &[u64]) -> usize {
        if file.ahead.is_closed() {
            return chunks.len();
        }
        let version = file.version();
        let object = version.object.as_ref();
        for (place, chunk) in chunks.iter().copied().enumerate() {
            match self.device_takes(object.map(|object| (object, chunk))) {
                Takes::Now => {}
                Takes::Soon => return place,
                Takes::Late => {
                    file.ahead.refused_all(&chunks[place..]);
                    break;
                }
            }
            match self.begin_prefetch(file, &version, chunk) {
                Grant::Given => {}
                Grant::Asleep => return place,
                // What was written has buffers until it is published.
                Grant::Refused | Grant::Full if self.waits_to_publish() => return place,
                Grant::Refused | Grant::Full => file.ahead.refused(chunk),
            }
        }
        chunks.len()
    }

    /// What is wanted ahead is not to be had: the device hangs.
    pub(super) fn refuse_ahead(&mut self) {
        for (file, chunks) in self.wanted_ahead.drain(..) {
            file.ahead.refused_all(&chunks);
        }
    }

    fn begin_prefetch(
        &mut self,
        file: &Arc<FileInner>,
        version: &Arc<Version>,
        chunk: u64,
    ) -> Grant {
        let Some((object, place, buffer)) = self.free_for_prefetch(file, version, chunk) else {
            return Grant::Refused;
        };
        let claim = match self.admit_ahead(&object, chunk) {
            Ok(claim) => claim,
            Err(grant) => return grant,
        };
        let ahead = Ahead {
            chunk,
            place,
            later: false,
        };
        self.fetch_for_nobody((file, version), ahead, (claim, buffer));
        Grant::Given
    }

    /// What a fetch of a chunk ahead takes, but for its room. None: not now.
    fn free_for_prefetch(
        &mut self,
        file: &Arc<FileInner>,
        version: &Arc<Version>,
        chunk: u64,
    ) -> Option<(Arc<Object>, Option<Place>, PoolBuf)> {
        if !file.origin.is_in_reach() {
            return None;
        }
        let object = self.may_store(version).ok()?;
        if !self.is_wanted(&object, chunk) {
            return None;
        }
        if self.fill_waits(file, Instant::now()).is_some() {
            self.counters.throttled.add(1);
            return None;
        }
        if version.is_near() && self.config.qos.slow.is_slow() {
            return None;
        }
        let place = self.place_for(file, version)?;
        let buffer = self.spare_buffer()?;
        Some((object, place, buffer))
    }

    /// Whether a chunk is neither there nor on its way.
    pub(super) fn is_wanted(&self, object: &Object, chunk: u64) -> bool {
        let flight = (object.header.nonce, chunk);
        !object.has(chunk) && !object.doubts(chunk) && !self.flights.contains_key(&flight)
    }

    /// Begins a fetch of a chunk that may be stored.
    pub(super) fn fetch_for_nobody(
        &mut self,
        (file, version): (&Arc<FileInner>, &Arc<Version>),
        ahead: Ahead,
        (claim, buffer): (Claim, PoolBuf),
    ) {
        let object = version.object.as_ref().expect("it may be stored");
        let chunk = ahead.chunk;
        let flight = (object.header.nonce, chunk);
        let (offset, length) = object.geometry().extent(chunk);
        self.fetch_serial += 1;
        let fetch = self.fetches.insert(Fetch {
            serial: self.fetch_serial,
            file: Arc::clone(file),
            version: Arc::clone(version),
            chunk: Some(chunk),
            ahead: Some(ahead),
            doubted: false,
            late: false,
            throttled: None,
            priority: Priority::BACKGROUND,
            flight: Some(flight),
            offset,
            length: length as usize,
            lent: None,
            buffer: None,
            good: None,
            claim: Some(claim),
            state: State::Starved,
            waiters: Vec::new(),
            deadline: None,
        });
        self.flights.insert(flight, Flight::Fetch(fetch));
        self.read_origin(fetch, buffer);
    }

    /// A place at the origin, if it needs one; None: what is left is for readers.
    pub(super) fn place_for(&self, file: &FileInner, version: &Version) -> Option<Option<Place>> {
        let places = match version.source.as_deref()? {
            // Nothing of this host but the disk is taken up by it.
            Source::Descriptor {
                elsewhere: false, ..
            } if self.config.reads_wait_in_kernel => return Some(None),
            Source::Descriptor { .. } => &self.config.prefetch_places,
            Source::Path(_) => match file.origin.custom_code().prefetch_places() {
                Some(places) => places,
                None => return Some(None),
            },
        };
        places.take().map(Some)
    }

    /// A buffer that nobody else will miss.
    pub(super) fn spare_buffer(&self) -> Option<PoolBuf> {
        if !self.starved.is_empty() || !self.waiting_bounces.is_empty() || !self.is_flowing() {
            return None;
        }
        let spare = (self.config.pool_buffers / READAHEAD_POOL_SPARE).max(1);
        self.pool.take_leaving(BOUNCE_BUFFERS + spare)
    }

    /// The good bytes of a fetch ahead are there.
    pub(super) fn prefetched(&mut self, slot: usize) {
        let fetch = &self.fetches[slot];
        let Some(ahead) = &fetch.ahead else {
            return;
        };
        let bytes = fetch.length as u64;
        if ahead.later {
            return self.counters.bytes_filled_later.add(bytes);
        }
        self.counters.bytes_prefetched.add(bytes);
        let now = Instant::now();
        if fetch.file.ahead.arrived(ahead.chunk, now) {
            if fetch.file.ahead.is_to_be_watched() {
                let file = Arc::downgrade(&fetch.file);
                self.unread.push_back((now + UNREAD, file));
            }
        } else if fetch.waiters.is_empty() {
            self.counters.bytes_prefetched_unused.add(bytes);
        }
    }

    /// Takes back what counts for chunks that nobody reads.
    pub(crate) fn reclaim_unread(&mut self, now: Instant) {
        while self.unread.front().is_some_and(|(at, _)| *at <= now) {
            let (_, file) = self.unread.pop_front().expect("looked at above");
            let Some(file) = file.upgrade() else {
                continue;
            };
            let limit = now.checked_sub(UNREAD).unwrap_or(now);
            let (unused, oldest) = file.ahead.reclaim(limit);
            self.counters.bytes_prefetched_unused.add(unused);
            if let Some(came) = oldest {
                let at = came.max(limit) + UNREAD;
                self.unread.push_back((at, Arc::downgrade(&file)));
            }
        }
    }

    /// A fetch ahead gives no bytes, which is nobody's error: whoever waits for them
    /// leads a fetch of their own.
    pub(super) fn prefetch_failed(&mut self, slot: usize, errno: Errno) {
        tracing::debug!("nothing was read ahead: {}", describe(errno));
        self.blame_prefetch(slot);
        let fetch = &mut self.fetches[slot];
        let chunk = fetch.ahead.as_ref().map(|ahead| ahead.chunk);
        let waiters = std::mem::take(&mut fetch.waiters);
        self.drop_fetch(slot);
        for waiter in waiters {
            self.requests[waiter.request].outstanding -= 1;
            self.fetch_again(waiter, chunk.expect("it was ahead"));
        }
    }

    /// Ends the run that asked for it.
    pub(super) fn blame_prefetch(&mut self, slot: usize) {
        let fetch = &self.fetches[slot];
        if let Some(ahead) = &fetch.ahead
            && fetch.good.is_none()
        {
            let unused = fetch.file.ahead.failed(ahead.chunk);
            self.counters.bytes_prefetched_unused.add(unused);
        }
    }

    /// Gets bytes that the cursor has passed, as if they had just been missed.
    pub(super) fn fetch_again(&mut self, waiter: Waiter, chunk: u64) {
        let slot = waiter.request;
        let request = &self.requests[slot];
        if request.is_stopped() {
            return self.advance(slot);
        }
        let object = request.version.object.as_ref();
        let flight = object.and_then(|object| self.flights.get(&(object.header.nonce, chunk)));
        match flight.copied() {
            Some(Flight::Fetch(fetch)) => {
                self.join(fetch, waiter);
                self.advance(slot);
            }
            Some(Flight::Copy(_)) => {
                // It begins anew, and joins that.
                self.requests[slot].restart(Again::Anew);
                self.advance(slot);
            }
            None => self.miss_again(waiter, chunk),
        }
    }

    /// A request waits for a chunk. Its run is to be farther ahead from now on.
    pub(super) fn reader_waits(&mut self, file: &Arc<FileInner>, chunk: u64) {
        let version = file.glance();
        let more = file.ahead.stalled(chunk, |chunk| version.needs_none(chunk));
        drop(version);
        if !more.is_empty() {
            self.prefetch(file, more);
        }
    }

    /// The file is closed: what is on its way for nobody is left to whoever has it.
    pub(crate) fn forget_prefetches(&mut self, file: &Arc<FileInner>) {
        let forgotten = |fetch: &Fetch| {
            let is_ahead = fetch.ahead.as_ref().is_some_and(|ahead| !ahead.later);
            let idle = is_ahead && fetch.waiters.is_empty();
            let early = matches!(fetch.state, State::Reading | State::Checking { .. });
            idle && early && Arc::ptr_eq(&fetch.file, file)
        };
        let fetches = self.fetches.iter();
        let slots: Vec<usize> = fetches
            .filter(|(_, fetch)| forgotten(fetch))
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.detach(slot);
        }
    }
}

impl Fetch {
    /// Whether it was begun for nobody, and is not over: who wants it has to wait.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some() && self.good.is_none()
    }

    /// A request wants what was begun for nobody: it is treated as the request's from
    /// now on.
    pub(super) fn is_wanted_by(&mut self, request: &Request) -> bool {
        if self.is_ahead() {
            self.priority = request.priority;
        }
        self.is_ahead()
    }
}
