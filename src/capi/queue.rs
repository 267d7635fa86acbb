//! Queues: many requests in flight from one thread, without callbacks.

use super::cache::no_flags;
use super::extensible::{copy_in, zeroed};
use super::guard;
use super::handle::{Handle, LockedQueue};
use super::pointer::{Out, lent};
use super::read::convert;
use super::request::{Action, Request, Requests};
use super::types::*;
use cachefs_core::{Batch, Cache, Errno, Error, File, Queue, QueueOptions, Result, Treatment};
use libc::iovec;
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

/// Opens a queue.
///
/// cache    must not be NULL
/// options  NULL: all defaults; copied
/// queue    must not be NULL; close it with cachefs_queue_close()
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, an unknown flag, or a depth above 4096
///   -E2BIG   an option is set that this release does not know
///   -EBADF   not an open cache      -ESHUTDOWN  the cache is closed
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread; the queue then belongs to the first that submits on
/// it, or reads, fills, cancels, waits or asks for the descriptor. Blocks: never.
/// Since: 0.1.
///
/// # Safety
/// `options` must be NULL or an initialised structure; `queue` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_queue_open(
    cache: *mut cachefs_cache,
    options: *const cachefs_queue_options,
    queue: *mut *mut cachefs_queue,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        let given = if options.is_null() {
            zeroed()
        } else {
            // SAFETY: the caller promises an initialised structure.
            unsafe { copy_in(options) }?
        };
        no_flags(given.flags & !CACHEFS_QUEUE_MOVABLE)?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(queue, "the place for the queue") }?;
        let opened = cache.open_queue(QueueOptions {
            depth: given.depth,
            movable: given.flags & CACHEFS_QUEUE_MOVABLE != 0,
        })?;
        out.set(Mutex::new(opened).expose()?);
        Ok(())
    })
}

/// Closes a queue: cancels its requests and waits for their end. Completions
/// that were not fetched are dropped; afterwards no buffer is touched.
///
/// But for those of requests that do not end within `close_timeout_ms`: the log
/// counts them, and their buffers must stay. To know which they are, close the cache
/// first, and then fetch the completions: they have -EBUSY.
///
/// queue  NULL is ignored; not an open queue: nothing is done, and
///        cachefs_last_error() says so
///
/// Returns nothing.
///
/// Thread-safety: the queue's thread, while no other call uses it. Blocks: up to
/// `close_timeout_ms`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_close(queue: *mut cachefs_queue) {
    guard::nothing(|| {
        if queue.is_null() {
            return Ok(());
        }
        LockedQueue::retire(queue).map(drop)
    })
}

/// Queues a batch of requests.
///
/// queue         must not be NULL
/// requests      must not be NULL unless `count` is 0; copied
/// count         elements
/// request_size  sizeof(cachefs_request) of the program
///
/// Returns how many were accepted, from the first on; each has one completion.
/// Fewer than `count` when the queue is full, or when the next one is bad. If
/// the first is not accepted, a negative errno:
///   -EAGAIN  the queue is full: fetch completions first
///   -EINVAL  NULL, an unknown operation or flag, a buffer where none belongs, or
///            `request_size` is smaller than the first release's
///   -E2BIG   something is set that this release does not know
///   -EBADF   not an open queue or file      -ESHUTDOWN  the cache is closed
///   -EPERM   another thread's queue         -EBUSY      another thread is using it
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `requests` must be readable for `count` elements of `request_size` bytes; each
/// buffer must be writable, and nobody else's until the request's completion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_queue_push(
    queue: *mut cachefs_queue,
    requests: *const cachefs_request,
    count: u32,
    request_size: usize,
) -> i32 {
    guard::count(|| {
        with(queue, |queue| {
            // SAFETY: the caller promises `count` elements of this size, with
            // their buffers.
            let mut requests = unsafe { Requests::new(requests, count, request_size) }?;
            let mut batch = queue.batch()?;
            for index in 0..requests.count() {
                match push_one(&mut batch, &mut requests, index) {
                    Ok(()) => {}
                    Err(error) if index == 0 => return Err(error),
                    // The program sees the reason when it pushes the rest.
                    Err(_) => return Ok(index as i32),
                }
            }
            // A queue holds fewer than an `int` can count.
            Ok(requests.count() as i32)
        })
    })
}

