//! The file of the slot table, byte by byte.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic |
//! | 8..16 | format |
//! | 16..24 | objects that it is made for |
//! | 24..32 | seed of the places of keys |
//! | 32..40 | XXH3 of the bytes before |
//! | 64..512 | words that change: [`Word`] |
//! | 1024..3072 | 256 words: of each process that uses it, a number; 0: free |
//! | 4096..8192 | 128 times 32 bytes, of each origin: hash of its name, blocks, blocks that
//! it may have, blocks from which on its objects go first; 0: no limit |
//! | 8192.. | slots of 40 bytes: two words of key, nonce, state, seal (`store/seal.rs`) |
//! | then | places of the short queue, of the long one, fingerprints: 8 bytes each |
//!
//! Words are of 8 bytes, in the order of bytes of the host: a table of another kind of
//! host has another magic, and is made anew.

use xxhash_rust::xxh3::xxh3_64;

const MAGIC: u64 = u64::from_le_bytes(*b"CACHEFST");
/// Raised whenever a reader of the last format would misread the new one.
const FORMAT: u64 = 3;
/// Bytes of the part that never changes.
pub(crate) const FIXED_BYTES: usize = 40;
pub(super) const HEADER_BYTES: u64 = 8192;
const PROCESSES: u64 = 1024;
pub(super) const PAGE_BYTES: u64 = 4096;
const ORIGINS: u64 = PAGE_BYTES;
pub(super) const SLOT_BYTES: u64 = 40;
/// Processes that use one table at once.
pub(crate) const PROCESSES_MAX: u64 = 256;
/// Origins that are told apart.
pub(super) const ORIGINS_MAX: u64 = 128;
/// Fingerprints that lie together.
pub(super) const CELLS_TOGETHER: u64 = 8;

const _: () = assert!(PROCESSES + PROCESSES_MAX * 8 <= ORIGINS);
const _: () = assert!(ORIGINS + ORIGINS_MAX * 32 <= HEADER_BYTES);

/// What changes in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Two words: the boot of the host that wrote it.
    Boot = 64,
    /// As [`super::Standing`].
    Standing = 80,
    /// Nobody reserves before this time of the monotonic clock, in nanoseconds.
    QuietUntil = 88,
    /// Not 0: a process has died, and what it left has not been put right.
    Died = 96,
    /// Not 0: somebody has fewer places in the queues than there are objects.
    Crowded = 104,
    /// Blocks of all slots.
    Used = 128,
    Objects = 136,
    ShortBlocks = 144,
    PinnedBlocks = 152,
    /// Changes of slots that were begun, and ended.
    Begun = 192,
    Ended = 200,
    /// The next place to be taken from, and to be put into, each queue.
    ShortHead = 256,
    ShortTail = 264,
    LongHead = 320,
    LongTail = 328,
    /// Fingerprints that were entered so far.
    GoneSerial = 384,
    /// How often something of an object was taken back.
    TakenBack = 448,
}

const _: () = assert!(Word::TakenBack as u64 + 8 <= 512);

/// Where everything is. Follows from the two numbers, and from nothing else that the
/// file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) objects_max: u64,
    pub(crate) seed: u64,
    pub(super) slots: u64,
    pub(super) places: u64,
    pub(super) cells: u64,
}

impl Sizes {
    pub(crate) fn new(objects_max: u64, seed: u64) -> Self {
        Self {
            objects_max,
            seed,
            // Two of three are in use when it is full, so that runs stay short.
            slots: objects_max + objects_max / 2 + 64,
            // Some are of objects that are gone.
            places: objects_max + objects_max / 4 + 64,
            cells: (objects_max + objects_max / 4 + 64).next_multiple_of(CELLS_TOGETHER),
        }
    }

    pub(super) fn process(&self, index: u64) -> u64 {
        PROCESSES + index * 8
    }

    /// The hash of an origin; three words follow.
    pub(super) fn origin(&self, index: u64) -> u64 {
        ORIGINS + index % ORIGINS_MAX * 32
    }

    pub(super) fn slot(&self, slot: u64) -> u64 {
        HEADER_BYTES + slot * SLOT_BYTES
    }

    pub(super) fn place(&self, is_long: bool, index: u64) -> u64 {
        self.slot(self.slots) + (u64::from(is_long) * self.places + index) * 8
    }

    pub(super) fn cell(&self, index: u64) -> u64 {
        self.place(true, self.places) + index * 8
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.cell(self.cells).next_multiple_of(4096)
    }

    /// The part that never changes.
    pub(crate) fn encode(&self) -> [u8; FIXED_BYTES] {
        let mut out = [0; FIXED_BYTES];
        let numbers = [MAGIC, FORMAT, self.objects_max, self.seed];
        for (place, number) in out.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        let sum = xxh3_64(&out[..32]);
        out[32..].copy_from_slice(&sum.to_ne_bytes());
        out
    }

    /// None: it is not a table of this format, or damaged.
    pub(crate) fn decode(bytes: &[u8; FIXED_BYTES]) -> Option<Self> {
        let number = |index: usize| {
            let place = bytes[index * 8..][..8].try_into().expect("8 bytes");
            u64::from_ne_bytes(place)
        };
        let objects_max = number(2);
        let sound = number(0) == MAGIC
            && number(1) == FORMAT
            && number(4) == xxh3_64(&bytes[..32])
            && (1..=crate::limits::OBJECTS_MAX).contains(&objects_max);
        sound.then(|| Self::new(objects_max, number(3)))
    }
}
