//! The C functions as a door: called as a C program calls them.

use super::door::{
    Done, Door, LATENCY_PERCENT, LeaseDoor, OBJECTS_MAX, Pending, QueueDoor, SPACE, Settings,
};
use super::log::log_callback;
use super::origin::TestOrigin;
use crate::capi::types::*;
use crate::capi::{
    buffer, cache, file, fill, lease, origin, origin_options, queue, read, stats, verify,
};
use cachefs_core::{
    CustomOrigin, EngineChoice, ORIGIN_OPTIONS, OriginOptions, Residency, Stats, Verification,
};
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// New objects are direct if the parameter says so.
pub(crate) struct CDoor<const DIRECT: bool>(*mut cachefs_cache);
pub(crate) struct COrigin(*mut cachefs_origin);
pub(crate) struct CFile(*mut cachefs_file);
pub(crate) struct CQueue(*mut cachefs_queue);
pub(crate) struct CLease(*mut cachefs_lease);

// SAFETY: handles are numbers; the header lets every thread use these.
unsafe impl<const DIRECT: bool> Send for CDoor<DIRECT> {}
// SAFETY: as above.
unsafe impl<const DIRECT: bool> Sync for CDoor<DIRECT> {}
// SAFETY: as above.
unsafe impl Send for COrigin {}
// SAFETY: as above.
unsafe impl Sync for COrigin {}
// SAFETY: as above.
unsafe impl Send for CFile {}
// SAFETY: as above.
unsafe impl Sync for CFile {}
// SAFETY: as above.
unsafe impl Send for CLease {}
// SAFETY: as above.
unsafe impl Sync for CLease {}

fn status(result: i32) -> Result<i32, i32> {
    if result < 0 { Err(-result) } else { Ok(result) }
}

