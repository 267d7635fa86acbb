//! One file of an origin, open for cached reads.

use crate::completion::MissReason;
use crate::error::{Errno, Error, Result};
use crate::ids::Identity;
use crate::limits::REGAIN_MS;
use crate::origin::{Inner, Opened, Origin, Source, is_unreachable};
use crate::readahead::Ahead;
use crate::shared::{Remains, Shared};
use crate::store::{Object, Spot, Trust, Verification, Walk};
use crate::sys;
use crate::token::VersionToken;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A file. Clones are the same file.
pub struct File(pub(crate) Arc<FileInner>);

impl Clone for File {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for File {
    /// What is under way holds on to the file; only readers have handles.
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.forget_ahead();
        }
    }
}

pub(crate) struct FileInner {
    pub(crate) origin: Arc<Inner>,
    /// As it was opened.
    pub(crate) path: Vec<u8>,
    /// Its user has opened it: the origin is asked for this file, whatever its path is.
    given: Option<Arc<OwnedFd>>,
    /// Where its invalidations are counted.
    pub(crate) spot: Spot,
    /// What is fetched before it is asked for.
    pub(crate) ahead: Ahead,
    /// Its `File`s.
    handles: AtomicU64,
    /// Behind the last chunk of which its shard was told that it has passed the cache by.
    passed: AtomicU64,
    /// When it was last tried again to have an object, since the device had not answered: ns
    /// of the boot clock.
    regained: AtomicU64,
    /// The shard that serves its misses.
    pub(crate) shard: usize,
    /// The version that is served. It moves on when a read finds that the
    /// origin's file has changed, as an open file's content does.
    current: ArcSwap<Version>,
    /// Held while it moves on, which several readers may find at once.
    moving: Mutex<()>,
    /// Grows whenever the version moves on.
    changes: AtomicU64,
    /// Of the moment when the version was last asked for.
    mark: AtomicU64,
    stale: Stale,
}

/// Whether a file is served although its origin could not be reached.
struct Stale {
    /// Nanoseconds of the boot clock; 0: it is not.
    until: AtomicU64,
    /// `Inner::recoveries` of the moment when it could not.
    recoveries: AtomicU64,
}

impl Stale {
    fn new(until: Option<Duration>, origin: &Inner) -> Self {
        Self {
            until: AtomicU64::new(until.map_or(0, |until| until.as_nanos() as u64)),
            recoveries: AtomicU64::new(origin.recoveries()),
        }
    }
}

/// One version of a file and its object.
pub(crate) struct Version {
    pub(crate) identity: Arc<Identity>,
    pub(crate) token: VersionToken,
    /// What reads it from the origin; None: it was not asked for yet.
    pub(crate) source: Option<Arc<Source>>,
    /// None: nothing of it is kept.
    pub(crate) object: Option<Arc<Object>>,
    /// Why nothing is kept.
    pub(crate) refusal: Errno,
    /// Why its chunks may be missing.
    pub(crate) reason: MissReason,
    cache: Arc<Shared>,
}

