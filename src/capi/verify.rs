//! Comparing what is cached with its checksums.

use super::extensible::copy_out;
use super::guard;
use super::handle::Handle;
use super::pointer::User;
use super::types::*;
use cachefs_core::{Cache, File, Result, Verification};
use std::ffi::c_void;

fn convert(found: &Verification) -> cachefs_verification {
    cachefs_verification {
        struct_size: size_of::<cachefs_verification>() as u32,
        reserved: 0,
        objects: found.objects,
        objects_dropped: found.objects_dropped,
        chunks_verified: found.chunks_verified,
        chunks_summed: found.chunks_summed,
        chunks_dropped: found.chunks_dropped,
        busy: found.busy,
        bytes: found.bytes,
    }
}

/// Verifies by `how`, which is given whom to tell.
///
/// # Safety
/// As of [`cachefs_verify`].
unsafe fn verify(
    how: impl FnOnce(&mut dyn FnMut(&Verification) -> bool) -> Result<Verification>,
    progress: cachefs_verify_callback,
    user: *mut c_void,
    verification: *mut cachefs_verification,
) -> Result<()> {
    let user = User(user);
    let found = how(&mut |found| match progress {
        None => true,
        // SAFETY: the caller promises that it can be called on this thread.
        Some(progress) => unsafe { progress(user.0, &convert(found)) == 0 },
    })?;
    if verification.is_null() {
        return Ok(());
    }
    // SAFETY: the caller promises the structure.
    unsafe { copy_out(verification, &convert(&found)) }
}

/// Compares all that is cached with its checksums, past the page cache where the file
/// system can. What is wrong is dropped, a chunk at a time, and fetched again when it
/// is next read; damaged metadata cost their object. Readers are not waited for.
///
/// cache         must not be NULL
/// progress      NULL, or told what was found so far
/// user          passed to `progress`
/// verification  NULL, or a place for what was found; its struct_size set
///
/// Returns 0, also if something was wrong, or a negative errno; what was dropped before
/// the error is gone:
///   -EINVAL    NULL, or struct_size below 8      -EBADF  not an open cache
///   -E2BIG     struct_size above 4096
///   -ECANCELED by `progress`
///   -EIO       a failure of the device other than that it cannot read a chunk
///   -EBUSY     another process keeps a part of the directory
///   -ESHUTDOWN the cache is closed
///   else       why nothing is cached: see cachefs_cache_report()
///
/// Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
///
/// # Safety
/// `progress` must be callable with `user` on this thread; `verification` NULL or
/// writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_verify(
    cache: *mut cachefs_cache,
    progress: cachefs_verify_callback,
    user: *mut c_void,
    verification: *mut cachefs_verification,
) -> i32 {
    guard::status(|| {
        let cache = Cache::get(cache)?;
        // SAFETY: the caller's promises are the same.
        unsafe { verify(|watch| cache.verify(watch), progress, user, verification) }
    })
}

/// Compares what is cached of one file with its checksums, as cachefs_verify() does.
///
/// file          must not be NULL
/// progress      NULL, or told what was found so far
/// user          passed to `progress`
/// verification  NULL, or a place for what was found; its struct_size set
///
/// Returns what cachefs_verify() does; a file of which nothing is cached is no error.
///
/// Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
///
/// # Safety
/// As of cachefs_verify().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_file_verify(
    file: *mut cachefs_file,
    progress: cachefs_verify_callback,
    user: *mut c_void,
    verification: *mut cachefs_verification,
) -> i32 {
    guard::status(|| {
        let file = File::get(file)?;
        // SAFETY: the caller's promises are the same.
        unsafe { verify(|watch| file.verify(watch), progress, user, verification) }
    })
}
