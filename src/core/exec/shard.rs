//! One library thread: takes messages, reaps its engine, steps the requests.
//!
//! What a request does at each step is in `request/`; here is only the loop
//! and what the steps share.

use super::{FetchId, Message, Port};
use crate::buf::Pool;
use crate::completion::Completion;
use crate::error::Errno;
use crate::file::FileInner;
use crate::io::{Engine, Op, Outcome, Wait, Which};
use crate::limits::WARM_MS;
use crate::qos::{Qos, Shares};
use crate::readahead::Places;
use crate::request::{
    Bounce, Copying, Fetch, Flight, Held, Later, Part, Paused, Reaching, Request, Sink,
};
use crate::stats::Counters;
use crate::store::Store;
use slab::Slab;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

thread_local! {
    /// Set on library threads, where waiting for a library thread would hang.
    static ON_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is a library thread that must not wait.
pub(crate) fn on_shard() -> bool {
    ON_SHARD.get()
}

/// What a shard is told at its start.
pub(crate) struct ShardConfig {
    /// Its number.
    pub(crate) index: usize,
    pub(crate) depth: u32,
    pub(crate) fill_depth: u32,
    pub(crate) pool_buffers: usize,
    pub(crate) chunk_bytes: u64,
    /// A read of an origin on this host takes no thread while it waits for the disk.
    pub(crate) reads_wait_in_kernel: bool,
    /// For reads ahead that take one.
    pub(crate) prefetch_places: Arc<Places>,
    pub(crate) qos: Arc<Qos>,
    /// See the option of this name.
    pub(crate) fill_after_percent: u64,
    /// Bytes from which on a file that is copied whole is written past the page cache.
    pub(crate) direct_copy_bytes: u64,
    pub(crate) origin_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

/// Whose operation it is, and its slot: the lower and the upper bits of an
/// engine's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A read of cached bytes for the request in this slot.
    Request(usize),
    /// A step of the fetch in this slot.
    Fetch(usize),
    /// A read of cached bytes into a buffer, for the bounce in this slot.
    Bounce(usize),
    /// A part of the copy in this slot.
    Copy(usize, Part),
    /// The blocks for the copy in this slot.
    Blocks(usize),
    /// The version of a file that was copied.
    Check(usize),
}

/// Bits of a tag that say what it is of.
const TAG_KIND_BITS: u32 = 3;

impl Target {
    pub(crate) fn tag(self) -> u64 {
        let (slot, kind) = match self {
            Target::Request(slot) => (slot, 0),
            Target::Fetch(slot) => (slot, 1),
            Target::Bounce(slot) => (slot, 2),
            Target::Copy(slot, Part::In) => (slot, 3),
            Target::Copy(slot, Part::Out) => (slot, 4),
            Target::Blocks(slot) => (slot, 5),
            Target::Check(slot) => (slot, 6),
        };
        (slot as u64) << TAG_KIND_BITS | kind
    }

    pub(crate) fn of(tag: u64) -> Self {
        let slot = (tag >> TAG_KIND_BITS) as usize;
        match tag & ((1 << TAG_KIND_BITS) - 1) {
            0 => Target::Request(slot),
            1 => Target::Fetch(slot),
            2 => Target::Bounce(slot),
            3 => Target::Copy(slot, Part::In),
            4 => Target::Copy(slot, Part::Out),
            5 => Target::Blocks(slot),
            _ => Target::Check(slot),
        }
    }
}

/// The state of one library thread.
pub(crate) struct Shard {
    pub(crate) port: Arc<Port>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) config: ShardConfig,
    /// None: the directory cannot be used.
    pub(crate) store: Option<Arc<Store>>,
    engine: Box<dyn Engine + Send>,
    /// Operations that found the engine full: at most `fill_depth` a request.
    overflow: VecDeque<(u64, Op)>,
    pub(crate) pool: Pool,
    pub(crate) requests: Slab<Request>,
    /// Requests that have a time of their own.
    pub(crate) timed: usize,
    pub(crate) fetches: Slab<Fetch>,
    pub(crate) fetch_serial: u64,
    /// What is under way for a chunk of an object (by its nonce).
    pub(crate) flights: HashMap<(u64, u64), Flight>,
    /// Copy-fills.
    pub(crate) copying: Copying,
    /// Files that are being asked for.
    pub(crate) reaching: Reaching,
    /// What waits for the cache device.
    pub(crate) held: Held,
    /// When the engine was last asked for what has ended.
    looked: Instant,
    /// Fetches that wait for a buffer, the oldest first.
    pub(crate) starved: VecDeque<usize>,
    /// One of them has not been looked at since it came.
    pub(crate) unfed: bool,
    /// Chunks to be fetched ahead, once those had their turn.
    pub(crate) wanted_ahead: VecDeque<(Arc<FileInner>, Vec<u64>)>,
    pub(crate) bounces: Slab<Bounce>,
    /// Bounces that wait for a buffer, the oldest first.
    pub(crate) waiting_bounces: VecDeque<usize>,
    /// Fetches whose write to the cache is under way.
    pub(crate) storing: usize,
    /// Fills that wait for what may be read or written.
    pub(crate) paused: Vec<Paused>,
    /// When a fetch that waits for the same may go on.
    pub(crate) feed_at: Option<Instant>,
    /// Whose turn it is.
    pub(crate) shares: Shares,
    pub(crate) later: Later,
    /// Files with chunks that came ahead, and when to look whether they were read: the
    /// earliest first, but for moments.
    pub(crate) unread: VecDeque<(Instant, Weak<FileInner>)>,
    /// When a fetch last moved on: what waits for buffers has no time of its own.
    pub(crate) progress: Instant,
    /// Fills of files that are too young to be trusted yet.
    delayed: Vec<(Instant, Box<Request>)>,
    /// Completed requests, told after the step that completed them, so that no
    /// callback runs in the middle of one.
    finished: Vec<(Sink, Completion)>,
    /// When which objects that nobody uses are let go of.
    cool: Option<(Instant, Weak<Store>)>,
    closing: Option<Instant>,
}

