//! What tells files, and so objects, apart.

use xxhash_rust::xxh3::Xxh3;

/// What an object belongs to: an origin, and a file within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) origin: Vec<u8>,
    pub(crate) file: Vec<u8>,
}

/// Hash of an identity. The identity itself is compared as well, so that two
/// files with one hash are at worst not cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl Identity {
    pub(crate) fn key(&self) -> Key {
        Key::of(&self.origin, &self.file)
    }
}

impl Key {
    /// Of the identity that has these two. Allocates nothing.
    pub(crate) fn of(origin: &[u8], file: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&(origin.len() as u32).to_le_bytes());
        hasher.update(origin);
        hasher.update(file);
        Self(hasher.digest128().to_be_bytes())
    }
}