fn push_one(batch: &mut Batch<'_>, requests: &mut Requests, index: u32) -> Result<()> {
    let (request, file) = requests.get(index)?;
    let Request {
        offset,
        tag,
        treatment,
        ..
    } = request;
    match request.action {
        Action::Read(buffer) => batch.read(file, buffer, offset, tag, treatment),
        Action::ReadVectored(pieces) => batch.read_vectored(file, &pieces, offset, tag, treatment),
        Action::Fill(length) => batch.fill(file, offset, length, tag, treatment),
    }
}

/// Says how many requests the queue still takes. Completions that were not
/// fetched hold their place.
///
/// queue  must not be NULL
///
/// Returns a count, 0 when it is full, or a negative errno:
///   -EINVAL  NULL      -EBADF  not an open queue      -EBUSY  another thread is using it
///   -ESHUTDOWN  the cache is closed, and every completion was fetched
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_space(queue: *mut cachefs_queue) -> i32 {
    guard::count(|| with(queue, |queue| Ok(queue.space()? as i32)))
}

/// Queues one read: see cachefs_queue_push().
///
/// Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `buffer` must be writable for `length` bytes, and nobody else's until the
/// request's completion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_queue_read(
    queue: *mut cachefs_queue,
    file: *mut cachefs_file,
    buffer: *mut c_void,
    length: u64,
    offset: u64,
    tag: u64,
) -> i32 {
    guard::status(|| {
        with(queue, |queue| {
            let file = File::get(file)?;
            // SAFETY: the caller promises the buffer.
            let buffer = unsafe { lent(buffer, length) }?;
            queue.read(&file, buffer, offset, tag)
        })
    })
}

/// Queues one read into several pieces of memory: see cachefs_queue_push().
///
/// Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `segments` must be readable for `count` elements; their memory must be
/// writable, and nobody else's until the request's completion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_queue_readv(
    queue: *mut cachefs_queue,
    file: *mut cachefs_file,
    segments: *const iovec,
    count: u32,
    offset: u64,
    tag: u64,
) -> i32 {
    guard::status(|| {
        with(queue, |queue| {
            let file = File::get(file)?;
            // SAFETY: the caller promises the segments and their memory.
            let pieces = unsafe { super::read::segments(segments, count) }?;
            let treatment = Treatment::default();
            queue
                .batch()?
                .read_vectored(&file, &pieces, offset, tag, treatment)
        })
    })
}

/// Queues one copy-fill: see cachefs_queue_push().
///
/// Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_fill(
    queue: *mut cachefs_queue,
    file: *mut cachefs_file,
    offset: u64,
    length: u64,
    tag: u64,
) -> i32 {
    guard::status(|| {
        with(queue, |queue| {
            let file = File::get(file)?;
            queue.fill(&file, offset, length, tag)
        })
    })
}

/// Asks for the end of every request of this queue that has this tag. Each is
/// completed all the same: with -ECANCELED, or with what it came to before.
///
/// queue  must not be NULL
/// tag    as in the requests
///
/// Returns how many requests were asked to end, or a negative errno:
///   -EINVAL  NULL      -EBADF  not an open queue      -EPERM  another thread's queue
///   -EBUSY   another thread is using it      -ECHILD  see cachefs_cache_open()
///   -ESHUTDOWN  the cache is closed, and every completion was fetched
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_cancel(queue: *mut cachefs_queue, tag: u64) -> i32 {
    guard::count(|| with(queue, |queue| Ok(queue.cancel(tag)? as i32)))
}

