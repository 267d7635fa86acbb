//! The way of one request, one file a step:
//!
//! ```text
//! submit ── hit at once, or past a slow cache ────────▶ the caller
//!    │
//!    └─▶ advance ─▶ plan ─┬─ present ─▶ hit ───────────┐
//!                         ├─ doubted ─▶ verify ────────┼─▶ complete
//!                         └─ missing ─▶ miss ─▶ fill ──┤
//!                            (a copy-fill)  └─▶ copy ──┘
//! ```
//!
//! What will be stored waits first until the cache device takes something (`held`).
//! `submit` runs on the caller's thread; all else on the shard of the file's
//! object. A request is served in pieces, at most `fill_depth` at a time; when
//! the origin's file turns out to have changed, or cached bytes cannot be read
//! back, the pieces are drained and the request starts again from its first
//! byte, so that what it returns is of one version.

mod ahead;
mod batch;
mod bounce;
mod complete;
mod copy;
mod device;
mod fill;
mod gate;
mod held;
mod hit;
mod later;
mod miss;
mod pass;
mod plan;
mod reach;
mod sink;
#[cfg(feature = "bench")]
pub(crate) mod steps;
mod submit;
mod verify;

use crate::buf::{Buffer, Lent, PoolBuf};
use crate::completion::{MissReason, Operation};
use crate::error::Errno;
use crate::exec::Shard;
use crate::file::{FileInner, Version};
use crate::io::{Op, Priority, Terms, Verb};
use crate::limits::{
    CLAIM_WAIT_MS, RACY_WINDOW_WHOLE_SECONDS_NS, ROOM_PATIENCE_MS, ROOM_WAIT_MS,
    VERSION_RETRIES_MAX,
};
use crate::origin::is_unreachable;
use crate::store::{Direct, Object, Trust};
use crate::token::VersionToken;
use plan::Step;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use batch::{Item, submit_batch};
pub(crate) use bounce::Bounce;
pub(crate) use complete::{Served, count, count_hits, hit_completion};
pub(crate) use copy::{CopyWorkers, Copying, Failure, Flight, Method, Part, Survey, workers};
pub(crate) use fill::Fetch;
pub(crate) use gate::Paused;
pub(crate) use held::Held;
pub(crate) use hit::{from_memory, straight, unreadable};
pub(crate) use later::Later;
pub(crate) use reach::Reaching;
pub(crate) use sink::{Remote, Sink};
pub(crate) use submit::{NewRequest, submit};

/// Where the bytes of a request go.
pub(crate) enum Target {
    /// Nowhere: a fill.
    Nothing,
    /// One piece of the caller's memory.
    One(Lent),
    /// Several, in order.
    Many(Box<[Lent]>),
}

impl Target {
    /// These pieces, in order.
    pub(crate) fn of(pieces: Vec<Lent>) -> Self {
        match pieces.as_slice() {
            [] => Target::Nothing,
            [one] => Target::One(*one),
            _ => Target::Many(pieces.into_boxed_slice()),
        }
    }

    fn segments(&self) -> &[Lent] {
        match self {
            Target::Nothing => &[],
            Target::One(lent) => std::slice::from_ref(lent),
            Target::Many(segments) => segments,
        }
    }

    /// See [`shares`].
    fn shares(&self, start: usize, length: usize) -> impl Iterator<Item = (Lent, usize)> {
        shares(self.segments(), start, length)
    }

    /// Copies `bytes` to byte `start` of the request.
    fn write(&self, start: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for (memory, count) in self.shares(start, bytes.len()) {
            let (now, later) = rest.split_at(count);
            memory.write(0, now);
            rest = later;
        }
        debug_assert!(rest.is_empty(), "the target is as long as the request");
    }
}

/// The write of bytes of a file to its object: past the page cache if it is direct,
/// but for the last chunk of a file that does not end with a page.
fn store_op(
    object: &Object,
    (buffer, length): (Arc<PoolBuf>, usize),
    offset: u64,
    terms: Terms,
) -> Op {
    let direct = object.direct().filter(|direct| direct.takes(length));
    Op {
        verb: Verb::Write,
        file: Arc::clone(direct.map_or(object.data(), Direct::file)),
        buffer: Buffer::Shared(buffer, length),
        offset,
        terms: Terms {
            direct: direct.map(Direct::block),
            elsewhere: object.store().elsewhere(),
            ..terms
        },
    }
}

