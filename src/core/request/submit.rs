//! How a request comes in: served at once if every byte is present, else
//! handed to the shard of its object.

use super::hit::{from_memory, straight, unreadable};
use super::sink::{Sink, Waiting};
use super::{Request, Target, Treatment, shares, total};
use crate::buf::Lent;
use crate::completion::{Completion, MissReason, Operation};
use crate::error::{Errno, Error, Result, describe};
use crate::exec::{Message, on_shard};
use crate::file::{File, FileInner, Version};
use crate::store::Trust;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a waiting fill tells its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What a door asks for.
pub(crate) struct NewRequest {
    /// From `Shared::fresh_id` of the file's shard.
    pub(crate) id: u64,
    pub(crate) operation: Operation,
    pub(crate) target: Target,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) started: Instant,
    pub(crate) treatment: Treatment,
    pub(crate) progress: Option<Arc<AtomicU64>>,
    /// A chunk of it cannot be read from the cache.
    pub(crate) careful: bool,
    pub(crate) sink: Sink,
}

impl NewRequest {
    /// One that begins now, and whose progress nobody watches.
    pub(crate) fn new(
        id: u64,
        operation: Operation,
        target: Target,
        (offset, length): (u64, u64),
        sink: Sink,
    ) -> Self {
        Self {
            id,
            operation,
            target,
            offset,
            length,
            started: Instant::now(),
            treatment: Treatment::default(),
            progress: None,
            careful: false,
            sink,
        }
    }
}

/// Hands a request to its shard. ESHUTDOWN: nothing was done.
pub(crate) fn submit(file: &Arc<FileInner>, new: NewRequest) -> Result<()> {
    let shared = &file.origin.cache;
    if new.operation == Operation::Read {
        file.saw_miss(new.offset, new.length);
    }
    let request = new_request(file, new);
    shared.counters.in_flight.add(1);
    shared.ports[file.shard]
        .post(Message::Start(request))
        .map_err(|(errno, _)| {
            shared.counters.in_flight.sub(1);
            Error::new(errno, "the cache is closed")
        })
}

/// What came of a read on the caller's thread.
enum Here {
    /// So many bytes.
    Read(u64),
    /// It takes a shard.
    No,
    /// The same, since the device could not do it.
    Failed,
}

/// A request of which nothing has been done.
pub(super) fn new_request(file: &Arc<FileInner>, new: NewRequest) -> Box<Request> {
    // Before the version, which may be of before the invalidation all the same.
    let believed = file.is_believed();
    let version = file.version();
    let end = version
        .token
        .size
        .min(new.offset.saturating_add(new.length));
    Box::new(Request {
        id: new.id,
        operation: new.operation,
        file: Arc::clone(file),
        version,
        target: new.target,
        offset: new.offset,
        length: new.length,
        cursor: new.offset.min(end),
        outstanding: 0,
        reading: 0,
        reading_since: None,
        careful: new.careful,
        late: false,
        from_cache: 0,
        from_origin: 0,
        bypassed: 0,
        miss_reason: MissReason::None,
        failure: None,
        again: None,
        retries: 0,
        tried: 0,
        lacks_source: false,
        claimed_since: None,
        roomless_since: None,
        survey: None,
        surveying: false,
        held: false,
        reaching: false,
        unsure: !believed,
        run_chunks: 1,
        started: new.started,
        priority: new.treatment.priority,
        until: new
            .treatment
            .timeout
            .and_then(|left| new.started.checked_add(left)),
        progress: new.progress,
        sink: new.sink,
    })
}

/// The doors: blocking, and with a callback.
impl File {
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<u64> {
        // SAFETY: the buffer is borrowed for the call, which returns only once
        // the request has completed.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
        self.0.read(&[lent], offset)
    }

    /// Reads at `offset` if every byte is in the cache, on the calling thread: it waits
    /// for the cache's device, never for the origin. None: nothing was read.
    pub fn read_present(&self, buffer: &mut [u8], offset: u64) -> Option<u64> {
        self.0.origin.cache.check_open().ok()?;
        // SAFETY: as in `read_at`.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
        match self.0.read_here(&[lent], offset, buffer.len() as u64) {
            Here::Read(length) => Some(length),
            Here::No | Here::Failed => None,
        }
    }

