//! Files.

use super::cache::no_flags;
use super::extensible::copy_out;
use super::guard;
use super::handle::Handle;
use super::pointer::{Out, text};
use super::types::*;
use cachefs_core::{File, Origin};
use std::ffi::c_char;
use std::os::fd::IntoRawFd;

/// Opens a file of an origin for cached reads.
///
/// The origin is asked for the file's version as the option `validation` of origins
/// says; what the cache has of another version is dropped. If a later read finds that
/// the file has changed since, the file moves on to the new version; one read never
/// mixes two.
///
/// origin  must not be NULL
/// path    must not be NULL; relative to the origin, leading slashes are ignored;
///         up to 4095 bytes of any encoding
/// flags   none are defined: 0
/// file    must not be NULL; close it with cachefs_file_close()
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, an unknown flag, or neither a regular file nor a directory
///   -EISDIR  a directory      -EXDEV  `..` or a link leads out of the origin
///   -ENOENT, -EACCES, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EIO, -ESTALE  as open(2)
///            of the origin's file, or what the origin's `stat` said
///   -EMFILE, -ENFILE  no descriptor is left
///   -EOVERFLOW  the origin's `stat` gave a size of 2^63 or more
///   -ELOOP   the file belongs to the cache directory
///   -ETIMEDOUT  the origin is on no device of this host and has not answered within
///            `origin_timeout_ms`
///   -EBADF   not an open origin      -ESHUTDOWN  the cache is closed
///   -ECHILD  see cachefs_cache_open()
/// While an origin is left alone (see the option breaker_failures of origins), its last
/// error is returned at once.
///
/// Thread-safety: any thread. Blocks: as open(2) of the origin's file, or its `stat`.
/// Since: 0.1.
///
/// # Safety
/// `path` must be NULL or a C string; `file` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_file_open(
    origin: *mut cachefs_origin,
    path: *const c_char,
    flags: u64,
    file: *mut *mut cachefs_file,
) -> i32 {
    guard::status(|| {
        let origin = Origin::get(origin)?;
        // SAFETY: the caller promises a C string or NULL.
        let path = unsafe { text(path, "the path") }?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(file, "the place for the file") }?;
        no_flags(flags)?;
        let opened = origin.open(path.to_bytes())?;
        out.set(opened.expose()?);
        Ok(())
    })
}

/// Says what the file is, as of the version that is served. Does not ask the origin.
///
/// file  must not be NULL
/// info  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or struct_size not set      -EBADF  not an open file
///   -E2BIG   struct_size above 4096            -ESHUTDOWN  the cache is closed
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `info` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_file_stat(
    file: *mut cachefs_file,
    info: *mut cachefs_file_info,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        file.check_open()?;
        let known = file.info();
        let value = cachefs_file_info {
            struct_size: 0,
            flags: if known.stale { CACHEFS_FILE_STALE } else { 0 },
            size: known.token.size,
            mtime_ns: known.token.mtime_ns,
            ctime_ns: known.token.ctime_ns,
            inode: known.token.inode,
            version: known.version,
        };
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(info, &value) }
    })
}

/// Says how much of the file is in the cache, as of the version that is served.
///
/// file       must not be NULL
/// residency  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno: as cachefs_file_stat().
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `residency` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_file_residency(
    file: *mut cachefs_file,
    residency: *mut cachefs_residency,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        file.check_open()?;
        let known = file.residency();
        let value = cachefs_residency {
            struct_size: 0,
            complete: known.complete.into(),
            bytes_present: known.bytes_present,
            chunks_present: known.chunks_present,
            chunks_total: known.chunks_total,
            chunk_bytes: known.chunk_bytes,
        };
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(residency, &value) }
    })
}

/// Opens the cached copy of a file that is wholly in the cache, for mmap(2),
/// sendfile(2) and the like. It keeps its bytes when the file is closed, evicted
/// or replaced, and does not follow later versions.
///
/// file  must not be NULL
///
/// Returns a new read-only, close-on-exec descriptor, which the program closes
/// with close(2), or a negative errno:
///   -ENODATA  a part of the file is not in the cache: see cachefs_fill()
///   -EINVAL   NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
///   -EMFILE, -ENFILE    no descriptor is left      -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_file_fd(file: *mut cachefs_file) -> i32 {
    guard::count(|| Ok(File::get(file)?.descriptor()?.into_raw_fd()))
}

/// Keeps what is cached of a file from being evicted, and what is cached of it later,
/// also when it changes and after a restart. Fetches nothing: see cachefs_fill().
///
/// file  must not be NULL
///
/// Returns 0, or a negative errno:
///   -ENOSPC   pinned files have as much of the cache as they may: see the option
///             pinned_percent
///   -ENODATA  nothing of the file is kept      -EAGAIN  it is not in the cache any
///             more: open it again
///   -EINVAL   NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
///   -ETIMEDOUT  the cache device does not answer; should it, the file is pinned then
///   -ECHILD   see cachefs_cache_open()
///
/// Thread-safety: any thread. Blocks: while the cache device takes it, at most for its
/// option device_timeout_ms. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_file_pin(file: *mut cachefs_file) -> i32 {
    guard::status(|| File::get(file)?.pin())
}

/// Lets a file be evicted again.
///
/// file  must not be NULL
///
/// Returns 0, or a negative errno: as cachefs_file_pin(), but for -ENOSPC.
///
/// Thread-safety: any thread. Blocks: as cachefs_file_pin(). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_file_unpin(file: *mut cachefs_file) -> i32 {
    guard::status(|| File::get(file)?.unpin())
}

/// Closes a file. Requests on it go on to their completion.
///
/// file  NULL is ignored; not an open file: nothing is done, and
///       cachefs_last_error() says so
///
/// Returns nothing.
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_file_close(file: *mut cachefs_file) {
    guard::nothing(|| {
        if file.is_null() {
            return Ok(());
        }
        File::retire(file).map(drop)
    })
}
