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
use crate::io::{Engine, Op, Outcome, Output, Owner, Wait, Which, signal};
use crate::limits::{CLOSE_LOOK_MS, QUEUE_DEPTH_DEFAULT, QUEUE_DEPTH_MAX};
use crate::log;
use crate::request::{
    NewRequest, Remote, Served, Sink, Target, Treatment, count, count_hits, from_memory,
    hit_completion, straight, submit, total, unreadable,
};
use crate::shared::Shared;
use crate::store::Trust;
use crate::sys;
use once_cell::sync::OnceCell;
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLOSE_LOOK: Duration = Duration::from_millis(CLOSE_LOOK_MS);

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
    files: Files,
    /// Of the requests that a shard has, by their ids.
    handed: HashMap<u64, Handed>,
    ready: VecDeque<Completion>,
    outcomes: Vec<Outcome>,
    remote: Arc<Remote>,
    event: Option<Arc<OwnedFd>>,
    /// When to look next whether the device answers.
    look_at: Instant,
}

/// A read of present bytes at the queue's own engine.
struct Hit {
    tag: u64,
    /// In `files`.
    file: u32,
    treatment: Treatment,
    /// As the caller asked: more than the operation reads at the end of the file.
    target: Lent,
    offset: u64,
    started: Instant,
    /// The device has not answered in time, and was asked to give up.
    late: bool,
}

/// A request that a shard has.
struct Handed {
    tag: u64,
    file: Arc<FileInner>,
}