    /// Reads at `offset` into several pieces of lent memory, in order.
    pub fn read_vectored(&self, segments: &[Lent], offset: u64) -> Result<u64> {
        self.0.read(segments, offset)
    }

    /// Starts a read into lent memory; `callback` is told its end on a library
    /// thread. `announce` is told the request's id before that. EAGAIN:
    /// `async_limit` is reached.
    pub fn read_async(
        &self,
        buffer: Lent,
        offset: u64,
        announce: impl FnOnce(u64),
        callback: impl FnOnce(Completion) + Send + 'static,
    ) -> Result<()> {
        let range = (offset, buffer.len() as u64);
        let target = Target::One(buffer);
        self.0
            .submit_callback(Operation::Read, target, range, announce, callback)
    }

    /// Copies a range into the cache and waits until it is there. `watch` is
    /// told the bytes present and in all, some ten times a second; false cancels.
    pub fn fill(
        &self,
        offset: u64,
        length: u64,
        mut watch: impl FnMut(u64, u64) -> bool,
    ) -> Result<u64> {
        self.0.fill((offset, length), &mut watch)
    }

    /// Starts a copy of a range into the cache; see [`File::read_async`].
    pub fn fill_async(
        &self,
        offset: u64,
        length: u64,
        announce: impl FnOnce(u64),
        callback: impl FnOnce(Completion) + Send + 'static,
    ) -> Result<()> {
        let range = (offset, length);
        self.0
            .submit_callback(Operation::Fill, Target::Nothing, range, announce, callback)
    }
}

impl FileInner {
    /// Reads into `segments`, in order; returns the bytes read, fewer than asked
    /// for only at the end of the file. Blocks.
    pub(crate) fn read(self: &Arc<Self>, segments: &[Lent], offset: u64) -> Result<u64> {
        self.origin.cache.check_open()?;
        let asked = total(segments);
        let careful = match self.read_here(segments, offset, asked) {
            Here::Read(length) => return Ok(length),
            Here::No => false,
            Here::Failed => true,
        };
        if let Some(length) = self.pass_here(segments, offset, asked) {
            return Ok(length);
        }
        let target = match segments {
            [one] => Target::One(*one),
            many => Target::Many(many.into()),
        };
        let new = |id, sink| NewRequest {
            careful,
            ..NewRequest::new(id, Operation::Read, target, (offset, asked), sink)
        };
        let completion = self.wait_for(new, &mut |_| true)?;
        self.result(completion)
    }

    /// Reads on this thread if every byte is present, and counts it.
    fn read_here(self: &Arc<Self>, segments: &[Lent], offset: u64, asked: u64) -> Here {
        let pace = &self.origin.cache.qos.pace;
        let begun = pace.sample();
        let here = self.read_at_once(segments, offset, asked);
        if let Here::Read(length) = here {
            if let Some(begun) = begun {
                pace.took(begun);
            }
            self.origin.cache.counters.hit_at_once(length);
            self.saw_hit(offset, length);
        }
        here
    }

    /// Reads on this thread if every byte is present.
    fn read_at_once(&self, segments: &[Lent], offset: u64, asked: u64) -> Here {
        if !self.is_believed() {
            return Here::No;
        }
        let version = self.glance();
        let end = version.token.size.min(offset.saturating_add(asked));
        let length = end.saturating_sub(offset);
        if version.present_run(offset, end) != length {
            return Here::No;
        }
        if let [segment] = segments
            && length > 0
            && from_memory(&version, *segment, offset, length as usize)
        {
            self.origin.cache.counters.bytes_from_memory.add(length);
            return Here::Read(length);
        }
        if version.trust() != Trust::Whole {
            // This thread would wait for as long as the device does.
            return Here::No;
        }
        match read_segments(&version, segments, offset, length) {
            Ok(true) => Here::Read(length),
            Ok(false) => Here::No,
            Err(errno) => {
                self.origin.cache.logged(|| unreadable(&version, errno));
                Here::Failed
            }
        }
    }

