//! Bytes that are not present: join the fetch of their chunk, or lead one.

use super::copy::Flight;
use super::fill::{Fetch, State, Waiter};
use super::{Again, Request, Shard};
use crate::buf::Lent;
use crate::completion::{MissReason, Operation};
use crate::error::Errno;
use crate::file::Version;
use crate::limits::CLAIM_PATIENCE_MS;
use crate::qos::READERS_AHEAD;
use crate::store::{Claim, Grant, Object, Takes, Trust};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a chunk may be fetched to be stored.
enum Admission {
    /// It may, with room for it, and by nobody else.
    Granted(Claim),
    /// It is present by now.
    Present,
    /// Another process is fetching it.
    Elsewhere,
    /// The device might have whoever stores it wait.
    Asleep,
    /// It may not.
    Refused(Refused),
}

/// Why a chunk is not stored.
pub(super) struct Refused {
    /// As a fill is told; EBUSY: see [`Request::refuse_fill`].
    pub(super) errno: Errno,
    /// As a read is told.
    reason: MissReason,
}

impl Refused {
    fn new(errno: Errno, reason: MissReason) -> Self {
        Self { errno, reason }
    }
}

impl Request {
    /// Nothing can be read from the origin before it was asked for the file.
    pub(super) fn is_unasked(&self) -> bool {
        self.version.source.is_none()
    }

    /// The memory for bytes that will not be kept, if the origin may be given it:
    /// one that may never answer may not, since the request could not end then.
    fn straight_memory(&self, waiter: &Waiter) -> Option<Lent> {
        let start = (waiter.offset - self.offset) as usize;
        let (memory, count) = self.target.shares(start, waiter.length as usize).next()?;
        let whole = count as u64 == waiter.length;
        (self.version.is_near() && whole).then(|| memory.slice(0, count))
    }
}

impl Shard {
    /// Gets `length` bytes of `chunk`, from the request's cursor, fetched. False:
    /// nothing more can be planned for now.
    pub(super) fn miss(&mut self, slot: usize, chunk: u64, length: u64) -> bool {
        let request = &mut self.requests[slot];
        let waiter = Waiter {
            request: slot,
            offset: request.cursor,
            length,
        };
        if let Some(flight) = self.flight_of(slot, chunk) {
            self.join_flight(flight, waiter, chunk);
            return true;
        }
        let request = &mut self.requests[slot];
        let reader = (request.operation == Operation::Read).then(|| Arc::clone(&request.file));
        let object = request.version.object.as_ref();
        let trusts = request.version.trust() != Trust::None;
        let doubted = trusts && object.is_some_and(|object| object.doubts(chunk));
        if request.is_unasked() {
            request.lacks_source = true;
            self.reach(slot);
            return false;
        }
        let takes = self.takes(slot, chunk, doubted);
        let is_read = reader.is_some();
        if takes == Takes::Soon || takes == Takes::Late && !is_read {
            self.hold(slot);
            return false;
        }
        if !self.origin_admits(slot) {
            return false;
        }
        if self.copies(slot) && !doubted {
            return self.copy(slot, chunk);
        }
        if takes == Takes::Late || !doubted && self.passes_by(slot) {
            self.pass_cache_by(waiter, chunk);
            return true;
        }
        if doubted {
            self.requests[slot].cursor += waiter.length;
            self.lead(waiter, Some(chunk), None);
            return true;
        }
        match self.admit(slot, chunk) {
            Admission::Elsewhere if self.may_wait_for_others(slot) => {
                self.requests[slot].restart(Again::Claimed);
                return true;
            }
            // Its origin lets one question through to find out whether it answers again.
            Admission::Asleep if is_read && !self.requests[slot].file.origin.is_in_reach() => {
                self.pass_cache_by(waiter, chunk);
                return true;
            }
            Admission::Asleep => {
                self.hold(slot);
                return false;
            }
            Admission::Present => {}
            Admission::Refused(refused) if !is_read => {
                self.requests[slot].refuse_fill(refused.errno, Again::Room);
            }
            admission => {
                self.requests[slot].cursor += waiter.length;
                self.lead_or_bypass(waiter, chunk, admission);
            }
        }
        if let Some(file) = reader {
            self.reader_waits(&file, chunk);
        }
        true
    }

    /// Whether the origin may be asked now. If not, the request fails, unless what is under
    /// way may tell that the origin answers again.
    fn origin_admits(&mut self, slot: usize) -> bool {
        let request = &mut self.requests[slot];
        let admitted = request.file.origin.admit();
        if let Err(errno) = admitted
            && request.outstanding == 0
        {
            request.fail(errno);
        }
        admitted.is_ok()
    }

    /// What is under way for a chunk.
    fn flight_of(&self, slot: usize, chunk: u64) -> Option<Flight> {
        let object = self.requests[slot].version.object.as_ref()?;
        self.flights.get(&(object.header.nonce, chunk)).copied()
    }

