//! A queue: requests and completions of one thread.
//!
//! Present bytes are read by the queue's own engine, straight into the
//! caller's memory; everything else is handed to the shard of its object,
//! which leaves the completion in [`Remote`].

use crate::buf::Lent;
use crate::completion::{Completion, Operation};
use crate::error::{Context, Errno, Error, Result};
use crate::exec::on_shard;
use crate::file::{File, FileInner, Version};
use crate::io::{Engine, Op, Outcome, Output, Owner, Terms, Wait, Which, signal};
use crate::limits::{QUEUE_DEPTH_DEFAULT, QUEUE_DEPTH_MAX};
use crate::request::{
    NewRequest, Remote, Served, Sink, Target, count, count_hits, distrust, hit_completion,
    straight, submit,
};
use crate::shared::Shared;
use crate::sys;
use once_cell::sync::OnceCell;
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Options of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueOptions {
    /// Requests that it holds, 1 to 4096; 0: 256.
    pub depth: u32,
    /// It may be passed on between threads, one at a time.
    pub movable: bool,
}

/// Requests and completions of one thread.
pub struct Queue {
    shared: Arc<Shared>,
    options: QueueOptions,
    /// The first thread that submitted, unless movable.
    owner: Option<u64>,
    /// Made on the owner's thread, since a ring belongs to who makes it.
    engine: OnceCell<Box<dyn Engine + Send>>,
    hits: Slab<Hit>,
    /// Ids and tags of the requests that a shard has.
    handed: HashMap<u64, u64>,
    ready: VecDeque<Completion>,
    outcomes: Vec<Outcome>,
    remote: Arc<Remote>,
    event: Option<Arc<OwnedFd>>,
}

/// A read of present bytes at the queue's own engine.
struct Hit {
    tag: u64,
    file: Arc<FileInner>,
    version: Arc<Version>,
    /// As the caller asked: more than the operation reads at the end of the file.
    target: Lent,
    offset: u64,
    started: Instant,
}

impl Queue {
    pub(crate) fn new(shared: Arc<Shared>, mut options: QueueOptions) -> Result<Self> {
        if options.depth == 0 {
            options.depth = QUEUE_DEPTH_DEFAULT;
        }
        if u64::from(options.depth) > QUEUE_DEPTH_MAX {
            let text = format!("the depth of a queue is at most {QUEUE_DEPTH_MAX}");
            return Err(Error::new(Errno::INVAL, text));
        }
        let depth = options.depth as usize;
        Ok(Self {
            shared,
            options,
            owner: None,
            engine: OnceCell::new(),
            hits: Slab::with_capacity(depth),
            handed: HashMap::with_capacity(depth),
            ready: VecDeque::with_capacity(depth),
            outcomes: Vec::with_capacity(depth),
            remote: Arc::default(),
            event: None,
        })
    }

    /// Requests that it still takes.
    pub fn space(&self) -> Result<usize> {
        self.check_open()?;
        Ok(self.room())
    }

    fn room(&self) -> usize {
        self.options.depth as usize - self.held()
    }

    /// ESHUTDOWN once the cache is closed and the last completion was fetched.
    fn check_open(&self) -> Result<()> {
        if self.held() == 0 {
            self.shared.check_open()?;
        }
        Ok(())
    }

    /// Requests in flight, and completions that nobody has fetched.
    fn held(&self) -> usize {
        self.hits.len() + self.handed.len() + self.ready.len()
    }

    /// Queues a read into lent memory. EAGAIN: the queue is full.
    pub fn read(&mut self, file: &File, target: Lent, offset: u64, tag: u64) -> Result<()> {
        self.admit()?;
        let started = Instant::now();
        let version = file.0.version();
        let asked = target.len() as u64;
        let end = version.token.size.min(offset.saturating_add(asked));
        let length = end.saturating_sub(offset);
        self.shared.counters.in_flight.add(1);
        if length == 0 {
            self.end(hit_completion(tag, 0, 0));
            return Ok(());
        }
        let hit = Hit {
            tag,
            file: Arc::clone(&file.0),
            version,
            target,
            offset,
            started,
        };
        if hit.version.present_run(offset, end) < length {
            return self.hand_over(hit);
        }
        let Some(way) = straight(&hit.version, target, offset, length as usize) else {
            return self.hand_over(hit);
        };
        let op = way.op(target, offset, length as usize, Terms::default());
        self.read_hit(hit, op);
        Ok(())
    }

