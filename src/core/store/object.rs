//! The local copy of one version of one file, as an open handle.

use super::Store;
use super::awake::Awake;
use super::bitmap::Bitmap;
use super::direct::Direct;
use super::layout::{Geometry, Header, checksum};
use super::owed::Owed;
use super::room::Grant;
use super::sync::Stored;
use super::{STAT_BLOCK_BYTES, on_disk};
use crate::error::{Context, Errno, Error, Result};
use crate::evict::Handle;
use crate::ids::Key;
use crate::memory::Resident;
use crate::sys;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An object in use. Its bytes stay readable until the last holder is gone,
/// also when the object has been evicted or replaced since.
pub(crate) struct Object {
    pub(crate) header: Header,
    pub(super) key: Key,
    data: Data,
    pub(super) bitmap: Bitmap,
    /// The way past the page cache of one that is direct until it is complete.
    for_now: OnceCell<Option<Direct>>,
    /// What syncs it.
    pub(super) stored: Arc<Stored>,
    /// Pages of its metadata that were seen to take stores, and when: see [`Awake`].
    pub(super) awake: Awake,
    /// Cached bytes could not be read back: nothing of it is trusted any more.
    broken: AtomicBool,
    /// What this process writes to: see [`super::Claim`].
    pub(super) claimed: Mutex<Vec<(u64, u64)>>,
    /// Its slot. None: it is not entered, and gets no more room.
    pub(super) account: Option<Handle>,
    /// What of it is in the memory tier, if there is one.
    resident: Option<Resident>,
    /// Told when the object is not in use any more.
    pub(super) store: Arc<Store>,
}

/// The data file: never truncated, and punched only where nothing is published.
pub(super) struct Data {
    /// For reading and writing through the page cache.
    pub(super) buffered: Arc<OwnedFd>,
    /// Of a direct object: past it.
    pub(super) direct: Option<Direct>,
}

