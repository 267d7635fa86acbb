//! Every public structure, constant and callback type of `cachefs.h`.
//!
//! This file imports nothing: `capi-tests` compiles the same text and compares
//! each size, offset and value with what a C compiler makes of the header.

#![allow(non_camel_case_types)]

/// ABI number: the digit of `libcachefs.so.<N>`. Raised only by a break.
pub const CACHEFS_ABI: u32 = 0;

// --- handles -----------------------------------------------------------------

/// A cache directory in use. Thread-safe.
pub struct cachefs_cache {
    _private: [u8; 0],
}

/// Where files come from: a directory, or a table of callbacks. Thread-safe.
pub struct cachefs_origin {
    _private: [u8; 0],
}

/// One file of an origin, open for cached reads. Thread-safe.
pub struct cachefs_file {
    _private: [u8; 0],
}

/// Bytes of a file in memory, until it is released. Thread-safe.
pub struct cachefs_lease {
    _private: [u8; 0],
}

/// Requests and completions of one thread.
pub struct cachefs_queue {
    _private: [u8; 0],
}

/// One read that an origin was asked for; see cachefs_origin_complete().
pub struct cachefs_origin_token {
    _private: [u8; 0],
}

// --- options -----------------------------------------------------------------

/// cachefs_cache_options.engine: `uring` where the kernel grants it, else `psync`.
pub const CACHEFS_ENGINE_AUTO: u32 = 0;
/// io_uring, one ring per queue and per library thread.
pub const CACHEFS_ENGINE_URING: u32 = 1;
/// Threads that call pread and pwrite.
pub const CACHEFS_ENGINE_PSYNC: u32 = 2;

/// cachefs_cache_options.copy_method: the cheapest that works.
pub const CACHEFS_COPY_AUTO: u32 = 0;
/// Share the origin's blocks (FICLONERANGE); only within one file system.
pub const CACHEFS_COPY_REFLINK: u32 = 1;
/// copy_file_range(2); only within one file system.
pub const CACHEFS_COPY_FILE_RANGE: u32 = 2;
/// Reads and writes with the library's buffers.
pub const CACHEFS_COPY_RING: u32 = 3;
/// Splices through a pipe.
pub const CACHEFS_COPY_SPLICE: u32 = 4;

/// Levels of log messages; 0 in the options means CACHEFS_LOG_WARN.
pub const CACHEFS_LOG_ERROR: u32 = 1;
/// Something is not as it should be, and the cache went on.
pub const CACHEFS_LOG_WARN: u32 = 2;
/// Life of caches and origins.
pub const CACHEFS_LOG_INFO: u32 = 3;
/// Life of files and fills.
pub const CACHEFS_LOG_DEBUG: u32 = 4;
/// Single requests.
pub const CACHEFS_LOG_TRACE: u32 = 5;

/// Receives one log message: a single line without a line feed, valid during
/// the call. Called on any thread, also from several at once; must not call
/// into the library.
pub type cachefs_log_callback = Option<
    unsafe extern "C" fn(
        user: *mut core::ffi::c_void,
        level: u32,
        message: *const core::ffi::c_char,
    ),
>;

/// Releases a user pointer. Called exactly once, also when the call that was
/// given the pointer fails.
pub type cachefs_free_callback = Option<unsafe extern "C" fn(user: *mut core::ffi::c_void)>;

