//! Directories as streams: read on from where the reader is, by the origin's own
//! cookies, so that a directory takes no memory however long it is.

use crate::attributes::Seen;
use crate::nodes::Node;
use crate::server::Daemon;
use crate::wire::{Dirent, EntryOut, OpenOut, ReadIn, entry_bytes};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::IntoBytes;

/// Bytes of the shortest entry as getdents64(2) gives it: of a name of one byte.
const DIRENT64_BYTES_MIN: usize = 24;
/// Bytes of the longest: of a name of 255 bytes.
const DIRENT64_BYTES_MAX: usize = 280;
/// Bytes that one reply has at most.
const REPLY_BYTES_MAX: usize = 128 << 10;

/// Directories that are open.
#[derive(Default)]
pub struct Listings {
    open: Mutex<HashMap<u64, Arc<Mutex<Listing>>>>,
    next: AtomicU64,
}

/// A directory being read.
struct Listing {
    fd: OwnedFd,
    /// Where it is.
    at: u64,
}

/// A part of a directory.
pub struct Listed {
    pub reply: Vec<u8>,
    pub nodes: Vec<u64>,
}

impl Daemon {
    /// Answers OPENDIR.
    pub fn open_directory(&self, node: &Node) -> Result<OpenOut, Errno> {
        let directory = self.tree.directory(&self.nodes, node.number)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&directory, ".", flags, Mode::empty())?;
        let handle = self.listings.next.fetch_add(1, Ordering::Relaxed);
        let listing = Arc::new(Mutex::new(Listing { fd, at: 0 }));
        self.listings.open.lock().insert(handle, listing);
        Ok(OpenOut {
            handle,
            flags: 0,
            backing: 0,
        })
    }

    /// Answers RELEASEDIR.
    pub fn release_directory(&self, handle: u64) {
        let listing = self.listings.open.lock().remove(&handle);
        // Closed when the lock is not held.
        drop(listing);
    }

    /// Answers READDIR and READDIRPLUS: entries from `offset` on, none at the end. Gives
    /// the nodes that the kernel is given with them as well.
    pub fn list(&self, node: &Node, read: &ReadIn, plus: bool) -> Result<Listed, Errno> {
        let listing = self.listings.open.lock().get(&read.handle).cloned();
        let listing = listing.ok_or(Errno::BADF)?;
        let mut listing = listing.lock();
        if listing.at != read.offset {
            rustix::fs::seek(&listing.fd, SeekFrom::Start(read.offset))?;
            listing.at = read.offset;
        }
        let room = (read.size as usize).min(REPLY_BYTES_MAX);
        // So much that all of it has room in the reply, even if its names are short.
        let batch = room * DIRENT64_BYTES_MIN / entry_bytes(plus, 1);
        let mut buffer = [MaybeUninit::uninit(); REPLY_BYTES_MAX];
        let batch = batch.max(DIRENT64_BYTES_MAX);
        let mut listed = Listed {
            reply: Vec::with_capacity(room),
            nodes: Vec::new(),
        };
        let Listing { fd, at } = &mut *listing;
        let mut entries = RawDir::new(&*fd, &mut buffer[..batch]);
        loop {
            let entry = match entries.next() {
                None => break,
                Some(entry) => entry?,
            };
            let name = entry.file_name().to_bytes();
            if listed.reply.len() + entry_bytes(plus, name.len()) > room {
                // The position of the descriptor is behind it.
                *at = u64::MAX;
                return Ok(listed);
            }
            let dirent = Dirent {
                ino: entry.ino(),
                offset: entry.next_entry_cookie(),
                name_length: name.len() as u32,
                kind: kind_of(entry.file_type()),
            };
            self.add(&mut listed, node, (dirent, name), plus);
            *at = dirent.offset;
            // The next one would be read from the origin again.
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(listed)
    }

    fn add(
        &self,
        listed: &mut Listed,
        directory: &Node,
        (mut dirent, name): (Dirent, &[u8]),
        plus: bool,
    ) {
        let reply = &mut listed.reply;
        if plus {
            let entry = self.entry_of(directory, name).unwrap_or_default();
            if entry.node != 0 {
                dirent.ino = entry.attr.ino;
                listed.nodes.push(entry.node);
            }
            reply.extend_from_slice(entry.as_bytes());
        }
        reply.extend_from_slice(dirent.as_bytes());
        reply.extend_from_slice(name);
        reply.resize(reply.len().next_multiple_of(8), 0);
    }

    /// The node of an entry. None: the kernel has to look it up if it wants it.
    fn entry_of(&self, directory: &Node, name: &[u8]) -> Option<EntryOut> {
        if matches!(name, b"." | b"..") {
            return None;
        }
        let fd = self.tree.directory(&self.nodes, directory.number).ok()?;
        let seen = Seen::named(&fd, name).ok()?;
        let node = self.nodes.enter(&seen, directory.number, name);
        Some(self.entry(&node, &seen))
    }
}

/// `d_type` as in readdir(3).
fn kind_of(kind: rustix::fs::FileType) -> u32 {
    use rustix::fs::FileType;
    u32::from(match kind {
        FileType::Fifo => libc::DT_FIFO,
        FileType::CharacterDevice => libc::DT_CHR,
        FileType::Directory => libc::DT_DIR,
        FileType::BlockDevice => libc::DT_BLK,
        FileType::RegularFile => libc::DT_REG,
        FileType::Symlink => libc::DT_LNK,
        FileType::Socket => libc::DT_SOCK,
        FileType::Unknown => libc::DT_UNKNOWN,
    })
}
