//! A look at a cache directory by somebody who does not open the cache: which of its
//! data files are the whole of a file as its origin has it now.
//!
//! For code that runs in other people's programs. It starts no thread, holds no
//! descriptor, allocates nothing, takes no lock, writes no log and never panics; after
//! [`Peek::open`], it takes no system call either. What it knows it has from the slot
//! table, which it maps: see `store/seal.rs`.

mod trusted;

use crate::error::Errno;
use crate::evict::{Handle, Table};
use crate::ids::Key;
use crate::origin::{FILE_ID_BYTES_MAX, file_id, is_plain};
use crate::store::{
    DATA_NAME_BYTES, Invalidations, MARKED, METADATA_NAME_BYTES, Spot, open_table, path_of, seal_of,
};
use crate::sys;
use crate::token::VersionToken;
use rustix::fs::Stat;
use std::os::fd::BorrowedFd;
use trusted::{Place, Said, Trusted};

pub use crate::store::{HEADER_BYTES_MAX, OBJECTS};

/// A cache directory that is looked at. Nobody who uses the cache knows of it.
pub struct Peek {
    table: Table,
    boot_id: [u8; 16],
    invalidations: Option<Invalidations>,
    trusted: Option<Trusted>,
}

/// What tells a file of a directory origin from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey(Key);

impl FileKey {
    /// Of a file on the file system of the origin's root; `origin` is the path of that
    /// root without links.
    pub fn new(origin: &[u8], inode: u64) -> Self {
        let mut buffer = [0; FILE_ID_BYTES_MAX];
        Self(Key::of(origin, file_id(inode, &mut buffer)))
    }
}

/// The version of a file that fstat(2) has told of.
pub fn version_of(stat: &Stat) -> VersionToken {
    // Less than a second.
    let time = |seconds, rest| sys::nanoseconds(seconds, rest as u32);
    VersionToken {
        size: stat.st_size.unsigned_abs(),
        mtime_ns: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: time(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
        tag_length: 0,
        tag: [0; crate::token::TAG_BYTES_MAX],
    }
}

/// What there is of a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Whole(Whole),
    /// A part of it, or another version, or nobody has looked since the host was started.
    NotWhole,
    /// Nothing.
    Nothing,
}

/// An object that was whole a moment ago. It may be evicted at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    key: Key,
    nonce: u64,
    handle: Handle,
    seal: u64,
    is_marked: bool,
}

impl Whole {
    /// Where its data file is, below [`OBJECTS`] of the cache directory. Nobody will ever
    /// write another version of the file there.
    pub fn data_name(&self) -> [u8; DATA_NAME_BYTES] {
        self.key.data_name_bytes(self.nonce)
    }

    /// See [`Peek::mark`].
    pub fn is_marked(&self) -> bool {
        self.is_marked
    }
}

/// A path below the root of an origin, before what is known of it is invalidated the next
/// time: see `cachefs_invalidate()`.
#[derive(Clone, Copy, Debug)]
pub struct PathNow {
    place: Place,
    invalidations: u64,
}

/// The name of a data file, below [`OBJECTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataName {
    key: Key,
    nonce: u64,
}

impl DataName {
    /// Of a name, or one with something behind a space (as ` (deleted)`). None: it is none.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = name.split(|byte| *byte == b' ').next()?;
        let (key, nonce) = Key::of_data_name(name)?;
        Some(Self { key, nonce })
    }

    /// Whether it is of an object of this file.
    pub fn is_of(&self, file: FileKey) -> bool {
        self.key == file.0
    }

    /// The name of the metadata of its object, below [`OBJECTS`].
    pub fn metadata_name(&self) -> [u8; METADATA_NAME_BYTES] {
        self.key.metadata_name_bytes()
    }
}

/// The path below its origin's root that a file had when it was cached, by the open
/// metadata file of its object. None: they are of another object, or damaged.
pub fn path_in<'a>(
    metadata: BorrowedFd<'_>,
    of: &DataName,
    buffer: &'a mut [u8; HEADER_BYTES_MAX],
) -> Option<&'a [u8]> {
    path_of(metadata, of.nonce, buffer)
}

impl Peek {
    /// Looks at the cache in a directory. Takes some ten system calls. Errors are those of
    /// the system, and EPROTONOSUPPORT: its table is of another format, or damaged; ENOSYS:
    /// which boot of the host this is cannot be told (no /proc). `trusts`:
    /// [`Peek::trusted`] will be asked.
    pub fn open(root: BorrowedFd<'_>, trusts: bool) -> Result<Self, Errno> {
        let boot_id = sys::boot_id_told().ok_or(Errno::NOSYS)?;
        let table = open_table(root)?;
        let trusted = trusts.then(|| Trusted::open(root, boot_id));
        Ok(Self {
            boot_id,
            table,
            // Where there is none, the origin is asked each time.
            trusted: trusted.and_then(Result::ok),
            // Where they are not, nobody can be told, and nobody tells.
            invalidations: Invalidations::look(root).ok(),
        })
    }

