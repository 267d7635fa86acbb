//! What tells files, and so objects, apart.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

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
    /// As two words of the host.
    pub(crate) fn words(self) -> [u64; 2] {
        let (first, second) = self.0.split_at(8);
        [first, second].map(|half| u64::from_ne_bytes(half.try_into().expect("half of 16")))
    }

    pub(crate) fn of_words(words: [u64; 2]) -> Self {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&words[0].to_ne_bytes());
        key[8..].copy_from_slice(&words[1].to_ne_bytes());
        Self(key)
    }

    /// Of the identity that has these two. Allocates nothing.
    pub(crate) fn of(origin: &[u8], file: &[u8]) -> Self {
        let (start, end) = (4 + origin.len(), 4 + origin.len() + file.len());
        let mut bytes = [0; 240];
        if let Some(room) = bytes.get_mut(..end) {
            // In one piece it takes a fifth of the time.
            room[..4].copy_from_slice(&(origin.len() as u32).to_le_bytes());
            room[4..start].copy_from_slice(origin);
            room[start..].copy_from_slice(file);
            return Self(xxh3_128(room).to_be_bytes());
        }
        let mut hasher = Xxh3::new();
        hasher.update(&(origin.len() as u32).to_le_bytes());
        hasher.update(origin);
        hasher.update(file);
        Self(hasher.digest128().to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_one_piece_and_in_several() {
        for length in [0, 1, 100, 215, 216, 217, 300, 4000] {
            let (origin, file) = (vec![b'o'; length], b"12345678901234567890");
            let mut hasher = Xxh3::new();
            hasher.update(&(length as u32).to_le_bytes());
            hasher.update(&origin);
            hasher.update(file);
            let wanted = Key(hasher.digest128().to_be_bytes());
            assert_eq!(Key::of(&origin, file), wanted, "{length}");
            assert_eq!(Key::of_words(wanted.words()), wanted);
        }
    }
}