/// Options of cachefs_cache_open(). Zero means the default in every field.
///
/// Fill it with cachefs_cache_options_init(). cachefs_option_describe() lists
/// the string keys with their defaults and ranges.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_cache_options {
    /// sizeof(cachefs_cache_options) of the program.
    pub struct_size: u32,
    /// CACHEFS_ENGINE_…
    pub engine: u32,
    /// None are defined: must be 0.
    pub flags: u64,
    /// Limit of the cache directory, in bytes.
    pub capacity_bytes: u64,
    /// Memory for reads from origins, in bytes, over all library threads.
    pub pool_bytes: u64,
    /// Memory to lock for the chunks that are read most, in bytes; 0: none. A read
    /// within such a chunk takes no system call, and is over when it was queued.
    /// RLIMIT_MEMLOCK bounds it for who lacks CAP_IPC_LOCK.
    pub memory_bytes: u64,
    /// Size in bytes from which on a file that is copied whole, and is not in memory
    /// already, is written past the page cache (O_DIRECT), and read so until the copy
    /// is complete.
    pub direct_copy_bytes: u64,
    /// Bytes that may be leased at once, counted in pages of 4 KiB.
    pub lease_bytes: u64,
    /// Bytes a second at which what is cached is compared with its checksums, beside
    /// serving; 0: it is not.
    pub verify_bytes_per_second: u64,
    /// Limit of what is fetched ahead of readers and not yet read, in bytes, over all
    /// files; less than chunk_bytes: nothing is.
    pub readahead_bytes: u64,
    /// Objects that the cache directory has room for; 0: as many as it was made for,
    /// which is one for 16 KiB of its limit, 1048576 at most. Another number counts only
    /// while nobody else has the cache open.
    pub objects_max: u64,
    /// Unit of presence, in bytes: a power of two. Fixed when the directory is first used.
    pub chunk_bytes: u32,
    /// Library threads that serve misses, fills and callbacks.
    pub threads: u32,
    /// Requests that a library thread has in flight at its engine.
    pub queue_depth: u32,
    /// Threads of the psync engine; half as many more are for what it writes.
    pub psync_threads: u32,
    /// Chunks of one request that are fetched at the same time.
    pub fill_depth: u32,
    /// Bytes a second that fills write to the cache; 0: no limit. Readers do not wait
    /// for it: what they get is not kept then, and filled later.
    pub fill_bytes_per_second: u64,
    /// The same in writes, of up to a chunk each.
    pub fill_operations_per_second: u64,
    /// Fills become fewer while hits take more than this percentage of what they take
    /// without fills; a large number: they never do.
    pub fill_latency_percent: u32,
    /// CACHEFS_FILL_PRIORITY_…, for devices whose scheduler knows priorities.
    pub fill_priority: u32,
    /// Percentage of a file that is cached from which on all of it is fetched, when
    /// nobody reads; 0: never.
    pub fill_after_percent: u32,
    /// Callback reads and fills that may be in flight at once, over the cache.
    pub async_limit: u32,
    /// Milliseconds after which a read that the origin does not answer fails with -ETIMEDOUT.
    pub origin_timeout_ms: u32,
    /// Milliseconds after which an operation of the cache device counts as one that hangs.
    pub device_timeout_ms: u32,
    /// Milliseconds that cachefs_cache_close() waits for I/O that does not finish.
    pub close_timeout_ms: u32,
    /// CACHEFS_LOG_…: messages above this level are not made.
    pub log_level: u32,
    /// 1: a kernel thread submits for all rings; it needs a processor to spare.
    pub sq_poll: u32,
    /// Milliseconds without work after which that thread sleeps.
    pub sq_poll_idle_ms: u32,
    /// Number plus 1 of the processor that it stays on; 0: any.
    pub sq_poll_cpu: u32,
    /// 1: poll the device for direct reads, where it has poll queues.
    pub io_poll: u32,
    /// Microseconds that a wait polls before it sleeps, at most; 0: 50 from 8
    /// processors on, else none.
    pub spin_us: u32,
    /// Kernel threads of each library thread for I/O that blocks.
    pub io_workers: u32,
    /// Pages of buffers. 0: transparent huge ones where they are large enough; 1: no
    /// huge ones; 2: huge ones of the reserve (vm.nr_hugepages), if there are some.
    pub huge_pages: u32,
    /// 1: new objects are read and written past the page cache (O_DIRECT). A read of
    /// one goes straight to the caller where address, offset and length are aligned
    /// to the blocks of the file system, else through a buffer of the library's; at
    /// the end of the file the rest of the last block counts as part of the buffer.
    pub direct_io: u32,
    /// CACHEFS_COPY_…
    pub copy_method: u32,
    /// CACHEFS_FEATURE_… bits of io_uring not to use, against bugs of a kernel.
    pub withhold: u32,
    /// 1: nothing is fetched before it is asked for. 0: what a run of reads of a file
    /// will want is.
    pub readahead: u32,
    /// Percent of capacity_bytes, and of objects_max, in use at which evicting beside the
    /// work ends; not above capacity_cull_percent.
    pub capacity_run_percent: u32,
    /// The same at which it begins.
    pub capacity_cull_percent: u32,
    /// Percent of the file system's blocks that are free at which evicting for their sake
    /// ends (brun of cachefilesd); above space_cull_percent.
    pub space_run_percent: u32,
    /// The same at which it begins (bcull); above space_stop_percent.
    pub space_cull_percent: u32,
    /// The same below which nothing is stored (bstop).
    pub space_stop_percent: u32,
    /// Percent of the file system's inodes that are free at which evicting for their sake
    /// ends (frun); above inodes_cull_percent.
    pub inodes_run_percent: u32,
    /// The same at which it begins (fcull); above inodes_stop_percent.
    pub inodes_cull_percent: u32,
    /// The same below which nothing is stored (fstop).
    pub inodes_stop_percent: u32,
    /// Percent of capacity_bytes that pinned objects may take.
    pub pinned_percent: u32,
    /// 1: what is stored is not synced. 0: it is, in the background, sync_interval_ms
    /// after it was stored, and when the cache is closed as far as there is time.
    pub durable: u32,
    /// Milliseconds after which what was stored is synced.
    pub sync_interval_ms: u32,
    /// Must be 0.
    pub reserved: u32,
    /// NULL: no messages.
    pub log: cachefs_log_callback,
    /// Passed to `log`.
    pub log_user: *mut core::ffi::c_void,
    /// NULL, or called with `log_user` once the cache makes no more messages.
    pub log_free: cachefs_free_callback,
}