/// Requests that are pushed one after another: what is the same for all of them
/// is done once.
pub struct Batch<'a> {
    queue: &'a mut Queue,
    now: Instant,
    /// Hits.
    begun: u64,
    /// Those of them that are over.
    served: Served,
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
        let remote = Arc::default();
        shared.add_queue(&remote);
        Ok(Self {
            shared,
            options,
            owner: None,
            engine: OnceCell::new(),
            hits: Slab::with_capacity(depth),
            files: Files::default(),
            handed: HashMap::with_capacity(depth),
            ready: VecDeque::with_capacity(depth),
            outcomes: Vec::with_capacity(depth),
            remote,
            event: None,
            look_at: Instant::now(),
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

    /// Begins a batch of requests. ESHUTDOWN, or EPERM on another thread than the
    /// queue's.
    pub fn batch(&mut self) -> Result<Batch<'_>> {
        self.shared.check_open()?;
        self.claim()?;
        Ok(Batch {
            now: Instant::now(),
            begun: 0,
            served: Served::default(),
            queue: self,
        })
    }

    /// Queues a read into lent memory. EAGAIN: the queue is full.
    pub fn read(&mut self, file: &File, target: Lent, offset: u64, tag: u64) -> Result<()> {
        self.batch()?
            .read(file, target, offset, tag, Treatment::default())
    }

    /// Queues a copy of a range into the cache. EAGAIN: the queue is full.
    pub fn fill(&mut self, file: &File, offset: u64, length: u64, tag: u64) -> Result<()> {
        self.batch()?
            .fill(file, offset, length, tag, Treatment::default())
    }

    fn check_room(&mut self) -> Result<()> {
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
        if self.options.movable {
            return Ok(());
        }
        let here = sys::current_thread();
        if *self.owner.get_or_insert(here) == here {
            return Ok(());
        }
        let text = "the queue belongs to the thread that first submitted on it";
        Err(Error::new(Errno::PERM, text))
    }

    /// Makes the engine if there is none yet.
    fn start_engine(&mut self) {
        if self.engine.get().is_none() {
            let shared = Arc::clone(&self.shared);
            shared.logged(|| {
                let movable = self.options.movable;
                let owner = Owner::Program { movable };
                let engine = shared.engines.create(self.options.depth, owner);
                self.attach(engine);
            });
        }
    }

    /// Uses the engine. What it has to say goes to the cache's log, also from
    /// the program's thread.
    fn with_engine<T>(&mut self, body: impl FnOnce(&mut dyn Engine) -> T) -> T {
        self.start_engine();
        let engine = self.engine.get_mut().expect("made above");
        log::lend(&self.shared.log, || body(engine.as_mut()))
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
        let pushed = self.with_engine(|engine| engine.push(slot as u64, op));
        if pushed.is_err() {
            unreachable!("an engine is as deep as its queue");
        }
    }

    /// Gives a request to the shard of its object.
    fn hand_over(&mut self, file: &Arc<FileInner>, new: NewRequest, tag: u64) -> Result<()> {
        let id = new.id;
        submit(file, new)?;
        let file = Arc::clone(file);
        self.handed.insert(id, Handed { tag, file });
        Ok(())
    }

    fn new_request(
        &self,
        file: &FileInner,
        operation: Operation,
        target: Target,
        range: (u64, u64),
        treatment: Treatment,
    ) -> NewRequest {
        let id = self.shared.fresh_id(file.shard);
        let sink = Sink::Queue(Arc::clone(&self.remote));
        NewRequest {
            treatment,
            ..NewRequest::new(id, operation, target, range, sink)
        }
    }

    /// Hands what was queued to the kernel. Never waits.
    pub fn submit(&mut self) -> Result<()> {
        self.claim()?;
        self.with_engine(|engine| engine.flush());
        // What was over at once has no engine to tell of it.
        self.tell_ready();
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
        self.start_engine();
        self.follow_close();
        self.collect();
        if self.hits.is_empty() {
            self.files.forget();
        } else if self.ready.len() >= min {
            self.reap(Wait::No);
        }
        while self.ready.len() < min {
            let missing = min - self.ready.len();
            // What the shards leave wakes the engine, and may be all that comes.
            let want = if self.handed.is_empty() { missing } else { 1 };
            let look = (want > 1).then(|| Instant::now() + CLOSE_LOOK);
            let hangs = self.device_deadline();
            let until = deadline.into_iter().chain(look).chain(hangs).min();
            self.reap(Wait::For(want, until));
            self.follow_device();
            self.follow_close();
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over || timeout == Some(Duration::ZERO) {
                break;
            }
        }
        let fetched = max.min(self.ready.len());
        self.ready.drain(..fetched).for_each(&mut take);
        self.tell_ready();
        Ok(fetched)
    }

    /// Makes the descriptor readable if there is something to fetch.
    fn tell_ready(&self) {
        if !self.ready.is_empty()
            && let Some(event) = &self.event
        {
            signal(event.as_fd());
        }
    }

    /// Once the cache is closed, its device has as long as the close itself has to
    /// give back what the queue reads from it. What it then still has completes with
    /// EBUSY: the kernel may write to that memory at any later time.
    fn follow_close(&mut self) {
        if self.hits.is_empty() || !self.shared.is_closed() {
            return;
        }
        let deadline = Instant::now() + self.shared.close_timeout;
        self.with_engine(|engine| engine.cancel(Which::All));
        while !self.hits.is_empty() && Instant::now() < deadline {
            self.reap(Wait::For(1, Some(deadline)));
        }
        self.shared.logged(|| tell_left(self.hits.len()));
        for hit in std::mem::take(&mut self.hits) {
            self.files.release(hit.1.file);
            self.fail(&hit.1, Errno::BUSY);
        }
    }

    /// When the device hangs, if nothing comes of what it has now.
    fn device_deadline(&self) -> Option<Instant> {
        let store = self.shared.store.as_ref().ok()?;
        let now = (!self.hits.is_empty()).then(Instant::now)?;
        Some(store.health.hangs_at(now))
    }

    /// Asks for the end of reads that the device does not answer. What comes back of
    /// them goes on at the shards; the rest has the caller's memory, and is waited for.
    fn follow_device(&mut self) {
        let Ok(store) = &self.shared.store else {
            return;
        };
        let now = Instant::now();
        if self.hits.is_empty() || now < self.look_at {
            return;
        }
        let store = Arc::clone(store);
        self.look_at = store.health.hangs_at(now);
        let hits = self.hits.iter_mut();
        let hung = hits.filter(|(_, hit)| !hit.late && store.health.hangs_at(hit.started) <= now);
        let mut slots = Vec::new();
        for (slot, hit) in hung {
            hit.late = true;
            slots.push((slot, hit.started));
        }
        for (slot, started) in slots {
            self.shared.logged(|| store.health.hung(started));
            self.with_engine(|engine| engine.cancel(Which::Tag(slot as u64)));
        }
    }

    fn reap(&mut self, wait: Wait) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.with_engine(|engine| engine.reap(wait, &mut outcomes));
        if !outcomes.is_empty() {
            // One look at the clock and one count for the whole batch.
            let now = Instant::now();
            let mut served = Served::default();
            for outcome in outcomes.drain(..) {
                self.hit_ended(outcome, now, &mut served);
            }
            let pace = &self.shared.qos.pace;
            if served.shortest_ns != u64::MAX {
                pace.hit(served.shortest_ns);
            }
            pace.look(now);
            count_hits(served, &self.shared.counters);
        }
        self.outcomes = outcomes;
        if self.hits.is_empty() {
            self.files.forget();
        }
        self.collect();
    }

    /// The engine has read present bytes, or could not.
    fn hit_ended(&mut self, outcome: Outcome, now: Instant, served: &mut Served) {
        let Some(hit) = self.hits.try_remove(outcome.tag as usize) else {
            // Given up after the close, and come back after all.
            return;
        };
        let asked = outcome.buffer.len();
        match outcome.result {
            Ok(Output::Bytes(count)) if count == asked => {
                let latency_ns = now.saturating_duration_since(hit.started).as_nanos() as u64;
                served.hits += 1;
                served.bytes += count as u64;
                served.shortest_ns = served.shortest_ns.min(latency_ns);
                self.files.release(hit.file);
                self.ready
                    .push_back(hit_completion(hit.tag, count as u64, latency_ns));
            }
            result => self.hit_failed(hit, result.err().unwrap_or(Errno::NODATA)),
        }
    }

    /// A read that was ended early fails; of one that the cache's device could not
    /// do, the origin still has the bytes.
    fn hit_failed(&mut self, hit: Hit, errno: Errno) {
        let (file, version) = self.files.take(hit.file);
        // A device that does not answer in time says ETIMEDOUT, too.
        let over = |timeout| hit.started.elapsed() >= timeout;
        let late = errno == Errno::TIMEDOUT && hit.treatment.timeout.is_some_and(over);
        if late || errno == Errno::CANCELED && !hit.late {
            return self.fail(&hit, errno);
        }
        let careful = !hit.late;
        if careful {
            self.shared.logged(|| unreadable(&version, errno));
        }
        // `submit` counts it again.
        self.shared.counters.in_flight.sub(1);
        let range = (hit.offset, hit.target.len() as u64);
        let target = Target::One(hit.target);
        let new = NewRequest {
            started: hit.started,
            careful,
            ..self.new_request(&file, Operation::Read, target, range, hit.treatment)
        };
        if let Err(error) = self.hand_over(&file, new, hit.tag) {
            self.shared.counters.in_flight.add(1);
            self.fail(&hit, error.errno());
        }
    }

    fn fail(&mut self, hit: &Hit, errno: Errno) {
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
        if self.handed.is_empty() {
            return;
        }
        for (id, mut completion) in self.remote.take() {
            // The id is ours until here; the tag is the caller's.
            let handed = self.handed.remove(&id).expect("each completes once");
            completion.tag = handed.tag;
            self.ready.push_back(completion);
        }
    }

    /// Asks for the end of every request with this tag; returns how many.
    pub fn cancel(&mut self, tag: u64) -> Result<usize> {
        self.cancel_each(|other, _| other == tag)
    }

    /// Asks for the end of every request on this file; returns how many.
    pub fn cancel_file(&mut self, file: &File) -> Result<usize> {
        self.cancel_each(|_, other| Arc::ptr_eq(other, &file.0))
    }

    /// Asks for the end of every request; returns how many.
    pub fn cancel_all(&mut self) -> Result<usize> {
        self.cancel_each(|_, _| true)
    }

    fn cancel_each(&mut self, is: impl Fn(u64, &Arc<FileInner>) -> bool) -> Result<usize> {
        self.claim()?;
        let files = &self.files;
        let hits = self.hits.iter();
        let hits = hits.filter(|(_, hit)| is(hit.tag, files.file(hit.file)));
        let slots: Vec<usize> = hits.map(|(slot, _)| slot).collect();
        let mut asked = 0;
        for slot in slots {
            // What cannot be called back any more has been asked all the same.
            self.with_engine(|engine| engine.cancel(Which::Tag(slot as u64)));
            asked += 1;
        }
        let handed = self.handed.iter();
        for (id, _) in handed.filter(|(_, handed)| is(handed.tag, &handed.file)) {
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
            self.tell_ready();
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
            tell_left(engine.shut_down(deadline));
        }
        self.shared.counters.in_flight.sub(self.hits.len() as u64);
    }
}