    /// Has a request wait for what is under way for a chunk.
    fn join_flight(&mut self, flight: Flight, waiter: Waiter, chunk: u64) {
        let fetch = match flight {
            Flight::Fetch(fetch) => fetch,
            Flight::Copy(copy) => return self.join_copy(copy, waiter),
        };
        let request = &mut self.requests[waiter.request];
        if request.miss_reason == MissReason::None && !self.fetches[fetch].doubted {
            request.miss_reason = request.version.reason;
        }
        let waits = self.fetches[fetch].is_ahead() && request.operation == Operation::Read;
        let file = waits.then(|| Arc::clone(&request.file));
        request.cursor += waiter.length;
        self.join(fetch, waiter);
        if let Some(file) = file {
            self.reader_waits(&file, chunk);
        }
    }

    /// Whether the device takes what a miss would store, if it would.
    fn takes(&self, slot: usize, chunk: u64, doubted: bool) -> Takes {
        let version = &self.requests[slot].version;
        let stores = match &version.object {
            // What is known to be wrong is replaced; the rest is looked at first.
            Some(object) if doubted => !object.has_sum(chunk),
            Some(_) => self.may_store(version).is_ok() && !self.passes_by(slot),
            None => false,
        };
        if stores {
            self.device_takes(version.object.as_ref().map(|object| (object, chunk)))
        } else {
            Takes::Now
        }
    }

    /// Gets bytes from the cursor on that are kept only later.
    fn pass_cache_by(&mut self, waiter: Waiter, chunk: u64) {
        let request = &mut self.requests[waiter.request];
        request.cursor += waiter.length;
        let file = Arc::clone(&request.file);
        self.passed_by(&file, chunk, waiter.length);
        self.bypass(waiter, MissReason::NotAdmitted);
    }

    /// The same for bytes that the cursor of the request has passed.
    pub(super) fn miss_again(&mut self, waiter: Waiter, chunk: u64) {
        if self.takes(waiter.request, chunk, false) != Takes::Now {
            self.requests[waiter.request].restart(Again::Anew);
            return self.advance(waiter.request);
        }
        if self.ask_first(waiter.request) {
            return;
        }
        match self.admit(waiter.request, chunk) {
            Admission::Present | Admission::Elsewhere | Admission::Asleep => {
                self.requests[waiter.request].restart(Again::Anew);
                self.advance(waiter.request);
            }
            Admission::Refused(refused)
                if self.requests[waiter.request].operation == Operation::Fill =>
            {
                self.requests[waiter.request].refuse_fill(refused.errno, Again::Anew);
                self.advance(waiter.request);
            }
            admission => self.lead_or_bypass(waiter, chunk, admission),
        }
    }

    /// Fetches a chunk for bytes that the cursor of the request has passed, or only
    /// those if nothing can be stored. Fills are refused before.
    fn lead_or_bypass(&mut self, waiter: Waiter, chunk: u64, admission: Admission) {
        match admission {
            Admission::Granted(claim) => self.lead(waiter, Some(chunk), Some(claim)),
            Admission::Refused(refused) => self.bypass(waiter, refused.reason),
            _ => self.bypass(waiter, MissReason::FetchedElsewhere),
        }
    }

    /// Whether a request waits for what another process is fetching. A read does not
    /// for long: that process may be stopped. One that is killed holds no claims.
    fn may_wait_for_others(&mut self, slot: usize) -> bool {
        let request = &mut self.requests[slot];
        let since = *request.claimed_since.get_or_insert_with(Instant::now);
        let patience = Duration::from_millis(CLAIM_PATIENCE_MS);
        request.operation == Operation::Fill || since.elapsed() < patience
    }

    /// Has a request begin anew that was opened without asking, and waited for what
    /// others were getting, in vain; or fail if the origin is left alone. False: it may
    /// go on.
    fn ask_first(&mut self, slot: usize) -> bool {
        let request = &mut self.requests[slot];
        if request.is_unasked() {
            request.restart(Again::Unasked);
        } else if let Err(errno) = request.file.origin.admit() {
            request.fail(errno);
        } else {
            return false;
        }
        self.advance(slot);
        true
    }

    /// Has a request get its bytes from the origin without keeping them; the
    /// cursor has passed them.
    pub(super) fn bypass(&mut self, waiter: Waiter, reason: MissReason) {
        if self.ask_first(waiter.request) {
            return;
        }
        let request = &mut self.requests[waiter.request];
        if request.is_stopped() {
            return self.advance(waiter.request);
        }
        if request.miss_reason != MissReason::CacheError {
            request.miss_reason = reason;
        }
        self.lead(waiter, None, None);
    }

