//! An object is looked for: among those that are open, then by what the kernel has in memory
//! of its files, and only then on a thread that may wait for the device, which also makes it
//! if it is not there.

use super::bitmap::Bitmap;
use super::direct::{Direct, Refusal};
use super::layout::{HEADER_BYTES_MAX, Header};
use super::object::{Data, Object};
use super::owed::Owed;
use super::{Lock, OPEN_PARTS, OpenObjects, STAT_BLOCK_BYTES, Store, too_late};
use crate::completion::MissReason;
use crate::error::{Context, Errno, Error, Result};
use crate::ids::{Identity, Key};
use crate::limits::OBJECT_BYTES_MAX;
use crate::sys;
use crate::token::VersionToken;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// What the directory has for an identity.
pub(super) enum Found {
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

/// How an object is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// By what the kernel has in memory, without asking the device.
    Cached,
    /// By all that there is.
    Any,
    /// The same under the lock of its bucket.
    Locked,
}

impl Store {
    /// The object of a version, made if it is not there, and why a read of it
    /// may miss. What the cache had of another version is removed. ETIMEDOUT: the device
    /// does not answer until `deadline`.
    pub(crate) fn object(
        self: &Arc<Self>,
        identity: &Identity,
        token: &VersionToken,
        path: &[u8],
        deadline: Instant,
    ) -> Result<(Arc<Object>, MissReason)> {
        if token.size > OBJECT_BYTES_MAX {
            return Err(Error::new(Errno::FBIG, "the file is larger than 16 TiB"));
        }
        let key = identity.key();
        // Held over the work on disk: two opens of one file must not both make it.
        let mut open = self
            .part_of(key)
            .try_lock_until(deadline)
            .ok_or_else(too_late)?;
        if let Some(object) = open.get(key) {
            let same = object.header.identity == *identity && object.header.token == *token;
            if same && !object.is_broken() {
                return Ok((object, MissReason::NeverCached));
            }
        }
        let (mut object, reason) = match self.find(key, (identity, token), Look::Cached) {
            Ok(Found::Object(object)) => (*object, MissReason::NeverCached),
            Err(error) if error.errno() != Errno::AGAIN => return Err(error),
            told => {
                let (identity, token, path) = (identity.clone(), *token, path.to_vec());
                let is_told = told.is_ok();
                self.errand(deadline, move |store| {
                    store.find_again_or_make(key, (&identity, &token), &path, is_told)
                })??
            }
        };
        if object.account.is_none() {
            object = self.counted(object, deadline)?;
        }
        let object = Arc::new(object);
        object.say_whole();
        open.insert(key, &object);
        Ok((object, reason))
    }

    /// Gives an object that was found its slot, and counts a use of it.
    fn counted(self: &Arc<Self>, mut object: Object, deadline: Instant) -> Result<Object> {
        object.account = self.accounts.handle_of(object.key, object.header.nonce);
        match object.account {
            Some(handle) => {
                if self.accounts.counts_use(handle) {
                    self.owe(Owed::Touch(handle));
                }
                Ok(object)
            }
            None => self.errand(deadline, |store| {
                object.account = store.enter(&object);
                object
            }),
        }
    }

    pub(super) fn part_of(&self, key: Key) -> &Mutex<OpenObjects> {
        &self.open[usize::from(key.0[1]) % OPEN_PARTS]
    }

    /// On a thread that may wait. `is_told`: it is known not to be there as wanted.
    fn find_again_or_make(
        self: &Arc<Self>,
        key: Key,
        wanted: (&Identity, &VersionToken),
        path: &[u8],
        is_told: bool,
    ) -> Result<(Object, MissReason)> {
        if !is_told && let Found::Object(object) = self.find(key, wanted, Look::Any)? {
            return Ok((*object, MissReason::NeverCached));
        }
        let made = self.find_or_make(key, wanted, path)?;
        // Its name was the last that the device has taken.
        self.pulse.took();
        // An empty file is whole as it is.
        made.0.settle();
        Ok(made)
    }

