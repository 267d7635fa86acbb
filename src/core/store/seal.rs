//! The seal of an object: a word beside its slot that says that every chunk of it may be
//! read, and of which version of the file it is.
//!
//! It is for those who look at the cache without opening it (`peek`): they compare one
//! word and open the data file, which is then the whole file. The word is a hash of key,
//! nonce, version token and this boot of the host. So one that another boot has left is
//! wrong by itself, as is one of a slot that has changed hands.
//!
//! Whoever takes a chunk back breaks the seal before and after it does so, and whoever
//! has sealed looks at the bits once more: so of two at once, one sees the other.

use super::{Object, Store};
use crate::evict::Handle;
use crate::ids::Key;
use crate::token::VersionToken;
use std::sync::atomic::{Ordering, fence};
use xxhash_rust::xxh3::xxh3_64;

/// What a seal says besides: the data file tells whose it is, see
/// [`crate::peek::Peek::mark`].
pub(crate) const MARKED: u64 = 1;

/// The seal of an object; never 0, and without [`MARKED`]. Allocates nothing.
pub(crate) fn seal_of(key: Key, nonce: u64, token: &VersionToken, boot_id: &[u8; 16]) -> u64 {
    let mut bytes = [0; 48];
    bytes[..16].copy_from_slice(&key.0);
    bytes[16..24].copy_from_slice(&nonce.to_le_bytes());
    bytes[24..32].copy_from_slice(&token.hash().to_le_bytes());
    bytes[32..].copy_from_slice(boot_id);
    (xxh3_64(&bytes) | 2) & !MARKED
}

impl Object {
    /// The seal that its slot is to have and has not.
    fn missing_seal(&self) -> Option<(Handle, u64)> {
        let handle = self.account?;
        if !self.bitmap.is_complete() || self.is_broken() {
            return None;
        }
        let header = &self.header;
        let seal = seal_of(self.key, header.nonce, &header.token, &self.store.boot_id);
        let table = self.store.accounts.table();
        (table.seal(handle) & !MARKED != seal).then_some((handle, seal))
    }

    /// Seals it if every chunk is present. Takes no system call.
    pub(super) fn seal(&self) {
        let Some((handle, seal)) = self.missing_seal() else {
            return;
        };
        let table = self.store.accounts.table();
        table.put_seal(handle, seal);
        fence(Ordering::SeqCst);
        if !self.bitmap.is_complete() || self.is_broken() {
            table.put_seal(handle, 0);
        }
    }

    /// Whether whoever has published its last chunk was killed before it could say so, or
    /// that was in another boot.
    pub(super) fn is_to_be_settled(&self) -> bool {
        self.missing_seal().is_some() || self.bitmap.is_to_be_settled()
    }

    /// Says so.
    pub(super) fn settle(&self) {
        self.bitmap.settle();
        self.seal();
    }
}

impl Store {
    /// Has nobody who only looks take an object for whole while, and after, something of
    /// it is taken back.
    pub(super) fn unsealed<T>(&self, key: Key, nonce: u64, take_back: impl FnOnce() -> T) -> T {
        self.accounts.break_seal(key, nonce);
        let taken = take_back();
        fence(Ordering::SeqCst);
        self.accounts.break_seal(key, nonce);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TAG_BYTES_MAX;

    #[test]
    fn a_seal_is_of_one_object_one_version_and_one_boot() {
        let token = VersionToken {
            size: 1,
            mtime_ns: 2,
            ctime_ns: 3,
            inode: 4,
            tag_length: 0,
            tag: [0; TAG_BYTES_MAX],
        };
        let seal = seal_of(Key([1; 16]), 2, &token, &[3; 16]);
        assert!(seal != 0 && seal & MARKED == 0);
        assert_eq!(seal_of(Key([1; 16]), 2, &token, &[3; 16]), seal);
        let changed = VersionToken {
            ctime_ns: 5,
            ..token
        };
        for other in [
            seal_of(Key([2; 16]), 2, &token, &[3; 16]),
            seal_of(Key([1; 16]), 3, &token, &[3; 16]),
            seal_of(Key([1; 16]), 2, &changed, &[3; 16]),
            seal_of(Key([1; 16]), 2, &token, &[4; 16]),
        ] {
            assert_ne!(other, seal);
        }
    }
}