/// Asks for the end of every request of this queue that is on this file: see
/// cachefs_queue_cancel().
///
/// queue  must not be NULL
/// file   must not be NULL
///
/// Returns how many requests were asked to end, or a negative errno of
/// cachefs_queue_cancel(); -EBADF also for what is not an open file.
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_cancel_file(
    queue: *mut cachefs_queue,
    file: *mut cachefs_file,
) -> i32 {
    guard::count(|| {
        with(queue, |queue| {
            let file = File::get(file)?;
            Ok(queue.cancel_file(&file)? as i32)
        })
    })
}

/// Asks for the end of every request of this queue: see cachefs_queue_cancel().
///
/// queue  must not be NULL
///
/// Returns how many requests were asked to end, or a negative errno of
/// cachefs_queue_cancel().
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_cancel_all(queue: *mut cachefs_queue) -> i32 {
    guard::count(|| with(queue, |queue| Ok(queue.cancel_all()? as i32)))
}

/// Hands what was queued to the kernel. cachefs_queue_wait() does so as well.
///
/// queue  must not be NULL
///
/// Returns 0, or a negative errno: as cachefs_queue_cancel().
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_submit(queue: *mut cachefs_queue) -> i32 {
    guard::status(|| with(queue, Queue::submit))
}

/// Hands what was queued to the kernel, waits, and fetches completions.
///
/// queue        must not be NULL
/// completions  must not be NULL unless `max` is 0; room for `max`
/// min          waits for so many, or for all requests of the queue if they are fewer
/// max          fetches at most so many; at least `min`
/// timeout_ns   waits no longer than so many nanoseconds; below 0: no limit
///
/// Returns how many were fetched: fewer than `min` only when the time is over or
/// the queue holds fewer. Or a negative errno:
///   -EINVAL  NULL, or `min` above `max`      -EDEADLK  inside a completion callback
///   else as cachefs_queue_cancel()
///
/// Thread-safety: the queue's thread. Blocks: as told; once the cache is closed and
/// its device hangs, also up to `close_timeout_ms`. Since: 0.1.
///
/// # Safety
/// `completions` must be writable for `max` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_queue_wait(
    queue: *mut cachefs_queue,
    completions: *mut cachefs_completion,
    min: u32,
    max: u32,
    timeout_ns: i64,
) -> i32 {
    guard::count(|| {
        with(queue, |queue| {
            if min > max {
                return Err(Error::new(Errno::INVAL, "min is above max"));
            }
            if completions.is_null() && max > 0 {
                return Err(Error::new(Errno::INVAL, "the completions are NULL"));
            }
            let timeout = u64::try_from(timeout_ns).ok().map(Duration::from_nanos);
            let mut place = completions;
            let fetched = queue.wait((min as usize, max as usize), timeout, |completion| {
                // SAFETY: the caller promises room for `max`, and no more are given.
                unsafe {
                    place.write(convert(&completion));
                    place = place.add(1);
                }
            })?;
            Ok(fetched as i32)
        })
    })
}

/// Gives a descriptor for poll(2), select(2) and epoll(7): readable when
/// completions may be waiting, cleared by cachefs_queue_wait(). It belongs to the
/// queue: do not read, write or close it.
///
/// queue  must not be NULL
///
/// Returns the descriptor, the same each time, or a negative errno:
///   -EMFILE, -ENFILE, -ENOMEM  it cannot be made
///   else as cachefs_queue_cancel()
///
/// Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_queue_fd(queue: *mut cachefs_queue) -> i32 {
    guard::count(|| with(queue, |queue| Ok(queue.event()?.as_raw_fd())))
}

/// Runs `body` on a queue that nobody else is using.
fn with<T>(queue: *mut cachefs_queue, body: impl FnOnce(&mut Queue) -> Result<T>) -> Result<T> {
    let queue = LockedQueue::get(queue)?;
    let mut locked = match queue.try_lock() {
        Ok(locked) => locked,
        Err(TryLockError::WouldBlock) => {
            return Err(Error::new(Errno::BUSY, "another thread is using the queue"));
        }
        Err(TryLockError::Poisoned(_)) => {
            let text = "a bug in the library was caught on this queue: close it";
            return Err(Error::new(Errno::NOTRECOVERABLE, text));
        }
    };
    body(&mut locked)
}