    /// Queues a copy of a range into the cache. EAGAIN: the queue is full.
    pub fn fill(&mut self, file: &File, offset: u64, length: u64, tag: u64) -> Result<()> {
        self.admit()?;
        let id = self.shared.fresh_id(file.0.shard);
        let sink = Sink::Queue(Arc::clone(&self.remote));
        let range = (offset, length);
        let new = NewRequest::new(id, Operation::Fill, Target::Nothing, range, sink);
        submit(&file.0, new)?;
        self.handed.insert(id, tag);
        Ok(())
    }

    fn admit(&mut self) -> Result<()> {
        self.shared.check_open()?;
        self.claim()?;
        if self.room() == 0 {
            self.collect();
        }
        if self.room() == 0 {
            let depth = self.options.depth;
            let text = format!("the queue holds {depth} requests: fetch completions first");
            return Err(Error::new(Errno::AGAIN, text));
        }
        Ok(())
    }

    /// EPERM on another thread than the queue's; else as `check_open`.
    fn claim(&mut self) -> Result<()> {
        self.check_open()?;
        let here = sys::current_thread();
        if self.options.movable || *self.owner.get_or_insert(here) == here {
            return Ok(());
        }
        let text = "the queue belongs to the thread that first submitted on it";
        Err(Error::new(Errno::PERM, text))
    }

    fn engine(&mut self) -> &mut Box<dyn Engine + Send> {
        if self.engine.get().is_none() {
            let shared = Arc::clone(&self.shared);
            shared.logged(|| {
                let movable = self.options.movable;
                let owner = Owner::Program { movable };
                let engine = shared.engines.create(self.options.depth, owner);
                self.attach(engine);
            });
        }
        self.engine.get_mut().expect("made above")
    }

    fn attach(&mut self, mut engine: Box<dyn Engine + Send>) {
        assert!(self.remote.set_waker(engine.waker()), "one engine a queue");
        if let Some(event) = &self.event
            && let Err(error) = engine.notify(Arc::clone(event))
        {
            tracing::error!("the queue's descriptor tells only of misses: {error}");
        }
        assert!(self.engine.set(engine).is_ok(), "one engine a queue");
    }

    fn read_hit(&mut self, hit: Hit, op: Op) {
        let slot = self.hits.insert(hit);
        if self.engine().push(slot as u64, op).is_err() {
            unreachable!("an engine is as deep as its queue");
        }
    }

    /// Gives a request to the shard of its object.
    fn hand_over(&mut self, hit: Hit) -> Result<()> {
        // `submit` counts it again.
        self.shared.counters.in_flight.sub(1);
        let id = self.shared.fresh_id(hit.file.shard);
        let sink = Sink::Queue(Arc::clone(&self.remote));
        let range = (hit.offset, hit.target.len() as u64);
        let new = NewRequest {
            started: hit.started,
            ..NewRequest::new(id, Operation::Read, Target::One(hit.target), range, sink)
        };
        submit(&hit.file, new)?;
        self.handed.insert(id, hit.tag);
        Ok(())
    }

    /// Hands what was queued to the kernel. Never waits.
    pub fn submit(&mut self) -> Result<()> {
        self.claim()?;
        self.engine().flush();
        Ok(())
    }

    /// Gives up to `max` completions to `take`: at least `min`, unless fewer
    /// requests are held or `timeout` is over. Submits what was queued. EDEADLK
    /// on a library thread.
    pub fn wait(
        &mut self,
        (min, max): (usize, usize),
        timeout: Option<Duration>,
        mut take: impl FnMut(Completion),
    ) -> Result<usize> {
        if on_shard() {
            let text = "a callback must not wait for a queue";
            return Err(Error::new(Errno::DEADLK, text));
        }
        self.claim()?;
        self.clear_event();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let min = min.min(self.held());
        // Before looking: what a shard leaves afterwards finds a waker to wake.
        self.engine();
        self.collect();
        if self.ready.len() >= min {
            self.reap(Wait::No);
        }
        while self.ready.len() < min {
            let missing = min - self.ready.len();
            // What the shards leave wakes the engine, and may be all that comes.
            let want = if self.handed.is_empty() { missing } else { 1 };
            self.reap(Wait::For(want, deadline));
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over || timeout == Some(Duration::ZERO) {
                break;
            }
        }
        let fetched = max.min(self.ready.len());
        self.ready.drain(..fetched).for_each(&mut take);
        if !self.ready.is_empty()
            && let Some(event) = &self.event
        {
            signal(event.as_fd());
        }
        Ok(fetched)
    }