/// cachefs_option_info.type: a decimal number.
pub const CACHEFS_OPTION_NUMBER: u32 = 1;
/// Bytes: a number, or one with a unit (K, M, G, T or KiB, MiB, GiB, TiB: powers of 1024).
pub const CACHEFS_OPTION_SIZE: u32 = 2;
/// One word of those that `range` lists, separated by `|`.
pub const CACHEFS_OPTION_CHOICE: u32 = 3;

/// `any`, or the number of a processor.
pub const CACHEFS_OPTION_PROCESSOR: u32 = 4;
/// `none`, or words of those that `range` lists, joined by `+`.
pub const CACHEFS_OPTION_SET: u32 = 5;

/// What cachefs_option_describe() says of one option. The texts are static.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_option_info {
    /// sizeof(cachefs_option_info) of the program.
    pub struct_size: u32,
    /// CACHEFS_OPTION_…; a program must expect values it does not know.
    pub r#type: u32,
    /// The key that cachefs_cache_options_set() takes.
    pub key: *const core::ffi::c_char,
    /// What 0, or not setting it, means.
    pub default_value: *const core::ffi::c_char,
    /// `LOW..HIGH`, both included, or the words of a choice.
    pub range: *const core::ffi::c_char,
    /// One sentence.
    pub meaning: *const core::ffi::c_char,
}

// --- report ------------------------------------------------------------------

/// cachefs_cache_options.fill_priority: below what the thread has.
pub const CACHEFS_FILL_PRIORITY_LOW: u32 = 0;
/// When the device has nothing else to do.
pub const CACHEFS_FILL_PRIORITY_IDLE: u32 = 1;
/// As the thread has it.
pub const CACHEFS_FILL_PRIORITY_NONE: u32 = 2;

/// cachefs_report.state: reads are served from the cache and fill it.
pub const CACHEFS_STATE_NORMAL: u32 = 1;
/// The directory could not be used when it was opened: every read goes to its origin.
pub const CACHEFS_STATE_PASS_THROUGH: u32 = 2;
/// The device of the directory has failed: nothing new is stored for now; what is there
/// is served. A program must expect states that it does not know.
pub const CACHEFS_STATE_DEGRADED: u32 = 3;
/// It gives errors, or no answers: every read goes to its origin for now.
pub const CACHEFS_STATE_OFF: u32 = 4;

