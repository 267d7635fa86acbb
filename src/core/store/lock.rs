//! Locks of directories against other processes: flock(2), which dies with its
//! holder, and a limit on the wait for one that is stopped.

use crate::error::Errno;
use rustix::fs::{FlockOperation, flock};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Locks an open directory until its descriptor is closed. EBUSY if others keep it
/// for `limit_ms` milliseconds.
pub(super) fn lock(directory: impl AsFd, limit_ms: u64) -> Result<(), Errno> {
    let limit = Instant::now() + Duration::from_millis(limit_ms);
    loop {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::AGAIN) => return Err(Errno::BUSY),
            result => return result,
        }
    }
}
