//! The cache device is tried: a small file is written, brought to the disk, and read
//! back past the page cache. On a thread of its own, since the device may hang.

use super::Store;
use crate::error::Errno;
use crate::limits::DEVICE_PROBE_BYTES;
use crate::workers::{Job, Workers};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::sync::Arc;

/// Below `objects`, where no object has its name.
const NAME: &str = "probe";

/// One try.
pub(super) struct Probe(Arc<Store>);

/// The thread: none before the first probe.
pub(super) fn worker() -> Workers<Probe> {
    Workers::new("cachefs-probe", 1)
}

impl Store {
    /// Has the device tried if it is time. Does not wait.
    pub(crate) fn probe_if_due(self: &Arc<Self>) {
        if self.health.begin_probe() && self.probes.submit(Probe(Arc::clone(self))).is_err() {
            self.health.probed(Err(Errno::AGAIN));
        }
    }

    fn probe(&self) -> Result<(), Errno> {
        // What a device that is full takes says nothing of a chunk.
        let is_full = self.health.may_store().is_err_and(is_of_room);
        let length = if is_full {
            self.chunk_bytes() as usize
        } else {
            DEVICE_PROBE_BYTES
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let objects = &self.directory.objects;
        let file = rustix::fs::openat(objects, NAME, flags, Mode::RUSR | Mode::WUSR)?;
        let written = write_and_read(&file, length);
        match rustix::fs::unlinkat(objects, NAME, AtFlags::empty()) {
            // Another process has probed at the same time.
            Ok(()) | Err(Errno::NOENT) => written,
            Err(errno) => written.and(Err(errno)),
        }
    }
}

fn is_of_room(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}

fn write_and_read(file: &std::os::fd::OwnedFd, length: usize) -> Result<(), Errno> {
    let bytes = vec![0x5a; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pwrite(file, &bytes[done..], done as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::fdatasync(file)?;
    // So that the read asks the device; what cannot forget is asked as it is.
    let _advice = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    let mut back = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(file, &mut back[done..], done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    if back == bytes {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

impl Job for Probe {
    fn run(self) {
        let result = self.0.probe();
        self.0.health.probed(result);
    }
}