/// Bytes of several pieces of memory; more than there are addresses is no file's.
pub(crate) fn total(segments: &[Lent]) -> u64 {
    let lengths = segments.iter().map(|segment| segment.len() as u64);
    lengths.fold(0, u64::saturating_add)
}

/// How a request is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Treatment {
    /// For the devices.
    pub priority: Priority,
    /// It fails with ETIMEDOUT if it has not ended after so long.
    pub timeout: Option<Duration>,
}

impl Treatment {
    /// For an operation that is all of the request.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            priority: self.priority,
            timeout: self.timeout,
            ..Terms::default()
        }
    }
}

/// The memory for `length` bytes from byte `start` of what several segments hold:
/// from where each piece begins to the end of its segment, and how many bytes are
/// for it, which are fewer only at the end.
fn shares(segments: &[Lent], start: usize, length: usize) -> impl Iterator<Item = (Lent, usize)> {
    let mut skip = start;
    let mut left = length;
    segments.iter().filter_map(move |segment| {
        let from = skip.min(segment.len());
        skip -= from;
        let room = segment.len() - from;
        let take = left.min(room);
        left -= take;
        (take > 0).then(|| (segment.slice(from, room), take))
    })
}

/// Why a request has to start again.
enum Again {
    /// The origin's file has this version now, as its source says.
    Changed(VersionToken, Arc<Version>),
    /// The file was opened anew, and is another one.
    Moved,
    /// The origin has to be asked for the file first.
    Unasked,
    /// The origin could not be reached: it is tried again after a pause.
    Unreached,
    /// Cached bytes could not be read back.
    Unreadable,
    /// The same, and it is not known of which chunk.
    Unclear,
    /// Another process is getting the chunk at the cursor; what is before that is done.
    Claimed,
    /// There is no room for what is at the cursor, and there may be some in a moment.
    Room,
    /// Somebody else has got, or is getting, what it had passed.
    Anew,
}

/// One read or fill that a shard serves.
pub(crate) struct Request {
    pub(crate) id: u64,
    operation: Operation,
    file: Arc<FileInner>,
    version: Arc<Version>,
    target: Target,
    /// First byte, and how many were asked for: the end is clipped to the file.
    offset: u64,
    length: u64,
    /// First byte that no step has been planned for.
    cursor: u64,
    /// Pieces under way: operations at the engine and places in fetches.
    pub(crate) outstanding: u32,
    /// Those of them that the cache device reads to the caller's memory.
    reading: u32,
    /// When the latest of them was begun or the device last answered one.
    reading_since: Option<Instant>,
    /// Present bytes are read chunk by chunk: one of them cannot be.
    careful: bool,
    /// The device did not answer in time, and was asked to give up.
    late: bool,
    from_cache: u64,
    from_origin: u64,
    /// Those of `from_origin` that were not kept.
    bypassed: u64,
    miss_reason: MissReason,
    failure: Option<Errno>,
    again: Option<Again>,
    retries: u32,
    /// Times that it was tried again since its origin could not be reached.
    tried: u32,
    /// Something is missing, so that only the origin can help.
    lacks_source: bool,
    /// Since when it waits for what another process is getting.
    claimed_since: Option<Instant>,
    /// Since when it waits for room.
    roomless_since: Option<Instant>,
    /// What is known of the file to copy.
    survey: Option<Survey>,
    /// It is being looked at, and nothing can be planned before.
    surveying: bool,
    /// The file is being asked for, and nothing can be planned before.
    reaching: bool,
    /// It waits for the cache device, and nothing can be planned before.
    held: bool,
    /// It has to be: what is known of it was invalidated before its version was taken.
    unsure: bool,
    /// Chunks that one call copies: it grows while calls are short.
    run_chunks: u64,
    started: Instant,
    priority: Priority,
    /// When it fails with ETIMEDOUT.
    pub(crate) until: Option<Instant>,
    /// Bytes of a fill that are in the cache, for whoever watches.
    progress: Option<Arc<AtomicU64>>,
    sink: Sink,
}