impl Shard {
    pub(crate) fn new(
        port: Arc<Port>,
        counters: Arc<Counters>,
        (config, store): (ShardConfig, Option<Arc<Store>>),
        mut engine: Box<dyn Engine + Send>,
        pool: Pool,
        copying: Copying,
    ) -> Self {
        port.set_waker(engine.waker());
        engine.adopt(pool.piece());
        ON_SHARD.set(true);
        Self {
            port,
            counters,
            store,
            engine,
            overflow: VecDeque::new(),
            pool,
            requests: Slab::new(),
            timed: 0,
            fetches: Slab::new(),
            fetch_serial: 0,
            flights: HashMap::new(),
            copying,
            reaching: Reaching::default(),
            held: Held::default(),
            looked: Instant::now(),
            starved: VecDeque::new(),
            unfed: false,
            wanted_ahead: VecDeque::new(),
            bounces: Slab::new(),
            waiting_bounces: VecDeque::new(),
            storing: 0,
            paused: Vec::new(),
            feed_at: None,
            shares: Shares::default(),
            later: Later::new(),
            unread: VecDeque::new(),
            progress: Instant::now(),
            delayed: Vec::new(),
            finished: Vec::new(),
            cool: None,
            closing: None,
            config,
        }
    }

    /// Serves until it is told to close and has drained.
    pub(crate) fn run(&mut self) {
        let mut messages = Vec::new();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(self.config.depth as usize);
        while !self.drained() {
            self.port.take(&mut messages);
            for message in messages.drain(..) {
                self.receive(message);
            }
            self.expire();
            self.feed();
            self.tell();
            let wait = if self.drained() {
                Wait::No
            } else {
                Wait::For(1, self.next_deadline())
            };
            // What comes now has ended after the last look.
            let since = self.looked;
            self.engine.reap(wait, &mut outcomes);
            self.looked = Instant::now();
            for outcome in outcomes.drain(..) {
                self.device_took_some(&outcome, since);
                self.ended(outcome);
            }
            self.feed();
            self.tell();
        }
    }

