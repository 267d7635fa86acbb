//! The cache directory: whose it is, and whether it can be used.

use super::layout::FORMAT;
use super::lock::lock;
use crate::config::default_of;
use crate::error::{Context, Errno, Error, Result};
use crate::limits::CACHE_LOCK_MS_MAX;
use crate::sys;
use rustix::event::epoll;
use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The file that makes a directory a cache: two lines of text.
const MARKER: &str = "cachefs.format";
/// Where the objects are, in the cache directory.
pub const OBJECTS: &str = "objects";
/// A sign for backup programs, see https://bford.info/cachedir/.
const CACHEDIR_TAG: &str = "CACHEDIR.TAG";
const CACHEDIR_TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache of libcachefs: it can be deleted while not in use.\n";

/// A directory that can be used as a cache.
pub(crate) struct Directory {
    /// Without links.
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
    /// Nothing has ever been in it.
    pub(crate) is_new: bool,
    pub(crate) objects: OwnedFd,
    pub(crate) chunk_bytes: u64,
    pub(crate) capacity_bytes: u64,
    /// See [`crate::io::Terms`].
    pub(crate) elsewhere: bool,
}

/// What became of opening a directory.
pub(crate) enum Opened {
    /// It is ours.
    Usable(Directory),
    /// It cannot be written to: the cache passes everything through. Says why.
    Unusable(Error),
}

/// What a directory is opened with; a zero takes what it was last opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) chunk_bytes: u64,
    pub(crate) capacity_bytes: u64,
}

/// Whether a directory has been made a cache.
pub fn is_cache(path: &Path) -> bool {
    path.join(MARKER).symlink_metadata().is_ok()
}

/// Opens the cache directory, making it if it is not there or empty.
///
/// Errors: ENOENT (no parent), ENOTDIR, ENOTEMPTY (something else is in it),
/// EPROTONOSUPPORT (a format that this release does not know), EINVAL (the
/// chunk size is another one), EBUSY (another process is making it a cache and
/// does not end). Nothing that was there is changed by an error.
pub(crate) fn open(path: &Path, wanted: Wanted) -> Result<Opened> {
    match prepare(path, wanted) {
        Ok(directory) => Ok(Opened::Usable(directory)),
        Err(error) if blocks_writing(error.errno()) => Ok(Opened::Unusable(error)),
        Err(error) => Err(error),
    }
}

/// Errnos that say the directory cannot be written to now, and nothing worse.
pub(crate) fn blocks_writing(errno: Errno) -> bool {
    [
        Errno::ACCESS,
        Errno::DQUOT,
        Errno::IO,
        Errno::NOSPC,
        Errno::PERM,
        Errno::ROFS,
    ]
    .contains(&errno)
}

fn prepare(path: &Path, wanted: Wanted) -> Result<Directory> {
    let shown = path.display();
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context(|| format!("make the directory {shown}")),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())
        .context(|| format!("open the directory {shown}"))?;
    let marker = settle(&root, path, wanted)?;
    // An unwritable directory is better noticed now than at the first fill.
    rustix::fs::accessat(&root, OBJECTS, Access::WRITE_OK, AtFlags::EACCESS)
        .context(|| format!("write to {shown}/{OBJECTS}"))?;
    let objects = rustix::fs::openat(&root, OBJECTS, flags, Mode::empty())
        .context(|| format!("open {shown}/{OBJECTS}"))?;
    let path = std::fs::canonicalize(path)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .context(|| format!("resolve {shown}"))?;
    let is_new = is_empty(&root, OBJECTS).context(|| format!("list {shown}/{OBJECTS}"))?;
    Ok(Directory {
        path,
        is_new,
        objects,
        chunk_bytes: marker.chunk_bytes,
        capacity_bytes: marker.capacity_bytes,
        elsewhere: blocks_unasked(&root).context(|| format!("ask for the kind of {shown}"))?,
        root,
    })
}

/// What its file system does for one of its files it does for all.
fn blocks_unasked(root: &OwnedFd) -> std::result::Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root, MARKER, flags, Mode::empty())?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    Ok(sys::has_poll(poller.as_fd(), file.as_fd()))
}

/// What the marker says of a cache, in its lines behind the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marker {
    chunk_bytes: u64,
    /// The limit that was last asked for: who names none keeps it.
    capacity_bytes: u64,
}

impl Marker {
    fn text(&self) -> String {
        format!(
            "cachefs cache format {FORMAT}\nchunk_bytes {}\ncapacity_bytes {}\n",
            self.chunk_bytes, self.capacity_bytes
        )
    }
}

