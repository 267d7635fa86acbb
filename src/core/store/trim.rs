//! What makes room and is not a whole object: the cold chunks of a very large one.
//!
//! Cold is what has left the page cache, which knows of every reader: also of those to
//! whom the file was given away (passthrough, the shim), and who ask nobody here.
//!
//! A published chunk never changes, so no hole is punched where anybody could read one
//! later. The object is replaced by another one of the same version, to which its data
//! file goes over: under a name that nobody knows yet, and only if nobody has it open
//! under the old one. That the kernel says, who gives a lease for writing to nobody else's
//! reader (fcntl(2), F_SETLEASE). Else the whole object goes, and who has it open keeps
//! its bytes.

use super::bitmap::Bitmap;
use super::layout::{Geometry, Header};
use super::{Data, Store, fresh_nonce, read_header, write_whole};
use crate::error::{Context, Errno, Result};
use crate::evict::Entry;
use crate::limits::{
    BLOCK_BYTES, EVICTOR_WAIT_MS_MAX, TRIM_BYTES_MIN, TRIM_LOOKS_MAX, TRIM_SHARE_MAX,
    TRIM_WAIT_MS_MAX,
};
use crate::sys::{self, Lock};
use rustix::fs::OFlags;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What the evictor has made of an object.
pub(super) enum Trimmed {
    /// It is as it was: all of it is warm, or cold, or nobody can tell, or it is in use.
    Not,
    /// Its cold chunks are gone.
    Partly,
    /// All of it is gone: it was in use after all, or something has failed.
    Wholly,
}

/// An object of which a part stays. Nobody else has it open, and the lock of its bucket is
/// held, for as long as this is there.
struct Found {
    header: Header,
    bitmap: Bitmap,
    data: Data,
    /// Its chunks that are warm, in order.
    warm: Vec<Range<u64>>,
    /// What is locked.
    _metadata: OwnedFd,
    bucket: OwnedFd,
}

impl Store {
    /// Whether the cold chunks of an object are worth more than their trouble.
    pub(super) fn is_very_large(&self, entry: &Entry) -> bool {
        let bytes = taken(entry);
        bytes >= TRIM_BYTES_MIN && bytes >= self.capacity_bytes() / TRIM_SHARE_MAX
    }

    /// Takes the cold chunks of an object off the disk. For the evictor.
    pub(super) fn trim(&self, entry: &Entry) -> Trimmed {
        self.forget_unsynced(entry.nonce);
        let found = match self.find_warm(entry) {
            Ok(Some(found)) => found,
            Ok(None) => return Trimmed::Not,
            Err(error) => {
                tracing::debug!("a large object cannot be looked at: {error}");
                return Trimmed::Not;
            }
        };
        let Ok(nonce) = fresh_nonce() else {
            return Trimmed::Not;
        };
        let key = entry.key;
        let header = Header {
            nonce,
            ..found.header.clone()
        };
        // Before there is a file of its name, so that none is without a slot.
        self.accounts.renew(entry.handle, nonce);
        match self.go_over(&found, &header) {
            Ok(metadata) => {
                if let Some(now) = self.found(&header, &metadata) {
                    self.accounts.put_right(entry.handle, &now);
                }
                self.accounts.keep(entry);
                Trimmed::Partly
            }
            Err(error) => {
                tracing::debug!("a large object goes as a whole: {error}");
                self.unlink(&key.unfinished_name());
                self.unlink(&key.metadata_name());
                self.unlink(&key.data_name(entry.nonce));
                self.unlink(&key.data_name(nonce));
                self.accounts.forget(key, nonce);
                Trimmed::Wholly
            }
        }
    }

    /// The object, if a part of it is warm and a part is not, and nobody uses it.
    fn find_warm(&self, entry: &Entry) -> Result<Option<Found>> {
        let key = entry.key;
        let bucket = self.lock_bucket_within(key.0[0], EVICTOR_WAIT_MS_MAX)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = key.metadata_name();
        let metadata = self.openat(&name, flags);
        let metadata = metadata.context(|| format!("open {name}"))?;
        sys::try_lock(metadata.as_fd(), Lock::Exclusive).context(|| format!("lock {name}"))?;
        let header = read_header(&metadata).context(|| format!("read {name}"))?;
        let stat = rustix::fs::fstat(&metadata).context(|| format!("stat {name}"))?;
        let is_it = |header: &Header| {
            header.nonce == entry.nonce
                && header.boot_id == self.boot_id
                // Of what passes the page cache by, nobody knows what is warm.
                && !header.direct
                && self.can_use(header, stat.st_size as u64)
        };
        let Some(header) = header.filter(is_it) else {
            return Ok(None);
        };
        let Some(data) = self.open_data(&key.data_name(header.nonce), &header)? else {
            return Ok(None);
        };
        let bitmap = self.map(&header, &metadata)?;
        let warm = warm_chunks(&data.buffered, header.geometry())?;
        let is_present = |range: &Range<u64>| range.clone().any(|chunk| bitmap.has(chunk));
        let stays = warm.iter().any(is_present);
        let goes = gaps(&warm, header.geometry().chunks()).any(|gap| is_present(&gap));
        Ok((stays && goes).then_some(Found {
            header,
            bitmap,
            data,
            warm,
            _metadata: metadata,
            bucket,
        }))
    }