    fn drained(&self) -> bool {
        self.closing.is_some_and(|deadline| {
            let idle = self.requests.is_empty()
                && self.overflow.is_empty()
                && self.engine.in_flight() == 0
                && !self.waits_to_publish();
            idle || Instant::now() >= deadline
        })
    }

    pub(crate) fn receive(&mut self, message: Message) {
        match message {
            Message::Start(request) if self.closing.is_some() => {
                self.reject(request, Errno::CANCELED)
            }
            Message::Start(request) => match request.must_wait() {
                Some(delay) => self.delayed.push((Instant::now() + delay, request)),
                None => self.start(*request),
            },
            Message::Cancel(id) => self.cancel(id),
            Message::OriginRead {
                fetch,
                result,
                buffer,
            } => {
                if self.is_current(fetch) {
                    self.fetch_read(fetch.slot, result, Some(buffer));
                }
            }
            Message::OriginStat { fetch, result } => {
                if self.is_current(fetch) {
                    self.fetch_checked(fetch.slot, result);
                }
            }
            Message::Opened(file, opened) => self.opened(&file, *opened),
            Message::DeviceTakes => self.release_held(),
            Message::CoolLater(store) => self.cool_later(store),
            Message::Surveyed(serial, survey) => self.surveyed(serial, survey),
            Message::Copied(slot, result) => self.copied(slot, result),
            Message::Prefetch(..) if self.closing.is_some() => {}
            Message::Prefetch(file, chunks) => self.prefetch(&file, chunks),
            Message::PassedBy(..) if self.closing.is_some() => {}
            Message::PassedBy(file, chunks) => self.passed_elsewhere(&file, chunks),
            Message::ForgetPrefetches(file) => self.forget_prefetches(&file),
            Message::Close => self.begin_close(),
        }
    }

    fn is_current(&self, fetch: FetchId) -> bool {
        let current = self.fetches.get(fetch.slot);
        current.is_some_and(|current| current.serial == fetch.serial)
    }

    pub(crate) fn ended(&mut self, outcome: Outcome) {
        let target = Target::of(outcome.tag);
        if self.is_to_be_held(target, outcome.result.is_ok()) {
            return self.hold_outcome(outcome);
        }
        match target {
            Target::Request(slot) => self.hit_ended(slot, outcome.result, outcome.buffer),
            Target::Fetch(slot) => self.fetch_ended(slot, outcome.result, outcome.buffer),
            Target::Bounce(slot) => self.bounce_ended(slot, outcome.result, outcome.buffer),
            Target::Copy(slot, part) => {
                // Its buffer first: the pool may be waited for.
                drop(outcome.buffer);
                self.chain_ended(slot, part, outcome.result);
            }
            Target::Blocks(slot) => self.preallocated(slot, outcome.result),
            Target::Check(slot) => self.checked(slot, outcome.result),
        }
    }

    /// Pushes an operation, now or when the engine has room.
    pub(crate) fn push(&mut self, target: Target, op: Op) {
        if !self.overflow.is_empty() {
            self.overflow.push_back((target.tag(), op));
        } else if let Err(op) = self.engine.push(target.tag(), op) {
            self.overflow.push_back((target.tag(), op));
        }
    }

    /// Pushes two operations, the first of which is linked to the second.
    pub(crate) fn push_pair(&mut self, first: (Target, Op), second: (Target, Op)) {
        debug_assert!(first.1.terms.linked && !second.1.terms.linked);
        for (target, op) in [first, second] {
            self.overflow.push_back((target.tag(), op));
        }
        self.push_overflow();
    }