    /// Looks for the object of a version. EAGAIN by what is cached: that does not tell.
    pub(super) fn find(
        self: &Arc<Self>,
        key: Key,
        (identity, token): (&Identity, &VersionToken),
        look: Look,
    ) -> Result<Found> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = key.metadata_name();
        let metadata = match self.open_by(look, &name, flags) {
            Ok(metadata) => metadata,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno).context(|| format!("open {name}")),
        };
        // An evictor has it: what is left will be gone in a moment.
        if sys::try_lock(metadata.as_fd(), Lock::Shared).is_err() {
            return Ok(Found::Unusable);
        }
        // A child that was forked meanwhile has the lock until its exec, and whoever looks
        // again may want it alone.
        let unlock = |metadata: &OwnedFd| {
            let unlocked = sys::try_lock(metadata.as_fd(), Lock::None);
            unlocked.context(|| format!("unlock {name}"))
        };
        match self.examine(&metadata, key, (identity, token), look) {
            Ok(Ok((header, data, bitmap))) => {
                let object = Object::new(Arc::clone(self), header, metadata, data, bitmap);
                Ok(Found::Object(Box::new(object)))
            }
            Ok(Err(found)) => unlock(&metadata).map(|()| found),
            Err(error) => unlock(&metadata).and(Err(error)),
        }
    }

    /// What an object consists of, whose metadata file is locked; or why it cannot be used.
    fn examine(
        &self,
        metadata: &OwnedFd,
        key: Key,
        (identity, token): (&Identity, &VersionToken),
        look: Look,
    ) -> Result<std::result::Result<(Header, Data, Bitmap), Found>> {
        let name = key.metadata_name();
        let stat = rustix::fs::fstat(metadata).context(|| format!("stat {name}"))?;
        if stat.st_nlink == 0 {
            return Ok(Err(Found::Nothing));
        }
        let header = match look {
            Look::Cached => read_cached_header(metadata),
            Look::Any | Look::Locked => read_header(metadata),
        };
        let Some(header) = header.context(|| format!("read {name}"))? else {
            return Ok(Err(Found::Unusable));
        };
        if header.identity != *identity {
            return Ok(Err(Found::OtherFile));
        }
        if header.token != *token {
            return Ok(Err(Found::OtherVersion(header.nonce)));
        }
        if !self.can_use(&header, stat.st_size as u64) {
            return Ok(Err(Found::Unusable));
        }
        let of_another_boot = header.boot_id != self.boot_id;
        if of_another_boot && look != Look::Locked {
            return Ok(Err(Found::OtherBoot));
        }
        let Some(data) = self.open_data(&key.data_name(header.nonce), &header, look)? else {
            return Ok(Err(Found::Unusable));
        };
        let bitmap = self.map(&header, metadata)?;
        if of_another_boot {
            // Nobody of this boot has it open yet, and the others are dead; but for
            // those of another host that shares the directory.
            if sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_err() {
                return Ok(Err(Found::Unusable));
            }
            if !self.trusts_durable && bitmap.suspend_all_durable() {
                let synced = self.disk.sync(metadata.as_fd());
                synced.context(|| format!("sync {name}"))?;
                bitmap.clear_all_durable();
            }
            self.doubt(&header, &bitmap, &data);
            sys::try_lock(metadata.as_fd(), Lock::Shared).context(|| format!("lock {name}"))?;
        }
        Ok(Ok((header, data, bitmap)))
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
    pub(super) fn open_data(
        &self,
        name: &str,
        header: &Header,
        look: Look,
    ) -> Result<Option<Data>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let data = match self.open_by(look, name, flags) {
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
    pub(super) fn can_use(&self, header: &Header, metadata_bytes: u64) -> bool {
        metadata_bytes == header.file_bytes() && header.chunk_bytes == self.chunk_bytes()
    }

    fn open_by(
        &self,
        look: Look,
        name: &str,
        flags: OFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        match look {
            Look::Cached => sys::open_cached(&self.directory.objects, name, flags),
            Look::Any | Look::Locked => self.openat(name, flags),
        }
    }
}

/// The header of a metadata file, or None if it is not sound.
pub(super) fn read_header(file: &OwnedFd) -> std::result::Result<Option<Header>, Errno> {
    header_by(|bytes, offset| rustix::io::pread(file, bytes, offset))
}

/// The same of one that is in memory. EAGAIN: it is not.
fn read_cached_header(file: &OwnedFd) -> std::result::Result<Option<Header>, Errno> {
    header_by(|bytes, offset| {
        let mut pieces = [IoSliceMut::new(bytes)];
        match rustix::io::preadv2(file, &mut pieces, offset, ReadWriteFlags::NOWAIT) {
            // Its file system, or the kernel, does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                rustix::io::pread(file, bytes, offset)
            }
            other => other,
        }
    })
}

fn header_by(
    read: impl Fn(&mut [u8], u64) -> std::result::Result<usize, Errno>,
) -> std::result::Result<Option<Header>, Errno> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let mut length = 0;
    loop {
        match read(&mut bytes[length..], length as u64) {
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