    fn reap(&mut self, wait: Wait) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.engine().reap(wait, &mut outcomes);
        if !outcomes.is_empty() {
            // One look at the clock and one count for the whole batch.
            let now = Instant::now();
            let mut served = Served::default();
            for outcome in outcomes.drain(..) {
                self.hit_ended(outcome, now, &mut served);
            }
            count_hits(served, &self.shared.counters);
        }
        self.outcomes = outcomes;
        self.collect();
    }

    /// The engine has read present bytes, or could not.
    fn hit_ended(&mut self, outcome: Outcome, now: Instant, served: &mut Served) {
        let hit = self.hits.remove(outcome.tag as usize);
        let asked = outcome.buffer.len();
        match outcome.result {
            Ok(Output::Bytes(count)) if count == asked => {
                let latency_ns = now.saturating_duration_since(hit.started).as_nanos() as u64;
                served.hits += 1;
                served.bytes += count as u64;
                self.ready
                    .push_back(hit_completion(hit.tag, count as u64, latency_ns));
            }
            Err(Errno::CANCELED) => self.fail(hit, Errno::CANCELED),
            result => {
                let errno = result.err().unwrap_or(Errno::NODATA);
                self.shared.logged(|| distrust(&hit.version, errno));
                // The origin still has them.
                let tag = hit.tag;
                if let Err(error) = self.hand_over(hit) {
                    self.shared.counters.in_flight.add(1);
                    let mut completion = hit_completion(tag, 0, 0);
                    completion.result = Err(error.errno());
                    self.end(completion);
                }
            }
        }
    }

    fn fail(&mut self, hit: Hit, errno: Errno) {
        let mut completion = hit_completion(hit.tag, 0, hit.started.elapsed().as_nanos() as u64);
        completion.result = Err(errno);
        self.end(completion);
    }

    fn end(&mut self, completion: Completion) {
        count(&completion, false, &self.shared.counters);
        self.ready.push_back(completion);
    }

    /// Takes what the shards have left.
    fn collect(&mut self) {
        for (id, mut completion) in self.remote.take() {
            // The id is ours until here; the tag is the caller's.
            completion.tag = self.handed.remove(&id).expect("each completes once");
            self.ready.push_back(completion);
        }
    }

    /// Asks for the end of every request with this tag; returns how many.
    pub fn cancel(&mut self, tag: u64) -> Result<usize> {
        self.claim()?;
        let mut asked = 0;
        let slots: Vec<usize> = self
            .hits
            .iter()
            .filter(|(_, hit)| hit.tag == tag)
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.engine().cancel(Which::Tag(slot as u64));
            asked += 1;
        }
        for (id, _) in self.handed.iter().filter(|(_, other)| **other == tag) {
            self.shared.cancel(*id);
            asked += 1;
        }
        Ok(asked)
    }

    /// An eventfd that is readable when completions may be waiting. It is the
    /// queue's: poll it, do not read it.
    pub fn event(&mut self) -> Result<BorrowedFd<'_>> {
        self.claim()?;
        if self.event.is_none() {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let event = Arc::new(eventfd(0, flags).context(|| "create an eventfd")?);
            if let Some(engine) = self.engine.get_mut() {
                engine.notify(Arc::clone(&event))?;
            }
            assert!(self.remote.set_event(Arc::clone(&event)), "made once");
            self.event = Some(event);
            // What ended before there was a descriptor to tell.
            self.reap(Wait::No);
            if !self.ready.is_empty() {
                signal(self.event.as_ref().expect("made above").as_fd());
            }
        }
        Ok(self.event.as_ref().expect("made above").as_fd())
    }

    /// Before looking, so that what ends after the look makes it readable again.
    fn clear_event(&self) {
        if let Some(event) = &self.event {
            // EAGAIN says that it was not readable.
            let _empty = rustix::io::read(event.as_fd(), &mut [0u8; 8][..]);
        }
    }
}

impl Drop for Queue {
    /// Cancels and drains: after it, no lent memory is touched.
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.logged(|| self.drain());
    }
}

impl Queue {
    fn drain(&mut self) {
        let deadline = Instant::now() + self.shared.close_timeout;
        for id in self.handed.keys() {
            self.shared.cancel(*id);
        }
        while !self.handed.is_empty() && Instant::now() < deadline {
            self.collect();
            if !self.handed.is_empty() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        if !self.handed.is_empty() {
            let count = self.handed.len();
            tracing::error!("{count} requests of a queue did not end in time");
        }
        if let Some(mut engine) = self.engine.take() {
            engine.shut_down(deadline);
        }
        self.shared.counters.in_flight.sub(self.hits.len() as u64);
    }
}
