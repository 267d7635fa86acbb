//! Leases: cached bytes without a copy.

use super::handle::Handle;
use super::pointer::Out;
use super::types::*;
use super::{guard, leases};
use cachefs_core::File;
use std::ffi::c_void;

/// Leases a range of a file: its bytes are in memory, and stay there unchanged until
/// cachefs_lease_release(), whatever becomes of the file, the origin, the cached copy
/// and the cache. They are of one version of the file, and do not follow later ones.
///
/// What is in locked memory already (see the option memory_bytes), and within one
/// chunk, is leased without a system call. Else bytes that are in the cache are
/// mapped and locked, or read into memory of the lease's own where that cannot be
/// done: of a direct object, and beyond RLIMIT_MEMLOCK. Others come from the origin
/// first, as for cachefs_read(). An access to leased bytes never waits for a device,
/// and never meets an error of one.
///
/// file    must not be NULL; may be closed before the lease is released
/// offset  where in the file
/// length  bytes, or CACHEFS_TO_END
/// lease   must not be NULL; give it back to cachefs_lease_release()
///
/// Returns 0, or a negative errno. A lease has fewer bytes than `length` only at the
/// end of the file, and none behind it:
///   -EINVAL    NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
///   -EAGAIN    `lease_bytes` are leased, counted in pages of 4 KiB: release some first
///   -E2BIG     the range alone is more than `lease_bytes`
///   -ENOMEM    there is not so much memory      -ECHILD  see cachefs_cache_open()
///   else as cachefs_read()
///
/// Thread-safety: any thread. Blocks: while bytes are read that are not in memory;
/// -EDEADLK as of cachefs_read(). Since: 0.1.
///
/// # Safety
/// `lease` must be NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_lease_acquire(
    file: *mut cachefs_file,
    offset: u64,
    length: u64,
    lease: *mut *mut cachefs_lease,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        // SAFETY: the caller promises a writable place or NULL.
        let out = unsafe { Out::new(lease, "the place for the lease") }?;
        out.set(leases::expose(file.lease(offset, length)?)?);
        Ok(())
    })
}

/// Says where the bytes of a lease are. They may be read until the lease is
/// released, on any thread, and never written to. A forked child does not have them.
///
/// lease   must not be NULL
/// data    must not be NULL; gets an address, also if there are no bytes: not NULL
/// length  must not be NULL; gets the bytes
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL      -EBADF  not a lease, or released
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
///
/// # Safety
/// `data` and `length` must be NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_lease_data(
    lease: *mut cachefs_lease,
    data: *mut *const c_void,
    length: *mut u64,
) -> i32 {
    guard::status(|| {
        let (start, bytes) = leases::look(lease)?;
        // SAFETY: the caller promises writable places or NULL.
        let (data, length) = unsafe {
            (
                Out::new(data, "the place for the address")?,
                Out::new(length, "the place for the length")?,
            )
        };
        data.set(start.cast());
        length.set(bytes as u64);
        Ok(())
    })
}

/// Gives a lease back. Nobody may look at its bytes any more.
///
/// lease  NULL is ignored; not a lease: nothing is done, and cachefs_last_error()
///        says so
///
/// Returns nothing.
///
/// Thread-safety: any thread, also inside a callback, and after the cache was closed.
/// Blocks: never. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn cachefs_lease_release(lease: *mut cachefs_lease) {
    guard::nothing(|| {
        if lease.is_null() {
            return Ok(());
        }
        leases::retire(lease).map(drop)
    })
}
