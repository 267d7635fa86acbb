//! Copy-fills of files that have a descriptor: a run of chunks at a time, each
//! run by one way.
//!
//! ```text
//! survey ─▶ lead ─┬─ a call that blocks ─▶ job (worker thread) ─┐
//!                 └─ Waiting ─▶ chain (engine, in two steps) ───┴─▶ check ─▶ publish
//! ```
//!
//! Bytes are written before it is known that they are of the right version, so
//! they are claimed against other processes, and published only after the
//! version was found to be the same: once for several chunks.
//!
//! | file | what it does |
//! |---|---|
//! | `way` | decides how |
//! | `survey` | finds holes, and whether to read past the page cache |
//! | `job` | the calls that block |
//! | `preallocate` | blocks for what will be written |
//! | `chain` | the operations on the engine |
//! | `check` | the version, and what is told to whom |

mod chain;
mod check;
mod job;
mod preallocate;
mod survey;
mod way;

use super::fill::Waiter;
use super::miss::no_room;
use super::{Again, Shard};
use crate::completion::{MissReason, Operation};
use crate::error::Errno;
use crate::exec::Message;
use crate::file::{FileInner, Version};
use crate::io::{Priority, Terms};
use crate::limits::{
    COPY_RUN_CHUNKS_MAX, COPY_RUN_MS, COPY_RUNS_MAX, COPY_THREADS_MAX, PREALLOCATE_BYTES,
};
use crate::store::{Blocks, Claim, Geometry, Grant, Object, Takes};
use crate::workers::Workers;
use chain::{Chain, Pipe};
use check::Batch;
use job::Work;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use survey::DirectSource;
use way::{Circumstances, Way, Ways, choose};

pub(crate) use chain::Part;
pub(crate) use job::CopyJob;
pub(crate) use survey::Survey;
pub(crate) use way::Method;

/// The worker threads of one cache.
pub(crate) type CopyWorkers = Workers<CopyJob>;

/// Threads for the calls that block; none before the first one.
pub(crate) fn workers() -> Arc<CopyWorkers> {
    Arc::new(Workers::new("cachefs-copy", COPY_THREADS_MAX))
}

/// Why a run was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The origin gave an error, or less than it has.
    Origin(Errno),
    /// The cache could not take it.
    Cache(Errno),
    /// There is no room for it, of which a fill is told so.
    NoRoom(Errno),
    /// This way cannot be gone here.
    Refused,
    /// It failed, and another way will tell on which side.
    Unclear,
    /// Nobody wanted it any more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For a buffer or a pipe.
    Waiting,
    /// A worker thread or the engine is at it.
    Working,
    /// Written; its version will be asked for.
    Copied,
    /// Its version is being asked for.
    Checking,
    /// Nobody waits any more, and what is under way has not ended. Its chunks
    /// are not stored by anybody else meanwhile.
    Overdue,
}

/// Chunks that are being copied.
pub(crate) struct Copy {
    file: Arc<FileInner>,
    version: Arc<Version>,
    chunks: Range<u64>,
    way: Way,
    /// Where to read past the page cache.
    direct: Option<DirectSource>,
    device: u64,
    priority: Priority,
    state: State,
    /// Bytes reserved in the cache.
    room: u64,
    claim: Arc<Claim>,
    stop: Arc<AtomicBool>,
    waiters: Vec<Waiter>,
    begun: Instant,
    deadline: Option<Instant>,
    chain: Chain,
    /// The blocks that are being asked for.
    allocating: Option<Blocks>,
    /// What is wrong even if the version is the same.
    unless_changed: Option<Errno>,
}

impl Copy {
    fn object(&self) -> &Arc<Object> {
        let object = self.version.object.as_ref();
        object.expect("only what can be stored is copied")
    }

    fn terms(&self) -> Terms {
        Terms {
            priority: self.priority,
            ..Terms::default()
        }
    }

    /// As in [`Terms::elsewhere`].
    fn is_elsewhere(&self) -> bool {
        self.version.asked_source().is_elsewhere()
    }

    /// First byte, and how many.
    fn extent(&self) -> (u64, u64) {
        run_extent(self.object().geometry(), &self.chunks)
    }

    fn source(&self) -> &Arc<OwnedFd> {
        descriptor(&self.version).expect("checked before it was led")
    }

