//! What the kernel is told without having asked: by a thread of its own, since the
//! kernel waits for pages that are being read, and so for the other threads.

use crate::wire::{InvalInodeOut, OutHeader, notice};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use zerocopy::IntoBytes;

/// Notices that wait to be sent.
const WAITING_MAX: usize = 4096;

/// Where notices go in.
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
        let what = InvalInodeOut {
            node,
            offset: 0,
            length: 0,
        };
        let header = OutHeader {
            length: (size_of::<OutHeader>() + size_of::<InvalInodeOut>()) as u32,
            error: notice::INVAL_INODE,
            unique: 0,
        };
        let parts = [
            IoSlice::new(header.as_bytes()),
            IoSlice::new(what.as_bytes()),
        ];
        match rustix::io::writev(device, &parts) {
            // ENOENT: it knows nothing of the file.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(Errno::NODEV) => return,
            Err(errno) => tracing::warn!("tell the kernel that a file has changed: {errno}"),
        }
    }
}
