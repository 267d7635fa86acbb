//! Origins.

use super::cache::no_flags;
use super::extensible::{copy_in, copy_out, zeroed};
use super::guard;
use super::handle::{Handle, PendingRead};
use super::origin_options::given;
use super::pointer::{Out, Owned, text};
use super::types::*;
use cachefs_core::{
    Cache, Circuit, CustomOrigin, Errno, Error, Origin, OriginRead, Result, TAG_BYTES_MAX,
    VersionToken,
};
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const _: () = assert!(CACHEFS_TAG_MAX == TAG_BYTES_MAX);

/// Opens an origin that is a directory on any mounted file system.
///
/// Neither `..` nor a link leads out of it. What is cached of it is found again
/// by every process that opens a cache directory with the same root.
///
/// cache   must not be NULL
/// root    must not be NULL
/// options NULL: all defaults; copied
/// origin  must not be NULL; close it with cachefs_origin_close()
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or an unknown flag      -ERANGE  an option is outside its range
///   -E2BIG   an option is set that this release does not know
///   -EBADF  not an open cache      -ESHUTDOWN  the cache is closed
///   -ENOENT, -ENOTDIR, -EACCES  as open(2) of the root
///   -ELOOP   the root lies inside the cache directory
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: as open(2) of the root. Since: 0.1.
///
/// # Safety
/// `root` must be NULL or a C string; `options` NULL or an initialised structure;
/// `origin` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_open_dir(
    cache: *mut cachefs_cache,
    root: *const c_char,
    options: *const cachefs_origin_options,
    origin: *mut *mut cachefs_origin,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        // SAFETY: the caller promises a C string or NULL.
        let root = unsafe { text(root, "the root") }?;
        // SAFETY: the caller promises an initialised structure or NULL.
        let options = unsafe { given(options) }?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(origin, "the place for the origin") }?;
        let root = Path::new(OsStr::from_bytes(root.to_bytes()));
        out.set(cache.open_directory(root, &options)?.expose()?);
        Ok(())
    })
}

/// Opens an origin that the program implements.
///
/// cache   must not be NULL
/// name    must not be NULL; 1 to 4096 bytes. Tells the origin apart from others
///         in the cache directory, so it must be the same after a restart
/// ops     must not be NULL; copied
/// user    passed to each callback
/// options NULL: all defaults; copied
/// origin  must not be NULL; close it with cachefs_origin_close()
///
/// Returns 0, or a negative errno; `ops->free` was then called, unless `ops`
/// could not be read:
///   -EINVAL  NULL, a callback is missing, an unknown flag, a bad name, or
///            `threads` together with CACHEFS_ORIGIN_NONBLOCKING
///   -ERANGE  an option is outside its range
///   -E2BIG   something is set in `ops` or `options` that this release does not know
///   -EBADF   not an open cache      -ESHUTDOWN  the cache is closed
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `name` must be NULL or a C string; `ops` NULL or a structure whose callbacks
/// keep their contract; `options` NULL or an initialised structure; `origin` NULL
/// or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_open(
    cache: *mut cachefs_cache,
    name: *const c_char,
    ops: *const cachefs_origin_ops,
    user: *mut c_void,
    options: *const cachefs_origin_options,
    origin: *mut *mut cachefs_origin,
) -> i32 {
    guard::status(|| {
        // SAFETY: the caller promises a structure or NULL.
        let ops = unsafe { copy_in(ops) }?;
        // From here on, `free` is called by the drop of `user`.
        // SAFETY: the caller promises that the callbacks keep their contract.
        let user = unsafe { Owned::new(user, ops.free) };
        let cache = Cache::get(cache)?;
        // SAFETY: the caller promises a C string or NULL.
        let name = unsafe { text(name, "the name") }?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(origin, "the place for the origin") }?;
        // SAFETY: the caller promises an initialised structure or NULL.
        let options = unsafe { given(options) }?;
        let code = COrigin::new(&ops, user)?;
        let opened = cache.open_origin(name.to_bytes(), Arc::new(code), &options)?;
        out.set(opened.expose()?);
        Ok(())
    })
}

