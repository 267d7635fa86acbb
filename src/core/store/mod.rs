//! Objects on disk: find, make, replace, remove.
//!
//! `objects/ab/<key>.meta` describes the object of a key and names its data
//! file, `<key>.<nonce>.data`. Because the nonce is never used again, a
//! metadata file can only ever meet the data that belongs to it. Metadata
//! files change under the lock of their bucket directory (flock(2), which dies
//! with its holder); finding an object needs no lock but the shared one that
//! its user keeps on it.

mod bitmap;
mod claim;
mod direct;
mod directory;
mod explain;
mod health;
mod invalidations;
mod layout;
mod load;
mod lock;
mod object;
mod preallocate;
mod probe;
mod scan;
mod sync;
mod warm;

use crate::completion::MissReason;
use crate::config::Config;
use crate::error::{Context, Errno, Error, Result};
use crate::evict::{Accounts, Room};
use crate::ids::{Identity, Key};
use crate::io::Disk;
use crate::limits::{BLOCK_BYTES, BUCKET_LOCK_MS_MAX, EVICT_SKIPS_MAX, OBJECT_BYTES_MAX};
use crate::stats::Counters;
use crate::sys::{self, Lock};
use crate::token::VersionToken;
use crate::upkeep::Upkeep;
use crate::workers::Workers;
use bitmap::Bitmap;
use direct::Refusal;
use directory::{Directory, Wanted};
use health::Health;
use layout::{HEADER_BYTES_MAX, Header};
use load::Memory;
use object::Data;
use parking_lot::Mutex;
use probe::Probe;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use sync::{Syncer, Unsynced};
use warm::Warm;

pub(crate) use claim::Claim;
pub(crate) use direct::Direct;
pub(crate) use directory::blocks_writing;
pub use directory::is_cache;
pub use explain::{Kept, KeptObject};
pub(crate) use health::{Condition, Trust};
pub(crate) use invalidations::{Invalidations, Mark, Spot};
pub(crate) use layout::{Geometry, checksum};
pub(crate) use object::Object;
pub(crate) use preallocate::{Blocks, Preallocation};

/// Where the files of an object are, below `objects`.
impl Key {
    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bucket(&self) -> String {
        format!("{:02x}", self.0[0])
    }

    fn metadata_name(&self) -> String {
        format!("{}/{}.meta", self.bucket(), self.hex())
    }

    fn unfinished_name(&self) -> String {
        format!("{}/{}.new", self.bucket(), self.hex())
    }

    fn data_name(&self, nonce: u64) -> String {
        format!("{}/{}.{nonce:016x}.data", self.bucket(), self.hex())
    }
}

/// What the directory has for an identity.
enum Found {
    /// The object of the version asked for.
    Object(Box<Object>),
    /// Nothing.
    Nothing,
    /// An object of another version.
    OtherVersion(u64),
    /// Something that cannot be used: damaged, or in the hands of somebody who may
    /// take it away.
    Unusable,
    /// The object of the version asked for, as another boot of this host has left it:
    /// to be looked at under the lock of its bucket.
    OtherBoot,
    /// Another file with the same hash.
    OtherFile,
}

/// The objects of one cache directory.
pub(crate) struct Store {
    directory: Directory,
    boot_id: [u8; 16],
    accounts: Accounts,
    pub(crate) health: Health,
    probes: Workers<Probe>,
    pub(crate) preallocation: Preallocation,
    /// New objects are direct where their file system can.
    direct_io: bool,
    /// It was said that it cannot.
    direct_refused: AtomicBool,
    counters: Arc<Counters>,
    memory: Option<Memory>,
    warm: Warm,
    /// None: nothing is synced.
    unsynced: Option<Unsynced>,
    /// In parts, so that opens of different files need not wait for each other.
    open: [Mutex<OpenObjects>; OPEN_PARTS],
}

/// Opens that can be at work on disk at the same time, at least: more than a
/// disk has a use for.
const OPEN_PARTS: usize = 32;

/// Objects that this process has open, so that all its readers share one.
#[derive(Default)]
struct OpenObjects {
    objects: HashMap<Key, Weak<Object>>,
    /// How many there are before those that were closed are looked for: twice
    /// what was left the last time, so that it costs a constant for each.
    sweep_at: usize,
}

impl OpenObjects {
    fn get(&self, key: Key) -> Option<Arc<Object>> {
        self.objects.get(&key).and_then(Weak::upgrade)
    }