impl Request {
    /// Byte behind the last one, within the version being served.
    fn end(&self) -> u64 {
        let size = self.version.token.size;
        size.min(self.offset.saturating_add(self.length))
    }

    pub(crate) fn fail(&mut self, errno: Errno) {
        self.failure.get_or_insert(errno);
    }

    /// The origin did not give what it was asked for.
    fn origin_failed(&mut self, errno: Errno) {
        let origin = &self.file.origin;
        let may_retry = self.tried < origin.retrying.times && origin.is_in_reach();
        if may_retry && is_unreachable(errno) {
            // A handle may be stale for ever: the file is opened anew.
            self.unsure = true;
            self.restart(Again::Unreached);
        } else {
            self.fail(errno);
        }
    }

    /// A fill cannot store what it wants, and what it would not store would only cost the
    /// origin. EBUSY: there is no room now. Whoever uses what is in the way may let go of it
    /// in a moment (a child that was forked until its exec, a thread that closes files), and
    /// to make room may take its time, so it tries again for a while.
    fn refuse_fill(&mut self, errno: Errno, again: Again) {
        let since = *self.roomless_since.get_or_insert_with(Instant::now);
        let patience = Duration::from_millis(ROOM_PATIENCE_MS);
        match errno {
            Errno::BUSY if since.elapsed() < patience => self.restart(again),
            Errno::BUSY => self.fail(Errno::NOSPC),
            errno => self.fail(errno),
        }
    }

    fn restart(&mut self, again: Again) {
        self.again.get_or_insert(again);
    }

    /// How long it waits before it is tried again: not beyond its own time.
    fn retry_pause(&self) -> Duration {
        let origin = &self.file.origin;
        origin.retried();
        let pause = origin.retrying.pause(self.tried);
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until.map_or(pause, |until| pause.min(left(until)))
    }

    /// Forgets what has been done for it.
    fn rewind(&mut self) {
        self.survey = None;
        self.late = false;
        self.cursor = self.offset.min(self.end());
        self.from_cache = 0;
        self.from_origin = 0;
        self.bypassed = 0;
        if let Some(progress) = &self.progress {
            progress.store(0, Ordering::Relaxed);
        }
    }

    /// Nothing more is to be begun for it.
    fn is_stopped(&self) -> bool {
        self.failure.is_some() || self.again.is_some()
    }

    /// How its present bytes are to be read.
    fn trust(&self) -> Trust {
        match self.version.trust() {
            Trust::Whole if self.careful => Trust::Guarded,
            trust => trust,
        }
    }

    /// Reads past the page cache turned out not to work.
    fn read_indirectly(&mut self) {
        if let Some(survey) = &mut self.survey {
            survey.read_indirectly();
        }
    }

    /// Counts bytes of a fill that are in the cache.
    fn filled(&self, bytes: u64) {
        if let Some(progress) = &self.progress {
            progress.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A fill of a file that is too young to be trusted waits until it is not,
    /// since it would store nothing. One whose time lies in the future would
    /// wait for as long as the clocks differ: it is refused where it is admitted.
    pub(crate) fn must_wait(&self) -> Option<Duration> {
        let is_fill = self.operation == Operation::Fill;
        let left = self.version.token.racy_for_ns().filter(|_| is_fill)?;
        (left <= RACY_WINDOW_WHOLE_SECONDS_NS as u64).then(|| Duration::from_nanos(left))
    }
}

/// The steps: decide what is next for a request, and have it done.
impl Shard {
    /// Takes a request in.
    pub(crate) fn start(&mut self, request: Request) {
        self.timed += usize::from(request.until.is_some());
        if request.operation == Operation::Read {
            self.later.put_off(request.started);
        }
        let slot = self.requests.insert(request);
        self.regain(slot);
        self.ask_unless_believed(slot);
        self.advance(slot);
    }

    /// A file that was opened while the device did not answer, or there was no room, is
    /// cached from now on.
    fn regain(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        let is_fill = request.operation == Operation::Fill;
        if request.version.may_regain()
            && let Some(version) = request.file.regain(&request.version, is_fill)
        {
            request.version = version;
        }
    }

    /// What may be wrong is not served: the origin is asked first.
    fn ask_unless_believed(&mut self, slot: usize) {
        let request = &self.requests[slot];
        if request.file.may_be_stale() && request.tried == 0 {
            return;
        }
        if request.unsure || !request.file.is_believed() {
            self.reach(slot);
        }
    }

    /// The reverse.
    fn take_out(&mut self, slot: usize) -> Request {
        let request = self.requests.remove(slot);
        self.timed -= usize::from(request.until.is_some());
        request
    }

    /// Ends requests whose time is over, and gives up on origins that do not answer.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        if self.timed > 0 {
            let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
            let late = self.requests.iter().filter(|(_, one)| over(one.until));
            let late: Vec<usize> = late.map(|(slot, _)| slot).collect();
            for slot in late {
                // Its time is not asked for again: what the engine has of it may
                // take a moment to come back.
                self.requests[slot].until = None;
                self.timed -= 1;
                self.abandon(slot, Errno::TIMEDOUT);
            }
        }
        self.expire_fetches(now);
        self.expire_reaching(now);
        self.expire_held(now);
        self.expire_device(now);
    }

