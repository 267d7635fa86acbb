//! Caches.

use super::extensible::{copy_in, copy_out, zeroed};
use super::handle::Handle;
use super::pointer::{Out, Owned, text};
use super::types::*;
use super::{fork, guard, log, options};
use cachefs_core::{Cache, EngineKind, Errno, Error, FeatureSet, Pages, Report, State};
use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens a cache on a directory, and starts its threads.
///
/// The directory is made if it is not there, and made a cache if it is empty.
/// Several processes may use one directory. Where it cannot be written to (no
/// permission, read-only, full, or its device does not answer) the cache opens all the
/// same and passes every read through to its origin: cachefs_cache_report() says so.
///
/// dir      must not be NULL
/// options  NULL: all defaults; copied
/// cache    must not be NULL; close it with cachefs_cache_close()
///
/// Returns 0, or a negative errno; `log_free` was then called:
///   -EINVAL   NULL, an unknown flag or engine, a chunk size that the directory does not have
///   -ERANGE   an option is outside its range
///   -E2BIG    an option is set that this release does not know
///   -ENOENT   the parent of `dir` does not exist      -ENOTDIR  `dir` is not a directory
///   -ENOTEMPTY        `dir` is neither empty nor a cache; nothing was changed
///   -EPROTONOSUPPORT  a cache of a format that this release does not know; nothing was changed
///   -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  no descriptors, memory or threads are left
///   -EPERM, -ENOSYS   CACHEFS_ENGINE_URING was asked for, and the kernel refuses it
///   -EOPNOTSUPP       the same, and the kernel's io_uring is too old
///   -ECHILD   in a process forked from one that uses the library
///
/// Thread-safety: any thread. Blocks: while it reads the directory, at most for the option
/// device_timeout_ms. Since: 0.1.
///
/// # Safety
/// `dir` must be NULL or a C string; `options` NULL or an initialised structure
/// whose callbacks keep their contract; `cache` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_cache_open(
    dir: *const c_char,
    options: *const cachefs_cache_options,
    cache: *mut *mut cachefs_cache,
) -> i32 {
    guard::status(|| {
        let given = if options.is_null() {
            zeroed()
        } else {
            // SAFETY: the caller promises an initialised structure.
            unsafe { copy_in(options) }?
        };
        // From here on, `log_free` is called by the drop of `user`.
        // SAFETY: the caller promises that the callbacks keep their contract.
        let user = unsafe { Owned::new(given.log_user, given.log_free) };
        let mut config = options::config(&given)?;
        let level = config.completed()?.log_level as u32;
        config.log = log::dispatch(given.log, user, level);
        // SAFETY: the caller promises a C string or NULL.
        let dir = unsafe { text(dir, "the directory") }?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(cache, "the place for the cache") }?;
        fork::watch()?;
        let dir = Path::new(OsStr::from_bytes(dir.to_bytes()));
        out.set(Cache::open(dir, &config)?.expose()?);
        Ok(())
    })
}

/// Closes a cache: cancels and completes what is in flight, ends the threads.
///
/// Its origins, files and queues stay to be closed, before or after; their other
/// functions then answer -ESHUTDOWN, a queue's once its completions are fetched.
/// I/O that does not end within `close_timeout_ms` is left to the kernel with its
/// memory, and logged. Where that memory is a request's buffer, which happens when
/// the cache's own device hangs, the request completes with -EBUSY: see
/// cachefs_completion. A read that the kernel has begun on the thread of its caller
/// cannot be ended; it returns when the device answers.
///
/// cache  NULL is ignored
///
/// Returns 0, or a negative errno and nothing was done:
///   -EBADF  not an open cache      -EDEADLK  inside a completion callback
///   -ECHILD see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: up to `close_timeout_ms` and a moment. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_cache_close(cache: *mut cachefs_cache) -> i32 {
    guard::status(|| {
        if cache.is_null() {
            return Ok(());
        }
        Cache::get(cache)?.close()?;
        Cache::retire(cache).map(drop)
    })
}

/// Says what the cache runs on: the engine and why, and whether it stores.
///
/// cache   must not be NULL
/// report  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or struct_size not set      -EBADF  not an open cache
///   -E2BIG   struct_size above 4096            -ECHILD see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `report` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_cache_report(
    cache: *mut cachefs_cache,
    report: *mut cachefs_report,
) -> i32 {
    guard::status(|| {
        let value = convert(&Cache::get(cache)?.report());
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(report, &value) }
    })
}

fn convert(report: &Report) -> cachefs_report {
    let mut value: cachefs_report = zeroed();
    value.engine = match report.engine {
        EngineKind::Uring => CACHEFS_ENGINE_URING,
        EngineKind::Psync => CACHEFS_ENGINE_PSYNC,
    };
    value.ring_flags = report.ring_flags;
    value.features = report.features.bits();
    value.features_refused = report
        .refused
        .iter()
        .fold(FeatureSet::default(), |set, one| set.with(one.feature))
        .bits();
    value.pages = match report.pages {
        Pages::Small => CACHEFS_PAGES_SMALL,
        Pages::Transparent => CACHEFS_PAGES_TRANSPARENT,
        Pages::Reserved => CACHEFS_PAGES_RESERVED,
    };
    fill(&mut value.engine_reason, &report.engine_reason);
    value.state = match &report.state {
        State::Normal => CACHEFS_STATE_NORMAL,
        State::PassThrough(_) => CACHEFS_STATE_PASS_THROUGH,
        State::Degraded(_) => CACHEFS_STATE_DEGRADED,
        State::Off(_) => CACHEFS_STATE_OFF,
    };
    fill(&mut value.state_reason, report.state.reason().unwrap_or(""));
    value.state_since_ns = report.state_since_ns;
    value.next_probe_ns = report.next_probe_ns;
    value
}

/// Copies as much of a text as fits before the last NUL.
fn fill(place: &mut [c_char; CACHEFS_REASON_MAX], text: &str) {
    let (last, room) = place.split_last_mut().expect("it is not empty");
    *last = 0;
    for (to, from) in room.iter_mut().zip(text.bytes()) {
        *to = from as c_char;
    }
}

/// Asks for the end of a callback request.
///
/// Its callback is called all the same, once: with -ECANCELED, or with what the
/// request came to before the cancellation reached it.
///
/// cache  must not be NULL
/// id     as cachefs_read_async() or cachefs_fill_async() gave it
///
/// Returns 0, also when the request has already ended, or a negative errno:
///   -EINVAL  NULL      -EBADF  not an open cache      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_cancel(cache: *mut cachefs_cache, id: u64) -> i32 {
    guard::status(|| {
        Cache::get(cache)?.cancel(id);
        Ok(())
    })
}

/// The errno of an unknown flag.
pub(super) fn no_flags(flags: u64) -> cachefs_core::Result<()> {
    if flags == 0 {
        return Ok(());
    }
    let text = format!("flags that this release does not know: {flags:#x}");
    Err(Error::new(Errno::INVAL, text))
}
