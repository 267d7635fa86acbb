//! One file of an origin, open for cached reads.

use crate::buf::Lent;
use crate::completion::{Completion, MissReason, Operation};
use crate::error::{Errno, Error, Result};
use crate::origin::{Inner, Origin, Source};
use crate::request::Target;
use crate::store::{Identity, Object};
use crate::token::VersionToken;
use parking_lot::RwLock;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A file. Clones are the same file.
#[derive(Clone)]
pub struct File(pub(crate) Arc<FileInner>);

pub(crate) struct FileInner {
    pub(crate) origin: Arc<Inner>,
    pub(crate) source: Source,
    identity: Identity,
    /// As it was opened: for messages and for people who list objects.
    pub(crate) path: Vec<u8>,
    /// The shard that serves its misses.
    pub(crate) shard: usize,
    /// The version that is served. It moves on when a read finds that the
    /// origin's file has changed, as an open file's content does.
    current: RwLock<Arc<Version>>,
}

/// One version of a file and its object.
pub(crate) struct Version {
    pub(crate) token: VersionToken,
    /// None: nothing of it is kept.
    pub(crate) object: Option<Arc<Object>>,
    /// Why nothing is kept.
    pub(crate) refusal: Errno,
    /// Why its chunks may be missing.
    pub(crate) reason: MissReason,
}

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub struct FileInfo {
    /// The version that is served.
    pub token: VersionToken,
    /// Hash of the version.
    pub version: u64,
}

/// How much of a file is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residency {
    /// Every chunk is there.
    pub complete: bool,
    /// Bytes of the file that are there.
    pub bytes_present: u64,
    /// Chunks that are there.
    pub chunks_present: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
}

impl Version {
    /// How many bytes from `start`, up to `end`, are present in one run.
    pub(crate) fn present_run(&self, start: u64, end: u64) -> u64 {
        let Some(object) = &self.object else {
            return 0;
        };
        let geometry = object.geometry();
        let mut reached = start;
        while reached < end && object.has(geometry.chunk_of(reached)) {
            let (first, length) = geometry.extent(geometry.chunk_of(reached));
            reached = end.min(first + length);
        }
        reached.saturating_sub(start)
    }
}

impl File {
    pub(crate) fn open(origin: &Origin, path: &[u8]) -> Result<Self> {
        let inner = &origin.0;
        inner.cache.check_open()?;
        let opened = inner.open(path)?;
        let shard = inner.cache.shard_of(&opened.identity);
        let version = make_version(inner, &opened.identity, &opened.token, path);
        Ok(Self(Arc::new(FileInner {
            origin: Arc::clone(inner),
            source: opened.source,
            identity: opened.identity,
            path: path.to_vec(),
            shard,
            current: RwLock::new(Arc::new(version)),
        })))
    }

    /// Size and version.
    pub fn info(&self) -> FileInfo {
        let token = self.0.version().token;
        FileInfo {
            token,
            version: token.hash(),
        }
    }

    /// How much of it is in the cache.
    pub fn residency(&self) -> Residency {
        let version = self.0.version();
        let size = version.token.size;
        let chunk_bytes = self.0.origin.cache.chunk_bytes;
        let chunks_total = size.div_ceil(chunk_bytes);
        let (chunks_present, bytes_present) = match &version.object {
            Some(object) => (object.chunks_present(), object.bytes_present()),
            None => (0, 0),
        };
        Residency {
            complete: version.object.is_some() && chunks_present == chunks_total,
            bytes_present,
            chunks_present,
            chunks_total,
            chunk_bytes,
        }
    }

    /// A new read-only descriptor of the whole cached file. ENODATA if a part
    /// of it is missing.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        match &self.0.version().object {
            Some(object) => object.export(),
            None => Err(Error::new(Errno::NODATA, "nothing of the file is kept")),
        }
    }

    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<u64> {
        // SAFETY: the buffer is borrowed for the call, which returns only once
        // the request has completed.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
        self.0.read(&[lent], offset)
    }

    /// Reads at `offset` into several pieces of lent memory, in order.
    pub fn read_vectored(&self, segments: &[Lent], offset: u64) -> Result<u64> {
        self.0.read(segments, offset)
    }

    /// Starts a read into lent memory; `callback` is told its end on a library
    /// thread. `announce` is told the request's id before that. EAGAIN:
    /// `async_limit` is reached.
    pub fn read_async(
        &self,
        buffer: Lent,
        offset: u64,
        announce: impl FnOnce(u64),
        callback: impl FnOnce(Completion) + Send + 'static,
    ) -> Result<()> {
        let range = (offset, buffer.len() as u64);
        let target = Target::One(buffer);
        self.0
            .submit_callback(Operation::Read, target, range, announce, callback)
    }

    /// Copies a range into the cache and waits until it is there. `watch` is
    /// told the bytes present and in all, some ten times a second; false cancels.
    pub fn fill(
        &self,
        offset: u64,
        length: u64,
        mut watch: impl FnMut(u64, u64) -> bool,
    ) -> Result<u64> {
        self.0.fill((offset, length), &mut watch)
    }

    /// Starts a copy of a range into the cache; see [`File::read_async`].
    pub fn fill_async(
        &self,
        offset: u64,
        length: u64,
        announce: impl FnOnce(u64),
        callback: impl FnOnce(Completion) + Send + 'static,
    ) -> Result<()> {
        let range = (offset, length);
        self.0
            .submit_callback(Operation::Fill, Target::Nothing, range, announce, callback)
    }
}

impl FileInner {
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.current.read())
    }

    /// Moves on to the version that the origin has now.
    pub(crate) fn refresh(&self, token: &VersionToken) -> Arc<Version> {
        let mut current = self.current.write();
        if current.token != *token {
            let mut version = make_version(&self.origin, &self.identity, token, &self.path);
            version.reason = MissReason::VersionChanged;
            *current = Arc::new(version);
        }
        Arc::clone(&current)
    }
}

/// The object of a version; without one if the cache cannot have it, which is
/// never the reader's problem.
fn make_version(origin: &Inner, identity: &Identity, token: &VersionToken, path: &[u8]) -> Version {
    let made = origin.cache.object(identity, token, path);
    let (object, refusal, reason) = match made {
        Ok((object, reason)) => (Some(object), Errno::NOSPC, reason),
        Err(error) => {
            tracing::warn!(
                "nothing is kept of {}: {error}",
                String::from_utf8_lossy(path)
            );
            (None, error.errno(), MissReason::NotAdmitted)
        }
    };
    Version {
        token: *token,
        object,
        refusal,
        reason,
    }
}
