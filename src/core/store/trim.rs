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
use super::{Data, Look, Store, fresh_nonce, write_whole};
use crate::error::{Context, Errno, Result};
use crate::evict::Entry;
use crate::limits::{
    BLOCK_BYTES, TRIM_BYTES_MIN, TRIM_LOOKS_MAX, TRIM_SHARE_MAX, TRIM_WAIT_MS_MAX,
};
use crate::sys;
use rustix::fs::OFlags;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// An object that nobody else has open, with its bucket: both are locked.
#[derive(Clone, Copy)]
pub(super) struct Alone<'a> {
    pub(super) header: &'a Header,
    pub(super) metadata: &'a OwnedFd,
    pub(super) bucket: &'a OwnedFd,
}

/// One of which a part stays.
struct Found {
    bitmap: Bitmap,
    data: Data,
    /// Its chunks that are warm, in order.
    warm: Vec<Range<u64>>,
}

impl Store {
    /// Whether the cold chunks of an object are worth more than their trouble.
    pub(super) fn is_very_large(&self, entry: &Entry) -> bool {
        let bytes = entry.state.blocks().saturating_mul(BLOCK_BYTES);
        bytes >= TRIM_BYTES_MIN && bytes >= self.capacity_bytes() / TRIM_SHARE_MAX
    }

    /// Takes the cold chunks of an object off the disk. False: it has to go as a whole. For
    /// the evictor.
    pub(super) fn trim(&self, entry: &Entry, alone: Alone<'_>) -> bool {
        let trimmed = self.try_trim(entry, alone);
        trimmed.unwrap_or_else(|error| {
            tracing::debug!("a large object goes as a whole: {error}");
            false
        })
    }

    fn try_trim(&self, entry: &Entry, alone: Alone<'_>) -> Result<bool> {
        let Some(found) = self.find_warm(alone)? else {
            return Ok(false);
        };
        let header = Header {
            nonce: fresh_nonce()?,
            ..alone.header.clone()
        };
        // Before there is a file of its name, so that none is without a slot.
        self.accounts.renew(entry.handle, header.nonce);
        match self.go_over(alone, &found, &header) {
            Ok(metadata) => {
                if let Some(now) = self.found(&header, &metadata) {
                    self.accounts.put_right(entry.handle, &now);
                }
                self.accounts.keep(entry);
                Ok(true)
            }
            Err(error) => {
                self.unlink(&entry.key.unfinished_name());
                self.unlink(&entry.key.data_name(header.nonce));
                Err(error)
            }
        }
    }

    /// What is warm of an object. None: nobody can tell, or nothing is, or all of it.
    fn find_warm(&self, alone: Alone<'_>) -> Result<Option<Found>> {
        let Alone {
            header, metadata, ..
        } = alone;
        let stat = rustix::fs::fstat(metadata).context(|| "stat the metadata of an object")?;
        // Of what passes the page cache by, nobody knows what is warm.
        let is_told = header.boot_id == self.boot_id
            && !header.direct
            && self.can_use(header, stat.st_size as u64);
        if !is_told {
            return Ok(None);
        }
        let name = header.identity.key().data_name(header.nonce);
        let Some(data) = self.open_data(&name, header, Look::Locked)? else {
            return Ok(None);
        };
        let bitmap = self.map(header, metadata)?;
        let warm = warm_chunks(&data.buffered, header.geometry())?;
        let is_present = |range: &Range<u64>| range.clone().any(|chunk| bitmap.has(chunk));
        let stays = warm.iter().any(is_present);
        let goes = gaps(&warm, header.geometry().chunks()).any(|gap| is_present(&gap));
        Ok((stays && goes).then_some(Found { bitmap, data, warm }))
    }

    /// Has the data file go over to another object, with holes where it is cold.
    fn go_over(&self, alone: Alone<'_>, found: &Found, header: &Header) -> Result<OwnedFd> {
        let key = header.identity.key();
        let objects = &self.directory.objects;
        let (old, new) = (
            key.data_name(alone.header.nonce),
            key.data_name(header.nonce),
        );
        rustix::fs::renameat(objects, &old, objects, &new)
            .context(|| format!("rename {old} to {new}"))?;
        // From here on nobody can open it.
        self.wait_until_unused(&found.data.buffered)
            .context(|| format!("is {new} in use?"))?;
        // What says that chunks of the old name are durable must not be found beside holes.
        let synced = self.disk.sync(alone.bucket.as_fd());
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

    /// EAGAIN: somebody uses it. Engines may still know a file that was closed just now.
    fn wait_until_unused(&self, data: &OwnedFd) -> std::result::Result<(), Errno> {
        let unused = || sys::has_no_other_user(data.as_fd());
        let first = unused();
        if first != Err(Errno::AGAIN) {
            return first;
        }
        self.have_engines_let_go();
        let limit = Instant::now() + Duration::from_millis(TRIM_WAIT_MS_MAX);
        loop {
            std::thread::sleep(Duration::from_millis(1));
            match unused() {
                Err(Errno::AGAIN) if Instant::now() < limit => {}
                result => return result,
            }
        }
    }
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
