//! Which chunks of an object are being written, among all processes.
//!
//! Some ways to copy write bytes before anybody knows that they are of the
//! right version. Nobody else may publish such a chunk meanwhile, so whoever
//! writes to a data file claims the bytes until they are published: by a lock
//! of the open file, which dies with its process. Within a process, where that lock is
//! everybody's, the object knows what is claimed: a file that turns out to be another
//! one may have two shards get the same object.

use super::Object;
use crate::error::Errno;
use crate::sys;
use std::os::fd::AsFd;
use std::sync::Arc;

/// A part of an object's data file that nobody else writes to until it is dropped.
pub(crate) struct Claim {
    object: Arc<Object>,
    offset: u64,
    length: u64,
}

impl Claim {
    /// Claims bytes; EAGAIN if another process is writing a part of them. What
    /// is present afterwards was published before, and must not be written.
    pub(crate) fn take(object: &Arc<Object>, offset: u64, length: u64) -> Result<Self, Errno> {
        let mut claimed = object.claimed.lock();
        let overlaps =
            |(other, bytes): &(u64, u64)| *other < offset + length && offset < other + bytes;
        if claimed.iter().any(overlaps) {
            return Err(Errno::AGAIN);
        }
        sys::lock_range(object.data().as_fd(), (offset, length), true)?;
        claimed.push((offset, length));
        drop(claimed);
        Ok(Self {
            object: Arc::clone(object),
            offset,
            length,
        })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// First byte, and how many.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.offset, self.length)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let range = (self.offset, self.length);
        let mut claimed = self.object.claimed.lock();
        if let Err(errno) = sys::lock_range(self.object.data().as_fd(), range, false) {
            tracing::warn!("bytes of a cached file stay claimed: {errno}");
        }
        claimed.retain(|other| *other != range);
    }
}
