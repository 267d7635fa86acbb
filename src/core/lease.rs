//! Leases: cached bytes to look at, which stay until they are given back.
//!
//! | what is leased | how | cost |
//! |---|---|---|
//! | a range within a chunk of the memory tier | its window is held | no system call |
//! | present bytes of a buffered object | they are mapped and locked | some system calls |
//! | all else | a blocking read into memory of its own | that of the read |
//!
//! In each case an access to the bytes neither waits for a device nor meets its
//! errors. Where the process may not lock what it mapped, the bytes are read.

use crate::buf::{Lent, Mapping, Pages, View};
use crate::error::{Errno, Error, Result, describe};
use crate::file::{File, FileInner, Version};
use crate::limits::{LEASE_UNIT_BYTES, VERSION_RETRIES_MAX};
use crate::memory::{Kept, Look};
use crate::shared::Shared;
use crate::stats::Counters;
use crate::store::{Object, Trust};
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of one version of a file, which neither change nor go while this lives:
/// whatever becomes of the file, the object and the cache.
pub struct Lease {
    start: NonNull<u8>,
    /// Bytes.
    length: usize,
    /// What it takes of the limit, in bytes.
    counted: u64,
    memory: Memory,
}

/// Where the bytes are. An object that is in use is not evicted.
enum Memory {
    /// There are none.
    Nothing,
    /// In a window of the memory tier.
    Window(Arc<Object>, Option<Kept>),
    /// In pages of the page cache.
    Mapped { object: Arc<Object>, _view: View },
    /// In memory of the lease's own.
    Copied {
        counters: Arc<Counters>,
        _mapping: Mapping,
    },
}

// SAFETY: the bytes belong to what `memory` holds, on whichever thread that is, and
// are only read.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl File {
    /// Leases the bytes at `offset`: fewer than asked for only at the end of the file,
    /// none behind it. Blocks while bytes are read that are not in memory. EAGAIN:
    /// `lease_bytes` are leased; E2BIG: the range alone is more; ENOMEM; ESHUTDOWN; and
    /// the errors of a read.
    pub fn lease(&self, offset: u64, length: u64) -> Result<Lease> {
        self.0.lease(offset, length)
    }
}

impl Lease {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: what `memory` holds has so many bytes there, or there are none; they
        // stay as long as it does, and nobody writes to them: those of a published
        // chunk never change, and a copy was complete before anybody saw it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn nothing() -> Self {
        Self {
            start: NonNull::dangling(),
            length: 0,
            counted: 0,
            memory: Memory::Nothing,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let counters = match &mut self.memory {
            Memory::Nothing => return,
            Memory::Window(object, kept) => {
                if let (Some(kept), Some(resident)) = (kept.take(), object.resident()) {
                    resident.give_back(kept);
                }
                object.store().counters()
            }
            Memory::Mapped { object, .. } => object.store().counters(),
            Memory::Copied { counters, .. } => counters,
        };
        counters.leased_bytes.sub(self.counted);
    }
}

/// A part of `lease_bytes`, until a lease has it.
struct Share<'a> {
    counters: &'a Counters,
    bytes: u64,
}

impl<'a> Share<'a> {
    fn take(shared: &'a Shared, range: &Range<u64>) -> Result<Self> {
        let first = range.start - range.start % LEASE_UNIT_BYTES;
        let bytes = range.end.next_multiple_of(LEASE_UNIT_BYTES) - first;
        let (counters, limit) = (&*shared.counters, shared.lease_bytes);
        if counters.leased_bytes.add_within(bytes, limit) {
            return Ok(Self { counters, bytes });
        }
        Err(if bytes > limit {
            let text = format!("{bytes} bytes are more than may be leased (lease_bytes: {limit})");
            Error::new(Errno::TOOBIG, text)
        } else {
            let text = format!("release other leases first: no more than lease_bytes, {limit}");
            Error::new(Errno::AGAIN, text)
        })
    }

    /// Hands it to a lease, which gives it back.
    fn hand_over(self) -> u64 {
        let bytes = self.bytes;
        std::mem::forget(self);
        bytes
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.counters.leased_bytes.sub(self.bytes);
    }
}

/// The part of a range that the version has.
fn within(version: &Version, offset: u64, length: u64) -> Range<u64> {
    let end = version.token.size.min(offset.saturating_add(length));
    offset.min(end)..end
}

impl FileInner {
    fn lease(self: &Arc<Self>, offset: u64, length: u64) -> Result<Lease> {
        let shared = &self.origin.cache;
        shared.check_open()?;
        if let Some(lease) = self.lease_resident(offset, length)? {
            return Ok(lease);
        }
        shared.logged(|| self.lease_other(offset, length))
    }