    /// Gives back the room of what is not published. Nothing is under way for it; but it may
    /// have been written, or have its blocks, also if it waits: by a way that was given up.
    fn give_back_room(&self) {
        if self.room > 0 {
            let claim = Arc::clone(&self.claim);
            self.object().give_up(self.extent(), self.room, claim);
        }
    }
}

fn descriptor(version: &Version) -> Option<&Arc<OwnedFd>> {
    version.source.as_ref()?.descriptor()
}

fn run_extent(geometry: Geometry, chunks: &Range<u64>) -> (u64, u64) {
    let (start, _) = geometry.extent(chunks.start);
    let (last, length) = geometry.extent(chunks.end - 1);
    (start, last + length - start)
}

/// A request whose file is being looked at.
struct Surveying {
    request: usize,
    deadline: Instant,
}

/// What a shard has of copies.
pub(crate) struct Copying {
    method: Method,
    workers: Arc<CopyWorkers>,
    copies: Slab<Copy>,
    /// Those that wait for a buffer or a pipe, the oldest first.
    waiting: VecDeque<usize>,
    /// Per version, by its address, which it keeps while a batch holds on to it.
    batches: HashMap<usize, Batch>,
    /// Versions that are being asked for.
    checks: Slab<Arc<Version>>,
    surveys: HashMap<u64, Surveying>,
    survey_serial: u64,
    /// What file systems have refused.
    refused: HashMap<u64, Ways>,
    /// Empty pipes, and how many there are in all.
    pipes: Vec<Pipe>,
    pipe_count: usize,
}

impl Copying {
    pub(crate) fn new(method: Method, workers: Arc<CopyWorkers>) -> Self {
        Self {
            method,
            workers,
            copies: Slab::new(),
            waiting: VecDeque::new(),
            batches: HashMap::new(),
            checks: Slab::new(),
            surveys: HashMap::new(),
            survey_serial: 0,
            refused: HashMap::new(),
            pipes: Vec::new(),
            pipe_count: 0,
        }
    }

