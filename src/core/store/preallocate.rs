//! Blocks for bytes that will be written: which kind is to be had.
//!
//! Zeroed blocks are best: the first write to them changes no metadata. Where
//! the file system or its device has none (Linux 6.17, and a device that writes
//! zeros by itself), unwritten ones keep a file in one piece; where there are
//! none either, the write allocates.

use crate::error::Errno;
use std::sync::atomic::{AtomicU8, Ordering};

/// A kind of blocks, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// Written zeros.
    Zeroed,
    /// Not written.
    Unwritten,
}

/// What a file system refuses once is not asked for again.
#[derive(Default)]
pub(crate) struct Preallocation {
    refused: AtomicU8,
}

impl Preallocation {
    /// The best kind that has not been refused.
    pub(crate) fn best(&self) -> Option<Blocks> {
        let refused = self.refused.load(Ordering::Relaxed);
        let kinds = [Blocks::Zeroed, Blocks::Unwritten];
        kinds
            .into_iter()
            .find(|kind| refused & 1 << *kind as u8 == 0)
    }

    /// A kind could not be had. False: because there is no room, or for another
    /// reason that says nothing of the kind.
    pub(crate) fn refused(&self, kind: Blocks, errno: Errno) -> bool {
        let never = [Errno::INVAL, Errno::NODEV, Errno::NOSYS, Errno::OPNOTSUPP].contains(&errno);
        if never {
            tracing::debug!("no preallocation of {kind:?} blocks: {errno}");
            self.refused.fetch_or(1 << kind as u8, Ordering::Relaxed);
        }
        never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_followed_by_the_next_best() {
        let preallocation = Preallocation::default();
        assert_eq!(preallocation.best(), Some(Blocks::Zeroed));
        assert!(preallocation.refused(Blocks::Zeroed, Errno::OPNOTSUPP));
        assert_eq!(preallocation.best(), Some(Blocks::Unwritten));
        assert!(preallocation.refused(Blocks::Unwritten, Errno::NOSYS));
        assert_eq!(preallocation.best(), None);
    }

    #[test]
    fn a_full_device_refuses_no_kind() {
        let preallocation = Preallocation::default();
        assert!(!preallocation.refused(Blocks::Zeroed, Errno::NOSPC));
        assert_eq!(preallocation.best(), Some(Blocks::Zeroed));
    }
}
