//! What identifies a version of an origin's file.

use crate::limits::{RACY_WINDOW_NS, RACY_WINDOW_WHOLE_SECONDS_NS};
use crate::sys::Attributes;
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of an origin's opaque tag.
pub const TAG_BYTES_MAX: usize = 48;

/// Sampled at open and after each read of the origin. Two versions are the
/// same if and only if every field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionToken {
    /// Bytes of the file.
    pub size: u64,
    /// Nanoseconds since 1970; 0 if the origin has none.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970; 0 if the origin has none.
    pub ctime_ns: i64,
    /// Number of the file in its origin; 0 if it has none.
    pub inode: u64,
    /// Bytes of `tag` in use.
    pub tag_length: u32,
    /// ETag, change cookie, generation; zero behind `tag_length`.
    pub tag: [u8; TAG_BYTES_MAX],
}

impl From<Attributes> for VersionToken {
    fn from(attributes: Attributes) -> Self {
        Self {
            size: attributes.size,
            mtime_ns: attributes.mtime_ns,
            ctime_ns: attributes.ctime_ns,
            inode: attributes.inode,
            tag_length: 0,
            tag: [0; TAG_BYTES_MAX],
        }
    }
}

impl VersionToken {
    /// A hash of every field: differs (almost surely) when the version does.
    pub fn hash(&self) -> u64 {
        let mut bytes = [0; 32 + TAG_BYTES_MAX];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mtime_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ctime_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.inode.to_le_bytes());
        bytes[32..].copy_from_slice(&self.tag);
        xxh3_64(&bytes[..32 + self.tag_length as usize])
    }

    /// Nanoseconds until this version can be trusted, or None if it can be now.
    ///
    /// A file that changed within the granularity of its clock may change again
    /// without a new time, and its token would not tell (git calls such an
    /// index entry racy). A tag is the origin's own promise, so it is believed.
    pub fn racy_for_ns(&self) -> Option<u64> {
        if self.tag_length > 0 {
            return None;
        }
        let changed = if self.ctime_ns != 0 {
            self.ctime_ns
        } else {
            self.mtime_ns
        };
        let window = if changed % 1_000_000_000 == 0 {
            RACY_WINDOW_WHOLE_SECONDS_NS
        } else {
            RACY_WINDOW_NS
        };
        let left = changed.saturating_add(window).saturating_sub(now_ns());
        u64::try_from(left).ok().filter(|left| *left > 0)
    }
}

/// Nanoseconds since 1970 by the clock that stamps files.
fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(ctime_ns: i64) -> VersionToken {
        VersionToken {
            size: 1,
            mtime_ns: 1,
            ctime_ns,
            inode: 1,
            tag_length: 0,
            tag: [0; TAG_BYTES_MAX],
        }
    }

    #[test]
    fn a_file_changed_just_now_is_racy() {
        assert!(token(now_ns() | 1).racy_for_ns().is_some());
    }

    #[test]
    fn a_file_is_believed_after_the_window() {
        assert_eq!(token((now_ns() - RACY_WINDOW_NS) | 1).racy_for_ns(), None);
    }

    #[test]
    fn whole_seconds_are_trusted_later() {
        let second = now_ns() / 1_000_000_000 * 1_000_000_000;
        assert!(token(second).racy_for_ns().is_some());
        assert_eq!(
            token(second - RACY_WINDOW_WHOLE_SECONDS_NS).racy_for_ns(),
            None
        );
    }

    #[test]
    fn each_field_changes_the_hash() {
        let base = token(7);
        let mut others = [base; 5];
        others[0].size += 1;
        others[1].mtime_ns += 1;
        others[2].ctime_ns += 1;
        others[3].inode += 1;
        others[4].tag_length = 1;
        for other in others {
            assert_ne!(base, other);
            assert_ne!(base.hash(), other.hash());
        }
    }
}
