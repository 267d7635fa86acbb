//! What is known of an origin's file before it is copied: looked at on a worker
//! thread, since a network file system may be asked.

use super::way::Way;
use crate::error::Errno;
use crate::limits::{BLOCK_BYTES, DIRECT_ALIGNMENT_MAX, SURVEY_BYTES_MAX, SURVEY_EXTENTS_MAX};
use crate::store::Geometry;
use crate::sys::{self, DirectAlignment};
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// An origin's file, open with O_DIRECT.
#[derive(Clone, Debug)]
pub(super) struct DirectSource {
    pub(super) file: Arc<OwnedFd>,
    /// Bytes of the blocks that it is read in.
    pub(super) block: NonZeroU32,
}

impl DirectSource {
    /// None where the file system does not say that it can, or not for the
    /// buffers that we have.
    fn open(file: &OwnedFd) -> Option<Self> {
        let DirectAlignment { memory, offset } = sys::direct_alignment(file.as_fd()).ok()??;
        let block = NonZeroU32::new(offset).filter(|_| memory != 0)?;
        if memory.max(offset) > DIRECT_ALIGNMENT_MAX {
            return None;
        }
        let file = Arc::new(sys::open_direct(file.as_fd()).ok()?);
        Some(Self { file, block })
    }
}

/// A part of the file, and what of it is data.
#[derive(Debug)]
pub(crate) struct Survey {
    range: Range<u64>,
    /// Data within the range, in order; all else is holes.
    data: Vec<Range<u64>>,
    /// For reads past the page cache, where they are possible and pay.
    pub(super) direct: Option<DirectSource>,
    /// The file system: what it refuses is remembered by it.
    pub(super) device: u64,
}

impl Survey {
    /// What is taken for granted when nobody could look: all of it is data.
    pub(super) fn blind(range: Range<u64>) -> Self {
        Self {
            data: vec![range.clone()],
            range,
            direct: None,
            device: 0,
        }
    }

    /// Looks at a file from `start` on, at most up to `end`.
    pub(super) fn of(file: &OwnedFd, start: u64, end: u64) -> Self {
        let range = start..end.min(start.saturating_add(SURVEY_BYTES_MAX));
        let mut survey = Self::blind(range.clone());
        match extents(file, range.clone()) {
            Ok((data, looked)) => (survey.data, survey.range.end) = (data, looked),
            // A file system that cannot tell has everything as data.
            Err(errno) => tracing::debug!("no search for holes: {errno}"),
        }
        survey.device = sys::device(file.as_fd()).unwrap_or_default();
        if !is_cached(file, &survey.range) {
            survey.direct = DirectSource::open(file);
        }
        survey
    }

    /// Reads past the page cache turned out not to work.
    pub(crate) fn read_indirectly(&mut self) {
        self.direct = None;
    }

    /// Whether it says something of a byte.
    pub(super) fn covers(&self, offset: u64) -> bool {
        self.range.contains(&offset)
    }

    /// Whether a chunk is to be copied or skipped, and how many from it on are
    /// the same, up to `limit`. The survey covers its first byte; a chunk that
    /// it covers in part counts as data.
    pub(super) fn kind(&self, geometry: Geometry, chunk: u64, limit: u64) -> (Option<Way>, u64) {
        let hole = |chunk: u64| {
            let (start, length) = geometry.extent(chunk);
            let end = start + length;
            let index = self.data.partition_point(|data| data.end <= start);
            let before = self.data.get(index).is_none_or(|data| data.start >= end);
            self.range.start <= start && end <= self.range.end && before
        };
        let first = hole(chunk);
        let known = |chunk: u64| chunk < geometry.chunks() && self.covers(geometry.extent(chunk).0);
        let same = |next: &u64| known(*next) && hole(*next) == first;
        let more = (chunk + 1..chunk.saturating_add(limit)).take_while(same);
        (first.then_some(Way::Hole), 1 + more.count() as u64)
    }
}

/// The data of a file in a range, and up to where it was looked for.
fn extents(file: &OwnedFd, range: Range<u64>) -> Result<(Vec<Range<u64>>, u64), Errno> {
    let mut found = Vec::new();
    let mut offset = range.start;
    while offset < range.end {
        if found.len() == SURVEY_EXTENTS_MAX {
            return Ok((found, offset));
        }
        let Some((begin, end)) = sys::data_from(file.as_fd(), offset)? else {
            break;
        };
        if begin >= range.end {
            break;
        }
        found.push(begin..end.min(range.end));
        offset = end;
    }
    Ok((found, range.end))
}

/// Whether the page cache has enough of a file that reads past it do not pay.
/// Where the kernel does not tell, reads go the ordinary way.
fn is_cached(file: &OwnedFd, range: &Range<u64>) -> bool {
    let length = range.end - range.start;
    let cached = sys::pages_cached(file.as_fd(), range.start, length);
    // A direct read would have to wait for dirty pages to be written.
    cached.map_or(true, |(pages, dirty)| {
        dirty > 0 || pages.saturating_mul(BLOCK_BYTES) > length / 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const CHUNK: u64 = 64 << 10;

    fn geometry(size: u64) -> Geometry {
        Geometry {
            size,
            chunk_bytes: CHUNK,
        }
    }

    #[test]
    fn only_chunks_that_are_wholly_holes_are_holes() {
        let survey = Survey {
            range: 0..10 * CHUNK,
            data: vec![CHUNK - 1..CHUNK, 3 * CHUNK..4 * CHUNK + 1],
            ..Survey::blind(0..0)
        };
        let geometry = geometry(9 * CHUNK + 1);
        let kinds = |chunk| survey.kind(geometry, chunk, 100);
        assert_eq!(kinds(0), (None, 1));
        assert_eq!(kinds(1), (Some(Way::Hole), 2));
        assert_eq!(kinds(3), (None, 2));
        assert_eq!(kinds(5), (Some(Way::Hole), 5), "to the end of the file");
        assert_eq!(survey.kind(geometry, 5, 2), (Some(Way::Hole), 2), "limited");
    }

    #[test]
    fn a_chunk_that_is_known_in_part_is_data() {
        let survey = Survey {
            range: 1..2 * CHUNK,
            data: vec![],
            ..Survey::blind(0..0)
        };
        let geometry = geometry(5 * CHUNK);
        assert_eq!(survey.kind(geometry, 0, 9).0, None);
        assert_eq!(survey.kind(geometry, 1, 9), (Some(Way::Hole), 1));
    }

    #[test]
    fn a_survey_ends_where_it_has_seen_too_many_extents() {
        let file = tempfile::tempfile().unwrap();
        let holes = SURVEY_EXTENTS_MAX as u64 + 3;
        for index in 0..holes {
            file.write_all_at(b"x", index * 2 * CHUNK).unwrap();
        }
        let file = OwnedFd::from(file);
        let survey = Survey::of(&file, 0, u64::MAX);
        assert_eq!(survey.data.len(), SURVEY_EXTENTS_MAX);
        assert!(survey.covers(0) && !survey.covers(holes * 2 * CHUNK));
    }
}
