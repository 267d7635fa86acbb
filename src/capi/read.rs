//! Reads: blocking, vectored, and with a callback.

use super::guard;
use super::handle::Handle;
use super::pointer::{User, lent};
use super::types::*;
use cachefs_core::{
    Completion, Errno, Error, File, Lent, MissReason, Operation, Result, Source, limits,
};
use libc::iovec;
use std::ffi::c_void;

/// Reads from a file.
///
/// Bytes that are in the cache are read on the calling thread; for others it
/// waits while they come from the origin and the cache is filled with them.
///
/// file    must not be NULL
/// buffer  must not be NULL unless `length` is 0
/// length  bytes
/// offset  where in the file
///
/// Returns the bytes read: fewer than `length` only at the end of the file, 0
/// behind it. Or a negative errno. What of the buffer no bytes were read to is
/// undefined:
///   -EINVAL    NULL, or `length` of 2^63 or more      -EBADF  not an open file
///   -EIO, -EACCES, -ESTALE …  the origin's error, as it gave it
///   -ESTALE    the origin's file changed again and again while it was read
///   -ETIMEDOUT the origin did not answer within `origin_timeout_ms`
///   -ECANCELED the cache was closed meanwhile      -ESHUTDOWN  it was closed before
///   -EBUSY     the same, and the buffer is still the kernel's: see cachefs_completion
///   -EDEADLK   inside a completion callback, and not all bytes are in the cache
///              (or not aligned: see cachefs_completion_callback)
///   -ENOTRECOVERABLE  a bug in the library was caught      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: while the origin is read. Since: 0.1.
///
/// # Safety
/// `buffer` must be writable for `length` bytes and nobody else's during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_read(
    file: *mut cachefs_file,
    buffer: *mut c_void,
    length: u64,
    offset: u64,
) -> i64 {
    guard::bytes(|| {
        let file = File::get(file)?;
        // SAFETY: the caller promises the memory for the call, which returns
        // only once the request has completed.
        let buffer = unsafe { lent(buffer, length) }?;
        file.read_vectored(&[buffer], offset)
    })
}

/// Reads from a file into several pieces of memory, in order: see cachefs_read().
///
/// file    must not be NULL
/// iov     must not be NULL unless `count` is 0
/// count   pieces, 0 to 1024
/// offset  where in the file
///
/// Returns what cachefs_read() does; also -EINVAL for more than 1024 pieces.
///
/// Thread-safety: any thread. Blocks: while the origin is read. Since: 0.1.
///
/// # Safety
/// `iov` must be readable for `count` elements, and each must name writable
/// memory that is nobody else's during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_readv(
    file: *mut cachefs_file,
    iov: *const iovec,
    count: u32,
    offset: u64,
) -> i64 {
    guard::bytes(|| {
        let file = File::get(file)?;
        // SAFETY: the caller promises the pieces for the call, which returns only
        // once the request has completed.
        let segments = unsafe { segments(iov, count) }?;
        file.read_vectored(&segments, offset)
    })
}

/// Starts a read; its end is told to a callback on a library thread.
///
/// file      must not be NULL; may be closed before the completion
/// buffer    must not be NULL unless `length` is 0; the library's until the callback
/// length    bytes
/// offset    where in the file
/// callback  must not be NULL
/// user      passed to the callback
/// id        NULL, or a place for the request's id, for cachefs_cancel(); written
///           before the callback is called
///
/// Returns 0 if the read was accepted, and the callback is called exactly once:
/// its `result` is what cachefs_read() would return, -ECANCELED or -EBUSY. Or a negative
/// errno, and it is not called:
///   -EINVAL  NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
///   -EAGAIN  `async_limit` requests are in flight: try again after a completion
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
///
/// # Safety
/// `buffer` must be writable for `length` bytes and nobody else's until the
/// callback; `callback` must be callable on any thread; `id` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_read_async(
    file: *mut cachefs_file,
    buffer: *mut c_void,
    length: u64,
    offset: u64,
    callback: cachefs_completion_callback,
    user: *mut c_void,
    id: *mut u64,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        // SAFETY: the caller promises the memory until the callback.
        let buffer = unsafe { lent(buffer, length) }?;
        // SAFETY: the caller promises the callback.
        let told = unsafe { Told::new(callback, user) }?;
        // SAFETY: the caller promises a writable place or NULL.
        let announce = |number| unsafe { write_id(id, number) };
        file.read_async(buffer, offset, announce, move |completion| {
            told.tell(completion)
        })
    })
}

