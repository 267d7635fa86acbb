//! Brings what was written to a file to its device, on the thread that asks.

#[cfg(any(test, feature = "sim"))]
use super::sim::Simulation;
use crate::error::Errno;
use crate::filesystem;
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

    /// Whether a file that was removed never comes back with the bytes of another one
    /// after a crash of the host.
    pub(crate) fn frees_late(&self, file: BorrowedFd<'_>) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if self.host.is_some() {
            return true;
        }
        filesystem::frees_late(file).unwrap_or(false)
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
