//! The file of the slot table: made, joined, left.
//!
//! Each process that uses it has a word in it, and holds a lock of the open file that
//! goes with it (fcntl(2), F_OFD_SETLK) and dies with its process. So a word without a
//! lock says that somebody has died, whose changes may be half done.

use super::lock::lock;
use crate::error::{Context, Errno, Error, Result};
use crate::evict::{FIXED_BYTES, PROCESSES_MAX, Sizes, Standing, Table};
use crate::limits::{CACHE_LOCK_MS_MAX, OBJECT_SHARE_BYTES, OBJECTS_DEFAULT_MAX, OBJECTS_MIN};
use crate::sys;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

const NAME: &str = "slots";
const NEW_NAME: &str = "slots.new";
/// Locks are behind the last byte that the file can have.
const LOCKS: u64 = 1 << 62;
/// Held by the process that evicts.
const EVICTOR: u64 = LOCKS;
/// Held by the process that puts right what others have left.
const KEEPER: u64 = LOCKS + 1;
/// Held by the process of each word.
const PROCESSES: u64 = LOCKS + 16;

/// What a table is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// 0: as many as the directory has, or as its limit asks for.
    pub(super) objects_max: u64,
    pub(super) capacity_bytes: u64,
    pub(super) boot_id: [u8; 16],
    /// The directory is on a file system of another process, which may hang.
    pub(super) elsewhere: bool,
}

/// This process among those that use a table.
pub(super) struct Membership {
    file: OwnedFd,
    index: u64,
}

/// A lock of the file, until it is dropped.
pub(super) struct Held<'a>(&'a Membership, u64);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(errno) = sys::lock_range(self.0.file.as_fd(), (self.1, 1), false) {
            tracing::warn!("a lock of the slot table stays: {errno}");
        }
    }
}

/// Joins those that use the table of a directory; makes one if there is none, or none
/// that can be used. Under a lock of the root.
pub(super) fn join(root: &OwnedFd, is_new: bool, wanted: Wanted) -> Result<(Table, Membership)> {
    if wanted.elsewhere {
        return join_nobody(root, is_new, wanted);
    }
    lock(root, CACHE_LOCK_MS_MAX).context(|| "lock the cache directory")?;
    let joined = join_locked(root, is_new, wanted);
    let unlocked = rustix::fs::flock(root, FlockOperation::Unlock);
    unlocked.context(|| "unlock the cache directory")?;
    joined
}

/// A table of this process alone. A store to a mapped page of a FUSE file waits until the
/// file system has taken what it was given of that page (fuse_page_mkwrite), for ever if
/// that hangs; so there the limits are each process's own.
fn join_nobody(root: &OwnedFd, is_new: bool, wanted: Wanted) -> Result<(Table, Membership)> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create(NAME, flags).context(|| "memfd_create")?;
    let objects_max = match wanted.objects_max {
        0 => default_objects(root, wanted.capacity_bytes),
        named => named,
    };
    let sizes = Sizes::new(objects_max, fresh_number()?);
    let sized = rustix::fs::ftruncate(&file, sizes.file_bytes());
    sized.context(|| "make room for the slot table in memory")?;
    let table = Table::map(file.as_fd(), sizes).context(|| format!("map {NAME}"))?;
    take_over(&table, wanted.boot_id);
    if is_new {
        table.stand(Standing::Known);
    }
    let index = take_place(&file, &table)?;
    Ok((table, Membership { file, index }))
}

fn fresh_number() -> Result<u64> {
    let mut seed = [0; 8];
    sys::random(&mut seed).context(|| "getrandom")?;
    Ok(u64::from_ne_bytes(seed))
}

fn join_locked(root: &OwnedFd, is_new: bool, wanted: Wanted) -> Result<(Table, Membership)> {
    let (file, sizes, alone) = match find(root, wanted)? {
        Some(found) => found,
        None => {
            let (file, sizes) = make(root, wanted)?;
            (file, sizes, true)
        }
    };
    let table = Table::map(file.as_fd(), sizes).context(|| format!("map {NAME}"))?;
    if alone {
        take_over(&table, wanted.boot_id);
        if is_new && table.totals().objects == 0 {
            table.stand(Standing::Known);
        }
    }
    let index = take_place(&file, &table)?;
    Ok((table, Membership { file, index }))
}