    /// Whether the engine takes operations at once, with room for those of readers.
    pub(crate) fn is_flowing(&self) -> bool {
        self.overflow.is_empty() && self.engine.space() > self.config.depth as usize / 2
    }

    /// Gives the engine what waits for room, chains as a whole.
    fn push_overflow(&mut self) {
        loop {
            let waiting = self.overflow.iter();
            let chain = waiting.take_while(|(_, op)| op.terms.linked).count() + 1;
            if chain > self.overflow.len() || chain > self.engine.space() {
                return;
            }
            for (tag, op) in self.overflow.drain(..chain) {
                let pushed = self.engine.push(tag, op);
                assert!(pushed.is_ok(), "there was room");
            }
        }
    }

    /// Gives the engine, the bounces, the fetches and the copies what has become free.
    fn feed(&mut self) {
        self.push_overflow();
        let now = Instant::now();
        self.config.qos.pace.look(now);
        self.resume(now);
        self.reclaim_unread(now);
        self.cool_down(now);
        while let Some(index) = self.delayed.iter().position(|(at, _)| *at <= now) {
            let (_, request) = self.delayed.swap_remove(index);
            self.start(*request);
        }
        // Last, since all of that may have begun to wait for a buffer; and once more if what
        // was fed failed, and was begun anew.
        loop {
            self.unfed = false;
            self.feed_waiting();
            self.feed_ahead();
            self.feed_copies();
            if !self.unfed {
                break;
            }
        }
        self.feed_later(now);
    }

    /// Completes a request.
    pub(crate) fn finish(&mut self, sink: Sink, completion: Completion) {
        self.finished.push((sink, completion));
    }

    fn reject(&mut self, request: Box<Request>, errno: Errno) {
        let (sink, completion) = request.into_completion(Some(errno), &self.counters);
        self.finish(sink, completion);
    }

    /// Tells whoever asked. Runs callbacks, which may post to this very port.
    fn tell(&mut self) {
        for (sink, completion) in self.finished.drain(..) {
            sink.deliver(completion, &mut |waker| self.engine.nudge(waker));
        }
    }

    /// The same once the engine has ended.
    fn tell_at_the_end(&mut self) {
        for (sink, completion) in self.finished.drain(..) {
            sink.deliver(completion, &mut |waker| waker.wake());
        }
    }

    /// Ends a request early. What the engine has of it must end first; what
    /// waits for a fetch need not, since a fetch has its own buffer, but for
    /// those that read straight into the caller's memory.
    fn cancel(&mut self, id: u64) {
        if let Some(index) = self.delayed.iter().position(|(_, one)| one.id == id) {
            let (_, request) = self.delayed.swap_remove(index);
            self.reject(request, Errno::CANCELED);
            return;
        }
        let found = self.requests.iter().find(|(_, request)| request.id == id);
        if let Some((slot, _)) = found {
            self.abandon(slot, Errno::CANCELED);
        }
    }

    /// Fails a request as soon as the engine has nothing of it.
    pub(crate) fn abandon(&mut self, slot: usize, errno: Errno) {
        self.abandon_fetches(slot);
        self.abandon_bounces(slot);
        self.leave_copies(slot);
        self.leave_pause(slot);
        self.leave_reaching(slot);
        self.leave_held(slot);
        let tag = Target::Request(slot).tag();
        let (out, keep): (VecDeque<_>, _) = self
            .overflow
            .drain(..)
            .partition(|(other, _)| *other == tag);
        self.overflow = keep;
        self.requests[slot].not_begun(out.len() as u32);
        self.requests[slot].fail(errno);
        if self.requests[slot].outstanding > 0 {
            self.engine.cancel(Which::Tag(tag));
        }
        self.advance(slot);
    }

