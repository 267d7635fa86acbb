//! Objects on disk: find, make, replace, remove.
//!
//! `objects/ab/<key>.meta` describes the object of a key and names its data
//! file, `<key>.<nonce>.data`. Because the nonce is never used again, a
//! metadata file can only ever meet the data that belongs to it. Metadata
//! files change under the lock of their bucket directory (flock(2), which dies
//! with its holder); finding an object needs no lock but the shared one that
//! its user keeps on it.

mod awake;
mod bitmap;
mod claim;
mod condemn;
mod direct;
mod directory;
mod errand;
mod explain;
mod find;
mod health;
mod invalidations;
mod keeper;
mod layout;
mod list;
mod load;
mod lock;
mod names;
mod object;
mod owed;
mod preallocate;
mod probe;
mod pulse;
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
use crate::limits::{BLOCK_BYTES, BUCKET_LOCK_MS_MAX};
use crate::stats::{Counters, Stats};
use crate::sys::{self, Lock};
use crate::token::VersionToken;
use crate::upkeep::{Reminder, Upkeep};
use crate::workers::Workers;
use awake::DirtyTells;
use bitmap::Bitmap;
use condemn::Condemned;
use direct::Refusal;
use directory::{Directory, Wanted};
use errand::Errand;
use find::{Found, Look, read_header};
use health::Health;
use keeper::Keeper;
use layout::Header;
use load::Memory;
use object::Data;
use once_cell::sync::OnceCell;
use owed::Owing;
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
use std::time::Instant;
use sync::{Syncer, Unsynced};
use verify::Pass;
use warm::Warm;

pub(crate) use claim::Claim;
pub(crate) use direct::Direct;
pub(crate) use directory::blocks_writing;
pub use directory::{OBJECTS, is_cache};
pub(crate) use errand::too_late;
pub use explain::{Kept, KeptObject};
pub(crate) use health::{Condition, Trust};
pub(crate) use invalidations::{Invalidations, Mark, Spot};
pub use layout::HEADER_BYTES_MAX;
pub(crate) use layout::{Geometry, checksum, path_of};
pub(crate) use names::{DATA_NAME_BYTES, METADATA_NAME_BYTES};
pub(crate) use object::Object;
pub(crate) use preallocate::{Blocks, Preallocation};
pub(crate) use pulse::{Pulse, Takes};
pub(crate) use room::Grant;
pub(crate) use seal::{MARKED, seal_of};
pub(crate) use slots::open_table;
pub use verify::Verification;
pub(crate) use verify::Walk;

/// The objects of one cache directory.
pub(crate) struct Store {
    directory: Directory,
    boot_id: [u8; 16],
    accounts: Accounts,
    membership: Membership,
    /// Held by the thread that evicts.
    evicting: Mutex<()>,
    making: Arc<room::Making>,
    keeper: Keeper,
    space: Space,
    pub(crate) health: Health,
    probes: Workers<Probe>,
    /// Whether the device takes something now.
    pub(crate) pulse: Pulse,
    dirty_tells: DirtyTells,
    /// What may have to wait for it, and is waited for with a limit.
    errands: Workers<Errand>,
    /// What it was not given, since it might have had somebody wait.
    owing: Owing,
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
        let root = rustix::io::fcntl_dupfd_cloexec(&directory.root, 0);
        let pulse = Pulse::new(root.context(|| "open the cache directory once more")?);
        // A sync of a file on FUSE waits for its server, maybe for ever. What is not
        // durable is verified after a crash.
        let sync_interval = config.sync_interval().filter(|_| !directory.elsewhere);
        let store = Arc::new(Self {
            accounts: Accounts::new(table, directory.capacity_bytes, config),
            membership,
            evicting: Mutex::default(),
            making: Arc::default(),
            keeper: Keeper::default(),
            space: Space::new(config),
            boot_id: host.boot_id,
            health: Health::new(Arc::clone(&counters), config.device_timeout()),
            probes: probe::worker(),
            pulse,
            dirty_tells: DirtyTells::default(),
            errands: errand::workers(),
            owing: Owing::default(),
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
        store.begin_chores(config, upkeep);
        Ok(StoreOpened::Usable(store))
    }

    fn begin_chores(self: &Arc<Self>, config: &Config, upkeep: &Upkeep) {
        if let Some(unsynced) = &self.unsynced {
            unsynced.begin(upkeep, Syncer::new(self));
        }
        self.condemned.begin(upkeep, self);
        if config.verify_bytes_per_second > 0 {
            let pass = Pass::new(self, config.verify_bytes_per_second);
            let reminder = self.verifying.get_or_init(|| upkeep.add(pass));
            reminder.now();
        }
        self.space.look(&self.directory.root);
        self.keeper.begin(upkeep, self);
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

    /// The same under the bucket's lock, and a new object if there is none.
    fn find_or_make(
        self: &Arc<Self>,
        key: Key,
        (identity, token): (&Identity, &VersionToken),
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
        let (reason, old) = match self.find(key, (identity, token), Look::Locked)? {
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
        let mode = Mode::RUSR | Mode::WUSR;
        sys::open_at(&self.directory.objects, name, flags, mode)
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
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = self.openat(&bucket, flags);
        if directory
            .as_ref()
            .is_err_and(|errno| *errno == Errno::NOENT)
        {
            match rustix::fs::mkdirat(&self.directory.objects, &bucket, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).context(|| format!("make the directory {bucket}")),
            }
            directory = self.openat(&bucket, flags);
        }
        let directory = directory.context(|| format!("open the directory {bucket}"))?;
        lock::lock(&directory, limit_ms).context(|| format!("lock the bucket {bucket}"))?;
        Ok(directory)
    }

    /// Enters an object that was found, and has no slot: the table was lost, or whoever has
    /// the object open has removed it. None: it gets no more room.
    fn enter(&self, object: &Object) -> Option<Handle> {
        let _bucket = self.lock_bucket(object.key).ok()?;
        let bytes = object.header.file_bytes() + object.room_taken();
        let newcomer = newcomer(&object.header, bytes, object.is_noted_as_pinned());
        (object.is_named()).then(|| self.accounts.enter(&newcomer))?
    }

    /// Leaves the directory to others, unless the device does not answer until `deadline`:
    /// then it looks as if the process had died. For the last one: nothing is done any
    /// more. Returns how many threads had not come to an end at `deadline`.
    pub(crate) fn leave_until(self: &Arc<Self>, deadline: Instant, may_leave: bool) -> usize {
        if may_leave && let Err(error) = self.errand(deadline, |store| store.leave()) {
            tracing::warn!("the cache directory is not left: {error}");
        }
        self.errands.shut_down(deadline)
    }

    fn leave(&self) {
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