    fn insert(&mut self, key: Key, object: &Arc<Object>) {
        self.objects.insert(key, Arc::downgrade(object));
        if self.objects.len() > self.sweep_at {
            self.objects.retain(|_, object| object.strong_count() > 0);
            self.sweep_at = 2 * self.objects.len() + 64;
        }
    }
}

/// What a store is on.
pub(crate) struct Host {
    /// What another boot of it has left is verified before it is used.
    pub(crate) boot_id: [u8; 16],
    pub(crate) disk: Disk,
}

/// What became of opening the cache directory.
pub(crate) enum StoreOpened {
    /// It can be used.
    Usable(Arc<Store>),
    /// It cannot be written to. Says why.
    Unusable(Error),
}

impl Store {
    /// Opens the directory; see [`directory::open`] for the errors.
    pub(crate) fn open(
        path: &Path,
        config: &Config,
        host: Host,
        counters: Arc<Counters>,
        upkeep: &Upkeep,
    ) -> Result<StoreOpened> {
        let wanted = Wanted {
            chunk_bytes: config.chunk_bytes,
            capacity_bytes: config.capacity_bytes,
        };
        let directory = match directory::open(path, wanted)? {
            directory::Opened::Usable(directory) => directory,
            directory::Opened::Unusable(error) => return Ok(StoreOpened::Unusable(error)),
        };
        let store = Arc::new(Self {
            accounts: Accounts::new(directory.capacity_bytes),
            boot_id: host.boot_id,
            health: Health::new(
                Arc::clone(&counters),
                Duration::from_millis(config.device_timeout_ms),
            ),
            probes: probe::worker(),
            preallocation: Preallocation::default(),
            direct_io: config.direct_io != 0,
            direct_refused: AtomicBool::new(false),
            counters,
            warm: Warm::default(),
            memory: Memory::open(config, directory.chunk_bytes, directory.elsewhere),
            directory,
            unsynced: config.sync_interval().map(Unsynced::new),
            open: Default::default(),
        });
        if let Some(unsynced) = &store.unsynced {
            unsynced.begin(upkeep, Syncer::new(&store, host.disk));
        }
        scan::load(&store)?;
        store.trim();
        Ok(StoreOpened::Usable(store))
    }

    /// The directory without links.
    pub(crate) fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Whether reads and writes of its files may block unasked: see
    /// [`crate::io::Terms`].
    pub(crate) fn elsewhere(&self) -> bool {
        self.directory.elsewhere
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.directory.chunk_bytes
    }