    /// Copies a range into the cache and waits for it. `watch` is told the bytes
    /// that are there and of how many; false cancels.
    pub(crate) fn fill(
        self: &Arc<Self>,
        (offset, length): (u64, u64),
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<u64> {
        self.origin.cache.check_open()?;
        let size = self.version().token.size;
        let total = size
            .min(offset.saturating_add(length))
            .saturating_sub(offset);
        let range = (offset, length);
        let new = |id, sink| NewRequest::new(id, Operation::Fill, Target::Nothing, range, sink);
        let completion = self.wait_for(new, &mut |done| watch(done.min(total), total))?;
        let bytes = self.result(completion)?;
        watch(bytes, bytes);
        Ok(bytes)
    }

    /// Submits and waits; ECANCELED once `watch`, told the bytes of a fill that
    /// are present, says false.
    fn wait_for(
        self: &Arc<Self>,
        new: impl FnOnce(u64, Sink) -> NewRequest,
        watch: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Completion> {
        if on_shard() {
            let text = "a callback must not wait for the library thread that it is on";
            return Err(Error::new(Errno::DEADLK, text));
        }
        let waiting = Arc::new(Waiting::default());
        let progress = Arc::new(AtomicU64::new(0));
        let id = self.origin.cache.fresh_id(self.shard);
        let sink = Sink::Blocked(Arc::clone(&waiting));
        let new = new(id, sink);
        let operation = new.operation;
        let progress_told = Some(Arc::clone(&progress));
        submit(
            self,
            NewRequest {
                progress: progress_told,
                ..new
            },
        )?;
        // A read has nothing to tell while it waits; its time limits are the shard's.
        let interval = (operation == Operation::Fill).then_some(PROGRESS_INTERVAL);
        loop {
            if let Some(completion) = waiting.wait(interval) {
                return Ok(completion);
            }
            if !watch(progress.load(Ordering::Relaxed)) {
                self.origin.cache.cancel(id);
            }
        }
    }

    fn result(&self, completion: Completion) -> Result<u64> {
        completion.result.map_err(|errno| {
            let verb = match completion.operation {
                Operation::Read => "read",
                Operation::Fill => "fill",
            };
            let path = String::from_utf8_lossy(&self.path);
            Error::new(errno, format!("{verb} {path}: {}", describe(errno)))
        })
    }

    /// Submits a request whose end a callback is told, on a library thread.
    pub(crate) fn submit_callback(
        self: &Arc<Self>,
        operation: Operation,
        target: Target,
        range: (u64, u64),
        announce: impl FnOnce(u64),
        callback: impl FnOnce(Completion) + Send + 'static,
    ) -> Result<()> {
        let shared = &self.origin.cache;
        shared.check_open()?;
        let slot = shared.take_async_slot()?;
        let id = shared.fresh_id(self.shard);
        announce(id);
        let sink = Sink::Callback(Box::new(move |completion| {
            drop(slot);
            callback(completion);
        }));
        submit(self, NewRequest::new(id, operation, target, range, sink))
    }
}

/// Reads present bytes into segments on this thread. False: they cannot all go
/// straight there.
fn read_segments(
    version: &Version,
    segments: &[Lent],
    offset: u64,
    length: u64,
) -> std::result::Result<bool, Errno> {
    let ways = || {
        let mut at = offset;
        shares(segments, 0, length as usize).map(move |(memory, count)| {
            let begin = at;
            at += count as u64;
            let way = straight(version, memory, begin, count);
            (way, memory, begin, count)
        })
    };
    if version.is_direct() && ways().any(|(way, ..)| way.is_none()) {
        return Ok(false);
    }
    for (way, memory, begin, count) in ways() {
        // It has become direct since: a shard begins anew.
        let Some(way) = way else {
            return Ok(false);
        };
        way.read_here(memory, begin, count)?;
    }
    Ok(true)
}
