//! Cached bytes where the page cache has them, for those who only hand them on to a system
//! call: that saves the call that would read them.

use crate::buf::View;
use crate::file::{File, FileInner, Version};
use crate::store::Trust;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The data file of one version of a file, mapped, whatever of it is present.
pub struct Present {
    file: Arc<FileInner>,
    version: Arc<Version>,
    view: View,
    /// Bytes of the file.
    size: usize,
}

impl File {
    /// Maps the file as it is cached: its present version. None: nothing of it is kept, it
    /// is empty, it is read and written past the page cache, or it cannot be mapped.
    pub fn map_present(&self) -> Option<Present> {
        let version = self.0.version();
        let object = version.object.as_ref()?;
        // One of which nothing is present may become direct.
        if version.is_direct() || object.chunks_present() == 0 {
            return None;
        }
        let size = usize::try_from(version.token.size).ok()?;
        if size == 0 {
            return None;
        }
        let view = View::unread(object.data().as_fd(), 0..version.token.size).ok()?;
        Some(Present {
            file: Arc::clone(&self.0),
            view,
            size,
            version,
        })
    }
}

impl Present {
    /// The bytes at an offset: as many as are asked for, or as the file has there. None: a
    /// part of them is not in the cache, or must not be served from it now, or the file is
    /// of another version by now. Counts as a read.
    ///
    /// The device is only asked for them when somebody looks at them. That may fail, which
    /// is SIGBUS for a program and EFAULT for a system call: they are for the latter.
    pub fn bytes(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let file = &self.file;
        if file.origin.cache.check_open().is_err() || !file.is_believed() {
            return None;
        }
        if !self.is_current() || self.version.is_direct() || self.version.trust() != Trust::Whole {
            return None;
        }
        let start = usize::try_from(offset).map_or(self.size, |start| start.min(self.size));
        let end = self.size.min(start.saturating_add(length));
        let wanted = (end - start) as u64;
        if wanted == 0 || self.version.present_run(offset, end as u64) != wanted {
            return None;
        }
        file.origin.cache.counters.hit_at_once(wanted);
        file.saw_hit(offset, wanted);
        // SAFETY: the view is of the whole file, and lives as long as `self`. Nobody writes
        // to a chunk that is present, nor makes the file shorter; what is not present may
        // change, and is not part of the slice.
        Some(unsafe {
            std::slice::from_raw_parts(self.view.as_ptr().as_ptr().add(start), end - start)
        })
    }

    /// Whether the file is still of the version that was mapped.
    pub fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.file.glance(), &self.version)
    }
}