/// cachefs_report.features: IORING_SETUP_SUBMIT_ALL (Linux 5.18).
pub const CACHEFS_FEATURE_SUBMIT_ALL: u32 = 1 << 0;
/// IORING_SETUP_COOP_TASKRUN (5.19).
pub const CACHEFS_FEATURE_COOP_TASKRUN: u32 = 1 << 1;
/// IORING_SETUP_SINGLE_ISSUER (6.0).
pub const CACHEFS_FEATURE_SINGLE_ISSUER: u32 = 1 << 2;
/// IORING_SETUP_DEFER_TASKRUN (6.1).
pub const CACHEFS_FEATURE_DEFER_TASKRUN: u32 = 1 << 3;
/// IORING_SETUP_NO_SQARRAY (6.6).
pub const CACHEFS_FEATURE_NO_SQARRAY: u32 = 1 << 4;
/// IORING_SETUP_SQPOLL, if sq_poll asks for it.
pub const CACHEFS_FEATURE_SQPOLL: u32 = 1 << 5;
/// IORING_SETUP_IOPOLL, if io_poll asks for it.
pub const CACHEFS_FEATURE_IOPOLL: u32 = 1 << 6;
/// IORING_REGISTER_RING_FDS (5.18).
pub const CACHEFS_FEATURE_REGISTER_RING_FDS: u32 = 1 << 7;
/// sparse IORING_REGISTER_FILES2 (5.19).
pub const CACHEFS_FEATURE_REGISTER_FILES2: u32 = 1 << 8;
/// sparse IORING_REGISTER_BUFFERS2 (5.19).
pub const CACHEFS_FEATURE_REGISTER_BUFFERS2: u32 = 1 << 9;
/// IORING_REGISTER_IOWQ_MAX_WORKERS (5.15).
pub const CACHEFS_FEATURE_REGISTER_IOWQ_MAX_WORKERS: u32 = 1 << 10;
/// IORING_OP_MSG_RING (5.18).
pub const CACHEFS_FEATURE_OP_MSG_RING: u32 = 1 << 11;
/// IORING_OP_SPLICE (5.7).
pub const CACHEFS_FEATURE_OP_SPLICE: u32 = 1 << 12;
/// IORING_OP_FALLOCATE (5.6).
pub const CACHEFS_FEATURE_OP_FALLOCATE: u32 = 1 << 13;
/// IORING_OP_LINK_TIMEOUT (5.5).
pub const CACHEFS_FEATURE_OP_LINK_TIMEOUT: u32 = 1 << 14;

/// cachefs_report.pages: ordinary pages.
pub const CACHEFS_PAGES_SMALL: u32 = 1;
/// Transparent huge pages, where the kernel finds some.
pub const CACHEFS_PAGES_TRANSPARENT: u32 = 2;
/// Huge pages of the reserve.
pub const CACHEFS_PAGES_RESERVED: u32 = 3;

/// Bytes of a text in cachefs_report, its NUL included.
pub const CACHEFS_REASON_MAX: usize = 1024;

/// What cachefs_cache_report() says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_report {
    /// sizeof(cachefs_report) of the program.
    pub struct_size: u32,
    /// The engine in use: CACHEFS_ENGINE_URING or CACHEFS_ENGINE_PSYNC.
    pub engine: u32,
    /// CACHEFS_STATE_…
    pub state: u32,
    /// IORING_SETUP_… bits that the kernel granted; 0 on psync.
    pub ring_flags: u32,
    /// CACHEFS_FEATURE_… bits that are in use; 0 on psync.
    pub features: u32,
    /// CACHEFS_FEATURE_… bits that were asked for and not granted.
    pub features_refused: u32,
    /// CACHEFS_PAGES_…: what the library's buffers are made of.
    pub pages: u32,
    /// Must be ignored.
    pub reserved: u32,
    /// Why this engine, and what the kernel did not grant, with its reasons.
    pub engine_reason: [core::ffi::c_char; CACHEFS_REASON_MAX],
    /// Why the state is not normal; empty when it is.
    pub state_reason: [core::ffi::c_char; CACHEFS_REASON_MAX],
    /// When the state last changed, by CLOCK_BOOTTIME, in nanoseconds; 0: never.
    pub state_since_ns: u64,
    /// When the device is tried again, by the same clock; 0: it need not be, or is now.
    pub next_probe_ns: u64,
}

// --- origins -----------------------------------------------------------------

#[path = "types/origins.rs"]
mod origins;
pub use origins::*;

// --- files -------------------------------------------------------------------

/// cachefs_file_info.flags: the origin could not be reached, and the file is what it was
/// when it last could (see the option stale_ms of origins).
pub const CACHEFS_FILE_STALE: u32 = 1;

/// What cachefs_file_stat() says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_file_info {
    /// sizeof(cachefs_file_info) of the program.
    pub struct_size: u32,
    /// CACHEFS_FILE_…; a program must ignore bits it does not know.
    pub flags: u32,
    /// Bytes of the version that is open.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Number of the file in its origin; 0 if it has none.
    pub inode: u64,
    /// Hash of the version token: differs when the version does.
    pub version: u64,
}

