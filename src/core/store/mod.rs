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
mod condemn;
mod direct;
mod directory;
mod explain;
mod health;
mod invalidations;
mod keeper;
mod layout;
mod list;
mod load;
mod lock;
mod names;
mod object;
mod preallocate;
mod probe;
mod repair;
mod room;
mod seal;
mod slots;
mod space;
mod sync;
mod trim;
mod verify;
mod warm;

use crate::completion::MissReason;
use crate::config::Config;
use crate::error::{Context, Errno, Error, Result};
use crate::evict::{Accounts, Handle, Newcomer, Standing};
use crate::ids::{Identity, Key};
use crate::io::Disk;
use crate::limits::{BLOCK_BYTES, BUCKET_LOCK_MS_MAX, OBJECT_BYTES_MAX};
use crate::stats::{Counters, Stats};
use crate::sys::{self, Lock};
use crate::token::VersionToken;
use crate::upkeep::{Reminder, Upkeep};
use crate::workers::Workers;
use bitmap::Bitmap;
use condemn::Condemned;
use direct::Refusal;
use directory::{Directory, Wanted};
use health::Health;
use keeper::Keeper;
use layout::Header;
use load::Memory;
use object::Data;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use probe::Probe;
use rustix::fs::{AtFlags, Mode, OFlags};
use slots::Membership;
use space::Space;
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use sync::{Syncer, Unsynced};
use verify::Pass;
use warm::Warm;

