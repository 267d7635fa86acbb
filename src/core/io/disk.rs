//! Brings what was written to a file to its device, on the thread that asks.

#[cfg(any(test, feature = "sim"))]
use super::sim::Simulation;
use crate::error::Errno;
use std::os::fd::BorrowedFd;

/// Where files are.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    #[cfg(any(test, feature = "sim"))]
    host: Option<Simulation>,
}

impl Disk {
    /// The disk of a simulated host, which a crash may tear.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn simulated(host: &Simulation) -> Self {
        Self {
            host: Some(host.clone()),
        }
    }

    /// Returns once all that was written to the file before, by whomever, would be
    /// found after a crash of the host (fdatasync(2)). Blocks, on a device that hangs
    /// for ever. After an error some of it is lost, and a further call does not say so:
    /// the kernel takes the pages for clean.
    pub(crate) fn sync(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(host) = &self.host {
            host.sync(file)?;
        }
        loop {
            match rustix::fs::fdatasync(file) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }
}