    fn begin_close(&mut self) {
        self.closing = Some(Instant::now() + self.config.close_timeout);
        for (_, request) in std::mem::take(&mut self.delayed) {
            self.reject(request, Errno::CANCELED);
        }
        let slots: Vec<usize> = self.requests.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.abandon(slot, Errno::CANCELED);
        }
        self.later.forget();
        self.close_fetches();
        self.close_copies();
    }

    /// Asks the engine to end an operation.
    pub(crate) fn cancel_op(&mut self, target: Target) {
        self.engine.cancel(Which::Tag(target.tag()));
    }

    fn cool_later(&mut self, store: Weak<Store>) {
        let at = Instant::now() + Duration::from_millis(WARM_MS);
        self.cool = Some((at, store));
    }

    /// Lets go of objects, once it is time.
    fn cool_down(&mut self, now: Instant) {
        if let Some((_, store)) = self.cool.take_if(|(at, _)| *at <= now)
            && let Some(store) = store.upgrade()
        {
            store.cool_soon();
        }
    }

    /// Starts a request later.
    pub(crate) fn delay(&mut self, delay: Duration, request: Request) {
        self.delayed
            .push((Instant::now() + delay, Box::new(request)));
    }

    /// When the loop must look at the time again.
    fn next_deadline(&self) -> Option<Instant> {
        let fetches = self.fetches.iter().filter_map(|(_, fetch)| fetch.deadline);
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        let starved = !self.starved.is_empty() || self.copying.is_starved();
        let starved = starved.then(|| self.starved_until());
        let timed = (self.timed > 0).then_some(&self.requests);
        let requests = timed.into_iter().flatten();
        let requests = requests.filter_map(|(_, request)| request.until);
        let all = fetches
            .chain(delayed)
            .chain(requests)
            .chain(starved)
            .chain(self.copying.next_deadline())
            .chain(self.reaching.next_deadline())
            .chain(self.cool.as_ref().map(|(at, _)| *at))
            .chain(self.next_device_deadline())
            .chain(self.next_beat_deadline())
            .chain(self.next_turn())
            .chain(self.next_later())
            .chain(self.unread.front().map(|(at, _)| *at))
            .chain(self.closing);
        all.min()
    }

    pub(crate) fn starved_until(&self) -> Instant {
        self.progress + self.config.origin_timeout
    }

    /// Ends the shard: everybody is told, and what the kernel still has is leaked.
    /// Returns how many operations that are.
    pub(crate) fn close(mut self, reason: Errno) -> usize {
        let deadline = self
            .closing
            .unwrap_or_else(|| Instant::now() + self.config.close_timeout);
        let stuck = self.engine.shut_down(deadline);
        if stuck > 0 {
            tracing::error!("{stuck} operations did not end in time: their memory is leaked");
        }
        for message in self.port.close(Errno::SHUTDOWN) {
            if let Message::Start(request) = message {
                self.reject(request, reason);
            }
        }
        for (_, request) in std::mem::take(&mut self.delayed) {
            self.reject(request, reason);
        }
        for (_, mut fetch) in std::mem::take(&mut self.fetches) {
            if !fetch.has_lent_memory() {
                for waiter in &fetch.waiters {
                    self.requests[waiter.request].outstanding -= 1;
                }
            }
            fetch.give_back_room();
        }
        for (_, bounce) in &self.bounces {
            if let Some(request) = bounce.request {
                self.requests[request].outstanding -= 1;
            }
        }
        for (tag, _) in std::mem::take(&mut self.overflow) {
            if let Target::Request(slot) = Target::of(tag) {
                self.requests[slot].not_begun(1);
            }
        }
        for paused in std::mem::take(&mut self.paused) {
            self.requests[paused.request].outstanding -= 1;
        }
        self.abandon_copies();
        self.abandon_reaching();
        self.abandon_held();
        for (_, request) in std::mem::take(&mut self.requests) {
            // What is still outstanding is at the engine, with the caller's memory,
            // which nobody but the caller can keep.
            let is_lent = stuck > 0 && request.outstanding > 0;
            let errno = if is_lent { Errno::BUSY } else { reason };
            self.reject(Box::new(request), errno);
        }
        self.tell_at_the_end();
        stuck
    }
}