/// The marker as it is to be from now on. It is written under a lock of the
/// root, so that two processes that begin a cache agree on it.
fn settle(root: &OwnedFd, path: &Path, wanted: Wanted) -> Result<Marker> {
    let shown = path.display();
    if let Some(marker) = read_marker(root, path)?
        && [0, marker.capacity_bytes].contains(&wanted.capacity_bytes)
    {
        return marker.agrees(path, wanted);
    }
    lock(root, CACHE_LOCK_MS_MAX).context(|| format!("lock {shown}"))?;
    let settled = match read_marker(root, path)? {
        Some(marker) => {
            let capacity_bytes = match wanted.capacity_bytes {
                0 => marker.capacity_bytes,
                named => named,
            };
            Marker {
                capacity_bytes,
                ..marker
            }
            .agrees(path, wanted)
            .and_then(|marker| {
                write_marker(root, path, &marker)?;
                Ok(marker)
            })
        }
        None => initialise(root, path, wanted),
    };
    rustix::fs::flock(root, FlockOperation::Unlock).context(|| format!("unlock {shown}"))?;
    settled
}

impl Marker {
    fn agrees(self, path: &Path, wanted: Wanted) -> Result<Self> {
        if ![0, self.chunk_bytes].contains(&wanted.chunk_bytes) {
            let text = format!(
                "the cache {} has chunks of {} bytes, not {}: leave chunk_bytes out, \
                 or use an empty directory",
                path.display(),
                self.chunk_bytes,
                wanted.chunk_bytes
            );
            return Err(Error::new(Errno::INVAL, text));
        }
        Ok(self)
    }
}

/// The marker of an existing cache, or None if there is none.
fn read_marker(root: &OwnedFd, path: &Path) -> Result<Option<Marker>> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat(root, MARKER, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).context(|| format!("open {shown}/{MARKER}")),
    };
    let mut bytes = [0; 256];
    let length =
        rustix::io::read(&file, &mut bytes).context(|| format!("read {shown}/{MARKER}"))?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    let mut lines = text.lines();
    let unknown = || {
        let text = format!("{shown}/{MARKER} is not a marker that this release understands");
        Error::new(Errno::PROTONOSUPPORT, text)
    };
    let format: u32 = lines
        .next()
        .and_then(|line| line.strip_prefix("cachefs cache format "))
        .and_then(|number| number.parse().ok())
        .ok_or_else(unknown)?;
    if format != FORMAT {
        let text = format!(
            "the cache {shown} has format {format}, this release knows {FORMAT}: \
             use a release that knows it, or another directory"
        );
        return Err(Error::new(Errno::PROTONOSUPPORT, text));
    }
    let mut number = |name: &str| {
        let line = lines.next()?.strip_prefix(name)?;
        line.trim_start().parse().ok()
    };
    Ok(Some(Marker {
        chunk_bytes: number("chunk_bytes").ok_or_else(unknown)?,
        capacity_bytes: number("capacity_bytes").ok_or_else(unknown)?,
    }))
}

/// Makes an empty directory a cache. The marker comes last, and in one step:
/// a directory without it that holds only what is made here is begun again.
fn initialise(root: &OwnedFd, path: &Path, wanted: Wanted) -> Result<Marker> {
    let shown = path.display();
    if let Some(name) = stranger(root).context(|| format!("list {shown}"))? {
        let text = format!("{shown} is not a cache and not empty (it has \"{name}\")");
        return Err(Error::new(Errno::NOTEMPTY, text));
    }
    match rustix::fs::mkdirat(root, OBJECTS, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context(|| format!("make {shown}/{OBJECTS}")),
    }
    write_file(root, CACHEDIR_TAG, CACHEDIR_TAG_TEXT)
        .context(|| format!("write {shown}/{CACHEDIR_TAG}"))?;
    let or_default = |value, key| if value == 0 { default_of(key) } else { value };
    let marker = Marker {
        chunk_bytes: or_default(wanted.chunk_bytes, "chunk_bytes"),
        capacity_bytes: or_default(wanted.capacity_bytes, "capacity_bytes"),
    };
    write_marker(root, path, &marker)?;
    Ok(marker)
}

/// In one step, so that a reader sees the old marker or the new one.
fn write_marker(root: &OwnedFd, path: &Path, marker: &Marker) -> Result<()> {
    let new = format!("{MARKER}.new");
    write_file(root, &new, &marker.text())
        .and_then(|()| rustix::fs::renameat(root, &new, root, MARKER))
        .context(|| format!("write {}/{MARKER}", path.display()))
}

fn write_file(root: &OwnedFd, name: &str, text: &str) -> std::result::Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, name, flags, Mode::RUSR | Mode::WUSR)?;
    let written = rustix::io::write(&file, text.as_bytes())?;
    if written < text.len() {
        return Err(Errno::NOSPC);
    }
    rustix::fs::fsync(&file)
}

/// The name of something that is neither ours nor the file system's.
fn stranger(root: &OwnedFd) -> std::result::Result<Option<String>, Errno> {
    let half_made = format!("{MARKER}.new");
    for entry in rustix::fs::Dir::read_from(root.as_fd())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let ours = [".", "..", "lost+found", CACHEDIR_TAG, half_made.as_str()];
        let empty_objects =
            name == OBJECTS && entry.file_type() == FileType::Directory && is_empty(root, OBJECTS)?;
        if !ours.contains(&name.as_ref()) && !empty_objects {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
}

fn is_empty(root: &OwnedFd, name: &str) -> std::result::Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(root, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(directory)? {
        if ![c".", c".."].contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}