/// What cachefs_file_residency() says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_residency {
    /// sizeof(cachefs_residency) of the program.
    pub struct_size: u32,
    /// 1 if every chunk is in the cache, else 0.
    pub complete: u32,
    /// Bytes of the file that are in the cache.
    pub bytes_present: u64,
    /// Chunks that are in the cache.
    pub chunks_present: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
    /// Bytes of a chunk; the last one of a file may be shorter.
    pub chunk_bytes: u64,
}

// --- completions -------------------------------------------------------------

/// cachefs_completion.source: no bytes were delivered.
pub const CACHEFS_SOURCE_NONE: u32 = 0;
/// All bytes came from the cache.
pub const CACHEFS_SOURCE_HIT: u32 = 1;
/// All bytes came from the origin, and the cache was filled with them.
pub const CACHEFS_SOURCE_MISS: u32 = 2;
/// Some came from the cache, some from the origin.
pub const CACHEFS_SOURCE_MIXED: u32 = 3;
/// All bytes came from the origin, and none were kept.
pub const CACHEFS_SOURCE_BYPASS: u32 = 4;
/// All bytes came from the cache, and the origin could not be reached to ask whether they
/// are still what it has (see the option stale_ms of origins).
pub const CACHEFS_SOURCE_STALE: u32 = 5;

/// cachefs_completion.miss_reason: there was no miss.
pub const CACHEFS_MISS_NONE: u32 = 0;
/// The range was not in the cache.
pub const CACHEFS_MISS_NEVER_CACHED: u32 = 1;
/// The origin's file has another version than the cached one.
pub const CACHEFS_MISS_VERSION_CHANGED: u32 = 2;
/// The bytes were not kept: fills take what they may already, or for a reason that has
/// no name of its own.
pub const CACHEFS_MISS_NOT_ADMITTED: u32 = 3;
/// Cached bytes could not be read back.
pub const CACHEFS_MISS_CACHE_ERROR: u32 = 4;
/// What was cached was not what had been written; it was dropped and fetched again.
pub const CACHEFS_MISS_FAILED_CHECKSUM: u32 = 5;
/// The file was evicted, not long ago.
pub const CACHEFS_MISS_EVICTED: u32 = 6;
/// There was no room to keep the bytes.
pub const CACHEFS_MISS_NO_ROOM: u32 = 7;
/// The file changed too recently to be trusted, so the bytes were not kept.
pub const CACHEFS_MISS_TOO_YOUNG: u32 = 8;
/// The cache stores nothing now: see cachefs_cache_report().
pub const CACHEFS_MISS_NOT_STORING: u32 = 9;
/// Another process was getting the bytes, and took too long.
pub const CACHEFS_MISS_FETCHED_ELSEWHERE: u32 = 10;

/// The end of one request; given to callbacks and returned by queues.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_completion {
    /// The request's tag; of a callback request, its id.
    pub tag: u64,
    /// Bytes read or filled, or a negative errno. After -EBUSY, which comes only from
    /// the close of a cache whose own device hangs, the kernel may still write to the
    /// request's buffer: it must stay allocated, and unused, until the process ends.
    pub result: i64,
    /// Bytes of `result` that came from the cache.
    pub bytes_from_cache: u64,
    /// From submission to completion, in nanoseconds.
    pub latency_ns: u64,
    /// CACHEFS_OPERATION_…
    pub operation: u32,
    /// CACHEFS_SOURCE_…; a program must expect values it does not know.
    pub source: u32,
    /// CACHEFS_MISS_…; a program must expect values it does not know.
    pub miss_reason: u32,
    /// Must be ignored.
    pub reserved: [u32; 5],
}

/// Receives the completion of one request, valid during the call.
///
/// Called exactly once for each accepted request, on a library thread, with no
/// library lock held. It must return soon, since other requests wait behind it,
/// and may call everything but what would wait for a library thread:
/// cachefs_fill(), cachefs_queue_wait() and cachefs_cache_close() answer -EDEADLK
/// there, as do cachefs_read() and cachefs_readv() unless all bytes are cached
/// (and, of a file that was cached with the option direct_io, aligned).
pub type cachefs_completion_callback = Option<
    unsafe extern "C" fn(user: *mut core::ffi::c_void, completion: *const cachefs_completion),
>;

/// Told how far a copy-fill is; not 0 cancels it. Called on the thread that
/// called cachefs_fill(), at most some ten times a second and once at the end.
pub type cachefs_progress_callback = Option<
    unsafe extern "C" fn(user: *mut core::ffi::c_void, bytes_done: u64, bytes_total: u64) -> i32,