    /// Of bytes in the memory tier. Takes no lock, allocates nothing.
    fn lease_resident(&self, offset: u64, length: u64) -> Result<Option<Lease>> {
        if !self.is_believed() {
            return Ok(None);
        }
        let version = self.glance();
        let Some(object) = &version.object else {
            return Ok(None);
        };
        let Some(resident) = object.resident() else {
            return Ok(None);
        };
        let range = within(&version, offset, length);
        if range.is_empty() {
            return Ok(None);
        }
        let geometry = object.geometry();
        let chunk = geometry.chunk_of(offset);
        let (start, chunk_length) = geometry.extent(chunk);
        if range.end > start + chunk_length || !object.has(chunk) {
            return Ok(None);
        }
        match resident.look(chunk) {
            Look::Here(held) => {
                let shared = &self.origin.cache;
                let counted = Share::take(shared, &range)?.hand_over();
                let length = range.end - range.start;
                let bytes = held.bytes((offset - start) as usize, length as usize);
                shared.counters.hit_at_once(length);
                shared.counters.bytes_from_memory.add(length);
                Ok(Some(Lease {
                    start: NonNull::from(bytes).cast(),
                    length: bytes.len(),
                    counted,
                    memory: Memory::Window(Arc::clone(object), Some(held.keep())),
                }))
            }
            Look::Absent => Ok(None),
            Look::Wanted => {
                object.load(chunk);
                Ok(None)
            }
        }
    }

    /// Of bytes that are somewhere else, or that are none.
    fn lease_other(self: &Arc<Self>, offset: u64, length: u64) -> Result<Lease> {
        for _ in 0..=VERSION_RETRIES_MAX {
            if !self.is_believed() {
                // A read of nothing has the origin asked.
                self.read(&[], offset)?;
            }
            let changes = self.changes();
            let version = self.version();
            let range = within(&version, offset, length);
            if range.is_empty() {
                return Ok(Lease::nothing());
            }
            let share = Share::take(&self.origin.cache, &range)?;
            if let Some((object, view)) = map(&version, &range) {
                let length = range.end - range.start;
                share.counters.hit_at_once(length);
                return Ok(Lease {
                    start: view.as_ptr(),
                    length: length as usize,
                    counted: share.hand_over(),
                    memory: Memory::Mapped {
                        object,
                        _view: view,
                    },
                });
            }
            let copied = self.copy(&version, &range)?;
            // Else the length was that of another version.
            if let Some((mapping, before)) = copied
                && self.changes() == changes
            {
                // SAFETY: there are bytes before the range in the mapping, or none.
                let start = unsafe { mapping.as_ptr().add(before) };
                return Ok(Lease {
                    start: NonNull::new(start).expect("a mapping is not at 0"),
                    length: (range.end - range.start) as usize,
                    counted: share.hand_over(),
                    memory: Memory::Copied {
                        counters: Arc::clone(&self.origin.cache.counters),
                        _mapping: mapping,
                    },
                });
            }
        }
        let path = String::from_utf8_lossy(&self.path);
        let text = format!("lease {path}: the origin's file changes again and again");
        Err(Error::new(Errno::STALE, text))
    }

    /// Reads a range into fresh memory: that, and how many bytes of it are before the
    /// range. None: the file did not have as many bytes any more.
    fn copy(
        self: &Arc<Self>,
        version: &Version,
        range: &Range<u64>,
    ) -> Result<Option<(Mapping, usize)>> {
        // From whole pages on, a direct object is read straight to the memory.
        let direct = version.is_direct();
        let before = if direct {
            range.start % LEASE_UNIT_BYTES
        } else {
            0
        };
        let begin = range.start - before;
        let wanted = (range.end - begin) as usize;
        let room = wanted.next_multiple_of(LEASE_UNIT_BYTES as usize);
        let mapping = Mapping::new(room, Pages::Small)?;
        let asked = if direct { room } else { wanted };
        // SAFETY: the memory is ours, has room for what is asked, and the call returns
        // only once the request has completed.
        let lent = unsafe { Lent::new(mapping.as_ptr(), asked) };
        match self.read(&[lent], begin) {
            Ok(read) => Ok((read >= wanted as u64).then_some((mapping, before as usize))),
            Err(error) => {
                if error.errno() == Errno::BUSY && self.origin.cache.is_closed() {
                    // The kernel still has it: it stays where it is.
                    std::mem::forget(mapping);
                }
                Err(error)
            }
        }
    }
}

/// Maps present bytes of a buffered object. None: they are not all that, or it is not
/// allowed, or the device fails, which a read of them will tell.
fn map(version: &Version, range: &Range<u64>) -> Option<(Arc<Object>, View)> {
    let object = version.object.as_ref()?;
    let length = range.end - range.start;
    let is_present = version.present_run(range.start, range.end) == length;
    // What is on FUSE may wait for another process for ever, as may a device that hangs.
    if version.trust() != Trust::Whole
        || !is_present
        || object.store().elsewhere()
        || object.direct().is_some()
    {
        return None;
    }
    match View::new(object.data().as_fd(), range.clone()) {
        Ok(view) => Some((Arc::clone(object), view)),
        Err(errno) => {
            tracing::debug!("a lease is copied: cannot map: {}", describe(errno));
            None
        }
    }
}
