//! Those of origins. This file imports nothing but what is beside it: see `types.rs`.

use super::{cachefs_free_callback, cachefs_origin_token};

/// cachefs_origin_ops.flags: `read` checks the version that it is given itself
/// and fails with -ESTALE when the file has another one (If-Match, say), so the
/// library does not call `stat` after each read.
pub const CACHEFS_ORIGIN_CHECKS_VERSION: u64 = 1;
/// cachefs_origin_ops.flags: the callbacks never block, so they are called on
/// the library's own I/O threads, and `threads` must be 0.
pub const CACHEFS_ORIGIN_NONBLOCKING: u64 = 2;

/// cachefs_origin_options.validation: the origin is asked for a file's version at each
/// open.
pub const CACHEFS_VALIDATE_ALWAYS: u32 = 0;
/// It is asked at the first open, and again after `validate_ttl_ms`.
pub const CACHEFS_VALIDATE_TTL: u32 = 1;
/// It is asked at the first open, and again after cachefs_invalidate().
pub const CACHEFS_VALIDATE_NEVER: u32 = 2;

/// cachefs_invalidate(): the path and everything below it; of the path "", everything.
pub const CACHEFS_INVALIDATE_BELOW: u64 = 1;

/// Options of cachefs_origin_open_dir() and cachefs_origin_open(). Zero means the
/// default in every field.
///
/// Fill it with cachefs_origin_options_init(). cachefs_origin_option_describe() lists
/// the string keys with their defaults and ranges.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_origin_options {
    /// sizeof(cachefs_origin_options) of the program.
    pub struct_size: u32,
    /// CACHEFS_VALIDATE_…
    pub validation: u32,
    /// None are defined: must be 0.
    pub flags: u64,
    /// Milliseconds for which a version is believed with CACHEFS_VALIDATE_TTL.
    pub validate_ttl_ms: u64,
    /// Milliseconds for which a path that the origin does not have (-ENOENT, -ENOTDIR)
    /// is not looked for again; 0: it always is.
    pub negative_ttl_ms: u64,
    /// Times that a read or an open is tried again whose origin could not be reached.
    pub retries: u64,
    /// Milliseconds before the first retry, at most; twice as many before each further one.
    pub retry_first_ms: u64,
    /// Milliseconds before any retry, at most.
    pub retry_max_ms: u64,
    /// Failures in a row after which the origin is left alone; 0: it never is.
    pub breaker_failures: u64,
    /// Milliseconds after which an origin that is left alone is asked once.
    pub breaker_probe_ms: u64,
    /// Milliseconds for which a file is served whose origin cannot be reached, since it
    /// was last asked for; 0: it is not.
    pub stale_ms: u64,
    /// Bytes that the origin's files may take of the cache, in all processes together;
    /// beyond that, its own are evicted. 0: as many as the cache has. The last one who
    /// opens an origin sets it.
    pub quota_bytes: u64,
    /// Percent of the cache's capacity_bytes beyond which the origin's files are evicted
    /// before those of others. 0: never. The last one who opens an origin sets it.
    pub share_percent: u64,
    /// Bytes a second that are read from it; 0: no limit. Readers go first, and take up
    /// to a second's worth in advance.
    pub bytes_per_second: u64,
    /// The same in reads of it, of up to a chunk each.
    pub operations_per_second: u64,
    /// Its share of what several origins of the cache want at once.
    pub weight: u64,
}

/// cachefs_origin_report_info.circuit: every question is let through to the origin.
pub const CACHEFS_CIRCUIT_CLOSED: u32 = 1;
/// None is: what needs the origin fails at once, with its last error.
pub const CACHEFS_CIRCUIT_OPEN: u32 = 2;
/// One is, and tells about the others.
pub const CACHEFS_CIRCUIT_HALF_OPEN: u32 = 3;

/// What cachefs_origin_report() says. Times are nanoseconds of CLOCK_BOOTTIME; 0: never.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_origin_report_info {
    /// sizeof(cachefs_origin_report_info) of the program.
    pub struct_size: u32,
    /// CACHEFS_CIRCUIT_…; a program must expect values it does not know.
    pub circuit: u32,
    /// When the circuit last changed.
    pub circuit_since_ns: u64,
    /// Times that the origin could not be reached, since it last answered.
    pub failures: u64,
    /// When it last could not be reached.
    pub last_error_ns: u64,
    /// The negative errno of that; 0: there was none.
    pub last_error: i32,
    /// Must be ignored.
    pub reserved: u32,
    /// Times that something was tried again.
    pub retries: u64,
}

/// Bytes of an origin's opaque version tag.
pub const CACHEFS_TAG_MAX: usize = 48;

/// What identifies a version of an origin's file. Two versions are the same if
/// every field is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_origin_attr {
    /// sizeof(cachefs_origin_attr) of the library.
    pub struct_size: u32,
    /// Bytes of `tag` in use, 0 to CACHEFS_TAG_MAX.
    pub tag_length: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Nanoseconds since 1970; 0 if the origin has none.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970; 0 if the origin has none.
    pub ctime_ns: i64,
    /// Number of the file in its origin; 0 if it has none.
    pub inode: u64,
    /// ETag, change cookie, generation …
    pub tag: [u8; CACHEFS_TAG_MAX],
}

/// Fills `attr` (zeroed, but for struct_size) with the file's current version
/// and returns 0, or a negative errno. `path` is valid during the call.
pub type cachefs_origin_stat_callback = Option<
    unsafe extern "C" fn(
        user: *mut core::ffi::c_void,
        path: *const core::ffi::c_char,
        attr: *mut cachefs_origin_attr,
    ) -> i32,
>;

/// Starts one read of `length` bytes at `offset` into `buffer` and returns 0, or
/// a negative errno if it will not be done.
///
/// After 0, cachefs_origin_complete() must be called exactly once with `token`,
/// on any thread, also from inside this callback; until then `buffer` is the
/// origin's. `path` and `version` are valid during the call.
pub type cachefs_origin_read_callback = Option<
    unsafe extern "C" fn(
        user: *mut core::ffi::c_void,
        path: *const core::ffi::c_char,
        version: *const cachefs_origin_attr,
        buffer: *mut core::ffi::c_void,
        length: u64,
        offset: u64,
        token: *mut cachefs_origin_token,
    ) -> i32,
>;

/// An origin made of callbacks; see cachefs_origin_open().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_origin_ops {
    /// sizeof(cachefs_origin_ops) of the program.
    pub struct_size: u32,
    /// Threads that call `read` and `stat` after reads, so that they may block; 0: 4.
    pub threads: u32,
    /// CACHEFS_ORIGIN_…
    pub flags: u64,
    /// Must not be NULL. Also called on the thread of cachefs_file_open().
    pub stat: cachefs_origin_stat_callback,
    /// Must not be NULL.
    pub read: cachefs_origin_read_callback,
    /// NULL, or called with `user` once the origin is used no more.
    pub free: cachefs_free_callback,
}