    /// When the first of them has to be given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let copies = self.copies.iter().filter_map(|(_, copy)| copy.deadline);
        let surveys = self.surveys.values().map(|survey| survey.deadline);
        copies.chain(surveys).min()
    }

    /// How many wait for a buffer or a pipe.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Their files, in order.
    pub(super) fn waiting_files(&self) -> impl Iterator<Item = &Arc<FileInner>> {
        self.waiting.iter().map(|slot| &self.copies[*slot].file)
    }

    /// Has one of them be the first.
    pub(super) fn make_first(&mut self, place: usize) {
        let slot = self.waiting.remove(place).expect("it waits");
        self.waiting.push_front(slot);
    }

    /// Whether some wait for a buffer.
    pub(crate) fn is_starved(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// From a request to its runs.
impl Shard {
    /// Copies what a fill needs from `chunk` on. False: nothing more can be
    /// planned for now, and something that is under way will tell when.
    pub(super) fn copy(&mut self, slot: usize, chunk: u64) -> bool {
        let object = match self.may_store(&self.requests[slot].version) {
            Ok(object) => object,
            Err(refused) => {
                self.requests[slot].refuse_fill(refused.errno, Again::Room);
                return true;
            }
        };
        if let Some(until) = self.fill_waits(&self.requests[slot].file, Instant::now()) {
            self.pause(slot, until);
            return false;
        }
        let start = object.geometry().extent(chunk).0;
        let request = &self.requests[slot];
        let Some(survey) = request.survey.as_ref().filter(|one| one.covers(start)) else {
            return self.survey(slot, start);
        };
        let kind = survey.kind(object.geometry(), chunk, COPY_RUN_CHUNKS_MAX);
        let source = (survey.device, survey.direct.is_some());
        let way = kind.0.unwrap_or_else(|| self.way(source, &object));
        if way == Way::Ring && survey.direct.is_some() {
            self.pass_by_page_cache(slot, &object);
        }
        if way.blocks() && request.outstanding >= COPY_RUNS_MAX {
            return false;
        }
        let allocates = way == Way::Ring && object.direct().is_some();
        let limit = match way {
            Way::Hole => COPY_RUN_CHUNKS_MAX,
            Way::Reflink | Way::CopyFileRange => request.run_chunks,
            _ if allocates => (PREALLOCATE_BYTES / self.config.chunk_bytes).max(1),
            _ => 1,
        };
        let chunks = self.free_run(slot, &object, chunk..chunk + kind.1.min(limit));
        let (chunks, room) = match self.reserve_run(&object, chunks, way) {
            Ok(reserved) => reserved,
            Err(Grant::Asleep) => {
                self.hold(slot);
                return false;
            }
            Err(grant) => {
                self.requests[slot].refuse_fill(no_room(grant), Again::Room);
                return true;
            }
        };
        self.requests[slot].roomless_since = None;
        let (offset, length) = run_extent(object.geometry(), &chunks);
        let claim = match Claim::take(&object, offset, length) {
            Ok(claim) => Arc::new(claim),
            Err(errno) => {
                object.release(room);
                match errno {
                    Errno::AGAIN => self.requests[slot].restart(Again::Claimed),
                    errno => self.requests[slot].fail(errno),
                }
                return true;
            }
        };
        if chunks.clone().any(|chunk| object.has(chunk)) {
            // Another process was faster: planned anew.
            object.release(room);
            return true;
        }
        let copy = self.lead_copy(slot, chunks, (way, room), claim);
        self.start_copy(copy, allocates);
        true
    }

    /// The way for data from a file system, past the page cache or not.
    fn way(&self, (device, direct_source): (u64, bool), object: &Object) -> Way {
        let refused = self.copying.refused.get(&device);
        let given = Circumstances {
            refused: refused.copied().unwrap_or_default(),
            direct_source,
            direct_target: object.direct().is_some(),
        };
        choose(self.copying.method, given)
    }

    /// Has an object written past the page cache, if nothing of it is there yet and a
    /// request wants all of it and it is large: its pages would only push others out.
    fn pass_by_page_cache(&self, request: usize, object: &Object) {
        let request = &self.requests[request];
        let size = object.geometry().size;
        let is_whole = request.offset == 0 && request.end() == size;
        if is_whole && size >= self.config.direct_copy_bytes {
            object.become_direct();
        }
    }

    /// The chunks of a run, from its first one, that the request wants and
    /// nobody has or fetches.
    fn free_run(&self, slot: usize, object: &Object, chunks: Range<u64>) -> Range<u64> {
        let (nonce, end) = (object.header.nonce, self.requests[slot].end());
        let geometry = object.geometry();
        let first = chunks.start;
        let free = |chunk: &u64| {
            *chunk == first
                || geometry.extent(*chunk).0 < end
                    && !object.has(*chunk)
                    && !object.doubts(*chunk)
                    && !self.flights.contains_key(&(nonce, *chunk))
        };
        let count = chunks.take_while(free).count() as u64;
        first..first + count
    }

    /// As much of a run as there is room for, and the room. Err: why there is none.
    fn reserve_run(
        &self,
        object: &Object,
        chunks: Range<u64>,
        way: Way,
    ) -> Result<(Range<u64>, u64), Grant> {
        if way == Way::Hole {
            return match object.is_broken() {
                true => Err(Grant::Refused),
                false => Ok((chunks, 0)),
            };
        }
        let mut room = 0;
        let mut end = chunks.start;
        while end < chunks.end {
            let (_, length) = object.geometry().extent(end);
            match object.reserve(end, length) {
                Grant::Given => {}
                _ if end > chunks.start => break,
                other => return Err(other),
            }
            room += length;
            end += 1;
        }
        Ok((chunks.start..end, room))
    }

    /// Enters a run, with the request as its first waiter.
    fn lead_copy(
        &mut self,
        slot: usize,
        chunks: Range<u64>,
        (way, room): (Way, u64),
        claim: Arc<Claim>,
    ) -> usize {
        let request = &mut self.requests[slot];
        let (offset, length) = claim.range();
        let waiter = Waiter {
            request: slot,
            offset: request.cursor,
            length: request.end().min(offset + length) - request.cursor,
        };
        request.cursor += waiter.length;
        request.outstanding += 1;
        if request.miss_reason == MissReason::None {
            request.miss_reason = request.version.reason;
        }
        let survey = request.survey.as_ref().expect("it chose the way");
        let copy = Copy {
            file: Arc::clone(&request.file),
            version: Arc::clone(&request.version),
            chunks,
            way,
            direct: survey.direct.clone(),
            device: survey.device,
            priority: self.config.qos.priority_of(request.priority),
            state: State::Waiting,
            room,
            claim,
            stop: Arc::default(),
            waiters: vec![waiter],
            begun: Instant::now(),
            deadline: None,
            chain: Chain::default(),
            allocating: None,
            unless_changed: None,
        };
        self.config.qos.pace.fills();
        if !matches!(way, Way::Hole | Way::Reflink) {
            let chunks = copy.chunks.end - copy.chunks.start;
            let now = Instant::now();
            self.config.qos.fills.take(length, chunks, now);
            copy.file.origin.quota.take(length, chunks, now);
        }
        self.enter_copy(copy)
    }

    fn enter_copy(&mut self, copy: Copy) -> usize {
        let (nonce, chunks) = (copy.object().header.nonce, copy.chunks.clone());
        self.batch_of(&copy.version).active += 1;
        let slot = self.copying.copies.insert(copy);
        for chunk in chunks {
            self.flights.insert((nonce, chunk), Flight::Copy(slot));
        }
        slot
    }

    /// Has a run copied.
    fn start_copy(&mut self, slot: usize, allocates: bool) {
        let copy = &mut self.copying.copies[slot];
        if allocates {
            return self.preallocate(slot);
        }
        if !copy.way.blocks() {
            return self.queue_copy(slot);
        }
        copy.stop = Arc::default();
        let work = Work::Copy {
            slot,
            way: copy.way,
            source: Arc::clone(copy.source()),
            claim: Arc::clone(&copy.claim),
            stop: Arc::clone(&copy.stop),
        };
        self.give_to_worker(slot, work);
    }

    fn give_to_worker(&mut self, slot: usize, work: Work) {
        let now = Instant::now();
        let copy = &mut self.copying.copies[slot];
        copy.state = State::Working;
        copy.begun = now;
        copy.deadline = Some(now + self.config.origin_timeout);
        let port = Arc::clone(&self.port);
        if self.copying.workers.submit(CopyJob { port, work }).is_err() {
            // No thread is to be had: the engine has its own.
            self.by_engine(slot, Way::Ring);
        }
    }

    /// Looks at the file of a request, from a byte on.
    fn survey(&mut self, slot: usize, start: u64) -> bool {
        let request = &mut self.requests[slot];
        let file = descriptor(&request.version).expect("checked by the caller");
        let chunk_bytes = self.config.chunk_bytes;
        let end = request.end().next_multiple_of(chunk_bytes);
        let end = end.min(request.version.token.size);
        self.copying.survey_serial += 1;
        let serial = self.copying.survey_serial;
        let job = CopyJob {
            port: Arc::clone(&self.port),
            work: Work::Survey {
                serial,
                file: Arc::clone(file),
                start,
                end,
            },
        };
        if self.copying.workers.submit(job).is_err() {
            request.survey = Some(Survey::blind(start..end));
            return true;
        }
        request.outstanding += 1;
        request.surveying = true;
        let surveying = Surveying {
            request: slot,
            deadline: Instant::now() + self.config.origin_timeout,
        };
        self.copying.surveys.insert(serial, surveying);
        false
    }

    /// A worker thread has looked at a file.
    pub(crate) fn surveyed(&mut self, serial: u64, survey: Survey) {
        // A request that has ended since has taken its entry with it.
        if let Some(Surveying { request: slot, .. }) = self.copying.surveys.remove(&serial) {
            let request = &mut self.requests[slot];
            request.outstanding -= 1;
            request.surveying = false;
            request.survey = Some(survey);
            self.advance(slot);
        }
    }

    /// A worker thread has copied a run, or not.
    pub(crate) fn copied(&mut self, slot: usize, result: Result<(), Failure>) {
        // Another way may need room.
        let copy = &self.copying.copies[slot];
        let takes = || self.device_takes(Some((copy.object(), copy.chunks.start)));
        if result.is_err() && takes() != Takes::Now {
            return self.hold_message(Message::Copied(slot, result));
        }
        let took = copy.begun.elapsed();
        if result.is_ok() {
            // What is refused has read nothing.
            self.counters
                .origin_reads
                .add(u64::from(copy.way != Way::Hole));
            let (half, whole) = (COPY_RUN_MS / 2, COPY_RUN_MS * 2);
            for waiter in &copy.waiters {
                let chunks = &mut self.requests[waiter.request].run_chunks;
                if took < Duration::from_millis(half) {
                    *chunks = (*chunks * 2).min(COPY_RUN_CHUNKS_MAX);
                } else if took > Duration::from_millis(whole) {
                    *chunks = (*chunks / 2).max(1);
                }
            }
        }
        self.copy_ended(slot, result);
    }

    /// Splits a run into chunks for the engine. What is a hole needs room first.
    fn by_engine(&mut self, slot: usize, way: Way) {
        let run = &mut self.copying.copies[slot];
        let object = Arc::clone(run.object());
        if run.room == 0 {
            let length = run.extent().1;
            match object.reserve(run.chunks.start, length) {
                Grant::Given => run.room = length,
                grant @ (Grant::Refused | Grant::Full) => {
                    return self.copy_ended(slot, Err(Failure::NoRoom(no_room(grant))));
                }
                Grant::Asleep => {
                    return self.hold_message(Message::Copied(slot, Err(Failure::Refused)));
                }
            }
        }
        let mut run = self.copying.copies.remove(slot);
        let waiters = std::mem::take(&mut run.waiters);
        let first = run.chunks.start;
        let mut parts = Vec::new();
        for chunk in run.chunks.clone() {
            let part = Copy {
                file: Arc::clone(&run.file),
                version: Arc::clone(&run.version),
                chunks: chunk..chunk + 1,
                way,
                direct: run.direct.clone(),
                device: run.device,
                priority: run.priority,
                state: State::Waiting,
                room: object.geometry().extent(chunk).1,
                claim: Arc::clone(&run.claim),
                stop: Arc::default(),
                waiters: Vec::new(),
                begun: run.begun,
                deadline: None,
                chain: Chain::default(),
                allocating: None,
                unless_changed: None,
            };
            parts.push(self.enter_copy(part));
        }
        self.batch_of(&run.version).active -= 1;
        for waiter in waiters {
            self.requests[waiter.request].outstanding -= 1;
            for part in waiter.by_chunk(object.geometry()) {
                let copy = parts[(object.geometry().chunk_of(part.offset) - first) as usize];
                self.requests[part.request].outstanding += 1;
                self.copying.copies[copy].waiters.push(part);
            }
        }
        for part in parts {
            self.queue_copy(part);
        }
    }

    /// A further request wants a part of what is being copied.
    pub(super) fn join_copy(&mut self, slot: usize, waiter: Waiter) {
        let copy = &mut self.copying.copies[slot];
        let request = &mut self.requests[waiter.request];
        if copy.state != State::Overdue {
            request.cursor += waiter.length;
            request.outstanding += 1;
            copy.waiters.push(waiter);
            // A reader does not wait for a batch.
            let version = Arc::clone(&copy.version);
            self.check_copies(&version);
        } else if request.operation == Operation::Fill {
            // The origin hangs on these very bytes.
            request.fail(Errno::TIMEDOUT);
        } else {
            request.cursor += waiter.length;
            self.bypass(waiter, MissReason::NotAdmitted);
        }
    }

    /// Whether a fill of this file is copied in runs.
    pub(super) fn copies(&self, slot: usize) -> bool {
        let request = &self.requests[slot];
        request.operation == Operation::Fill && descriptor(&request.version).is_some()
    }

    /// Takes a request's waiters away from the copies; what nobody wants stops.
    pub(crate) fn leave_copies(&mut self, slot: usize) {
        let mut left = 0;
        let mut idle = Vec::new();
        for (index, copy) in self.copying.copies.iter_mut() {
            let before = copy.waiters.len();
            copy.waiters.retain(|waiter| waiter.request != slot);
            left += (before - copy.waiters.len()) as u32;
            if before > 0 && copy.waiters.is_empty() {
                copy.stop.store(true, Ordering::Relaxed);
                if copy.state == State::Waiting {
                    idle.push(index);
                }
            }
        }
        let surveys = self.copying.surveys.len();
        self.copying.surveys.retain(|_, one| one.request != slot);
        left += (surveys - self.copying.surveys.len()) as u32;
        let request = &mut self.requests[slot];
        request.surveying = false;
        request.outstanding -= left;
        for index in idle {
            self.drop_copy(index);
        }
    }

    /// Removes a copy that nothing is under way for.
    fn drop_copy(&mut self, slot: usize) {
        if self.copying.copies[slot].state == State::Waiting {
            self.copying.waiting.retain(|waiting| *waiting != slot);
        }
        let copy = self.copying.copies.remove(slot);
        debug_assert!(copy.waiters.is_empty());
        copy.give_back_room();
        let nonce = copy.object().header.nonce;
        for chunk in copy.chunks.clone() {
            self.flights.remove(&(nonce, chunk));
        }
        self.leave_batch(slot, &copy.version, copy.state);
    }

    /// Gives up on what takes too long.
    pub(crate) fn expire_copies(&mut self, now: Instant) {
        let late = |copy: &Copy| copy.deadline.is_some_and(|deadline| deadline <= now);
        let copies = self.copying.copies.iter();
        let copies = copies.filter(|(_, copy)| late(copy)).map(|(slot, _)| slot);
        for slot in copies.collect::<Vec<_>>() {
            tracing::warn!("a copy from the origin has not ended in time");
            let waiters = std::mem::take(&mut self.copying.copies[slot].waiters);
            self.detach_copy(slot);
            self.copy_timed_out(waiters);
        }
        let surveys = self.copying.surveys.iter();
        let surveys = surveys.filter(|(_, one)| one.deadline <= now);
        for serial in surveys.map(|(serial, _)| *serial).collect::<Vec<_>>() {
            if let Some(one) = self.copying.surveys.remove(&serial) {
                let request = &mut self.requests[one.request];
                request.outstanding -= 1;
                request.surveying = false;
                request.file.origin.told::<()>(&Err(Errno::TIMEDOUT));
                request.origin_failed(Errno::TIMEDOUT);
                self.advance(one.request);
            }
        }
        if self.copying.is_starved() && now >= self.starved_until() {
            for slot in std::mem::take(&mut self.copying.waiting) {
                let waiters = std::mem::take(&mut self.copying.copies[slot].waiters);
                self.drop_copy(slot);
                self.copy_timed_out(waiters);
            }
        }
    }

    /// Leaves a copy to whoever is at it.
    fn detach_copy(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        if copy.state == State::Copied {
            return self.drop_copy(slot);
        }
        copy.stop.store(true, Ordering::Relaxed);
        copy.deadline = None;
        let before = std::mem::replace(&mut copy.state, State::Overdue);
        let version = Arc::clone(&copy.version);
        self.leave_batch(slot, &version, before);
        self.cancel_chain(slot);
    }

    /// Drops what has not begun; the rest is dropped as it ends. Every request
    /// has been told already.
    pub(crate) fn close_copies(&mut self) {
        for slot in std::mem::take(&mut self.copying.waiting) {
            self.drop_copy(slot);
        }
        let copies = self.copying.copies.iter().map(|(slot, _)| slot);
        for slot in copies.collect::<Vec<_>>() {
            self.copying.copies[slot].waiters.clear();
            if self.copying.copies[slot].state != State::Overdue {
                self.detach_copy(slot);
            }
        }
    }

    /// Ends what is left when the shard ends.
    pub(crate) fn abandon_copies(&mut self) {
        for (_, survey) in std::mem::take(&mut self.copying.surveys) {
            self.requests[survey.request].outstanding -= 1;
        }
        for (_, copy) in std::mem::take(&mut self.copying.copies) {
            for waiter in &copy.waiters {
                self.requests[waiter.request].outstanding -= 1;
            }
            // What may still be written keeps its room.
            if copy.chain.pending > 0 || copy.allocating.is_some() {
                // The kernel may do that: nobody else may, as long as it does.
                std::mem::forget(copy.claim);
            } else if !(copy.way.blocks() && matches!(copy.state, State::Working | State::Overdue))
            {
                copy.give_back_room();
            }
        }
    }
}

/// What is under way for a chunk of an object.
#[derive(Clone, Copy)]
pub(crate) enum Flight {
    /// The fetch in this slot.
    Fetch(usize),
    /// The copy in this slot.
    Copy(usize),
}
