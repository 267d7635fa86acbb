//! What the directory has of a file, for people: looks only, and changes nothing.

use super::bitmap::Bitmap;
use super::layout::{Geometry, Header};
use super::{STAT_BLOCK_BYTES, Store, read_header};
use crate::error::{Context, Errno, Result};
use crate::ids::Identity;
use crate::token::VersionToken;
use rustix::fs::{AtFlags, OFlags};
use std::ops::Range;

/// Ranges that are missing which are named, at most.
const MISSING_NAMED_MAX: usize = 8;

/// What the directory has of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// An object of an older, or at least another, version: of so many bytes.
    OtherVersion(u64),
    /// Files that cannot be used. Says why.
    Unusable(&'static str),
    /// An object of the version that the origin has.
    Object(Box<KeptObject>),
}

/// An object, as it is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptObject {
    /// Where it is, below `objects` of the cache directory: without what names end with.
    pub name: String,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Chunks of the file.
    pub chunks: u64,
    /// Of those, how many may be read.
    pub present: u64,
    /// How many may be read once their checksum has been found to be right.
    pub doubted: u64,
    /// Byte ranges of the file that are neither, the first few.
    pub missing: Vec<Range<u64>>,
    /// Bytes that it takes on the disk, metadata included.
    pub disk_bytes: u64,
    /// It is read and written past the page cache.
    pub is_direct: bool,
    /// So it is until it is complete.
    pub is_direct_for_now: bool,
    /// Another boot of the host has left it, and nobody has opened it since.
    pub is_of_another_boot: bool,
}

impl Store {
    /// What there is of a file. Errors are those of the system.
    pub(crate) fn kept(&self, identity: &Identity, token: &VersionToken) -> Result<Kept> {
        let key = identity.key();
        let name = key.metadata_name();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let metadata = match self.openat(&name, flags) {
            Ok(metadata) => metadata,
            Err(Errno::NOENT) => return Ok(Kept::Nothing),
            Err(errno) => return Err(errno).context(|| format!("open {name}")),
        };
        let Some(header) = read_header(&metadata).context(|| format!("read {name}"))? else {
            return Ok(Kept::Unusable("its metadata is damaged"));
        };
        if header.identity != *identity {
            return Ok(Kept::Unusable("another file has the same hash"));
        }
        if header.token != *token {
            return Ok(Kept::OtherVersion(header.token.size));
        }
        let stat = rustix::fs::fstat(&metadata).context(|| format!("stat {name}"))?;
        if !self.can_use(&header, stat.st_size as u64) {
            return Ok(Kept::Unusable("it has another chunk size"));
        }
        let data_name = key.data_name(header.nonce);
        let objects = &self.directory.objects;
        let Ok(data) = rustix::fs::statat(objects, &data_name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(Kept::Unusable("its data file is gone"));
        };
        if data.st_size as u64 != header.token.size {
            return Ok(Kept::Unusable("its data file has another length"));
        }
        let bitmap = self.map(&header, &metadata)?;
        let blocks = (data.st_blocks + stat.st_blocks) as u64;
        let object = self.describe_kept(&header, &bitmap, blocks * STAT_BLOCK_BYTES);
        Ok(Kept::Object(Box::new(object)))
    }

    fn describe_kept(&self, header: &Header, bitmap: &Bitmap, disk_bytes: u64) -> KeptObject {
        let geometry = header.geometry();
        let present = bitmap.count();
        let is_of_another_boot = header.boot_id != self.boot_id;
        let name = header.identity.key().metadata_name();
        KeptObject {
            name: name.trim_end_matches(".meta").to_owned(),
            chunk_bytes: geometry.chunk_bytes,
            chunks: geometry.chunks(),
            present,
            doubted: bitmap.count_held() - present,
            missing: missing(bitmap, geometry),
            disk_bytes,
            is_direct: header.direct,
            is_direct_for_now: bitmap.is_direct_for_now(),
            is_of_another_boot,
        }
    }
}

/// The first ranges of a file that are neither present nor doubted.
fn missing(bitmap: &Bitmap, geometry: Geometry) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    bitmap.runs_not_held(&mut |chunks| {
        if ranges.len() < MISSING_NAMED_MAX {
            let (start, _) = geometry.extent(chunks.start);
            let (last, length) = geometry.extent(chunks.end - 1);
            ranges.push(start..last + length);
        }
    });
    ranges
}