/// The table that is there, and whether nobody else uses it. None: make one.
fn find(root: &OwnedFd, wanted: Wanted) -> Result<Option<(OwnedFd, Sizes, bool)>> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match sys::open_at(root, NAME, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).context(|| format!("open {NAME}")),
    };
    let alone = is_alone(&file).context(|| format!("lock {NAME}"))?;
    let sizes = read_sizes(&file).context(|| format!("read {NAME}"))?;
    let fits = |sizes: &Sizes| [0, sizes.objects_max].contains(&wanted.objects_max);
    match sizes {
        Some(sizes) if fits(&sizes) || !alone => Ok(Some((file, sizes, alone))),
        None if !alone => {
            let text = format!("{NAME} is damaged, and others use it");
            Err(Error::new(Errno::IO, text))
        }
        _ => {
            tracing::info!("the slot table is made anew");
            // Who has only looked at it, and so is not known of, sees it go.
            rustix::io::pwrite(&file, &[0; FIXED_BYTES], 0).context(|| format!("end {NAME}"))?;
            Ok(None)
        }
    }
}

/// The table of a directory, for somebody who only looks at it and is no member.
/// Allocates nothing. EPROTONOSUPPORT: it is of another format, or damaged.
pub(crate) fn open_table(root: BorrowedFd<'_>) -> std::result::Result<Table, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = sys::open_at(root, NAME, flags, Mode::empty())?;
    let sizes = read_sizes(&file)?.ok_or(Errno::PROTONOSUPPORT)?;
    Table::map(file.as_fd(), sizes)
}

/// None: it is damaged.
fn read_sizes(file: &OwnedFd) -> std::result::Result<Option<Sizes>, Errno> {
    let mut fixed = [0; FIXED_BYTES];
    let read = rustix::io::pread(file, &mut fixed, 0)?;
    let sizes = Sizes::decode(&fixed).filter(|_| read == fixed.len());
    let bytes = rustix::fs::fstat(file)?.st_size as u64;
    Ok(sizes.filter(|sizes| sizes.file_bytes() == bytes))
}

