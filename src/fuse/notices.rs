//! What the kernel is told without having asked.
//!
//! To drop pages it waits for those that are being read, and to drop a name for whoever
//! works in its directory, and so for the threads that answer it: those never do either.

use crate::wire::{InvalEntryOut, InvalInodeOut, OutHeader, notice};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use zerocopy::IntoBytes;

/// Notices that wait to be sent.
const WAITING_MAX: usize = 4096;

/// Where notices go in that a thread of their own sends.
pub struct Notices(SyncSender<u64>);

impl Notices {
    /// Starts the thread, which ends with this.
    pub fn start(device: &Arc<OwnedFd>) -> io::Result<Self> {
        let (sender, nodes) = sync_channel(WAITING_MAX);
        let device = Arc::clone(device);
        let thread = thread::Builder::new().name("cachefsd-notices".to_owned());
        thread.spawn(move || send_all(&nodes, &device))?;
        Ok(Self(sender))
    }

    /// Has the kernel drop the pages and the attributes of a node.
    pub fn drop_pages(&self, node: u64) {
        if self.0.try_send(node).is_err() {
            // The next open drops them, as the node says.
            tracing::warn!("the kernel hears late that a file has changed");
        }
    }
}

fn send_all(nodes: &Receiver<u64>, device: &OwnedFd) {
    while let Ok(node) = nodes.recv() {
        if drop_pages(device, node) == Told::Unmounted {
            return;
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done.
    Done,
    /// The kernel knew nothing of it, or cannot do it.
    Nothing,
    /// The mount is gone.
    Unmounted,
}

/// Has the kernel drop the pages and the attributes of a node, and waits for that: not on
/// a thread that answers it.
pub fn drop_pages(device: &OwnedFd, node: u64) -> Told {
    invalidate(device, node, 0)
}

/// Has the kernel ask for a node's attributes before it uses them again. It waits for
/// nobody (`fuse_reverse_inval_inode` with an offset below 0).
pub fn forget_attributes(device: &OwnedFd, node: u64) -> Told {
    invalidate(device, node, -1)
}

fn invalidate(device: &OwnedFd, node: u64, offset: i64) -> Told {
    let what = InvalInodeOut {
        node,
        offset,
        length: 0,
    };
    tell(device, notice::INVAL_INODE, &[what.as_bytes()])
}

/// Has the kernel look a name up anew, and what is below it: not on a thread that answers
/// it.
pub fn forget_name(device: &OwnedFd, parent: u64, name: &[u8]) -> Told {
    let what = InvalEntryOut {
        parent,
        name_length: name.len() as u32,
        flags: 0,
    };
    tell(device, notice::INVAL_ENTRY, &[what.as_bytes(), name, &[0]])
}

/// Has the kernel look up every name anew, also those that were not there.
pub fn forget_all_names(device: &OwnedFd) -> Told {
    tell(device, notice::INC_EPOCH, &[])
}

fn tell(device: &OwnedFd, code: i32, parts: &[&[u8]]) -> Told {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let header = OutHeader {
        length: (size_of::<OutHeader>() + length) as u32,
        error: code,
        unique: 0,
    };
    let mut slices = vec![IoSlice::new(header.as_bytes())];
    slices.extend(parts.iter().map(|part| IoSlice::new(part)));
    match rustix::io::writev(device, &slices) {
        Ok(_) => Told::Done,
        // ENOENT, and of a name ENOTDIR: it knows nothing of it. EINVAL: of the notice.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => Told::Nothing,
        Err(Errno::NODEV) => Told::Unmounted,
        Err(errno) => {
            tracing::warn!("tell the kernel that a file has changed: {errno}");
            Told::Nothing
        }
    }
}
