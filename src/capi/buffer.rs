//! Memory that the engine knows.

use super::guard;
use super::handle::Handle;
use super::pointer::Out;
use super::types::*;
use cachefs_core::{Cache, Errno, Error, Result};
use std::ffi::c_void;

/// Allocates page-aligned memory that is registered with the engine: reads into
/// it by a queue cost less, since its pages are pinned once and not for each read.
///
/// It is zeroed, and forked children do not get it. On psync it is memory like
/// any other. Where RLIMIT_MEMLOCK does not allow to pin it (8 MiB for ordinary
/// users), reads into it work all the same, and the log says so.
///
/// cache   must not be NULL
/// length  bytes, not 0
/// buffer  must not be NULL; free it with cachefs_buffer_free()
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or no memory has that length      -ENOMEM  there is not so much
///   -ENOSPC  64 pieces are registered; one has up to 1 GiB
///   -EBADF   not an open cache      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `buffer` must be NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_buffer_alloc(
    cache: *mut cachefs_cache,
    length: u64,
    buffer: *mut *mut c_void,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(buffer, "the place for the buffer") }?;
        out.set(cache.allocate(to_usize(length)?)?.cast());
        Ok(())
    })
}

/// Frees what cachefs_buffer_alloc() gave. No request may be using it. What is
/// not freed before cachefs_cache_close() goes when the last file, origin and
/// queue of the cache is closed.
///
/// cache   must not be NULL
/// buffer  NULL is ignored
///
/// Returns 0, or a negative errno and nothing was done:
///   -ENOENT  no memory of this cache begins there
///   -EINVAL  NULL cache      -EBADF  not an open cache
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// No request may be using the buffer, and nobody may use it afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_buffer_free(
    cache: *mut cachefs_cache,
    buffer: *mut c_void,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        if buffer.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise is the same.
        unsafe { cache.free(buffer.cast()) }
    })
}

/// Registers the program's own memory, with the effect that
/// cachefs_buffer_alloc() describes. It must stay mapped until
/// cachefs_buffer_unregister() or cachefs_cache_close().
///
/// cache   must not be NULL
/// buffer  must not be NULL
/// length  bytes, not 0
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or `length` is 0 or leads out of memory
///   -EEXIST  a part of it is registered already
///   -ENOSPC  64 pieces are registered; one has up to 1 GiB
///   -EBADF   not an open cache      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// The memory must stay mapped and writable as told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_buffer_register(
    cache: *mut cachefs_cache,
    buffer: *mut c_void,
    length: u64,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        not_null(buffer)?;
        // SAFETY: the caller's promise is the same.
        unsafe { cache.register_memory(buffer.cast(), to_usize(length)?) }
    })
}

/// Ends the registration of memory, by where it begins. Requests in flight go on;
/// later ones take it as memory like any other. Pages stay pinned until each
/// queue that used them is used again or closed.
///
/// cache   must not be NULL
/// buffer  must not be NULL
///
/// Returns 0, or a negative errno and nothing was done:
///   -ENOENT  no registered memory begins there
///   -EINVAL  NULL      -EBADF  not an open cache      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_buffer_unregister(cache: *mut cachefs_cache, buffer: *mut c_void) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        not_null(buffer)?;
        cache.unregister_memory(buffer.cast())
    })
}

fn not_null(buffer: *mut c_void) -> Result<()> {
    if buffer.is_null() {
        return Err(Error::new(Errno::INVAL, "the buffer is NULL"));
    }
    Ok(())
}

fn to_usize(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| Error::new(Errno::INVAL, "no memory has that length"))
}