/// Whether no other open file has the lock of a process.
fn is_alone(file: &OwnedFd) -> std::result::Result<bool, Errno> {
    let all = (PROCESSES, PROCESSES_MAX);
    match sys::lock_range(file.as_fd(), all, true) {
        Ok(()) => sys::lock_range(file.as_fd(), all, false).map(|()| true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes a table that is smaller if there is no room for what is wanted.
fn make(root: &OwnedFd, wanted: Wanted) -> Result<(OwnedFd, Sizes)> {
    let seed = fresh_number()?;
    let mut objects_max = match wanted.objects_max {
        0 => default_objects(root, wanted.capacity_bytes),
        named => named,
    };
    loop {
        let sizes = Sizes::new(objects_max, seed);
        match make_file(root, sizes) {
            Ok(file) => return Ok((file, sizes)),
            Err(Errno::NOSPC | Errno::DQUOT) if objects_max >= 2 * OBJECTS_MIN => {
                objects_max /= 2;
            }
            Err(errno) => return Err(errno).context(|| format!("make {NAME}")),
        }
    }
}

/// One for each so many bytes that the cache may have, or its file system has.
fn default_objects(root: &OwnedFd, capacity_bytes: u64) -> u64 {
    let bytes = match rustix::fs::fstatvfs(root) {
        Ok(stat) => stat.f_blocks.saturating_mul(stat.f_frsize),
        Err(_) => u64::MAX,
    };
    let objects = bytes.min(capacity_bytes) / OBJECT_SHARE_BYTES;
    objects.clamp(OBJECTS_MIN, OBJECTS_DEFAULT_MAX)
}

fn make_file(root: &OwnedFd, sizes: Sizes) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = sys::open_at(root, NEW_NAME, flags, Mode::RUSR | Mode::WUSR)?;
    let bytes = sizes.file_bytes();
    rustix::fs::ftruncate(&file, bytes)?;
    // Real blocks: a store into a mapped hole of a full file system raises SIGBUS.
    let made = match sys::allocate(file.as_fd(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => super::write_whole(&file, &[], bytes),
        other => other,
    };
    let written = made.and_then(|()| rustix::io::pwrite(&file, &sizes.encode(), 0));
    let named = written.and_then(|_| rustix::fs::renameat(root, NEW_NAME, root, NAME));
    if let Err(errno) = named {
        // What it took is needed by others.
        let _left = rustix::fs::unlinkat(root, NEW_NAME, rustix::fs::AtFlags::empty());
        return Err(errno);
    }
    Ok(file)
}

/// Nobody else uses it: what does the last one say of it?
fn take_over(table: &Table, boot_id: [u8; 16]) {
    table.calm();
    let same_boot = table.is_of_boot(boot_id);
    match table.standing() {
        // Any part of it may be older than the rest.
        Standing::Known if !same_boot => table.stand(Standing::Unknown),
        Standing::Closed => table.stand(Standing::Known),
        _ => {}
    }
    table.come_to_boot(boot_id);
    for index in 0..PROCESSES_MAX {
        if table.process(index).swap(0, Ordering::AcqRel) != 0 {
            table.died().store(1, Ordering::Release);
        }
    }
}

fn take_place(file: &OwnedFd, table: &Table) -> Result<u64> {
    let number = fresh_number()? | 1;
    for index in 0..PROCESSES_MAX {
        match sys::lock_range(file.as_fd(), (PROCESSES + index, 1), true) {
            Ok(()) => {
                if table.process(index).swap(number, Ordering::AcqRel) != 0 {
                    table.died().store(1, Ordering::Release);
                }
                return Ok(index);
            }
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno).context(|| format!("lock {NAME}")),
        }
    }
    let text = format!("{PROCESSES_MAX} processes use the cache");
    Err(Error::new(Errno::NOSPC, text))
}

impl Membership {
    /// The file of the table.
    pub(super) fn table(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The right to evict, which one process has at a time. None: another one has it.
    pub(super) fn evictor(&self) -> Option<Held<'_>> {
        self.hold(EVICTOR)
    }

    /// The right to put right what others have left.
    pub(super) fn keeper(&self) -> Option<Held<'_>> {
        self.hold(KEEPER)
    }

    fn hold(&self, byte: u64) -> Option<Held<'_>> {
        let locked = sys::lock_range(self.file.as_fd(), (byte, 1), true);
        locked.ok().map(|()| Held(self, byte))
    }

    /// Looks whether somebody has died, and notes it in the table.
    pub(super) fn look_for_dead(&self, table: &Table) {
        for index in (0..PROCESSES_MAX).filter(|index| *index != self.index) {
            let word = table.process(index);
            let number = word.load(Ordering::Acquire);
            if number == 0 {
                continue;
            }
            let byte = PROCESSES + index;
            let is_free = sys::is_free(self.file.as_fd(), byte);
            // Whoever comes to this place now notices by itself.
            if is_free == Ok(true)
                && word
                    .compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            {
                tracing::info!("a process that used the cache has died");
                table.died().store(1, Ordering::Release);
            }
        }
    }

    /// Leaves the others. If there are none, all of the table goes to the disk first, so
    /// that the next boot of the host can believe it.
    pub(super) fn leave(&self, root: &OwnedFd, table: &Table, may_sync: bool) {
        table.process(self.index).store(0, Ordering::Release);
        let place = (PROCESSES + self.index, 1);
        let mut left = sys::lock_range(self.file.as_fd(), place, false);
        // Whoever is about to join may have it.
        let alone = FlockOperation::NonBlockingLockExclusive;
        if may_sync && rustix::fs::flock(root, alone).is_ok() {
            let died = table.died().load(Ordering::Acquire) != 0;
            let is_known = table.standing() == Standing::Known && !died;
            if is_known && is_alone(&self.file) == Ok(true) {
                left = rustix::fs::fdatasync(&self.file);
                if left.is_ok() {
                    table.stand(Standing::Closed);
                }
            }
            left = left.and(rustix::fs::flock(root, FlockOperation::Unlock));
        }
        if let Err(errno) = left {
            tracing::warn!("leave the slot table: {errno}");
        }
    }
}