>;

/// What cachefs_verify() has found so far.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_verification {
    /// sizeof(cachefs_verification) of the program; that of the library where it is
    /// told to a callback.
    pub struct_size: u32,
    /// Must be ignored.
    pub reserved: u32,
    /// Objects that were looked at.
    pub objects: u64,
    /// Objects whose metadata were damaged: they are gone.
    pub objects_dropped: u64,
    /// Chunks whose bytes have their checksum.
    pub chunks_verified: u64,
    /// Chunks that had no checksum, since the kernel had copied them, and have the one
    /// of their bytes now.
    pub chunks_summed: u64,
    /// Chunks that could not be read, or whose bytes did not have their checksum: they
    /// are fetched again when they are next read.
    pub chunks_dropped: u64,
    /// Objects and damaged chunks that others had in their hands: nothing is known of
    /// the former, and the latter are still there.
    pub busy: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Told what a verification has found so far, after each chunk; not 0 cancels it.
/// Called on the thread that called cachefs_verify().
pub type cachefs_verify_callback = Option<
    unsafe extern "C" fn(
        user: *mut core::ffi::c_void,
        verification: *const cachefs_verification,
    ) -> i32,
>;

/// A length that means: to the end of the file.
pub const CACHEFS_TO_END: u64 = u64::MAX;

// --- queues ------------------------------------------------------------------

/// cachefs_request.operation: read `length` bytes at `offset` into `buffer`.
pub const CACHEFS_OPERATION_READ: u32 = 1;
/// Copy the range into the cache; `buffer` must be NULL.
pub const CACHEFS_OPERATION_FILL: u32 = 2;

/// The same into several pieces: `buffer` is an array of `length` struct iovec
/// (<sys/uio.h>), which is copied. Library threads serve it.
pub const CACHEFS_OPERATION_READV: u32 = 3;

/// cachefs_request.priority: of the thread that does the I/O.
pub const CACHEFS_PRIORITY_DEFAULT: u32 = 0;
/// Before others at the device.
pub const CACHEFS_PRIORITY_HIGH: u32 = 1;
/// Behind others at the device.
pub const CACHEFS_PRIORITY_LOW: u32 = 2;
/// When the device has nothing else to do.
pub const CACHEFS_PRIORITY_BACKGROUND: u32 = 3;

/// One request of a batch; see cachefs_queue_push() and cachefs_batch_async().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_request {
    /// CACHEFS_OPERATION_…
    pub operation: u32,
    /// None are defined: must be 0.
    pub flags: u32,
    /// The file.
    pub file: *mut cachefs_file,
    /// Where the bytes go; the library's until the completion. NULL for a fill.
    pub buffer: *mut core::ffi::c_void,
    /// Bytes; of a fill also CACHEFS_TO_END; of CACHEFS_OPERATION_READV, pieces.
    pub length: u64,
    /// Where in the file.
    pub offset: u64,
    /// Returned unchanged in the completion.
    pub tag: u64,
    /// Nanoseconds after which it fails with -ETIMEDOUT; 0: as the cache's options
    /// say. Where the kernel cannot take a read back (psync), it ends by itself.
    pub timeout_ns: u64,
    /// CACHEFS_PRIORITY_…, for devices whose scheduler knows priorities.
    pub priority: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Receives the completions of a batch, in the order of its requests, valid
/// during the call. Called exactly once, as cachefs_completion_callback is.
pub type cachefs_batch_callback = Option<
    unsafe extern "C" fn(
        user: *mut core::ffi::c_void,
        completions: *const cachefs_completion,
        count: u32,
    ),
>;

/// cachefs_queue_options.flags: the queue may be passed on between threads, one
/// at a time. Without it, it belongs to the first thread that submits.
pub const CACHEFS_QUEUE_MOVABLE: u64 = 1;

/// Options of cachefs_queue_open(). Zero means the default in every field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_queue_options {
    /// sizeof(cachefs_queue_options) of the program.
    pub struct_size: u32,
    /// Requests that the queue holds, 1 to 4096; 0: 256.
    pub depth: u32,
    /// CACHEFS_QUEUE_…
    pub flags: u64,
}

// --- statistics --------------------------------------------------------------

#[path = "types/statistics.rs"]
mod statistics;
pub use statistics::*;