    /// Bytes and objects in the directory.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.accounts.totals()
    }

    /// The object of a version, made if it is not there, and why a read of it
    /// may miss. What the cache had of another version is removed.
    pub(crate) fn object(
        self: &Arc<Self>,
        identity: &Identity,
        token: &VersionToken,
        path: &[u8],
    ) -> Result<(Arc<Object>, MissReason)> {
        if token.size > OBJECT_BYTES_MAX {
            return Err(Error::new(Errno::FBIG, "the file is larger than 16 TiB"));
        }
        let key = identity.key();
        // Held over the work on disk: two opens of one file must not both make it.
        let mut open = self.open[usize::from(key.0[1]) % OPEN_PARTS].lock();
        if let Some(object) = open.get(key) {
            let same = object.header.identity == *identity && object.header.token == *token;
            if same && !object.is_broken() {
                return Ok((object, MissReason::NeverCached));
            }
        }
        let (mut object, reason) = match self.find(key, (identity, token), false)? {
            Found::Object(object) => (*object, MissReason::NeverCached),
            _ => self.find_or_make(key, identity, token, path)?,
        };
        let bytes = object.header.file_bytes() + object.room_taken();
        object.account = self.accounts.used(key, object.header.nonce, bytes);
        let object = Arc::new(object);
        open.insert(key, &object);
        Ok((object, reason))
    }

    /// Looks for the object of a version; `locked`: under the lock of its bucket.
    fn find(
        self: &Arc<Self>,
        key: Key,
        (identity, token): (&Identity, &VersionToken),
        locked: bool,
    ) -> Result<Found> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = key.metadata_name();
        let metadata = match self.openat(&name, flags) {
            Ok(metadata) => metadata,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno).context(|| format!("open {name}")),
        };
        // An evictor has it: what is left will be gone in a moment.
        if sys::try_lock(metadata.as_fd(), Lock::Shared).is_err() {
            return Ok(Found::Unusable);
        }
        let stat = rustix::fs::fstat(&metadata).context(|| format!("stat {name}"))?;
        if stat.st_nlink == 0 {
            return Ok(Found::Nothing);
        }
        let Some(header) = read_header(&metadata).context(|| format!("read {name}"))? else {
            return Ok(Found::Unusable);
        };
        if header.identity != *identity {
            return Ok(Found::OtherFile);
        }
        if header.token != *token {
            return Ok(Found::OtherVersion(header.nonce));
        }
        if !self.can_use(&header, stat.st_size as u64) {
            return Ok(Found::Unusable);
        }
        let of_another_boot = header.boot_id != self.boot_id;
        if of_another_boot && !locked {
            return Ok(Found::OtherBoot);
        }
        let Some(data) = self.open_data(&key.data_name(header.nonce), &header)? else {
            return Ok(Found::Unusable);
        };
        // The next process to open the cache learns the order of eviction from
        // these times; without them it only evicts in a worse order.
        let now = rustix::fs::Timestamps {
            last_access: UTIME_NOW,
            last_modification: UTIME_NOW,
        };
        if let Err(errno) = rustix::fs::futimens(&metadata, &now) {
            tracing::debug!("cannot set the time of {name}: {errno}");
        }
        let bitmap = map(&header, &metadata)?;
        if of_another_boot {
            // Nobody of this boot has it open yet, and the others are dead; but for
            // those of another host that shares the directory.
            if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
                return Ok(Found::Unusable);
            }
            self.doubt(&header, &bitmap, &data);
            sys::try_lock(metadata.as_fd(), Lock::Shared).context(|| format!("lock {name}"))?;
        }
        let object = Object::new(Arc::clone(self), header, metadata, data, bitmap);
        Ok(Found::Object(Box::new(object)))
    }

    /// Takes over an object of another boot, which nobody else uses: what has a
    /// checksum is verified before its first use, and the rest is taken off the disk.
    fn doubt(&self, header: &Header, bitmap: &Bitmap, data: &Data) {
        let blocks = || {
            let stat = rustix::fs::fstat(&data.buffered);
            stat.map_or(0, |stat| stat.st_blocks as u64 * STAT_BLOCK_BYTES)
        };
        let (before, geometry) = (blocks(), header.geometry());
        bitmap.come_from_another_boot(self.boot_id, |chunks| {
            let (start, _) = geometry.extent(chunks.start);
            let (last, length) = geometry.extent(chunks.end - 1);
            let bytes = last + length - start;
            if let Err(errno) = sys::punch(data.buffered.as_fd(), start, bytes) {
                tracing::debug!("what nobody can vouch for stays on the disk: {errno}");
            }
        });
        let freed = before.saturating_sub(blocks());
        let key = header.identity.key();
        self.accounts.shrunk(key, header.nonce, freed);
    }

    /// The data file of an object; None if it is not what the header says.
    fn open_data(&self, name: &str, header: &Header) -> Result<Option<Data>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let data = match self.openat(name, flags) {
            Ok(data) => data,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).context(|| format!("open {name}")),
        };
        let stat = rustix::fs::fstat(&data).context(|| format!("stat {name}"))?;
        if stat.st_size as u64 != header.token.size {
            return Ok(None);
        }
        let open = |flags| self.openat(name, flags);
        let direct = match header.direct.then(|| Direct::open(data.as_fd(), open)) {
            None => None,
            Some(Ok(direct)) => Some(direct),
            // It was moved to another file system, or removed just now.
            Some(Err(Refusal::Unable(_) | Refusal::Failed(Errno::NOENT))) => return Ok(None),
            Some(Err(Refusal::Failed(errno))) => {
                return Err(errno).context(|| format!("open {name}"));
            }
        };
        Ok(Some(Data {
            buffered: Arc::new(data),
            direct,
        }))
    }

    /// Whether an object is whole and as this cache has its objects.
    fn can_use(&self, header: &Header, metadata_bytes: u64) -> bool {
        metadata_bytes == header.file_bytes() && header.chunk_bytes == self.chunk_bytes()
    }

    /// The same under the bucket's lock, and a new object if there is none.
    fn find_or_make(
        self: &Arc<Self>,
        key: Key,
        identity: &Identity,
        token: &VersionToken,
        path: &[u8],
    ) -> Result<(Object, MissReason)> {
        let _bucket = self.lock_bucket(key)?;
        let (reason, old) = match self.find(key, (identity, token), true)? {
            Found::Object(object) => return Ok((*object, MissReason::NeverCached)),
            Found::OtherFile => {
                let text = "another file with the same hash is cached";
                return Err(Error::new(Errno::EXIST, text));
            }
            Found::OtherVersion(nonce) => (MissReason::VersionChanged, Some(nonce)),
            Found::Nothing | Found::Unusable => (MissReason::NeverCached, None),
            Found::OtherBoot => unreachable!("it was looked at under the lock"),
        };
        let header = Header {
            chunk_bytes: self.chunk_bytes(),
            token: *token,
            boot_id: self.boot_id,
            nonce: fresh_nonce()?,
            // As `make` finds.
            direct: false,
            identity: identity.clone(),
            path: path.to_vec(),
        };
        let object = self.make(key, header)?;
        if let Some(nonce) = old {
            self.forget_unsynced(nonce);
            self.unlink(&key.data_name(nonce));
        }
        Ok((object, reason))
    }

    /// Makes the files of an object; the metadata gets its name last.
    fn make(self: &Arc<Self>, key: Key, mut header: Header) -> Result<Object> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let data_name = key.data_name(header.nonce);
        let new_name = key.unfinished_name();
        let mut make = || -> std::result::Result<(Data, OwnedFd), Errno> {
            let data = self.openat(&data_name, flags | OFlags::EXCL)?;
            rustix::fs::ftruncate(&data, header.token.size)?;
            let direct = self.open_direct(&data, &data_name)?;
            header.direct = direct.is_some();
            let data = Data {
                buffered: Arc::new(data),
                direct,
            };
            let metadata = self.openat(&new_name, flags | OFlags::TRUNC)?;
            write_whole(&metadata, &header.encode(), header.file_bytes())?;
            sys::try_lock(metadata.as_fd(), Lock::Shared)?;
            let objects = &self.directory.objects;
            rustix::fs::renameat(objects, &new_name, objects, key.metadata_name())?;
            Ok((data, metadata))
        };
        match make() {
            Ok((data, metadata)) => {
                let bitmap = map(&header, &metadata)?;
                Ok(Object::new(
                    Arc::clone(self),
                    header,
                    metadata,
                    data,
                    bitmap,
                ))
            }
            Err(errno) => {
                self.unlink(&data_name);
                self.unlink(&new_name);
                Err(errno).context(|| format!("make the object {data_name}"))
            }
        }
    }

    /// The way past the page cache for a new object, if that is wanted and there
    /// is one.
    fn open_direct(
        &self,
        data: &OwnedFd,
        name: &str,
    ) -> std::result::Result<Option<Direct>, Errno> {
        if !self.direct_io {
            return Ok(None);
        }
        match Direct::open(data.as_fd(), |flags| self.openat(name, flags)) {
            Ok(direct) => Ok(Some(direct)),
            Err(Refusal::Failed(errno)) => Err(errno),
            Err(Refusal::Unable(reason)) => {
                if !self.direct_refused.swap(true, Ordering::Relaxed) {
                    let path = self.path().display();
                    tracing::warn!("direct_io: {path} is used through the page cache: {reason}");
                }
                Ok(None)
            }
        }
    }

    fn openat(&self, name: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.directory.objects,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )
    }

    /// Removes a name. What cannot be removed is found again by the next scan.
    fn unlink(&self, name: &str) {
        match rustix::fs::unlinkat(&self.directory.objects, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => tracing::warn!("cannot remove {name}: {errno}"),
        }
    }

    /// Locks the bucket of a key against every other process. EBUSY if another
    /// one keeps it for longer than making an object can take.
    fn lock_bucket(&self, key: Key) -> Result<OwnedFd> {
        let bucket = key.bucket();
        match rustix::fs::mkdirat(&self.directory.objects, &bucket, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context(|| format!("make the directory {bucket}")),
        }
        let directory = self
            .openat(
                &bucket,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            )
            .context(|| format!("open the directory {bucket}"))?;
        lock::lock(&directory, BUCKET_LOCK_MS_MAX)
            .context(|| format!("lock the bucket {bucket}"))?;
        Ok(directory)
    }

    pub(super) fn reserve(&self, object: &Object, bytes: u64) -> bool {
        let mut skipped = 0;
        while skipped < EVICT_SKIPS_MAX {
            match self
                .accounts
                .reserve(object.key, object.account, on_disk(bytes))
            {
                Room::Granted => return true,
                Room::Refused if self.cool() => {}
                Room::Refused => return false,
                Room::AfterRemoving(key, nonce) => {
                    skipped += usize::from(!self.evict(key, nonce));
                }
            }
        }
        false
    }

    pub(super) fn release(&self, object: &Object, bytes: u64) {
        self.accounts
            .release(object.key, object.account, on_disk(bytes));
    }

    pub(super) fn unused(&self, key: Key, account: u64) {
        self.accounts.unused(key, account);
    }

    /// Evicts until the directory is within its limit.
    fn trim(&self) {
        let mut skipped = 0;
        while skipped < EVICT_SKIPS_MAX {
            let Some((key, nonce)) = self.accounts.surplus() else {
                return;
            };
            skipped += usize::from(!self.evict(key, nonce));
        }
    }

    /// Removes an object unless another process uses it: then its turn comes later.
    fn evict(&self, key: Key, nonce: u64) -> bool {
        let evicted = self.try_evict(key, nonce);
        if !evicted {
            self.accounts.keep(key);
        }
        evicted
    }

    fn try_evict(&self, key: Key, nonce: u64) -> bool {
        self.forget_unsynced(nonce);
        let Ok(_bucket) = self.lock_bucket(key) else {
            return false;
        };
        let name = key.metadata_name();
        if let Ok(metadata) = self.openat(&name, OFlags::RDWR | OFlags::CLOEXEC) {
            if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
                return false;
            }
            let current = read_header(&metadata).ok().flatten();
            if current.is_none_or(|header| header.nonce == nonce) {
                self.unlink(&name);
            }
        }
        self.unlink(&key.data_name(nonce));
        self.accounts.forget(key, nonce);
        self.counters.evictions.add(1);
        true
    }

    /// Removes an object although it is in use: its users keep their handles.
    pub(super) fn remove(&self, key: Key, nonce: u64) {
        self.forget_unsynced(nonce);
        let bucket = self.lock_bucket(key);
        if let Err(error) = &bucket {
            tracing::warn!("a damaged object stays in the directory: {error}");
            return;
        }
        let name = key.metadata_name();
        let current = self.openat(&name, OFlags::RDONLY | OFlags::CLOEXEC);
        let header = current
            .ok()
            .and_then(|file| read_header(&file).ok().flatten());
        if header.is_none_or(|header| header.nonce == nonce) {
            self.unlink(&name);
        }
        self.unlink(&key.data_name(nonce));
        self.accounts.forget(key, nonce);
    }
}