/// Ends a read that an origin's `read` callback accepted.
///
/// token   as the callback got it; it must not be used again
/// result  bytes that are in the buffer, or a negative errno. Fewer than were
///         asked for is an error of the origin, unless its file has become
///         shorter
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL      -EBADF  no such read, or it was completed before
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread, also inside the `read` callback. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_origin_complete(token: *mut cachefs_origin_token, result: i64) -> i32 {
    guard::status(|| {
        let pending = PendingRead::retire(token)?;
        let read = pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let read = read.ok_or_else(|| Error::new(Errno::BADF, "the read was refused before"))?;
        read.complete(match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => Err(errno(result)),
        });
        Ok(())
    })
}

/// Closes an origin. Files that are open go on; `free` is called when the last
/// of them is closed and every read has been completed.
///
/// origin  NULL is ignored; not an open origin: nothing is done, and
///         cachefs_last_error() says so
///
/// Returns nothing.
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_origin_close(origin: *mut cachefs_origin) {
    guard::nothing(|| {
        if origin.is_null() {
            return Ok(());
        }
        Origin::retire(origin).map(drop)
    })
}

/// Says whether an origin answers.
///
/// origin  must not be NULL
/// report  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or struct_size not set      -EBADF  not an open origin
///   -E2BIG   struct_size above 4096            -ECHILD see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `report` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_report(
    origin: *mut cachefs_origin,
    report: *mut cachefs_origin_report_info,
) -> i32 {
    guard::status(|| {
        let known = Origin::get(origin)?.report();
        let value = cachefs_origin_report_info {
            struct_size: 0,
            circuit: match known.circuit {
                Circuit::Closed => CACHEFS_CIRCUIT_CLOSED,
                Circuit::Open => CACHEFS_CIRCUIT_OPEN,
                Circuit::HalfOpen => CACHEFS_CIRCUIT_HALF_OPEN,
            },
            circuit_since_ns: known.since.as_nanos() as u64,
            failures: known.failures,
            last_error_ns: known.last_error_at.as_nanos() as u64,
            last_error: known.last_error.map_or(0, |errno| -errno.raw_os_error()),
            reserved: 0,
            retries: known.retries,
        };
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(report, &value) }
    })
}

/// Forgets what is believed of a path of an origin: that it has a version, or that it
/// is not there. The origin is asked before anything is served of it again: at the
/// next read of a file that is open, at the next open of one that is not. What is
/// cached stays, and is served if the version turns out to be the same.
///
/// Holds for every process that uses the cache directory, as soon as the call returns,
/// and for requests that begin after it. Other names of the file, by links, are not
/// invalidated. A few paths more than those that were named may be asked for.
///
/// origin  must not be NULL
/// path    must not be NULL; as for cachefs_file_open()
/// flags   CACHEFS_INVALIDATE_…
///
/// Returns 0, or a negative errno and nothing was forgotten, but for -ETIMEDOUT:
///   -EINVAL  NULL, or an unknown flag      -EBADF  not an open origin
///   -ESHUTDOWN  the cache is closed        -ECHILD  see cachefs_cache_open()
///   -ETIMEDOUT  the cache device does not answer: it holds for this process, which asks
///            for every file anew, and for the others once the device does
///
/// Thread-safety: any thread. Blocks: while the cache device takes it, at most for its
/// option device_timeout_ms. Since: 0.1.
///
/// # Safety
/// `path` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_invalidate(
    origin: *mut cachefs_origin,
    path: *const c_char,
    flags: u64,
) -> i32 {
    guard::status(|| {
        let origin = Origin::get(origin)?;
        // SAFETY: the caller promises a C string or NULL.
        let path = unsafe { text(path, "the path") }?;
        match flags {
            0 => origin.invalidate(path.to_bytes()),
            CACHEFS_INVALIDATE_BELOW => origin.invalidate_below(path.to_bytes()),
            _ => no_flags(flags),
        }
    })
}

/// A negative errno of the program. What is none becomes EIO.
fn errno(result: i64) -> Errno {
    match i32::try_from(-result) {
        Ok(number @ 1..=4095) => Errno::from_raw_os_error(number),
        _ => Errno::IO,
    }
}

/// The program's callbacks.
struct COrigin {
    stat: StatFn,
    read: ReadFn,
    checks_version: bool,
    threads: u32,
    user: Owned,
}