fn length(result: i64) -> Result<u64, i32> {
    u64::try_from(result).map_err(|_| -result as i32)
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn done(completion: &cachefs_completion) -> Done {
    Done {
        tag: completion.tag,
        result: completion.result,
        bytes_from_cache: completion.bytes_from_cache,
        source: completion.source,
        miss_reason: completion.miss_reason,
    }
}

/// A structure of zeros that knows its size, as C programs make them.
fn sized<T: Copy>() -> T {
    // SAFETY: the public structures consist of integers, pointers and optional
    // functions, for all of which zero is a value.
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: each begins with its size.
    unsafe { (&raw mut value).cast::<u32>().write(size_of::<T>() as u32) };
    value
}

/// The same options, by their texts.
fn origin_options(options: &OriginOptions) -> cachefs_origin_options {
    let mut converted: cachefs_origin_options = sized();
    let mut options = options.clone();
    for option in ORIGIN_OPTIONS {
        let value = option.value(&mut options);
        let (key, value) = (CString::new(option.key), CString::new(option.text(value)));
        let (key, value) = (key.unwrap(), value.unwrap());
        if option.value(&mut options) != 0 {
            // SAFETY: the strings and the structure live during the call.
            let result = unsafe {
                origin_options::cachefs_origin_options_set(
                    &mut converted,
                    key.as_ptr(),
                    value.as_ptr(),
                )
            };
            assert_eq!(result, 0, "{}", option.key);
        }
    }
    converted
}

impl<const DIRECT: bool> Door for CDoor<DIRECT> {
    type Origin = COrigin;
    type File = CFile;
    type Queue = CQueue;
    type Lease = CLease;

    fn open(dir: &Path, settings: &Settings) -> Result<Self, i32> {
        let mut options: cachefs_cache_options = sized();
        options.engine = match settings.engine {
            EngineChoice::Auto => CACHEFS_ENGINE_AUTO,
            EngineChoice::Uring => CACHEFS_ENGINE_URING,
            EngineChoice::Psync => CACHEFS_ENGINE_PSYNC,
        };
        options.capacity_bytes = settings.capacity_bytes;
        options.objects_max = OBJECTS_MAX.into();
        options.fill_latency_percent = LATENCY_PERCENT;
        options.space_run_percent = SPACE[0];
        options.space_cull_percent = SPACE[1];
        options.space_stop_percent = SPACE[2];
        options.memory_bytes = settings.memory_bytes;
        options.lease_bytes = settings.lease_bytes;
        options.readahead = (!settings.readahead).into();
        options.readahead_bytes = settings.readahead_bytes;
        options.direct_copy_bytes = settings.direct_copy_bytes;
        options.durable = (!settings.durable).into();
        options.sync_interval_ms = settings.sync_interval_ms as u32;
        options.chunk_bytes = settings.chunk_bytes as u32;
        options.origin_timeout_ms = settings.origin_timeout_ms as u32;
        options.device_timeout_ms = settings.device_timeout_ms as u32;
        options.close_timeout_ms = settings.close_timeout_ms as u32;
        options.async_limit = settings.async_limit as u32;
        options.copy_method = settings.copy_method as u32;
        options.direct_io = (DIRECT || settings.direct).into();
        if let Some(log) = settings.log {
            options.log = Some(log_callback);
            options.log_user = log.user();
            options.log_level = CACHEFS_LOG_TRACE;
        }
        let mut cache = null_mut();
        // SAFETY: the strings and structures live during the call.
        status(unsafe { cache::cachefs_cache_open(path(dir).as_ptr(), &options, &mut cache) })?;
        Ok(Self(cache))
    }

    fn is_normal(&self) -> bool {
        report(self.0).state == CACHEFS_STATE_NORMAL
    }

    fn engine(&self) -> (EngineChoice, String) {
        let report = report(self.0);
        let engine = match report.engine {
            CACHEFS_ENGINE_PSYNC => EngineChoice::Psync,
            _ => EngineChoice::Uring,
        };
        // SAFETY: the library ends the text with a NUL.
        let reason = unsafe { CStr::from_ptr(report.engine_reason.as_ptr()) };
        (engine, reason.to_string_lossy().into_owned())
    }

    fn stats(&self) -> Stats {
        let mut value: cachefs_statistics = sized();
        // SAFETY: the structure is writable during the call.
        assert_eq!(unsafe { stats::cachefs_stats(self.0, &mut value) }, 0);
        Stats {
            hits: value.hits,
            misses: value.misses,
            bypasses: value.bypasses,
            errors: value.errors,
            bytes_from_cache: value.bytes_from_cache,
            bytes_from_origin: value.bytes_from_origin,
            origin_reads: value.origin_reads,
            chunks_stored: value.chunks_stored,
            store_errors: value.store_errors,
            stale_fetches: value.stale_fetches,
            evictions: value.evictions,
            in_flight: value.in_flight,
            bytes_straight: value.bytes_straight,
            bytes_reflinked: value.bytes_reflinked,
            bytes_copied_in_kernel: value.bytes_copied_in_kernel,
            bytes_copied_by_ring: value.bytes_copied_by_ring,
            bytes_read_directly: value.bytes_read_directly,
            bytes_spliced: value.bytes_spliced,
            bytes_of_holes: value.bytes_of_holes,
            bytes_preallocated_zeroed: value.bytes_preallocated_zeroed,
            bytes_preallocated: value.bytes_preallocated,
            bytes_from_memory: value.bytes_from_memory,
            memory_bytes: value.memory_bytes,
            leased_bytes: value.leased_bytes,
            chunks_verified: value.chunks_verified,
            chunks_dropped: value.chunks_dropped,
            verify_passes: value.verify_passes,
            epochs: value.epochs,
            chunks_durable: value.chunks_durable,
            bytes_prefetched: value.bytes_prefetched,
            bytes_prefetched_unused: value.bytes_prefetched_unused,
            prefetch_stalls: value.prefetch_stalls,
            readahead_bytes: value.readahead_bytes,
            negative_hits: value.negative_hits,
            opens_unasked: value.opens_unasked,
            stale_opens: value.stale_opens,
            stale_reads: value.stale_reads,
            origin_retries: value.origin_retries,
            objects_max: value.objects_max,
            pinned_bytes: value.pinned_bytes,
            evictions_ahead: value.evictions_ahead,
            trims: value.trims,
            eviction_waits: value.eviction_waits,
            space_free_percent: value.space_free_percent,
            inodes_free_percent: value.inodes_free_percent,
            device_read_errors: value.device_read_errors,
            device_hangs: value.device_hangs,
            device_changes: value.device_changes,
            device_probes: value.device_probes,
            bytes_passed_by: value.bytes_passed_by,
            bytes_filled_later: value.bytes_filled_later,
            throttled: value.throttled,
            throttled_ns: value.throttled_ns,
            fill_depth: value.fill_depth,
            cached_bytes: value.cached_bytes,
            cached_objects: value.cached_objects,
        }
    }

    fn directory_with(&self, root: &Path, options: &OriginOptions) -> Result<COrigin, i32> {
        let options = origin_options(options);
        let mut opened = null_mut();
        // SAFETY: the string and the structure live during the call.
        status(unsafe {
            origin::cachefs_origin_open_dir(self.0, path(root).as_ptr(), &options, &mut opened)
        })?;
        Ok(COrigin(opened))
    }

    fn custom_with(&self, name: &str, code: Arc<TestOrigin>, options: &OriginOptions) -> COrigin {
        let options = origin_options(options);
        let mut ops: cachefs_origin_ops = sized();
        ops.threads = code.blocking_threads;
        if code.blocking_threads == 0 {
            ops.flags = CACHEFS_ORIGIN_NONBLOCKING;
        }
        ops.stat = Some(stat_callback);
        ops.read = Some(read_callback);
        ops.free = Some(free_callback);
        let name = CString::new(name).unwrap();
        let user = Arc::into_raw(code).cast_mut().cast();
        let mut opened = null_mut();
        // SAFETY: `free_callback` takes back the reference that `user` is.
        let result = unsafe {
            origin::cachefs_origin_open(self.0, name.as_ptr(), &ops, user, &options, &mut opened)
        };
        assert_eq!(result, 0);
        COrigin(opened)
    }

    fn invalidate(&self, origin: &COrigin, path: &[u8], below: bool) {
        let path = CString::new(path).unwrap();
        let flags = if below { CACHEFS_INVALIDATE_BELOW } else { 0 };
        // SAFETY: the string lives during the call.
        let result = unsafe { origin::cachefs_invalidate(origin.0, path.as_ptr(), flags) };
        assert_eq!(result, 0);
    }

    fn file(&self, origin: &COrigin, path: &[u8]) -> Result<CFile, i32> {
        let path = CString::new(path).unwrap();
        let mut opened = null_mut();
        // SAFETY: the string lives during the call.
        status(unsafe { file::cachefs_file_open(origin.0, path.as_ptr(), 0, &mut opened) })?;
        Ok(CFile(opened))
    }

    fn read(&self, file: &CFile, buffer: &mut [u8], offset: u64) -> Result<u64, i32> {
        let (start, size) = (buffer.as_mut_ptr().cast(), buffer.len() as u64);
        // SAFETY: the buffer is borrowed for the call.
        length(unsafe { read::cachefs_read(file.0, start, size, offset) })
    }

    fn read_async(&self, file: &CFile, length: usize, offset: u64) -> Result<Pending, i32> {
        let (sender, receiver) = mpsc::channel();
        let mut buffer = vec![0xAA; length];
        let start = buffer.as_mut_ptr().cast();
        let user = Box::into_raw(Box::new((buffer, sender)));
        let mut id = 0;
        // SAFETY: the callback owns the buffer, so it lives until the completion.
        let result = unsafe {
            read::cachefs_read_async(
                file.0,
                start,
                length as u64,
                offset,
                Some(completed),
                user.cast(),
                &mut id,
            )
        };
        if result < 0 {
            // SAFETY: refused, so the callback does not take it.
            drop(unsafe { Box::from_raw(user) });
        }
        status(result)?;
        Ok(Pending { id, done: receiver })
    }

    fn cancel(&self, id: u64) {
        assert_eq!(cache::cachefs_cancel(self.0, id), 0);
    }

    fn lease(&self, file: &CFile, length: u64, offset: u64) -> Result<CLease, i32> {
        let mut acquired = null_mut();
        // SAFETY: the place is writable during the call.
        status(unsafe { lease::cachefs_lease_acquire(file.0, offset, length, &mut acquired) })?;
        Ok(CLease(acquired))
    }

    fn fill(&self, file: &CFile, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, i32> {
        let mut watch = watch;
        let user = (&raw mut watch).cast();
        // SAFETY: the closure lives during the call, on this thread.
        length(unsafe { fill::cachefs_fill(file.0, 0, CACHEFS_TO_END, Some(progress), user) })
    }

    fn verify(&self) -> Result<Verification, i32> {
        let mut found: cachefs_verification = sized();
        // SAFETY: the structure lives during the call.
        status(unsafe { verify::cachefs_verify(self.0, None, null_mut(), &mut found) })?;
        Ok(Verification {
            objects: found.objects,
            objects_dropped: found.objects_dropped,
            chunks_verified: found.chunks_verified,
            chunks_summed: found.chunks_summed,
            chunks_dropped: found.chunks_dropped,
            busy: found.busy,
            bytes: found.bytes,
        })
    }

    fn residency(&self, file: &CFile) -> Residency {
        let mut value: cachefs_residency = sized();
        // SAFETY: the structure is writable during the call.
        let result = unsafe { file::cachefs_file_residency(file.0, &mut value) };
        assert_eq!(result, 0);
        Residency {
            complete: value.complete == 1,
            bytes_present: value.bytes_present,
            chunks_present: value.chunks_present,
            chunks_total: value.chunks_total,
            chunk_bytes: value.chunk_bytes,
        }
    }

    fn descriptor(&self, file: &CFile) -> Result<OwnedFd, i32> {
        let fd = status(file::cachefs_file_fd(file.0))?;
        // SAFETY: a new descriptor, which is ours by the header.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn queue(&self, depth: u32) -> CQueue {
        let mut options: cachefs_queue_options = sized();
        options.depth = depth;
        let mut opened = null_mut();
        // SAFETY: the structure lives during the call.
        let result = unsafe { queue::cachefs_queue_open(self.0, &options, &mut opened) };
        assert_eq!(result, 0);
        CQueue(opened)
    }

    fn allocate(&self, length: usize) -> *mut u8 {
        let mut memory = null_mut();
        // SAFETY: the place is writable during the call.
        let result = unsafe { buffer::cachefs_buffer_alloc(self.0, length as u64, &mut memory) };
        assert_eq!(result, 0);
        memory.cast()
    }

    fn free(&self, memory: *mut u8) {
        // SAFETY: the scenarios free what no request uses any more.
        let result = unsafe { buffer::cachefs_buffer_free(self.0, memory.cast()) };
        assert_eq!(result, 0);
    }

    fn close(&self) {
        // The drop comes again, and finds it closed.
        cache::cachefs_cache_close(self.0);
    }
}

fn report(cache: *mut cachefs_cache) -> cachefs_report {
    let mut value: cachefs_report = sized();
    // SAFETY: the structure is writable during the call.
    assert_eq!(unsafe { cache::cachefs_cache_report(cache, &mut value) }, 0);
    value
}

impl<const DIRECT: bool> Drop for CDoor<DIRECT> {
    fn drop(&mut self) {
        cache::cachefs_cache_close(self.0);
    }
}

impl Drop for COrigin {
    fn drop(&mut self) {
        origin::cachefs_origin_close(self.0);
    }
}

impl Drop for CFile {
    fn drop(&mut self) {
        file::cachefs_file_close(self.0);
    }
}

impl Drop for CQueue {
    fn drop(&mut self) {
        queue::cachefs_queue_close(self.0);
    }
}

impl LeaseDoor for CLease {
    fn bytes(&self) -> &[u8] {
        let (mut data, mut length) = (std::ptr::null(), 0);
        // SAFETY: the places are writable during the call.
        let result = unsafe { lease::cachefs_lease_data(self.0, &mut data, &mut length) };
        assert_eq!(result, 0);
        // SAFETY: by the header there are so many bytes until the release.
        unsafe { std::slice::from_raw_parts(data.cast(), length as usize) }
    }
}

impl Drop for CLease {
    fn drop(&mut self) {
        lease::cachefs_lease_release(self.0);
    }
}

impl<const DIRECT: bool> QueueDoor<CDoor<DIRECT>> for CQueue {
    fn read(&mut self, file: &CFile, buffer: &mut [u8], offset: u64, tag: u64) -> Result<(), i32> {
        let (start, size) = (buffer.as_mut_ptr().cast(), buffer.len() as u64);
        // SAFETY: the scenarios keep the buffer until the completion.
        status(unsafe { queue::cachefs_queue_read(self.0, file.0, start, size, offset, tag) })?;
        Ok(())
    }

    fn fill(&mut self, file: &CFile, tag: u64) -> Result<(), i32> {
        status(queue::cachefs_queue_fill(
            self.0,
            file.0,
            0,
            CACHEFS_TO_END,
            tag,
        ))
        .map(drop)
    }

    fn submit(&mut self) {
        status(queue::cachefs_queue_submit(self.0)).unwrap();
    }

    fn wait(&mut self, min: usize, max: usize, timeout: Option<Duration>) -> Vec<Done> {
        let mut room: Vec<cachefs_completion> = Vec::with_capacity(max);
        let timeout = timeout.map_or(-1, |timeout| timeout.as_nanos() as i64);
        let start = room.as_mut_ptr();
        // SAFETY: there is room for `max`, of which the first `count` are written.
        unsafe {
            let count = queue::cachefs_queue_wait(self.0, start, min as u32, max as u32, timeout);
            room.set_len(status(count).unwrap() as usize);
        }
        room.iter().map(done).collect()
    }

    fn cancel(&mut self, tag: u64) -> usize {
        status(queue::cachefs_queue_cancel(self.0, tag)).unwrap() as usize
    }

    fn space(&mut self) -> usize {
        status(queue::cachefs_queue_space(self.0)).unwrap() as usize
    }

    fn descriptor(&mut self) -> RawFd {
        status(queue::cachefs_queue_fd(self.0)).unwrap()
    }
}

/// What a pending read owns.
type Owned = (Vec<u8>, Sender<(Vec<u8>, Done)>);

unsafe extern "C" fn completed(user: *mut c_void, completion: *const cachefs_completion) {
    // SAFETY: `read_async` made it, and each completion comes once.
    let (owned, done) = unsafe { (Box::from_raw(user.cast::<Owned>()), done(&*completion)) };
    let (buffer, sender) = *owned;
    // A test that has failed already does not listen.
    let _ = sender.send((buffer, done));
}

unsafe extern "C" fn progress(user: *mut c_void, done: u64, total: u64) -> i32 {
    // SAFETY: `fill` passes its closure, which lives during the call.
    let watch = unsafe { &mut *user.cast::<&mut dyn FnMut(u64, u64) -> bool>() };
    i32::from(!watch(done, total))
}

unsafe extern "C" fn stat_callback(
    user: *mut c_void,
    path: *const c_char,
    attr: *mut cachefs_origin_attr,
) -> i32 {
    // SAFETY: the library passes what `custom` gave it, a string and a structure.
    let (code, path, attr) = unsafe {
        (
            &*user.cast::<TestOrigin>(),
            CStr::from_ptr(path),
            &mut *attr,
        )
    };
    match code.stat(path) {
        Err(errno) => -errno.raw_os_error(),
        Ok(token) => {
            attr.size = token.size;
            attr.mtime_ns = token.mtime_ns;
            0
        }
    }
}

unsafe extern "C" fn read_callback(
    user: *mut c_void,
    _path: *const c_char,
    _version: *const cachefs_origin_attr,
    buffer: *mut c_void,
    length: u64,
    offset: u64,
    token: *mut cachefs_origin_token,
) -> i32 {
    // SAFETY: the library passes what `custom` gave it, and a writable buffer.
    let (code, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
        (&*user.cast::<TestOrigin>(), bytes)
    };
    let result = code.read_into(bytes, offset);
    assert_eq!(origin::cachefs_origin_complete(token, result), 0);
    0
}

unsafe extern "C" fn free_callback(user: *mut c_void) {
    // SAFETY: the reference that `custom` gave away, given back once.
    drop(unsafe { Arc::from_raw(user.cast::<TestOrigin>()) });
}