/// Says how many reads of a queue the kernel still has.
fn tell_left(count: usize) {
    if count > 0 {
        tracing::error!("{count} reads of a queue did not end in time: their buffers must stay");
    }
}

impl Batch<'_> {
    /// Queues a read into lent memory. EAGAIN: the queue is full.
    pub fn read(
        &mut self,
        file: &File,
        target: Lent,
        offset: u64,
        tag: u64,
        treatment: Treatment,
    ) -> Result<()> {
        let queue = &mut *self.queue;
        queue.check_room()?;
        let believed = file.0.is_believed();
        let known = queue.files.hold(&file.0);
        let version = queue.files.version(known);
        let asked = target.len() as u64;
        let end = version.token.size.min(offset.saturating_add(asked));
        let length = end.saturating_sub(offset);
        if length == 0 && believed {
            queue.files.release(known);
            queue.shared.counters.in_flight.add(1);
            queue.end(hit_completion(tag, 0, 0));
            return Ok(());
        }
        let present = believed && version.present_run(offset, end) == length;
        if present && from_memory(version, target, offset, length as usize) {
            queue.files.release(known);
            file.0.saw_hit(offset, length);
            self.copied(tag, length);
            return Ok(());
        }
        let straight_away = present && version.trust() == Trust::Whole;
        let way = straight_away.then(|| straight(version, target, offset, length as usize));
        let Some(way) = way.flatten() else {
            queue.files.release(known);
            return self.hand_over(file, Target::One(target), (offset, asked), tag, treatment);
        };
        let op = way.op(target, offset, length as usize, treatment.terms());
        self.begun += 1;
        let hit = Hit {
            tag,
            file: known,
            treatment,
            target,
            offset,
            started: self.now,
            late: false,
        };
        queue.read_hit(hit, op);
        file.0.saw_hit(offset, length);
        Ok(())
    }

    /// A read was served from memory: it is over.
    fn copied(&mut self, tag: u64, bytes: u64) {
        let begun = std::mem::replace(&mut self.now, Instant::now());
        let latency_ns = self.now.saturating_duration_since(begun).as_nanos() as u64;
        self.begun += 1;
        self.served.hits += 1;
        self.served.bytes += bytes;
        let completion = hit_completion(tag, bytes, latency_ns);
        self.queue.ready.push_back(completion);
    }

    /// Queues a read into several pieces of lent memory, in order. Library threads
    /// serve it. EAGAIN: the queue is full.
    pub fn read_vectored(
        &mut self,
        file: &File,
        segments: &[Lent],
        offset: u64,
        tag: u64,
        treatment: Treatment,
    ) -> Result<()> {
        self.queue.check_room()?;
        let asked = total(segments);
        let target = Target::of(segments.to_vec());
        self.hand_over(file, target, (offset, asked), tag, treatment)
    }

    fn hand_over(
        &mut self,
        file: &File,
        target: Target,
        range: (u64, u64),
        tag: u64,
        treatment: Treatment,
    ) -> Result<()> {
        let queue = &mut *self.queue;
        let new = NewRequest {
            started: self.now,
            ..queue.new_request(&file.0, Operation::Read, target, range, treatment)
        };
        queue.hand_over(&file.0, new, tag)
    }

    /// Queues a copy of a range into the cache. EAGAIN: the queue is full.
    pub fn fill(
        &mut self,
        file: &File,
        offset: u64,
        length: u64,
        tag: u64,
        treatment: Treatment,
    ) -> Result<()> {
        let queue = &mut *self.queue;
        queue.check_room()?;
        let range = (offset, length);
        let new = queue.new_request(&file.0, Operation::Fill, Target::Nothing, range, treatment);
        queue.hand_over(&file.0, new, tag)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.begun > 0 {
            let counters = &self.queue.shared.counters;
            counters.in_flight.add(self.begun);
            counters.bytes_from_memory.add(self.served.bytes);
            count_hits(std::mem::take(&mut self.served), counters);
        }
    }
}