impl Object {
    pub(super) fn new(
        store: Arc<Store>,
        header: Header,
        metadata: OwnedFd,
        data: Data,
        bitmap: Bitmap,
    ) -> Self {
        let stored = Stored::new(&store, &header, &data.buffered, metadata);
        Self {
            key: header.identity.key(),
            header,
            data,
            bitmap,
            for_now: OnceCell::new(),
            stored: Arc::new(stored),
            awake: Awake::default(),
            broken: AtomicBool::new(false),
            claimed: Mutex::default(),
            account: None,
            resident: store.resident(),
            store,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.header.geometry()
    }

    /// The data file through the page cache. Of a direct object, only what
    /// `direct` cannot do may be done through it.
    pub(crate) fn data(&self) -> &Arc<OwnedFd> {
        &self.data.buffered
    }

    /// The data file past the page cache, if the object is direct now.
    pub(crate) fn direct(&self) -> Option<&Direct> {
        if self.header.direct {
            self.data.direct.as_ref()
        } else if self.bitmap.is_direct_for_now() {
            self.open_for_now()
        } else {
            None
        }
    }

    /// The data file past the page cache, if the object is direct now or was.
    pub(crate) fn was_direct(&self) -> Option<&Direct> {
        let for_now = self.for_now.get().and_then(Option::as_ref);
        self.data.direct.as_ref().or(for_now)
    }

    fn open_for_now(&self) -> Option<&Direct> {
        let open = || match Direct::reopen(self.data.buffered.as_fd()) {
            Ok(direct) => Some(direct),
            Err(reason) => {
                // What others write past the page cache, the kernel keeps readers
                // of it from missing, as long as they do not map it.
                tracing::debug!("cannot open a cached file with O_DIRECT: {reason:?}");
                None
            }
        };
        self.for_now.get_or_init(open).as_ref()
    }

    /// Makes an object direct until it is complete, for a copy of the whole file,
    /// whose pages would only push others out of memory. Only one of which nothing is
    /// present, so that no page of it is in the page cache.
    pub(crate) fn become_direct(&self) {
        let is_buffered = !self.header.direct && !self.bitmap.is_direct_for_now();
        if is_buffered && self.bitmap.is_empty() && self.open_for_now().is_some() {
            self.bitmap.become_direct();
        }
    }

    /// What of it is in the memory tier, if there is one.
    pub(crate) fn resident(&self) -> Option<&Resident> {
        self.resident.as_ref()
    }

    /// Whether a chunk can be served.
    pub(crate) fn has(&self, chunk: u64) -> bool {
        self.bitmap.has(chunk) && !self.is_broken()
    }

    /// Whether a chunk can be served once its bytes have been found to be those that
    /// were written: another boot of the host has left it.
    pub(crate) fn doubts(&self, chunk: u64) -> bool {
        self.bitmap.doubts(chunk) && !self.is_broken()
    }

    /// Whether what was read of a doubted chunk is what was written.
    pub(crate) fn is_right(&self, chunk: u64, bytes: &[u8]) -> bool {
        self.bitmap.sum(chunk) == Some(checksum(bytes))
    }

    /// A doubted chunk is what was written: it is present soon.
    pub(crate) fn confirm_soon(self: &Arc<Self>, chunk: u64) {
        let confirmed = Owed::Confirm(Arc::downgrade(self), chunk);
        self.store.owe(confirmed);
    }

    /// Whether anything is known of the bytes of a chunk that is doubted. If not, it was
    /// found to be wrong.
    pub(crate) fn has_sum(&self, chunk: u64) -> bool {
        self.bitmap.sum(chunk).is_some()
    }

    /// A doubted chunk is not what was written.
    pub(crate) fn drop_doubted(&self, chunk: u64) {
        self.bitmap.drop_doubted(chunk);
    }

    /// Chunks that can be served.
    pub(crate) fn chunks_present(&self) -> u64 {
        if self.is_broken() {
            0
        } else {
            self.bitmap.count()
        }
    }

    /// Bytes of the file that can be served.
    pub(crate) fn bytes_present(&self) -> u64 {
        if self.is_broken() {
            0
        } else {
            self.bitmap.bytes(self.geometry())
        }
    }

    /// What its present and doubted bytes take on disk: holes take nothing.
    pub(super) fn room_taken(&self) -> u64 {
        let held = on_disk(self.bitmap.bytes_held(self.geometry()));
        rustix::fs::fstat(&self.data.buffered).map_or(held, |stat| {
            held.min(stat.st_blocks as u64 * STAT_BLOCK_BYTES)
        })
    }

    /// Makes a chunk visible to everybody; its bytes are in the data file. Without
    /// their checksum, it will not outlive a crash of the host.
    pub(crate) fn publish(&self, chunk: u64, sum: Option<u32>) {
        self.bitmap.publish(chunk, sum);
        self.bitmap.settle();
        self.changed();
        self.seal();
    }

    /// Room for a chunk that is about to be written, or so many bytes from it on.
    pub(crate) fn reserve(&self, chunk: u64, bytes: u64) -> Grant {
        match self.is_broken() {
            true => Grant::Refused,
            false => self.store.reserve(self, chunk, bytes),
        }
    }

    /// Gives back what was reserved for a chunk that was not written after all.
    pub(crate) fn release(&self, bytes: u64) {
        self.store.release(self, bytes);
    }

    /// The same where something of the range may have been written, or allocated, which is
    /// taken off the disk before. Soon, and claimed until then. What cannot be stays counted
    /// until nobody has the object open.
    pub(crate) fn give_up(
        self: &Arc<Self>,
        (offset, length): (u64, u64),
        room: u64,
        claim: impl Send + 'static,
    ) {
        let object = Arc::downgrade(self);
        self.store.owe(Owed::Other(Box::new(move || {
            let _claim = claim;
            let Some(object) = object.upgrade() else {
                return;
            };
            match sys::punch(object.data.buffered.as_fd(), offset, on_disk(length)) {
                Ok(()) => object.release(room),
                Err(errno) => tracing::debug!("what was not published stays on the disk: {errno}"),
            }
        })));
    }

    /// Has its metadata say whether it is pinned, for a table that was lost.
    pub(super) fn note_pin(&self, pinned: bool) {
        self.bitmap.pin(pinned);
    }

    pub(super) fn is_noted_as_pinned(&self) -> bool {
        self.bitmap.is_pinned()
    }

    /// Keeps it from being evicted, or no longer. ENOSPC: pinned objects have as much as
    /// they may; EAGAIN: it is not in the directory any more.
    pub(crate) fn pin(&self, pinned: bool) -> Result<()> {
        let gone = || Error::new(Errno::AGAIN, "the file is not in the cache any more");
        let handle = self.account.ok_or_else(gone)?;
        match self.store.pin(handle, pinned) {
            Ok(()) => {
                self.note_pin(pinned);
                Ok(())
            }
            Err(Errno::NOSPC) => {
                let text = "pinned files have as much as they may (pinned_percent)";
                Err(Error::new(Errno::NOSPC, text))
            }
            Err(_) => Err(gone()),
        }
    }

    /// Takes it out of the directory. Who has it open in this process is served by the
    /// origin from now on. EBUSY: it is pinned; EAGAIN: others kept us from it.
    pub(crate) fn evict(&self) -> Result<()> {
        if self
            .account
            .is_some_and(|handle| self.store.is_pinned(handle))
        {
            return Err(Error::new(Errno::BUSY, "the file is pinned"));
        }
        self.discard();
        if self.is_named() {
            let text = "other processes kept the file from being evicted: try again";
            return Err(Error::new(Errno::AGAIN, text));
        }
        Ok(())
    }

    /// Whether whoever closes it may have to wait: on FUSE, and for the device to free what
    /// has no name any more. For the last of its users; of others, it does not matter.
    pub(crate) fn may_wait_to_close(self: &Arc<Self>) -> bool {
        let is_last = || Arc::strong_count(self) == 1;
        self.store.elsewhere() || !self.store.may_pay() && is_last() && !self.is_named()
    }

    /// Whether its metadata still has a name.
    pub(super) fn is_named(&self) -> bool {
        rustix::fs::fstat(self.stored.metadata()).is_ok_and(|stat| stat.st_nlink > 0)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The store that it is in.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Stops serving from an object whose bytes cannot be read back, and
    /// removes it, so that the next open begins anew.
    pub(crate) fn discard(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            self.store.remove(self.key, self.header.nonce);
        }
    }

    /// The same without a wait: it is removed soon.
    pub(crate) fn discard_soon(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            let removed = Owed::Remove(self.key, self.header.nonce);
            self.store.owe(removed);
        }
    }

    /// A descriptor of the data file that can only read, for use outside the
    /// library, through the page cache also of a direct object: nothing of it is
    /// written any more, or by a slower process, the bytes that are there.
    /// ENODATA if a chunk is missing.
    pub(crate) fn export(&self) -> Result<OwnedFd> {
        if self.chunks_present() < self.geometry().chunks() {
            return Err(Error::new(
                Errno::NODATA,
                "the file is not wholly in the cache",
            ));
        }
        // Through /proc, since the name may have been unlinked; a duplicate
        // would be writable.
        let path = format!("/proc/self/fd/{}", self.data.buffered.as_raw_fd());
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open the cached file again")
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.store.closed(self);
    }
}
