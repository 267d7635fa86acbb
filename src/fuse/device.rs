//! The device by which the kernel is spoken with: descriptors that have no mount yet.

use crate::failure::{Failure, describe};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Where it is.
const PATH: &str = "/dev/fuse";

/// Descriptors that were opened ahead, since later the device may be out of reach.
#[derive(Clone, Default)]
pub struct Devices(Arc<Mutex<Vec<OwnedFd>>>);

impl Devices {
    /// So many.
    pub fn open(count: usize) -> Result<Self, Failure> {
        let all: Result<Vec<_>, _> = (0..count).map(|_| open()).collect();
        let all =
            all.map_err(|errno| Failure::new(format!("open {PATH}: {}", describe(&errno.into()))))?;
        Ok(Self(Arc::new(Mutex::new(all))))
    }

    /// One of them, or another one once they have been used up.
    pub fn take(&self) -> Result<OwnedFd, Errno> {
        match self.0.lock().pop() {
            Some(device) => Ok(device),
            None => open(),
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(PATH, flags, Mode::empty())
}