/// Maps what changes of an object.
fn map(header: &Header, metadata: &OwnedFd) -> Result<Bitmap> {
    Bitmap::map(metadata.as_fd(), header.regions())
}

/// Bytes of a block in `st_blocks`, whatever the file system's own are (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What bytes of a file take on disk. Chunks are multiples of blocks, but for
/// the last one of a file.
fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

const UTIME_NOW: rustix::fs::Timespec = rustix::fs::Timespec {
    tv_sec: 0,
    tv_nsec: rustix::fs::UTIME_NOW,
};

/// The header of a metadata file, or None if it is not sound.
fn read_header(file: &OwnedFd) -> std::result::Result<Option<Header>, Errno> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let mut length = 0;
    loop {
        match rustix::io::pread(file, &mut bytes[length..], length as u64) {
            Ok(0) => return Ok(Header::decode(&bytes[..length])),
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if length == bytes.len() {
            return Ok(Header::decode(&bytes));
        }
    }
}

/// Writes `head` and then zeros up to `length`: real blocks, because a store
/// into a mapped hole of a full file system would raise SIGBUS.
fn write_whole(file: &OwnedFd, head: &[u8], length: u64) -> std::result::Result<(), Errno> {
    let mut offset = 0;
    while let Some(rest) = head.get(offset..).filter(|rest| !rest.is_empty()) {
        offset += write_some(file, rest, offset as u64)?;
    }
    write_zeros(file, offset as u64..length)
}

/// Writes zeros: real blocks, as above.
fn write_zeros(file: &OwnedFd, range: Range<u64>) -> std::result::Result<(), Errno> {
    let zeros = [0; 16 << 10];
    let mut offset = range.start;
    while offset < range.end {
        let zeros = &zeros[..zeros.len().min((range.end - offset) as usize)];
        offset += write_some(file, zeros, offset)? as u64;
    }
    Ok(())
}

fn write_some(file: &OwnedFd, bytes: &[u8], offset: u64) -> std::result::Result<usize, Errno> {
    loop {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// A number that no other object of any process has.
fn fresh_nonce() -> Result<u64> {
    let mut bytes = [0u8; 8];
    sys::random(&mut bytes).context(|| "getrandom")?;
    Ok(u64::from_le_bytes(bytes))
}

/// One object, as `cachefs ls` shows it.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    /// The origin's name.
    pub origin: Vec<u8>,
    /// Where the file was when it was cached.
    pub path: Vec<u8>,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of it that are present, those that have to be verified first included.
    pub bytes_present: u64,
    /// Chunks of it that are present, as above.
    pub chunks_present: u64,
    /// Chunks of the file.
    pub chunks_total: u64,
}

pub(crate) use scan::list;