/// Pieces of memory that the program lends: EINVAL for NULL, or too many.
///
/// # Safety
/// `iov` must be readable for `count` elements, and each must name memory that is
/// lent until the request has completed.
pub(super) unsafe fn segments(iov: *const iovec, count: u32) -> Result<Vec<Lent>> {
    if count as usize > limits::SEGMENTS_MAX {
        let text = format!("{count} pieces are more than {}", limits::SEGMENTS_MAX);
        return Err(Error::new(Errno::INVAL, text));
    }
    if iov.is_null() && count > 0 {
        return Err(Error::new(Errno::INVAL, "the list of pieces is NULL"));
    }
    let piece = |index| {
        // SAFETY: the caller promises `count` elements with their memory.
        unsafe {
            let piece = iov.add(index).read();
            lent(piece.iov_base, piece.iov_len as u64)
        }
    };
    (0..count as usize).map(piece).collect()
}

/// Writes a request's id where the program wants it.
///
/// # Safety
/// `place` must be NULL or writable.
pub(super) unsafe fn write_id(place: *mut u64, id: u64) {
    if !place.is_null() {
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { place.write(id) }
    }
}

/// A callback and its user pointer.
#[derive(Clone, Copy)]
pub(super) struct Told {
    callback: unsafe extern "C" fn(*mut c_void, *const cachefs_completion),
    user: User,
}

impl Told {
    /// EINVAL without a callback.
    ///
    /// # Safety
    /// The callback must be callable with `user` on any thread, once.
    pub(super) unsafe fn new(
        callback: cachefs_completion_callback,
        user: *mut c_void,
    ) -> Result<Self> {
        let callback = callback.ok_or_else(|| Error::new(Errno::INVAL, "the callback is NULL"))?;
        let user = User(user);
        Ok(Self { callback, user })
    }

    pub(super) fn tell(self, completion: Completion) {
        let completion = convert(&completion);
        // SAFETY: by the contract of `new`; the completion outlives the call.
        unsafe { (self.callback)(self.user.0, &completion) }
    }
}

/// A completion as C knows it.
pub(crate) fn convert(completion: &Completion) -> cachefs_completion {
    cachefs_completion {
        tag: completion.tag,
        result: match completion.result {
            Ok(bytes) => bytes as i64,
            Err(errno) => i64::from(-errno.raw_os_error()),
        },
        bytes_from_cache: completion.bytes_from_cache,
        latency_ns: completion.latency_ns,
        operation: match completion.operation {
            Operation::Read => CACHEFS_OPERATION_READ,
            Operation::Fill => CACHEFS_OPERATION_FILL,
        },
        source: match completion.source {
            Source::None => CACHEFS_SOURCE_NONE,
            Source::Hit => CACHEFS_SOURCE_HIT,
            Source::Miss => CACHEFS_SOURCE_MISS,
            Source::Mixed => CACHEFS_SOURCE_MIXED,
            Source::Bypass => CACHEFS_SOURCE_BYPASS,
            Source::Stale => CACHEFS_SOURCE_STALE,
        },
        miss_reason: match completion.miss_reason {
            MissReason::None => CACHEFS_MISS_NONE,
            MissReason::NeverCached => CACHEFS_MISS_NEVER_CACHED,
            MissReason::VersionChanged => CACHEFS_MISS_VERSION_CHANGED,
            MissReason::NotAdmitted => CACHEFS_MISS_NOT_ADMITTED,
            MissReason::CacheError => CACHEFS_MISS_CACHE_ERROR,
            MissReason::FailedChecksum => CACHEFS_MISS_FAILED_CHECKSUM,
            MissReason::Evicted => CACHEFS_MISS_EVICTED,
            MissReason::NoRoom => CACHEFS_MISS_NO_ROOM,
            MissReason::TooYoung => CACHEFS_MISS_TOO_YOUNG,
            MissReason::NotStoring => CACHEFS_MISS_NOT_STORING,
            MissReason::FetchedElsewhere => CACHEFS_MISS_FETCHED_ELSEWHERE,
        },
        reserved: [0; 5],
    }
}