pub(crate) use claim::Claim;
pub(crate) use direct::Direct;
pub(crate) use directory::blocks_writing;
pub use directory::{OBJECTS, is_cache};
pub use explain::{Kept, KeptObject};
pub(crate) use health::{Condition, Trust};
pub(crate) use invalidations::{Invalidations, Mark, Spot};
pub use layout::HEADER_BYTES_MAX;
pub(crate) use layout::{Geometry, checksum, path_of};
pub(crate) use names::{DATA_NAME_BYTES, METADATA_NAME_BYTES};
pub(crate) use object::Object;
pub(crate) use preallocate::{Blocks, Preallocation};
pub(crate) use seal::{MARKED, seal_of};
pub(crate) use slots::open_table;
pub use verify::Verification;
pub(crate) use verify::Walk;

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
    membership: Membership,
    /// Held by the thread that evicts.
    evicting: Mutex<()>,
    keeper: Keeper,
    space: Space,
    pub(crate) health: Health,
    probes: Workers<Probe>,
    /// Has engines give up what they know of files that are closed.
    letting_go: OnceCell<Box<dyn Fn() + Send + Sync>>,
    pub(crate) preallocation: Preallocation,
    /// New objects are direct where their file system can.
    direct_io: bool,
    /// It was said that it cannot.
    direct_refused: AtomicBool,
    counters: Arc<Counters>,
    memory: Option<Memory>,
    condemned: Condemned,
    /// Durable bits are set and believed: what was evicted stays so.
    trusts_durable: bool,
    disk: Disk,
    warm: Warm,
    /// Empty: nothing is verified beside serving.
    verifying: OnceCell<Reminder>,
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
        let wanted = slots::Wanted {
            objects_max: config.objects_max,
            capacity_bytes: directory.capacity_bytes,
            boot_id: host.boot_id,
            elsewhere: directory.elsewhere,
        };
        let (table, membership) = match slots::join(&directory.root, directory.is_new, wanted) {
            Ok(joined) => joined,
            Err(error) if blocks_writing(error.errno()) => {
                return Ok(StoreOpened::Unusable(error));
            }
            Err(error) => return Err(error),
        };
        // A sync of a file on FUSE waits for its server, maybe for ever. What is not
        // durable is verified after a crash.
        let sync_interval = config.sync_interval().filter(|_| !directory.elsewhere);
        let store = Arc::new(Self {
            accounts: Accounts::new(table, directory.capacity_bytes, config),
            membership,
            evicting: Mutex::default(),
            keeper: Keeper::default(),
            space: Space::new(config),
            boot_id: host.boot_id,
            health: Health::new(Arc::clone(&counters), config.device_timeout()),
            probes: probe::worker(),
            letting_go: OnceCell::new(),
            preallocation: Preallocation::default(),
            direct_io: config.direct_io != 0,
            direct_refused: AtomicBool::new(false),
            counters,
            warm: Warm::default(),
            memory: Memory::open(config, directory.chunk_bytes, directory.elsewhere),
            trusts_durable: host.disk.frees_late(directory.objects.as_fd()),
            directory,
            condemned: Condemned::default(),
            disk: host.disk,
            verifying: OnceCell::new(),
            unsynced: sync_interval.map(Unsynced::new),
            open: Default::default(),
        });
        if let Some(unsynced) = &store.unsynced {
            unsynced.begin(upkeep, Syncer::new(&store));
        }
        store.condemned.begin(upkeep, &store);
        if config.verify_bytes_per_second > 0 {
            let pass = Pass::new(&store, config.verify_bytes_per_second);
            let reminder = store.verifying.get_or_init(|| upkeep.add(pass));
            reminder.now();
        }
        store.space.look(&store.directory.root);
        store.keeper.begin(upkeep, &store);
        Ok(StoreOpened::Usable(store))
    }

    /// Says how engines are asked to give up files that are closed. Once.
    pub(crate) fn set_letting_go(&self, ask: impl Fn() + Send + Sync + 'static) {
        let set = self.letting_go.set(Box::new(ask));
        assert!(set.is_ok(), "a directory has the engines of one cache");
    }

    fn have_engines_let_go(&self) {
        if let Some(ask) = self.letting_go.get() {
            ask();
        }
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

    /// Maps what changes of an object.
    fn map(&self, header: &Header, metadata: &OwnedFd) -> Result<Bitmap> {
        Bitmap::map(metadata.as_fd(), header.regions(), self.elsewhere())
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.directory.capacity_bytes
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.directory.chunk_bytes
    }

    /// Fills in what is known of the directory.
    pub(crate) fn tell(&self, stats: &mut Stats) {
        self.accounts.tell(stats);
        (stats.space_free_percent, stats.inodes_free_percent) = self.space.free_percents();
        stats.memory_bytes = self.memory_bytes();
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
        let mut open = self.part_of(key).lock();
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
        if object.account.is_none() {
            object.account = self.account_of(&object);
        }
        object.seal();
        let object = Arc::new(object);
        open.insert(key, &object);
        Ok((object, reason))
    }

    fn part_of(&self, key: Key) -> &Mutex<OpenObjects> {
        &self.open[usize::from(key.0[1]) % OPEN_PARTS]
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
            // The look under the lock wants it alone, and a child may have been forked.
            sys::try_lock(metadata.as_fd(), Lock::None).context(|| format!("unlock {name}"))?;
            return Ok(Found::OtherBoot);
        }
        let Some(data) = self.open_data(&key.data_name(header.nonce), &header)? else {
            return Ok(Found::Unusable);
        };
        let bitmap = self.map(&header, &metadata)?;
        if of_another_boot {
            // Nobody of this boot has it open yet, and the others are dead; but for
            // those of another host that shares the directory.
            if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
                return Ok(Found::Unusable);
            }
            if !self.trusts_durable && bitmap.suspend_all_durable() {
                let synced = self.disk.sync(metadata.as_fd());
                synced.context(|| format!("sync {name}"))?;
                bitmap.clear_all_durable();
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
            let (start, bytes) = geometry.extent_of(&chunks);
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
        // Before the lock of the bucket: who evicts needs those of others.
        let room = self.make_room_for_object(header.file_bytes());
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
        room?;
        if let Some(nonce) = old {
            // Before its slot becomes the new one's: a file without a slot, which whoever
            // is killed here would leave, is counted by nobody.
            self.forget_unsynced(nonce);
            self.unlink(&key.metadata_name());
            self.unlink(&key.data_name(nonce));
        }
        let object = self.make(key, header)?;
        let came_back = |handle| self.accounts.came_back(handle);
        let reason = match reason {
            MissReason::NeverCached if object.account.is_some_and(came_back) => MissReason::Evicted,
            other => other,
        };
        Ok((object, reason))
    }

    /// Makes an object: first its slot, so that no file is without one; the metadata
    /// gets its name last.
    fn make(self: &Arc<Self>, key: Key, header: Header) -> Result<Object> {
        let nonce = header.nonce;
        let newcomer = newcomer(&header, header.file_bytes(), false);
        if let Some(other) = self.accounts.nonce_of(key) {
            // Of whoever has died when it made room: see `trim`.
            self.unlink(&key.data_name(other));
        }
        let Some(handle) = self.accounts.enter(&newcomer) else {
            let text = "the cache has as many objects as it may have";
            return Err(Error::new(Errno::AGAIN, text));
        };
        match self.make_files(key, header) {
            Ok(mut object) => {
                object.account = Some(handle);
                if self.accounts.is_pinned(handle) {
                    object.note_pin(true);
                }
                Ok(object)
            }
            Err(error) => {
                self.accounts.forget(key, nonce);
                Err(error)
            }
        }
    }

    fn make_files(self: &Arc<Self>, key: Key, mut header: Header) -> Result<Object> {
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
                let bitmap = self.map(&header, &metadata)?;
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
        self.lock_bucket_of(key.0[0])
    }

    fn lock_bucket_of(&self, number: u8) -> Result<OwnedFd> {
        self.lock_bucket_within(number, BUCKET_LOCK_MS_MAX)
    }

    fn lock_bucket_within(&self, number: u8, limit_ms: u64) -> Result<OwnedFd> {
        let bucket = format!("{number:02x}");
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
        lock::lock(&directory, limit_ms).context(|| format!("lock the bucket {bucket}"))?;
        Ok(directory)
    }

    /// The slot of an object that was found. None: it gets no more room.
    fn account_of(&self, object: &Object) -> Option<Handle> {
        let (key, nonce) = (object.key, object.header.nonce);
        if let Some(handle) = self.accounts.used(key, nonce) {
            return Some(handle);
        }
        // The table was lost, or whoever has the object open has removed it.
        let _bucket = self.lock_bucket(key).ok()?;
        let bytes = object.header.file_bytes() + object.room_taken();
        let newcomer = newcomer(&object.header, bytes, object.is_noted_as_pinned());
        (object.is_named()).then(|| self.accounts.enter(&newcomer))?
    }

    /// Leaves the directory to others. For the last one: nothing is done any more.
    pub(crate) fn leave(&self) {
        // A sync of a file on FUSE may wait for its server for ever.
        let may_sync = !self.directory.elsewhere;
        self.membership
            .leave(&self.directory.root, self.accounts.table(), may_sync);
    }

    /// Why nothing is stored although the device could, or None.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        if self.accounts.table().standing() == Standing::Unknown {
            Some("what is in the cache directory is being counted")
        } else if !self.space.may_store() {
            Some("too little of the file system is free (space_stop_percent)")
        } else {
            None
        }
    }
}

/// What the table is told of an object that takes so many bytes.
fn newcomer(header: &Header, bytes: u64, pinned: bool) -> Newcomer<'_> {
    Newcomer {
        key: header.identity.key(),
        nonce: header.nonce,
        bytes,
        origin: &header.identity.origin,
        pinned,
    }
}

/// Bytes of a block in `st_blocks`, whatever the file system's own are (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What bytes of a file take on disk. Chunks are multiples of blocks, but for
/// the last one of a file.
fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

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

pub(crate) use list::list;
