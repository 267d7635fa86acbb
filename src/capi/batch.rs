//! Batches: several requests with one callback.

use super::guard;
use super::pointer::User;
use super::read::convert;
use super::request::{Action, Requests};
use super::types::*;
use cachefs_core::{Completion, Errno, Error, Item, Operation, Result, limits, submit_batch};
use std::ffi::c_void;

/// Starts a batch of reads and fills; one callback is told all their completions
/// once the last has ended, on a library thread.
///
/// requests      must not be NULL; copied
/// count         elements, 1 to 4096
/// request_size  sizeof(cachefs_request) of the program
/// callback      must not be NULL
/// user          passed to the callback
/// ids           NULL, or a place for `count` ids of the requests, for
///               cachefs_cancel(); written before the callback is called
///
/// Returns 0 if all were accepted, and the callback is called exactly once, with as
/// many completions in the same order. Or a negative errno, and none was started:
///   -EINVAL  NULL, an unknown operation, flag or priority, a buffer where none
///            belongs, a `count` outside its range, or `request_size` is smaller
///            than the first release's
///   -E2BIG   something is set that this release does not know
///   -EBADF   not an open file      -ESHUTDOWN  the cache is closed
///   -EAGAIN  `async_limit` would be exceeded: try again after a completion
///   -ECHILD  see cachefs_cache_open()
///
/// Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
///
/// # Safety
/// `requests` must be readable for `count` elements of `request_size` bytes; each
/// buffer must be writable, and nobody else's until the callback; `callback` must
/// be callable on any thread; `ids` NULL or writable for `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_batch_async(
    requests: *const cachefs_request,
    count: u32,
    request_size: usize,
    callback: cachefs_batch_callback,
    user: *mut c_void,
    ids: *mut u64,
) -> i32 {
    guard::status(|| {
        let callback = callback.ok_or_else(|| Error::new(Errno::INVAL, "the callback is NULL"))?;
        // SAFETY: the caller promises the requests for the call, and their buffers.
        let mut requests = unsafe { Requests::new(requests, count, request_size) }?;
        let items = items(&mut requests)?;
        let announce = |given: &[u64]| {
            if !ids.is_null() {
                // SAFETY: the caller promises room for as many as there are requests.
                unsafe { ids.copy_from_nonoverlapping(given.as_ptr(), given.len()) }
            }
        };
        let told = Told {
            callback,
            user: User(user),
        };
        submit_batch(items, announce, move |completions| told.tell(completions))
    })
}

fn items(requests: &mut Requests) -> Result<Vec<Item>> {
    // Before anything is copied for them.
    if requests.count() as usize > limits::BATCH_MAX {
        let text = format!("a batch has at most {} requests", limits::BATCH_MAX);
        return Err(Error::new(Errno::INVAL, text));
    }
    let count = requests.count();
    let item = |index| {
        let (request, file) = requests.get(index)?;
        let (operation, target, length) = match request.action {
            Action::Read(buffer) => (Operation::Read, vec![buffer], 0),
            Action::ReadVectored(pieces) => (Operation::Read, pieces, 0),
            Action::Fill(length) => (Operation::Fill, Vec::new(), length),
        };
        Ok(Item {
            file: (**file).clone(),
            operation,
            target,
            offset: request.offset,
            length,
            tag: request.tag,
            treatment: request.treatment,
        })
    };
    (0..count).map(item).collect()
}

struct Told {
    callback: unsafe extern "C" fn(*mut c_void, *const cachefs_completion, u32),
    user: User,
}

impl Told {
    fn tell(self, completions: &[Completion]) {
        let completions: Vec<cachefs_completion> = completions.iter().map(convert).collect();
        // SAFETY: by the contract of cachefs_batch_async(); the completions outlive
        // the call, and a batch has fewer than a u32 can count.
        unsafe { (self.callback)(self.user.0, completions.as_ptr(), completions.len() as u32) }
    }
}