    /// Whether a chunk may be fetched to be stored, and room for it if so.
    fn admit(&mut self, slot: usize, chunk: u64) -> Admission {
        let request = &self.requests[slot];
        let object = match self.may_store(&request.version) {
            Ok(object) => object,
            Err(refused) => return Admission::Refused(refused),
        };
        let admission = reserve_claimed(&object, chunk);
        if !matches!(admission, Admission::Elsewhere) {
            self.requests[slot].claimed_since = None;
        }
        if matches!(admission, Admission::Granted(_)) {
            self.requests[slot].roomless_since = None;
        }
        admission
    }

    /// The claim on a chunk that may be fetched ahead, with room for it; or why there is none.
    pub(super) fn admit_ahead(&self, object: &Arc<Object>, chunk: u64) -> Result<Claim, Grant> {
        match reserve_claimed(object, chunk) {
            Admission::Granted(claim) => Ok(claim),
            Admission::Asleep => Err(Grant::Asleep),
            _ => Err(Grant::Refused),
        }
    }

    /// Where the chunks of a version may be stored, or why not.
    pub(super) fn may_store(&self, version: &Version) -> Result<Arc<Object>, Refused> {
        let Some(object) = &version.object else {
            return Err(Refused::new(version.refusal, version.reason));
        };
        if version.token.racy_for_ns().is_some() {
            return Err(Refused::new(Errno::AGAIN, MissReason::TooYoung));
        }
        if object.is_broken() {
            return Err(Refused::new(Errno::IO, MissReason::CacheError));
        }
        let may_store = object.store().health.may_store();
        may_store.map_err(|errno| Refused::new(errno, MissReason::NotStoring))?;
        Ok(Arc::clone(object))
    }

    /// Starts a fetch: of the whole chunk if it is to be stored, else of what
    /// the request needs. A chunk that is not claimed is doubted: it is verified first.
    fn lead(&mut self, waiter: Waiter, chunk: Option<u64>, claim: Option<Claim>) {
        let doubted = chunk.is_some() && claim.is_none();
        let request = &mut self.requests[waiter.request];
        let version = Arc::clone(&request.version);
        request.outstanding += 1;
        if request.miss_reason == MissReason::None && !doubted {
            request.miss_reason = version.reason;
        }
        let object = chunk.and(version.object.as_ref());
        let (offset, length) = match (chunk, object) {
            (Some(chunk), Some(object)) => object.geometry().extent(chunk),
            _ => (waiter.offset, waiter.length),
        };
        let flight = object
            .zip(chunk)
            .map(|(object, chunk)| (object.header.nonce, chunk));
        let quota = &request.file.origin.quota;
        let goes_straight =
            || chunk.is_none() && quota.waits(Instant::now(), READERS_AHEAD).is_none();
        let lent = if goes_straight() {
            request.straight_memory(&waiter)
        } else {
            None
        };
        self.fetch_serial += 1;
        let fetch = self.fetches.insert(Fetch {
            serial: self.fetch_serial,
            file: Arc::clone(&request.file),
            version,
            chunk,
            ahead: None,
            priority: request.priority,
            flight,
            offset,
            length: length as usize,
            lent,
            buffer: None,
            good: None,
            claim,
            state: State::Starved,
            doubted,
            late: false,
            throttled: None,
            waiters: vec![waiter],
            deadline: None,
        });
        if let Some(flight) = flight {
            self.flights.insert(flight, Flight::Fetch(fetch));
        }
        if let Some(lent) = lent {
            return self.read_straight(fetch, lent);
        }
        if self.starved.is_empty() {
            // What waits for buffers is timed from the last fetch that moved.
            self.progress = Instant::now();
        }
        // It is fed once this step is over: whoever it tells may be the request of this one.
        self.starved.push_back(fetch);
        self.unfed = true;
    }
}

/// What a fill is told of a grant that is none.
pub(super) fn no_room(grant: Grant) -> Errno {
    match grant {
        Grant::Full => Errno::BUSY,
        _ => Errno::NOSPC,
    }
}

/// Claims a chunk and reserves room for it.
fn reserve_claimed(object: &Arc<Object>, chunk: u64) -> Admission {
    let (offset, length) = object.geometry().extent(chunk);
    let claim = match Claim::take(object, offset, length) {
        Ok(claim) => claim,
        Err(Errno::AGAIN) => return Admission::Elsewhere,
        Err(errno) => return Admission::Refused(Refused::new(errno, MissReason::CacheError)),
    };
    // Whoever had the claim before has published it.
    if object.has(chunk) {
        return Admission::Present;
    }
    match object.reserve(chunk, length) {
        Grant::Given => Admission::Granted(claim),
        Grant::Asleep => Admission::Asleep,
        grant => {
            let reason = match object.store().waits_for() {
                Some(_) if grant == Grant::Refused => MissReason::NotStoring,
                _ => MissReason::NoRoom,
            };
            Admission::Refused(Refused::new(no_room(grant), reason))
        }
    }
}