    /// False: the directory has another table now; open it again.
    pub fn is_current(&self) -> bool {
        self.table.is_current()
    }

    /// What there is of a version of a file.
    pub fn find(&self, key: FileKey, token: &VersionToken) -> Seen {
        let Some(entry) = self.table.find(key.0) else {
            return Seen::Nothing;
        };
        let seal = seal_of(key.0, entry.nonce, token, &self.boot_id);
        let found = self.table.seal(entry.handle);
        if found & !MARKED != seal {
            return Seen::NotWhole;
        }
        Seen::Whole(Whole {
            key: key.0,
            nonce: entry.nonce,
            handle: entry.handle,
            seal,
            is_marked: found & MARKED != 0,
        })
    }

    /// Counts a use, for those who evict.
    pub fn used(&self, whole: &Whole) {
        self.table.touch(whole.handle);
    }

    /// Notes that its data file has got an extended attribute that tells whose it is:
    /// [`Whole::is_marked`] from now on.
    pub fn mark(&self, whole: &Whole) {
        let marked = whole.seal | MARKED;
        self.table.replace_seal(whole.handle, whole.seal, marked);
    }

    /// A path below an origin's root, of which something may be believed. None: nothing is.
    pub fn path(&self, origin: &[u8], path: &[u8]) -> Option<PathNow> {
        let (trusted, counters) = (self.trusted.as_ref()?, self.invalidations.as_ref()?);
        is_plain(path).then(|| {
            let place = Place::new(origin, path);
            // Neither has been used lately, so they come at the same time.
            trusted.prefetch(place);
            PathNow {
                place,
                invalidations: counters.mark(Spot::new(origin, path)).0,
            }
        })
    }

    /// What an origin has said of a path, not more than so many milliseconds ago: the name
    /// of the data file of the object that was its file then. That may be gone. It is not
    /// counted as a use, for which the table would have to be looked into; [`Peek::used`]
    /// is called whenever the origin is asked.
    pub fn trusted(&self, path: &PathNow, milliseconds: u64) -> Option<[u8; DATA_NAME_BYTES]> {
        let trusted = self.trusted.as_ref()?;
        let said = trusted.find(path.place, path.invalidations)?;
        // Whoever takes something of an object back, perhaps of this one, says so before.
        let is_young = now_ms().saturating_sub(said.at) <= milliseconds;
        let is_whole = said.taken_back == self.table.taken_back();
        (is_young && is_whole).then(|| said.key.data_name_bytes(said.nonce))
    }

    /// Notes that an origin was asked for a path after [`Peek::path`], and that this was its
    /// file.
    pub fn trust(&self, path: &PathNow, whole: &Whole) {
        let Some(trusted) = &self.trusted else {
            return;
        };
        let said = Said {
            key: whole.key,
            nonce: whole.nonce,
            taken_back: self.table.taken_back(),
            at: now_ms(),
        };
        // Whoever takes something back between the two has broken the seal before.
        if self.table.seal(whole.handle) & !MARKED == whole.seal {
            trusted.put(path.place, path.invalidations, &said);
        }
    }

    /// What is known of a path below an origin's root counts no more, for all who use the
    /// cache. `below`: of no path of the origin.
    pub fn invalidate(&self, origin: &[u8], path: &[u8], below: bool) {
        let Some(counters) = &self.invalidations else {
            return;
        };
        let spot = Spot::new(origin, path);
        if below || !is_plain(path) {
            counters.invalidate_all(spot);
        } else {
            counters.invalidate(spot);
        }
    }
}

fn now_ms() -> u64 {
    sys::boot_time().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_file_is_known_by_its_name() {
        let key = Key([0xa5; 16]);
        let name = key.data_name_bytes(7);
        let known = DataName { key, nonce: 7 };
        assert_eq!(DataName::parse(&name), Some(known));
        let deleted = [&name[..], b" (deleted)"].concat();
        assert_eq!(DataName::parse(&deleted), Some(known));
        for at in 0..name.len() {
            let mut other = name;
            other[at] = b'x';
            assert_eq!(DataName::parse(&other), None, "byte {at}");
            assert_eq!(DataName::parse(&name[..at]), None);
        }
    }
}