    /// Plans pieces of a request until it has enough under way, and completes
    /// or restarts it when nothing is under way any more.
    pub(crate) fn advance(&mut self, slot: usize) {
        loop {
            let request = &self.requests[slot];
            let waits = request.surveying || request.reaching || request.held;
            let busy = waits || request.outstanding >= self.depth(slot);
            if request.is_stopped() || busy {
                break;
            }
            match plan::next(request, self.config.chunk_bytes) {
                Step::End => break,
                Step::Skip(length) => {
                    let request = &mut self.requests[slot];
                    request.cursor += length;
                    request.from_cache += length;
                    request.filled(length);
                }
                Step::Hit(length) => self.read_hit(slot, length),
                Step::Bypass(length) => self.pass_by(slot, length),
                Step::Miss(chunk, length) => {
                    if !self.miss(slot, chunk, length) {
                        break;
                    }
                }
            }
        }
        let request = &mut self.requests[slot];
        if request.outstanding > 0 {
            return;
        }
        match request.again.take() {
            Some(again) if request.failure.is_none() => self.begin_again(slot, again),
            _ => self.complete(slot),
        }
    }

    /// Pieces that a request has under way at most. Of a copy, some are written
    /// and wait for others, so that their version is asked for once.
    fn depth(&self, slot: usize) -> u32 {
        let depth = match self.requests[slot].operation {
            Operation::Read => self.config.fill_depth,
            Operation::Fill => self.config.qos.pace.depth(),
        };
        if self.copies(slot) {
            depth + depth / 2
        } else {
            depth
        }
    }

    fn begin_again(&mut self, slot: usize, again: Again) {
        let request = &mut self.requests[slot];
        // Others may hold their claims for as long as they like.
        let waits = matches!(
            again,
            Again::Claimed | Again::Room | Again::Anew | Again::Unreached
        );
        request.retries += u32::from(!waits);
        if request.retries > VERSION_RETRIES_MAX {
            // A file that changes faster than it can be read has no version
            // that could be returned.
            request.fail(Errno::STALE);
            self.complete(slot);
            return;
        }
        match &again {
            Again::Changed(token, seen) => {
                request.version = request.file.refresh(seen, token);
                request.miss_reason = MissReason::VersionChanged;
            }
            Again::Moved => {
                request.version = request.file.version();
                request.miss_reason = MissReason::VersionChanged;
            }
            Again::Unasked => request.version = request.file.version(),
            Again::Unreadable => request.miss_reason = MissReason::CacheError,
            Again::Unclear => request.careful = true,
            Again::Claimed | Again::Room | Again::Anew => {}
            Again::Unreached => request.tried += 1,
        }
        if !matches!(again, Again::Claimed | Again::Room) {
            request.rewind();
        }
        let pause = match again {
            Again::Unreached => Some(request.retry_pause()),
            Again::Room => Some(Duration::from_millis(ROOM_WAIT_MS)),
            _ => waits.then_some(Duration::from_millis(CLAIM_WAIT_MS)),
        };
        match request.must_wait().or(pause) {
            Some(delay) => {
                let request = self.take_out(slot);
                self.delay(delay, request);
            }
            None => self.advance(slot),
        }
    }
}
