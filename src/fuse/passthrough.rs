//! Complete files are handed to the kernel, which then reads them without the daemon
//! (FUSE passthrough, Linux 6.9): one backing id for each node that is open this way.

use cachefs_core::File;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Setter, opcode};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// FUSE_DEV_IOC_BACKING_CLOSE (linux/fuse.h).
const BACKING_CLOSE: rustix::ioctl::Opcode = opcode::write::<u32>(229, 2);

/// Whether the kernel takes files, and why not.
pub struct Passthrough {
    device: Arc<OwnedFd>,
    refusal: Mutex<Option<String>>,
}

/// A file that the kernel has. It closes its own reference to it when this is dropped,
/// which must not be before the last open of the node is over.
pub struct Backing {
    id: u32,
    device: Arc<OwnedFd>,
}

impl Passthrough {
    /// `refusal`: why it is off from the start.
    pub fn new(device: &Arc<OwnedFd>, refusal: Option<String>) -> Self {
        Self {
            device: Arc::clone(device),
            refusal: Mutex::new(refusal),
        }
    }

    /// Tries it with a file of the cache's file system.
    pub fn probe(&self, cache: &Path) {
        if !self.is_on() {
            return;
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Where there are no files without a name, the first open tells.
        if let Ok(file) = rustix::fs::open(cache, flags, Mode::RUSR | Mode::WUSR) {
            drop(self.open(&file));
        }
    }

    /// Whether files are to be handed over.
    pub fn is_on(&self) -> bool {
        self.refusal.lock().is_none()
    }

    /// Why not.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }

    /// Hands a file over, if it is wholly in the cache.
    pub fn hand_over(&self, file: &File) -> Option<Backing> {
        // Else it is not complete, and the daemon serves what there is.
        let descriptor = file.descriptor().ok()?;
        self.open(&descriptor)
    }

    fn open(&self, file: impl AsFd) -> Option<Backing> {
        match fuser::BackingId::create_raw(&*self.device, file) {
            Ok(id) => Some(Backing {
                id,
                device: Arc::clone(&self.device),
            }),
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    /// Some errors are about this mount, others about a moment.
    fn refused(&self, error: &io::Error) {
        let why = match Errno::from_io_error(error) {
            Some(Errno::PERM) => "it takes CAP_SYS_ADMIN in the first user namespace",
            Some(Errno::LOOP) => "the cache lies on a file system that is stacked too high",
            Some(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => "this kernel does not have it",
            _ => {
                tracing::warn!("hand a file to the kernel: {error}");
                return;
            }
        };
        tracing::warn!("no passthrough: {why}; the daemon serves all reads itself");
        *self.refusal.lock() = Some(why.to_owned());
    }
}

impl Backing {
    /// What OPEN answers.
    pub fn id(&self) -> i32 {
        self.id.cast_signed()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: the call reads one `u32`, which is what its number says.
        let closed = unsafe {
            let close = Setter::<BACKING_CLOSE, u32>::new(self.id);
            rustix::ioctl::ioctl(&*self.device, close)
        };
        match closed {
            // With the mount, all of them are gone.
            Ok(()) | Err(Errno::NODEV | Errno::PERM) => {}
            Err(errno) => tracing::error!("take a file back from the kernel: {errno}"),
        }
    }
}