    /// Has the data file go over to another object, with holes where it is cold.
    fn go_over(&self, found: &Found, header: &Header) -> Result<OwnedFd> {
        let key = header.identity.key();
        let objects = &self.directory.objects;
        let (old, new) = (
            key.data_name(found.header.nonce),
            key.data_name(header.nonce),
        );
        rustix::fs::renameat(objects, &old, objects, &new)
            .context(|| format!("rename {old} to {new}"))?;
        // From here on nobody can open it.
        self.wait_until_unused(&found.data.buffered)
            .context(|| format!("is {new} in use?"))?;
        // What says that chunks of the old name are durable must not be found beside holes.
        let synced = self.disk.sync(found.bucket.as_fd());
        synced.context(|| "sync the directory of an object")?;
        let name = key.unfinished_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let metadata = self.openat(&name, flags | OFlags::NOFOLLOW);
        let metadata = metadata.context(|| format!("make {name}"))?;
        write_whole(&metadata, &header.encode(), header.file_bytes())
            .context(|| format!("write {name}"))?;
        let bitmap = self.map(header, &metadata)?;
        for chunk in found.warm.iter().cloned().flatten() {
            if found.bitmap.has(chunk) {
                bitmap.publish(chunk, found.bitmap.sum(chunk));
            }
        }
        let mut punched = Ok(());
        bitmap.runs_not_held(&mut |chunks| {
            if punched.is_ok() {
                punched = punch(&found.data.buffered, header.geometry(), chunks);
            }
        });
        punched?;
        rustix::fs::renameat(objects, &name, objects, key.metadata_name())
            .context(|| format!("rename {name}"))?;
        Ok(metadata)
    }
}

impl Store {
    /// EAGAIN: somebody uses it. Engines may still know a file that was closed just now.
    fn wait_until_unused(&self, data: &OwnedFd) -> std::result::Result<(), Errno> {
        let limit = Instant::now() + Duration::from_millis(TRIM_WAIT_MS_MAX);
        self.have_engines_let_go();
        loop {
            match sys::has_no_other_user(data.as_fd()) {
                Err(Errno::AGAIN) if Instant::now() < limit => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }
}

/// What an object takes on disk, in bytes.
fn taken(entry: &Entry) -> u64 {
    entry.state.blocks().saturating_mul(BLOCK_BYTES)
}

fn punch(data: &OwnedFd, geometry: Geometry, chunks: Range<u64>) -> Result<()> {
    let (start, bytes) = geometry.extent_of(&chunks);
    sys::punch(data.as_fd(), start, bytes).context(|| "punch a hole")
}

/// The chunks of which pages are in the page cache: looked at in at most
/// `TRIM_LOOKS_MAX` pieces.
fn warm_chunks(data: &OwnedFd, geometry: Geometry) -> Result<Vec<Range<u64>>> {
    let chunks = geometry.chunks();
    let piece = chunks.div_ceil(TRIM_LOOKS_MAX).max(1);
    let mut warm: Vec<Range<u64>> = Vec::new();
    for begin in (0..chunks).step_by(piece as usize) {
        let range = begin..chunks.min(begin + piece);
        let (start, bytes) = geometry.extent_of(&range);
        let pages = sys::pages_cached(data.as_fd(), start, bytes);
        let (pages, _) = pages.context(|| "ask for the pages of a file (cachestat)")?;
        match warm.last_mut() {
            _ if pages == 0 => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => warm.push(range),
        }
    }
    Ok(warm)
}

/// What lies between ranges, up to an end.
fn gaps(ranges: &[Range<u64>], end: u64) -> impl Iterator<Item = Range<u64>> {
    let begins = std::iter::once(0).chain(ranges.iter().map(|range| range.end));
    let ends = ranges.iter().map(|range| range.start).chain([end]);
    begins.zip(ends).map(|(begin, end)| begin..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_is_all_but_the_ranges() {
        let between = |ranges: &[Range<u64>]| gaps(ranges, 10).flatten().collect::<Vec<_>>();
        assert_eq!(between(&[]), (0..10).collect::<Vec<_>>());
        assert_eq!(between(&[0..3, 5..10]), [3, 4]);
        assert_eq!(between(&[1..5, 5..9]), [0, 9]);
    }
}