/// The files of the hits in flight, each with the version that is read. The last
/// one is kept at hand, so that a run of reads on one file holds it only once.
#[derive(Default)]
struct Files {
    known: Slab<Known>,
    last: Option<u32>,
}

struct Known {
    file: Arc<FileInner>,
    version: Arc<Version>,
    /// `FileInner::changes` when the version was taken.
    changes: u64,
    /// Hits in flight.
    users: u32,
}

impl Files {
    /// One more hit on a file's current version.
    fn hold(&mut self, file: &Arc<FileInner>) -> u32 {
        if let Some(last) = self.last {
            let known = &mut self.known[last as usize];
            if Arc::ptr_eq(&known.file, file) && known.changes == file.changes() {
                known.users += 1;
                return last;
            }
        }
        self.forget();
        // Before the version: one that comes in between is taken again next time.
        let changes = file.changes();
        let index = self.known.insert(Known {
            file: Arc::clone(file),
            version: file.version(),
            changes,
            users: 1,
        });
        self.last = Some(index as u32);
        index as u32
    }

    /// One hit less.
    fn release(&mut self, index: u32) {
        let known = &mut self.known[index as usize];
        known.users -= 1;
        if known.users == 0 && self.last != Some(index) {
            self.known.remove(index as usize);
        }
    }

    /// One hit less, whose file is needed.
    fn take(&mut self, index: u32) -> (Arc<FileInner>, Arc<Version>) {
        let known = &self.known[index as usize];
        let taken = (Arc::clone(&known.file), Arc::clone(&known.version));
        self.release(index);
        taken
    }

    /// Keeps no file at hand that no hit is on.
    fn forget(&mut self) {
        if let Some(last) = self.last.take()
            && self.known[last as usize].users == 0
        {
            self.known.remove(last as usize);
        }
    }

    fn version(&self, index: u32) -> &Version {
        &self.known[index as usize].version
    }

    fn file(&self, index: u32) -> &Arc<FileInner> {
        &self.known[index as usize].file
    }
}
