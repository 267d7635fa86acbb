//! What was said by an origin of the paths of its files, for programs that believe it for a
//! while without asking: a table in the cache directory that all of them map.
//!
//! The file `cachefs.trusted`: 32,768 entries of eight words of 8 bytes, four together for
//! each hash of a path. Words are in the order of bytes of the host.
//!
//! | word | what |
//! |---|---|
//! | 0, 1 | hash of the origin's name and the path, as keys are made |
//! | 2, 3 | key of the object |
//! | 4 | its nonce |
//! | 5 | how often something of any object was taken back before |
//! | 6 | when the origin was asked, in milliseconds of the boot clock |
//! | 7 | XXH3 of the words before, of the invalidations of the path so far, and of the boot |
//!
//! So an entry that two have written at once, that has been invalidated since, or that
//! another boot has left, is none.

use crate::error::Errno;
use crate::ids::Key;
use crate::sys::{self, Mapped};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use xxhash_rust::xxh3::xxh3_64;

const NAME: &str = "cachefs.trusted";
const ENTRIES: u64 = 1 << 15;
const TOGETHER: u64 = 4;
const WORDS: usize = 8;
const ENTRY_BYTES: u64 = WORDS as u64 * 8;
const BYTES: u64 = ENTRIES * ENTRY_BYTES;

/// The table.
pub(super) struct Trusted {
    memory: Mapped,
    boot_id: [u8; 16],
}

/// What was said of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) key: Key,
    pub(super) nonce: u64,
    pub(super) taken_back: u64,
    /// Milliseconds of the boot clock.
    pub(super) at: u64,
}

/// The hash of a path of an origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64, u64);

impl Place {
    pub(super) fn new(origin: &[u8], path: &[u8]) -> Self {
        let [first, second] = Key::of(origin, path).words();
        Self(first, second)
    }

    fn entries(self) -> impl Iterator<Item = u64> {
        let first = self.0 % (ENTRIES / TOGETHER) * TOGETHER;
        first..first + TOGETHER
    }
}

impl Trusted {
    /// That of a cache directory; makes one if there is none. Allocates nothing.
    pub(super) fn open(root: BorrowedFd<'_>, boot_id: [u8; 16]) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = sys::open_at(root, NAME, flags, Mode::RUSR | Mode::WUSR)?;
        let length = rustix::fs::fstat(&file)?.st_size;
        if u64::try_from(length).is_ok_and(|length| length < BYTES) {
            // Real blocks: a store into a mapped hole of a full file system raises SIGBUS.
            // What another one has written meanwhile stays.
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES)?;
        }
        let memory = Mapped::map(file.as_fd(), BYTES, false)?;
        Ok(Self { memory, boot_id })
    }

    /// Says that a path is about to be looked up.
    pub(super) fn prefetch(&self, place: Place) {
        if let Some(first) = place.entries().next() {
            sys::prefetch(self.word(first, 0));
        }
    }

    /// What was said of a path, if nobody has invalidated it since.
    pub(super) fn find(&self, place: Place, invalidations: u64) -> Option<Said> {
        place.entries().find_map(|index| {
            if self.word(index, 0).load(Ordering::Acquire) != place.0 {
                return None;
            }
            let words = self.read(index);
            let is_it =
                words[..2] == [place.0, place.1] && words[7] == self.check(&words, invalidations);
            is_it.then(|| Said {
                key: Key::of_words([words[2], words[3]]),
                nonce: words[4],
                taken_back: words[5],
                at: words[6],
            })
        })
    }

    /// Notes it, in the place of what was said of the path before, or else of the oldest.
    pub(super) fn put(&self, place: Place, invalidations: u64, said: &Said) {
        let key = said.key.words();
        let mut words = [
            place.0,
            place.1,
            key[0],
            key[1],
            said.nonce,
            said.taken_back,
            said.at,
            0,
        ];
        words[7] = self.check(&words, invalidations);
        let rank = |index: &u64| {
            let found = self.read(*index);
            match found[..2] == [place.0, place.1] {
                true => 0,
                false => found[6].saturating_add(1),
            }
        };
        if let Some(index) = place.entries().min_by_key(rank) {
            for (word, value) in words.iter().enumerate() {
                self.word(index, word).store(*value, Ordering::Release);
            }
        }
    }

    fn read(&self, index: u64) -> [u64; WORDS] {
        std::array::from_fn(|word| self.word(index, word).load(Ordering::Acquire))
    }

    fn word(&self, index: u64, word: usize) -> &std::sync::atomic::AtomicU64 {
        let index = index % ENTRIES;
        self.memory
            .word(index * ENTRY_BYTES + word as u64 % WORDS as u64 * 8)
    }

    fn check(&self, words: &[u64; WORDS], invalidations: u64) -> u64 {
        let mut bytes = [0; WORDS * 8 + 16];
        let numbers = words[..7].iter().chain([&invalidations]);
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes[WORDS * 8..].copy_from_slice(&self.boot_id);
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::open;

    fn table(directory: &tempfile::TempDir, boot: u8) -> Trusted {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = open(directory.path(), flags, Mode::empty()).unwrap();
        Trusted::open(root.as_fd(), [boot; 16]).unwrap()
    }

    fn said(number: u64) -> Said {
        Said {
            key: Key([number as u8; 16]),
            nonce: number,
            taken_back: number,
            at: number,
        }
    }

    #[test]
    fn what_was_said_is_known_until_it_is_invalidated_or_the_host_starts_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (table(&directory, 1), table(&directory, 1));
        let place = Place::new(b"/origin", b"a/b");
        assert_eq!(here.find(place, 0), None, "zeros say nothing");
        here.put(place, 5, &said(7));
        assert_eq!(there.find(place, 5), Some(said(7)));
        assert_eq!(there.find(place, 6), None);
        assert_eq!(there.find(Place::new(b"/origin", b"a/c"), 5), None);
        assert_eq!(table(&directory, 2).find(place, 5), None);
        there.put(place, 6, &said(8));
        assert_eq!(here.find(place, 6), Some(said(8)));
    }

    #[test]
    fn an_entry_that_is_not_whole_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(&directory, 1);
        let place = Place::new(b"/origin", b"a");
        table.put(place, 0, &said(7));
        let index = place
            .entries()
            .find(|index| table.read(*index)[0] == place.0)
            .unwrap();
        for word in 0..WORDS {
            let before = table.word(index, word).fetch_xor(1, Ordering::Relaxed);
            assert_eq!(table.find(place, 0), None, "word {word}");
            table.word(index, word).store(before, Ordering::Relaxed);
        }
        assert_eq!(table.find(place, 0), Some(said(7)));
    }

    #[test]
    fn of_too_many_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(&directory, 1);
        let of = |number: u64| Place(3, number);
        for number in 0..=TOGETHER {
            table.put(of(number), 0, &said(number + 1));
        }
        assert_eq!(table.find(of(0), 0), None);
        for number in 1..=TOGETHER {
            assert_eq!(table.find(of(number), 0), Some(said(number + 1)));
        }
    }
}
