//! What an origin has said of its paths, for as long as that is believed.
//!
//! An answer is kept only if nothing was invalidated between the question and it.

use crate::error::{Errno, Error};
use crate::limits::ORIGIN_PATHS_MAX;
use crate::sys;
use quick_cache::sync::Cache;
use std::time::Duration;

/// The paths of one origin.
pub(crate) struct Known {
    paths: Cache<Box<[u8]>, Absent>,
    negative_ttl: Duration,
}

/// The origin has no such file.
#[derive(Clone)]
struct Absent {
    error: Error,
    /// By the boot clock.
    until: Duration,
}

/// Whether an errno is the origin's own word that it has no such file. Everything
/// else, above all what a network says, tells nothing about the file.
fn is_absence(errno: Errno) -> bool {
    [Errno::NOENT, Errno::NOTDIR].contains(&errno)
}

impl Known {
    pub(super) fn new(negative_ttl: Duration) -> Self {
        Self {
            paths: Cache::new(ORIGIN_PATHS_MAX),
            negative_ttl,
        }
    }

    /// Why a path cannot be opened, if the origin has said so a moment ago.
    pub(super) fn absence(&self, path: &[u8]) -> Option<Error> {
        if self.negative_ttl.is_zero() {
            return None;
        }
        let absent = self.paths.get(path)?;
        if sys::boot_time() < absent.until {
            return Some(absent.error);
        }
        self.paths.remove(path);
        None
    }

    /// What the origin has said of a path.
    pub(super) fn failed(&self, path: &[u8], error: &Error) {
        if self.negative_ttl.is_zero() || !is_absence(error.errno()) {
            return;
        }
        let absent = Absent {
            error: error.clone(),
            until: sys::boot_time() + self.negative_ttl,
        };
        self.paths.insert(path.into(), absent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(negative_ttl: Duration) -> Known {
        Known::new(negative_ttl)
    }

    fn error(errno: Errno) -> Error {
        Error::new(errno, "a test")
    }

    #[test]
    fn only_the_origins_own_word_is_an_absence() {
        let known = known(Duration::from_secs(1000));
        let unreachable = [
            Errno::TIMEDOUT,
            Errno::IO,
            Errno::STALE,
            Errno::NOTCONN,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::CONNREFUSED,
            Errno::ACCESS,
            Errno::LOOP,
            Errno::MFILE,
        ];
        for errno in unreachable {
            known.failed(b"path", &error(errno));
            assert!(known.absence(b"path").is_none(), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::NOTDIR] {
            known.failed(b"path", &error(errno));
            let absence = known.absence(b"path").map(|error| error.errno());
            assert_eq!(absence, Some(errno));
        }
    }

    #[test]
    fn an_absence_is_believed_no_longer_than_it_was_said() {
        let known = known(Duration::from_millis(1));
        known.failed(b"path", &error(Errno::NOENT));
        std::thread::sleep(Duration::from_millis(2));
        assert!(known.absence(b"path").is_none());
    }

    #[test]
    fn the_paths_that_are_remembered_are_bounded() {
        let known = known(Duration::from_secs(1000));
        for number in 0..2 * ORIGIN_PATHS_MAX as u64 {
            known.failed(&number.to_le_bytes(), &error(Errno::NOENT));
        }
        assert!(known.paths.len() <= ORIGIN_PATHS_MAX);
        assert!(
            known.paths.len() > ORIGIN_PATHS_MAX / 2,
            "they are remembered"
        );
    }
}
