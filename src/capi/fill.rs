//! Copy-fills: bring a range into the cache.

use super::guard;
use super::handle::Handle;
use super::pointer::User;
use super::read::{Told, write_id};
use super::types::*;
use cachefs_core::File;
use std::ffi::c_void;

/// Copies a range of a file into the cache, and waits until it is there.
///
/// file      must not be NULL
/// offset    where in the file
/// length    bytes, or CACHEFS_TO_END
/// progress  NULL, or told how far it is
/// user      passed to `progress`
///
/// Returns the bytes of the range that are in the cache now, or a negative errno;
/// what was copied before the error stays:
///   -EINVAL    NULL      -EBADF  not an open file
///   -ENOSPC    the cache has no room that could be made within 2 s, or its device is full
///   -EROFS, -EACCES, -EPERM, -EDQUOT, -EIO  the cache cannot be written to: see
///              cachefs_cache_report()
///   -EFBIG     the file is larger than 16 TiB
///   -EAGAIN    the file's time lies in the future, so that it cannot be trusted
///   -ECANCELED by `progress`, or the cache was closed meanwhile
///   -ESHUTDOWN the cache is closed      -EDEADLK  inside a completion callback
///   else as cachefs_read()
///
/// Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
///
/// # Safety
/// `progress` must be callable with `user` on this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_fill(
    file: *mut cachefs_file,
    offset: u64,
    length: u64,
    progress: cachefs_progress_callback,
    user: *mut c_void,
) -> i64 {
    guard::bytes(|| {
        let file = File::get(file)?;
        let user = User(user);
        file.fill(offset, length, |done, total| match progress {
            None => true,
            // SAFETY: the caller promises that it can be called on this thread.
            Some(progress) => unsafe { progress(user.0, done, total) == 0 },
        })
    })
}

/// Starts a copy of a range into the cache; its end is told to a callback on a
/// library thread.
///
/// file      must not be NULL; may be closed before the completion
/// offset    where in the file
/// length    bytes, or CACHEFS_TO_END
/// callback  must not be NULL
/// user      passed to the callback
/// id        NULL, or a place for the request's id, for cachefs_cancel(); written
///           before the callback is called
///
/// Returns what cachefs_read_async() does; the completion's `result` is what
/// cachefs_fill() would return.
///
/// Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
///
/// # Safety
/// `callback` must be callable with `user` on any thread; `id` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_fill_async(
    file: *mut cachefs_file,
    offset: u64,
    length: u64,
    callback: cachefs_completion_callback,
    user: *mut c_void,
    id: *mut u64,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        // SAFETY: the caller promises the callback.
        let told = unsafe { Told::new(callback, user) }?;
        // SAFETY: the caller promises a writable place or NULL.
        let announce = |number| unsafe { write_id(id, number) };
        file.fill_async(offset, length, announce, move |completion| {
            told.tell(completion)
        })
    })
}
