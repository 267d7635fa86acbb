//! Chunks that are present and not what was written: they are taken back, and fetched
//! again into the room that they have.
//!
//! Whoever reads one just now may go on, and gets what it would have got before. A chunk
//! that may be durable is taken back beside serving, since that has to reach the device
//! before anybody may write to it again: `docs/format.md` says why.

use super::sync::{DurableLock, Stored};
use super::{Object, Store};
use crate::error::{Context, Result};
use crate::io::Disk;
use crate::limits::CONDEMNED_CHUNKS_MAX;
use crate::sys;
use crate::upkeep::{Chore, Reminder, Upkeep};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After this, it is tried again to take back a chunk of an object that is being synced.
const RETRY: Duration = Duration::from_millis(100);

/// Chunks that wait to be taken back.
#[derive(Default)]
pub(super) struct Condemned {
    chunks: Mutex<Vec<(Arc<Stored>, u64)>>,
    reminder: OnceCell<Reminder>,
}

impl Condemned {
    /// Names the store whose chunks they are.
    pub(super) fn begin(&self, upkeep: &Upkeep, store: &Arc<Store>) {
        let executor = Executor(Arc::downgrade(store));
        let reminder = self.reminder.set(upkeep.add(executor));
        assert!(reminder.is_ok(), "it is begun once");
    }

    /// Takes a chunk, if there is room for it: else it is found again.
    fn enter(&self, object: &Arc<Stored>, chunk: u64, when: Instant) {
        let mut chunks = self.chunks.lock();
        let is_there = chunks
            .iter()
            .any(|(one, number)| Arc::ptr_eq(one, object) && *number == chunk);
        if is_there || chunks.len() == CONDEMNED_CHUNKS_MAX {
            return;
        }
        chunks.push((Arc::clone(object), chunk));
        drop(chunks);
        let reminder = self.reminder.get();
        reminder.expect("it was begun at the open").at(when);
    }
}

impl Object {
    /// The device cannot give a chunk that it had. False: it stays until that can be
    /// written down, and is not to be written to before. Does not wait.
    pub(crate) fn drop_unreadable(&self, chunk: u64) -> bool {
        let metadata = self.stored.reopen();
        let lock = metadata
            .as_ref()
            .map(|file| DurableLock::take(file.as_fd()));
        let Ok(Ok(_lock)) = lock else {
            return false;
        };
        if self.bitmap.may_be_durable(chunk) || !self.store.may_pay() {
            let condemned = &self.store.condemned;
            condemned.enter(&self.stored, chunk, Instant::now());
            return false;
        }
        let take_back = || self.bitmap.drop_unreadable(chunk);
        self.store.unsealed(self.key, self.header.nonce, take_back);
        self.store.counters.chunks_dropped.add(1);
        true
    }
}

impl Stored {
    /// The metadata file once more, for a lock of one's own.
    fn reopen(&self) -> Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.metadata.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        sys::open_at(rustix::fs::CWD, &path, flags, Mode::empty())
            .context(|| "open metadata once more")
    }

    /// Takes a chunk back. False: somebody else is at the durable bits. After an error
    /// nobody knows what of the object is durable.
    pub(super) fn condemn(&self, disk: &Disk, chunk: u64) -> Result<bool> {
        let Ok(_lock) = DurableLock::take(self.metadata.as_fd()) else {
            return Ok(false);
        };
        let bitmap = self.bitmap()?;
        if bitmap.may_be_durable(chunk) {
            let rest = bitmap.suspend_durable(chunk);
            let synced = disk.sync(self.metadata.as_fd());
            synced.context(|| "sync the metadata of a cached file")?;
            bitmap.resume_durable(chunk, rest);
        }
        bitmap.condemn(chunk);
        Ok(true)
    }
}

/// The chore.
struct Executor(Weak<Store>);

impl Chore for Executor {
    fn work(&mut self, _: &AtomicBool) -> Option<Instant> {
        let store = self.0.upgrade()?;
        let (object, chunk) = store.condemned.chunks.lock().pop()?;
        let take_back = || object.condemn(&store.disk, chunk);
        match store.unsealed(object.key, object.nonce, take_back) {
            Ok(true) => store.counters.chunks_dropped.add(1),
            Ok(false) => {
                let later = Instant::now() + RETRY;
                store.condemned.enter(&object, chunk, later);
                return Some(later);
            }
            Err(error) => {
                store.health.failed(&error);
                store.discard(object.key, object.nonce);
            }
        }
        Some(Instant::now())
    }

    fn finish(&mut self, deadline: Instant) {
        let count = self
            .0
            .upgrade()
            .map_or(0, |store| store.condemned.chunks.lock().len());
        for _ in 0..count {
            if Instant::now() < deadline {
                self.work(&AtomicBool::new(true));
            }
        }
    }
}