type StatFn = unsafe extern "C" fn(*mut c_void, *const c_char, *mut cachefs_origin_attr) -> i32;
type ReadFn = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const cachefs_origin_attr,
    *mut c_void,
    u64,
    u64,
    *mut cachefs_origin_token,
) -> i32;

const THREADS_DEFAULT: u32 = 4;
const THREADS_MAX: u32 = 1024;

impl COrigin {
    fn new(ops: &cachefs_origin_ops, user: Owned) -> Result<Self> {
        let invalid = |text: &str| Error::new(Errno::INVAL, format!("cachefs_origin_ops: {text}"));
        let known = CACHEFS_ORIGIN_CHECKS_VERSION | CACHEFS_ORIGIN_NONBLOCKING;
        if ops.flags & !known != 0 {
            return Err(invalid("a flag that this release does not know is set"));
        }
        let nonblocking = ops.flags & CACHEFS_ORIGIN_NONBLOCKING != 0;
        if nonblocking && ops.threads != 0 {
            return Err(invalid("callbacks that never block need no threads"));
        }
        if ops.threads > THREADS_MAX {
            return Err(invalid("more than 1024 threads"));
        }
        Ok(Self {
            stat: ops.stat.ok_or_else(|| invalid("stat is NULL"))?,
            read: ops.read.ok_or_else(|| invalid("read is NULL"))?,
            checks_version: ops.flags & CACHEFS_ORIGIN_CHECKS_VERSION != 0,
            threads: match (nonblocking, ops.threads) {
                (true, _) => 0,
                (false, 0) => THREADS_DEFAULT,
                (false, threads) => threads,
            },
            user,
        })
    }
}

impl CustomOrigin for COrigin {
    fn stat(&self, path: &CStr) -> std::result::Result<VersionToken, Errno> {
        let mut attr: cachefs_origin_attr = zeroed();
        attr.struct_size = size_of::<cachefs_origin_attr>() as u32;
        // SAFETY: the contract of the callback: it writes `attr` during the call.
        let result = unsafe { (self.stat)(self.user.user.0, path.as_ptr(), &mut attr) };
        if result != 0 {
            return Err(errno(result.into()));
        }
        to_token(&attr).ok_or(Errno::IO)
    }

    fn read(&self, mut read: OriginRead) {
        let (path, version, offset) = (
            read.path().to_owned(),
            from_token(read.version()),
            read.offset(),
        );
        let buffer = read.buffer();
        let (start, length) = (buffer.as_mut_ptr(), buffer.len() as u64);
        // The read, and with it the buffer, stays in the registry until it is completed.
        let Ok(token) = PendingRead::expose(Mutex::new(Some(read))) else {
            // No handle is left: dropping the read fails it.
            return;
        };
        // SAFETY: the contract of the callback: it uses `path` and `version`
        // during the call, and the buffer until it completes the token.
        let result = unsafe {
            (self.read)(
                self.user.user.0,
                path.as_ptr(),
                &version,
                start.cast(),
                length,
                offset,
                token,
            )
        };
        if result != 0
            && let Ok(pending) = PendingRead::retire(token)
            && let Some(read) = pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        {
            read.complete(Err(errno(result.into())));
        }
    }

    fn checks_version(&self) -> bool {
        self.checks_version
    }

    fn threads(&self) -> u32 {
        self.threads
    }
}

/// None if the tag is longer than it can be.
fn to_token(attr: &cachefs_origin_attr) -> Option<VersionToken> {
    let length = attr.tag_length as usize;
    let mut tag = [0; TAG_BYTES_MAX];
    tag.get_mut(..length)?.copy_from_slice(&attr.tag[..length]);
    Some(VersionToken {
        size: attr.size,
        mtime_ns: attr.mtime_ns,
        ctime_ns: attr.ctime_ns,
        inode: attr.inode,
        tag_length: attr.tag_length,
        tag,
    })
}

fn from_token(token: &VersionToken) -> cachefs_origin_attr {
    cachefs_origin_attr {
        struct_size: size_of::<cachefs_origin_attr>() as u32,
        tag_length: token.tag_length,
        size: token.size,
        mtime_ns: token.mtime_ns,
        ctime_ns: token.ctime_ns,
        inode: token.inode,
        tag: token.tag,
    }
}