impl Drop for Version {
    /// Closing never waits: what might is left to a thread.
    fn drop(&mut self) {
        let source = self.source.as_ref();
        let far = source.is_some_and(|source| source.is_elsewhere());
        let object = self.object.as_ref();
        if !far && !object.is_some_and(Object::may_wait_to_close) {
            return;
        }
        let remains = Remains {
            _source: self.source.take(),
            _object: self.object.take(),
        };
        if let Err(remains) = self.cache.closers.submit(remains) {
            // No thread is to be had, so this one has to wait.
            drop(remains);
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub struct FileInfo {
    /// The version that is served.
    pub token: VersionToken,
    /// Hash of the version.
    pub version: u64,
    /// The origin could not be reached, and this is what it said last.
    pub stale: bool,
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
    /// Whether the bytes of both are the same.
    pub(crate) fn is_same(&self, other: &Version) -> bool {
        self.token == other.token && self.identity == other.identity
    }

    /// Whether its object is read and written past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        let object = self.object.as_ref();
        object.is_some_and(|object| object.direct().is_some())
    }

    /// It has no object since the cache device did not answer, or there was no room.
    pub(crate) fn may_regain(&self) -> bool {
        self.object.is_none() && matches!(self.refusal, Errno::TIMEDOUT | Errno::BUSY)
    }

    /// Reads of its origin's file end.
    pub(crate) fn is_near(&self) -> bool {
        self.source.as_deref().is_some_and(Source::is_near)
    }

    /// How its present bytes are to be read.
    pub(crate) fn trust(&self) -> Trust {
        let object = self.object.as_ref();
        object.map_or(Trust::Whole, |object| object.store().health.trust())
    }

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

impl Origin {
    /// Opens a file: see `cachefs_file_open` in the header.
    pub fn open(&self, path: &[u8]) -> Result<File> {
        self.0.cache.logged(|| self.open_logged(path, None))
    }

    /// Opens a file of a directory through a descriptor that its user has: of a regular
    /// file below the root, open for reading, and without O_NONBLOCK. The path is for
    /// people. Errors: as of [`Origin::open`], and EOPNOTSUPP of an origin that is code.
    pub fn open_descriptor(&self, fd: Arc<OwnedFd>, path: &[u8]) -> Result<File> {
        self.0.cache.logged(|| self.open_logged(path, Some(fd)))
    }

    fn open_logged(&self, path: &[u8], given: Option<Arc<OwnedFd>>) -> Result<File> {
        let inner = &self.0;
        inner.cache.check_open()?;
        let spot = inner.spot(path);
        let opened = match &given {
            None => inner.open(path, spot)?,
            Some(fd) => inner.ask_through(fd, path, spot)?,
        };
        let mark = opened.mark;
        let stale = Stale::new(opened.stale_until, inner);
        let shard = inner.cache.shard_of(&opened.identity);
        let version = make_version(inner, opened, path);
        if let Some(object) = version.object.as_ref().filter(|_| inner.has_ttl()) {
            inner.cache.keep_warm(object);
        }
        Ok(File(Arc::new(FileInner {
            origin: Arc::clone(inner),
            path: path.to_vec(),
            given,
            spot,
            ahead: Ahead::new(&inner.cache.readahead, inner.cache.chunk_bytes),
            handles: AtomicU64::new(1),
            passed: AtomicU64::new(0),
            regained: AtomicU64::new(0),
            shard,
            current: ArcSwap::from_pointee(version),
            moving: Mutex::new(()),
            changes: AtomicU64::new(0),
            mark: AtomicU64::new(mark.0),
            stale,
        })))
    }
}

impl File {
    /// ESHUTDOWN once the cache is closed.
    pub fn check_open(&self) -> Result<()> {
        self.0.origin.cache.check_open()
    }

    /// Size and version.
    pub fn info(&self) -> FileInfo {
        let token = self.0.version().token;
        FileInfo {
            token,
            version: token.hash(),
            stale: self.0.is_stale(),
        }
    }

    /// Compares what is cached of it with its checksums: see `cachefs_file_verify` in
    /// the header. `watch` is told what was found so far; false cancels.
    pub fn verify(&self, watch: impl FnMut(&Verification) -> bool) -> Result<Verification> {
        self.check_open()?;
        let shared = &self.0.origin.cache;
        let store = shared.store.as_ref().map_err(Clone::clone)?;
        let version = self.0.version();
        let Some(object) = &version.object else {
            return Ok(Verification::default());
        };
        let walk = shared.logged(|| Walk::of(store, object))?;
        shared.verify(store, walk, watch)
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

    /// Keeps what is cached of it from being evicted, also what comes later, and after a
    /// restart. ENODATA: nothing of it is kept; ENOSPC: pinned files have as much as they
    /// may; EAGAIN: it is not in the cache any more, open it again.
    pub fn pin(&self) -> Result<()> {
        self.set_pinned(true)
    }

    /// The reverse. Errors as of `pin`, but for ENOSPC.
    pub fn unpin(&self) -> Result<()> {
        self.set_pinned(false)
    }

    /// Removes what is cached of it. Who has it open in this process goes on with the
    /// origin; other processes, leases and descriptors keep the bytes that they have.
    /// ENODATA: nothing of it is kept; EBUSY: it is pinned; EAGAIN: other processes kept
    /// us from it, try again.
    pub fn evict(&self) -> Result<()> {
        self.check_open()?;
        let version = self.0.version();
        match version
            .object
            .as_ref()
            .filter(|object| object.bytes_present() > 0)
        {
            Some(object) => {
                let shared = &self.0.origin.cache;
                shared.logged(|| object.errand(|object| object.evict()))
            }
            None => Err(Error::new(Errno::NODATA, "nothing of the file is kept")),
        }
    }

    fn set_pinned(&self, pinned: bool) -> Result<()> {
        self.check_open()?;
        match &self.0.version().object {
            Some(object) => object.errand(move |object| object.pin(pinned)),
            None => Err(Error::new(Errno::NODATA, "nothing of the file is kept")),
        }
    }

    /// A new read-only descriptor of the whole cached file. ENODATA if a part
    /// of it is missing.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        self.check_open()?;
        match &self.0.version().object {
            Some(object) => object.export(),
            None => Err(Error::new(Errno::NODATA, "nothing of the file is kept")),
        }
    }
}

impl FileInner {
    pub(crate) fn version(&self) -> Arc<Version> {
        self.current.load_full()
    }

    /// The same for a moment, without counting another holder.
    pub(crate) fn glance(&self) -> impl Deref<Target = Arc<Version>> {
        self.current.load()
    }

    /// Whether its shard was not told just now that what ends before this chunk has passed the
    /// cache by: it is to be told then.
    pub(crate) fn passes(&self, end: u64) -> bool {
        self.passed.swap(end, Ordering::Relaxed) != end
    }

    /// Differs from before once the version has moved on.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether what is served of it may be served without asking the origin anew. What
    /// is not is left to its shard, which asks.
    #[inline]
    pub(crate) fn is_believed(&self) -> bool {
        self.is_marked() && !self.is_stale()
    }

    #[inline]
    fn is_marked(&self) -> bool {
        self.origin.mark(self.spot).0 == self.mark.load(Ordering::Acquire)
    }

    /// Whether it is served although its origin could not be reached.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.until.load(Ordering::Acquire) != 0
    }

    /// Whether it may go on to be served so: it was not invalidated, it is not too long
    /// ago, and the origin has not answered since.
    pub(crate) fn may_be_stale(&self) -> bool {
        let recoveries = self.stale.recoveries.load(Ordering::Acquire);
        recoveries == self.origin.recoveries() && self.is_stale_in_time()
    }

    /// The same when the origin was asked once more.
    pub(crate) fn stays_stale(&self, errno: Errno) -> bool {
        let stays = is_unreachable(errno) && self.is_stale_in_time();
        if stays {
            let recoveries = self.origin.recoveries();
            self.stale.recoveries.store(recoveries, Ordering::Release);
        }
        stays
    }

    fn is_stale_in_time(&self) -> bool {
        let until = self.stale.until.load(Ordering::Acquire);
        self.is_marked() && sys::boot_time().as_nanos() < u128::from(until)
    }

    /// Moves on to the version that the origin has now, as the source of `seen` says.
    pub(crate) fn refresh(&self, seen: &Version, token: &VersionToken) -> Arc<Version> {
        let _moving = self.moving.lock();
        let current = self.version();
        let same_source = match (&current.source, &seen.source) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        // Else it was opened anew since, and has moved on by that.
        if same_source && current.token != *token {
            let of_source = Answer {
                identity: Arc::clone(&current.identity),
                token: *token,
                source: current.source.clone(),
            };
            return self.move_on(of_source);
        }
        current
    }

    /// Tries again to have an object for a version that may have one later. None: it still has
    /// none, or it was tried a moment ago. Room is made for it only if `evicts`: reads try this
    /// on a library thread.
    pub(crate) fn regain(&self, seen: &Arc<Version>, evicts: bool) -> Option<Arc<Version>> {
        let store = self.origin.cache.store.as_ref().ok()?;
        let now = sys::boot_time().as_nanos() as u64;
        let last = self.regained.load(Ordering::Relaxed);
        let is_time = last == 0 || now - last >= REGAIN_MS * 1_000_000;
        if !seen.may_regain() || !is_time || store.health.may_store().is_err() {
            return None;
        }
        if seen.refusal == Errno::BUSY && !evicts && !store.has_room_for_object() {
            return None;
        }
        self.regained.store(now.max(1), Ordering::Relaxed);
        let _moving = self.moving.lock();
        let current = self.version();
        if !Arc::ptr_eq(&current, seen) {
            return current.is_same(seen).then_some(current);
        }
        let answer = Answer {
            identity: Arc::clone(&seen.identity),
            token: seen.token,
            source: seen.source.clone(),
        };
        let version = Arc::new(make_version(&self.origin, answer, &self.path));
        version.object.as_ref()?;
        self.current.store(Arc::clone(&version));
        Some(version)
    }

    /// Asks the origin for the file anew.
    pub(crate) fn ask_origin(&self) -> Result<Opened> {
        match &self.given {
            None => self.origin.ask_once(&self.path, self.spot),
            Some(fd) => self.origin.ask_through(fd, &self.path, self.spot),
        }
    }

    /// The origin was asked for the file anew. Gives what it is now.
    pub(crate) fn asked(&self, opened: Opened) -> Arc<Version> {
        let _moving = self.moving.lock();
        let current = self.version();
        let is_same = current.token == opened.token && current.identity == opened.identity;
        let mark = opened.mark;
        let answer = Answer::from(opened);
        let version = if is_same {
            let version = Arc::new(Version {
                identity: answer.identity,
                token: answer.token,
                source: answer.source,
                object: current.object.clone(),
                refusal: current.refusal,
                reason: current.reason,
                cache: Arc::clone(&current.cache),
            });
            self.current.store(Arc::clone(&version));
            version
        } else {
            self.move_on(answer)
        };
        // Behind the version: who believes the file finds this one.
        self.stale.until.store(0, Ordering::Release);
        self.mark.store(mark.0, Ordering::Release);
        version
    }

    fn move_on(&self, answer: Answer) -> Arc<Version> {
        let mut version = make_version(&self.origin, answer, &self.path);
        version.reason = MissReason::VersionChanged;
        let version = Arc::new(version);
        self.current.store(Arc::clone(&version));
        self.changes.fetch_add(1, Ordering::Release);
        version
    }
}

/// What an origin has said of a file.
struct Answer {
    identity: Arc<Identity>,
    token: VersionToken,
    source: Option<Arc<Source>>,
}

impl From<Opened> for Answer {
    fn from(opened: Opened) -> Self {
        Self {
            identity: opened.identity,
            token: opened.token,
            source: opened.source.map(Arc::new),
        }
    }
}

/// Why nothing is kept of a file whose object cannot be had.
fn reason_of(errno: Errno) -> MissReason {
    match errno {
        Errno::AGAIN | Errno::BUSY | Errno::NOSPC | Errno::DQUOT => MissReason::NoRoom,
        // Too large, or another one's hash is the same.
        Errno::FBIG | Errno::EXIST => MissReason::NotAdmitted,
        _ => MissReason::NotStoring,
    }
}

/// What a fill of it fails with. The store says EAGAIN where room may be had later, which
/// is not the device's fault; who fills is told that there is none.
fn refusal_of(errno: Errno) -> Errno {
    match errno {
        Errno::AGAIN => Errno::NOSPC,
        other => other,
    }
}

/// A version with its object; without one if the cache cannot have it, which is
/// never the reader's problem.
fn make_version(origin: &Inner, answer: impl Into<Answer>, path: &[u8]) -> Version {
    let Answer {
        identity,
        token,
        source,
    } = answer.into();
    let made = origin.cache.object(&identity, &token, path);
    let (object, refusal, reason) = match made {
        Ok((object, reason)) => (Some(object), Errno::NOSPC, reason),
        Err(error) => {
            let (errno, shown) = (error.errno(), String::from_utf8_lossy(path));
            if matches!(errno, Errno::TIMEDOUT | Errno::BUSY) {
                // The state of the device says so, once; there may be room in a moment.
                tracing::debug!("nothing is kept of {shown}: {error}");
            } else {
                tracing::warn!("nothing is kept of {shown}: {error}");
            }
            (None, refusal_of(errno), reason_of(errno))
        }
    };
    Version {
        identity,
        token,
        source,
        object,
        refusal,
        reason,
        cache: Arc::clone(&origin.cache),
    }
}
