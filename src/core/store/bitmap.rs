//! What changes of an object: which chunks are present, their checksums, and whether
//! they are written past the page cache. All is in its metadata file, mapped shared, so
//! that every process sees a chunk the moment it is there.
//!
//! After a crash of the host nobody knows which of it reached the disk, sector by
//! sector, nor which bytes of the data file did. So what another boot has left only says
//! which chunks are worth to be looked at, and which checksum their bytes would have.
//! Only a durable bit says more: it is set once the bytes of its chunk are on the device,
//! and wherever it is found, they still are.

use super::layout::{BOOT_OFFSET, Bits, Geometry, MODE_OFFSET, PAGE_BYTES, Regions, SUM_BYTES};
use crate::error::{Context, Errno, Result};
use crate::sys::{Mapped, store_again, store_half_again};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The mode of an object that is filled past the page cache.
const DIRECT_FOR_NOW: u64 = 1;
/// The mode of one that is never evicted.
pub(super) const PINNED: u64 = 2;

/// Chunks that were present and not durable when they were looked for.
pub(super) struct Unsynced {
    /// Words of bits, and their indices.
    words: Vec<(u64, u64)>,
    /// There were no more.
    pub(super) is_all: bool,
    /// The device may have other durable bits than are here: they have to be synced
    /// before any is set.
    pub(super) is_unsound: bool,
}

impl Unsynced {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

pub(crate) struct Bitmap {
    memory: Mapped,
    regions: Regions,
    /// A word in which a chunk was missing.
    missed: AtomicU64,
}

impl Bitmap {
    /// Maps a metadata file.
    ///
    /// The file must have all its blocks and never shrink: it is written in full before
    /// it gets its name, and is only ever unlinked. `is_elsewhere` as in [`Mapped::map`].
    pub(super) fn map(file: BorrowedFd<'_>, regions: Regions, is_elsewhere: bool) -> Result<Self> {
        assert!(regions.offset.is_multiple_of(8));
        assert!(regions.offset >= MODE_OFFSET as u64 + 8);
        let memory = Mapped::map(file, regions.file_bytes(), is_elsewhere)
            .context(|| "map the metadata of an object")?;
        Ok(Self {
            memory,
            regions,
            missed: AtomicU64::new(u64::MAX),
        })
    }

    /// The number of 8 bytes at an offset.
    fn at(&self, offset: u64) -> &AtomicU64 {
        self.memory.word(offset)
    }

    fn word(&self, kind: Bits, index: u64) -> &AtomicU64 {
        assert!(index < self.regions.words());
        self.at(self.regions.bits(kind) + index * 8)
    }

    fn load(&self, kind: Bits, index: u64) -> u64 {
        u64::from_le(self.word(kind, index).load(Ordering::Acquire))
    }

    fn get(&self, kind: Bits, chunk: u64) -> bool {
        assert!(chunk < self.regions.chunks);
        self.load(kind, chunk / 64) & 1 << (chunk % 64) != 0
    }

    /// Sets the bit of a chunk. Release: whatever it vouches for was done before.
    fn set(&self, kind: Bits, chunk: u64) {
        assert!(chunk < self.regions.chunks);
        let bit = (1u64 << (chunk % 64)).to_le();
        self.word(kind, chunk / 64).fetch_or(bit, Ordering::AcqRel);
    }

    /// Clears the bit of a chunk; whether it was set.
    fn clear(&self, kind: Bits, chunk: u64) -> bool {
        assert!(chunk < self.regions.chunks);
        let bit = (1u64 << (chunk % 64)).to_le();
        let before = self
            .word(kind, chunk / 64)
            .fetch_and(!bit, Ordering::AcqRel);
        before & bit != 0
    }

    /// The durable bits of a word, or none if they are not what was written.
    fn durable(&self, index: u64) -> u64 {
        self.durable_if_sound(index).unwrap_or(0)
    }

    /// The durable bits of a word. None: they are not what was written, and the device
    /// may have older ones that are.
    fn durable_if_sound(&self, index: u64) -> Option<u64> {
        assert!(index < self.regions.words());
        let offset = self.regions.durable(index);
        let word = |offset| u64::from_le(self.at(offset).load(Ordering::Acquire));
        let (bits, check) = (word(offset), word(offset + 8));
        // The check is made only where there is something to be checked.
        let is_sound = bits == 0 || check == self.regions.durable_check(index, bits);
        is_sound.then_some(bits & self.mask(index))
    }

    /// Writes the durable bits of a word. For whoever has the lock of durable bits:
    /// somebody who is killed in between, or looked at by another, leaves none.
    fn put_durable(&self, index: u64, bits: u64) {
        let offset = self.regions.durable(index);
        let put = |offset, word: u64| self.at(offset).store(word.to_le(), Ordering::Release);
        put(offset + 8, self.regions.durable_check(index, bits));
        put(offset, bits);
    }

    /// The bits of a word that are of chunks: others are another process's mistake.
    fn mask(&self, index: u64) -> u64 {
        u64::MAX >> (64 - (self.regions.chunks - index * 64).min(64))
    }

    fn stored_sum(&self, chunk: u64) -> &AtomicU32 {
        assert!(chunk < self.regions.chunks);
        self.memory.half(self.regions.sums() + chunk * 4)
    }

    fn mode(&self) -> &AtomicU64 {
        self.at(MODE_OFFSET as u64)
    }

    /// Whether the data file is read and written past the page cache until every
    /// chunk is present.
    pub(crate) fn is_direct_for_now(&self) -> bool {
        u64::from_le(self.mode().load(Ordering::Acquire)) & DIRECT_FOR_NOW != 0
    }

    /// From now on it is. Only for an object of which no chunk is present.
    pub(crate) fn become_direct(&self) {
        let bit = DIRECT_FOR_NOW.to_le();
        self.mode().fetch_or(bit, Ordering::AcqRel);
    }

    /// Says whether it is never evicted, for a table that was lost.
    pub(crate) fn pin(&self, pinned: bool) {
        let bit = PINNED.to_le();
        if pinned {
            self.mode().fetch_or(bit, Ordering::AcqRel);
        } else {
            self.mode().fetch_and(!bit, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_pinned(&self) -> bool {
        u64::from_le(self.mode().load(Ordering::Acquire)) & PINNED != 0
    }

    /// The same of a metadata file that is not mapped.
    pub(super) fn is_pinned_in(metadata: BorrowedFd<'_>) -> std::result::Result<bool, Errno> {
        let mut mode = [0; 8];
        match rustix::io::pread(metadata, &mut mode, MODE_OFFSET as u64)? {
            8 => Ok(u64::from_le_bytes(mode) & PINNED != 0),
            _ => Err(Errno::NODATA),
        }
    }

    /// Whether it is still, although every chunk is present.
    pub(super) fn is_to_be_settled(&self) -> bool {
        self.is_direct_for_now() && self.is_complete()
    }

    /// It is not any more, if every chunk is present.
    pub(crate) fn settle(&self) {
        if self.is_to_be_settled() {
            let bit = DIRECT_FOR_NOW.to_le();
            self.mode().fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Whether no chunk is present or doubted.
    pub(crate) fn is_empty(&self) -> bool {
        (0..self.regions.words()).all(|index| self.held(index) == 0)
    }

    /// The chunks of a word that are present or doubted.
    fn held(&self, index: u64) -> u64 {
        let held = self.load(Bits::Present, index) | self.load(Bits::Doubted, index);
        held & self.mask(index)
    }

    /// Whether every chunk is present. From the end, which is what comes last; before
    /// that, where one was missing the last time. So to ask after each chunk costs
    /// little, in whatever order they come.
    pub(super) fn is_complete(&self) -> bool {
        // Of two that publish the last two chunks at once, one must see both.
        fence(Ordering::SeqCst);
        let is_full = |index: &u64| {
            let mask = self.mask(*index);
            self.load(Bits::Present, *index) & mask == mask
        };
        let missed = self.missed.load(Ordering::Relaxed);
        if missed < self.regions.words() && !is_full(&missed) {
            return false;
        }
        let missing = (0..self.regions.words())
            .rev()
            .find(|index| !is_full(index));
        if let Some(index) = missing {
            self.missed.store(index, Ordering::Relaxed);
        }
        missing.is_none()
    }

    /// Whether a chunk may be read. Acquire: its bytes are in the data file.
    pub(crate) fn has(&self, chunk: u64) -> bool {
        self.get(Bits::Present, chunk)
    }

    /// Whether a chunk may be read once its checksum has been found to be right.
    pub(crate) fn doubts(&self, chunk: u64) -> bool {
        self.get(Bits::Doubted, chunk) && !self.has(chunk)
    }

    /// The page of the file that has the checksum of a chunk.
    pub(super) fn page_of(&self, chunk: u64) -> u64 {
        (self.regions.sums() + chunk * SUM_BYTES) / PAGE_BYTES
    }

    /// Where the pages are that publishing a chunk stores to.
    pub(super) fn places(&self, chunk: u64) -> [u64; 5] {
        let word = |kind| self.regions.bits(kind) + chunk / 64 * 8;
        let bits = [Bits::Present, Bits::Summed, Bits::Doubted].map(word);
        let sum = self.regions.sums() + chunk * SUM_BYTES;
        [MODE_OFFSET as u64, bits[0], bits[1], bits[2], sum]
            .map(|offset| offset / PAGE_BYTES * PAGE_BYTES)
    }

    /// Has the pages made writable that publishing any of the chunks stores to whose checksums
    /// are in a page. May wait for the device.
    pub(super) fn wake(&self, page: u64) {
        store_again(self.mode());
        if self.regions.chunks == 0 {
            return;
        }
        let sums = self.regions.sums();
        let chunk_at = |offset: u64| offset.saturating_sub(sums) / SUM_BYTES;
        let first = chunk_at(page * PAGE_BYTES);
        let last = chunk_at((page + 1) * PAGE_BYTES - 1).min(self.regions.chunks - 1);
        for chunk in [first, last] {
            store_half_again(self.stored_sum(chunk));
            for kind in [Bits::Present, Bits::Summed, Bits::Doubted] {
                store_again(self.word(kind, chunk / 64));
            }
        }
    }

    /// Publishes a chunk whose bytes are in the data file, with their checksum if
    /// anybody has seen them.
    pub(crate) fn publish(&self, chunk: u64, sum: Option<u32>) {
        match sum {
            Some(sum) => {
                self.stored_sum(chunk).store(sum.to_le(), Ordering::Relaxed);
                self.set(Bits::Summed, chunk);
            }
            None => {
                self.clear(Bits::Summed, chunk);
            }
        }
        self.confirm(chunk);
    }

    /// The checksum of a chunk, if it has one.
    pub(crate) fn sum(&self, chunk: u64) -> Option<u32> {
        let sum = || u32::from_le(self.stored_sum(chunk).load(Ordering::Relaxed));
        self.get(Bits::Summed, chunk).then(sum)
    }

    /// A chunk is what was written: it is doubted no longer.
    pub(crate) fn confirm(&self, chunk: u64) {
        self.set(Bits::Present, chunk);
        self.clear(Bits::Doubted, chunk);
    }

    /// A doubted chunk is not what was written. False: it is not doubted any more.
    pub(crate) fn drop_doubted(&self, chunk: u64) -> bool {
        self.clear(Bits::Doubted, chunk)
    }

    /// Whether a durable bit of a chunk may be found after a crash of the host.
    pub(super) fn may_be_durable(&self, chunk: u64) -> bool {
        assert!(chunk < self.regions.chunks);
        let bits = self.durable_if_sound(chunk / 64);
        bits.is_none_or(|bits| bits & 1 << (chunk % 64) != 0)
    }

    /// Makes all durable bits unsound, as [`Self::suspend_durable`] does those of a word.
    /// False: there were none.
    pub(super) fn suspend_all_durable(&self) -> bool {
        let some = |index: &u64| self.durable_if_sound(*index) != Some(0);
        let mut words = (0..self.regions.words()).filter(some).peekable();
        let is_any = words.peek().is_some();
        words.for_each(|index| {
            self.suspend_durable(index * 64);
        });
        is_any
    }

    /// The device does not have any of them any more.
    pub(super) fn clear_all_durable(&self) {
        for index in 0..self.regions.words() {
            if self.durable_if_sound(index).is_none() {
                self.put_durable(index, 0);
            }
        }
    }

    /// Makes the word of a chunk's durable bit unsound, until [`Self::resume_durable`]:
    /// whoever finds it so knows that the device may have the bit. Gives the others.
    pub(super) fn suspend_durable(&self, chunk: u64) -> u64 {
        let index = chunk / 64;
        let bits = self.durable(index);
        let offset = self.regions.durable(index);
        // Not zero, which would be sound.
        self.at(offset).store(u64::MAX, Ordering::Release);
        let wrong = !self.regions.durable_check(index, u64::MAX);
        self.at(offset + 8).store(wrong.to_le(), Ordering::Release);
        bits & !(1 << (chunk % 64))
    }

    /// The device does not have the bit any more.
    pub(super) fn resume_durable(&self, chunk: u64, rest: u64) {
        self.put_durable(chunk / 64, rest);
    }

    /// A chunk is not what was written, and not durable: it is to be fetched into the
    /// room that it has.
    pub(super) fn condemn(&self, chunk: u64) {
        self.set(Bits::Doubted, chunk);
        self.clear(Bits::Summed, chunk);
        self.clear(Bits::Present, chunk);
    }

    /// A chunk that is present or doubted is not there any more.
    pub(crate) fn drop_unreadable(&self, chunk: u64) {
        self.clear(Bits::Present, chunk);
        self.clear(Bits::Doubted, chunk);
    }

    /// What is present and not durable, in at most `words_max` words.
    pub(super) fn unsynced(&self, words_max: usize) -> Unsynced {
        let bits = |index| self.load(Bits::Present, index) & !self.durable(index);
        let words = (0..self.regions.words()).map(|index| (index, bits(index) & self.mask(index)));
        let mut words = words.filter(|(_, bits)| *bits != 0);
        Unsynced {
            words: words.by_ref().take(words_max).collect(),
            is_all: words.next().is_none(),
            is_unsound: (0..self.regions.words())
                .any(|index| self.durable_if_sound(index).is_none()),
        }
    }

    /// Marks as durable what was found unsynced: its bytes have reached the device since,
    /// and nobody has taken it back: who calls has had the lock of durable bits since it
    /// was looked for. Gives how many chunks were not durable yet.
    pub(super) fn set_durable(&self, unsynced: &Unsynced) -> u64 {
        let mut fresh = 0;
        for (index, bits) in &unsynced.words {
            let before = self.durable(*index);
            self.put_durable(*index, before | bits);
            fresh += u64::from((bits & !before).count_ones());
        }
        fresh
    }

    /// The device has lost what was written to it, nobody knows what: only what was
    /// durable before is present from now on.
    pub(super) fn keep_only_durable(&self) {
        for index in 0..self.regions.words() {
            let durable = self.durable(index);
            let word = self.word(Bits::Present, index);
            word.fetch_and(durable.to_le(), Ordering::AcqRel);
        }
    }

    /// Bytes of the file that are present and not durable.
    pub(super) fn bytes_unsynced(&self, geometry: Geometry) -> u64 {
        let bits = |index| self.load(Bits::Present, index) & !self.durable(index);
        self.count_of(|index| bits(index) & self.mask(index)) * geometry.chunk_bytes
    }

    /// Doubts what another boot has left, but for what is durable, which stays present,
    /// and drops what nobody could vouch for: `dropped` is told the chunks of which
    /// nothing is left. For whoever is alone with the object. May be broken off at any
    /// point, and begun again.
    pub(crate) fn come_from_another_boot(
        &self,
        boot_id: [u8; 16],
        mut dropped: impl FnMut(Range<u64>),
    ) {
        for index in 0..self.regions.words() {
            let durable = self.durable(index);
            let doubted = self.held(index) & self.load(Bits::Summed, index) & !durable;
            let word = self.word(Bits::Doubted, index);
            word.store(doubted.to_le(), Ordering::Release);
            let word = self.word(Bits::Present, index);
            word.store(durable.to_le(), Ordering::Release);
        }
        self.runs_not_held(&mut dropped);
        let (first, second) = boot_id.split_at(8);
        for (offset, half) in [(BOOT_OFFSET, first), (BOOT_OFFSET + 8, second)] {
            let half = half.try_into().expect("half of 16 bytes");
            self.at(offset as u64)
                .store(u64::from_ne_bytes(half), Ordering::Release);
        }
    }

    /// Tells the runs of chunks that are neither present nor doubted, in order.
    pub(super) fn runs_not_held(&self, tell: &mut dyn FnMut(Range<u64>)) {
        let mut begin = 0;
        for index in 0..self.regions.words() {
            let mut held = self.held(index);
            while held != 0 {
                let chunk = index * 64 + u64::from(held.trailing_zeros());
                if begin < chunk {
                    tell(begin..chunk);
                }
                begin = chunk + 1;
                held &= held - 1;
            }
        }
        if begin < self.regions.chunks {
            tell(begin..self.regions.chunks);
        }
    }

    /// Chunks that are present.
    pub(crate) fn count(&self) -> u64 {
        self.count_of(|index| self.load(Bits::Present, index) & self.mask(index))
    }

    /// Chunks that are present or doubted.
    pub(crate) fn count_held(&self) -> u64 {
        self.count_of(|index| self.held(index))
    }

    fn count_of(&self, word: impl FnMut(u64) -> u64) -> u64 {
        let ones = (0..self.regions.words()).map(word).map(u64::count_ones);
        ones.map(u64::from).sum()
    }

    /// Bytes of the file that are present.
    pub(crate) fn bytes(&self, geometry: Geometry) -> u64 {
        let present = |index| self.load(Bits::Present, index) & self.mask(index);
        self.bytes_of(present, geometry)
    }

    /// Bytes of the file that are present or doubted.
    pub(crate) fn bytes_held(&self, geometry: Geometry) -> u64 {
        self.bytes_of(|index| self.held(index), geometry)
    }

    /// Each word is looked at once: others may change it meanwhile.
    fn bytes_of(&self, word: impl Fn(u64) -> u64, geometry: Geometry) -> u64 {
        let Some(last) = self.regions.chunks.checked_sub(1) else {
            return 0;
        };
        let mut has_last = false;
        let count = self.count_of(|index| {
            let bits = word(index);
            has_last = index == last / 64 && bits & 1 << (last % 64) != 0;
            bits
        });
        let short = geometry.chunk_bytes - geometry.extent(last).1;
        count * geometry.chunk_bytes - if has_last { short } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    const OFFSET: u64 = 192;

    fn map(file: &File, chunks: u64) -> Bitmap {
        let regions = Regions {
            offset: OFFSET,
            chunks,
            nonce: 9,
        };
        Bitmap::map(file.as_fd(), regions, false).unwrap()
    }

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file
    }

    #[test]
    fn an_object_is_direct_until_its_last_chunk_is_there() {
        for chunks in [1, 64, 65, 130] {
            let file = file();
            let (bitmap, other) = (map(&file, chunks), map(&file, chunks));
            bitmap.become_direct();
            for chunk in (0..chunks).rev() {
                other.settle();
                assert!(other.is_direct_for_now(), "chunk {chunk} is missing");
                bitmap.publish(chunk, None);
            }
            other.settle();
            assert!(!bitmap.is_direct_for_now());
        }
    }

    #[test]
    fn bytes_are_those_of_one_moment_of_each_word() {
        let file = file();
        let bitmap = map(&file, 3);
        let geometry = Geometry {
            size: 2 * 4096 + 1,
            chunk_bytes: 4096,
        };
        let words = Cell::new(0);
        let changing = |_| words.replace(0b111);
        assert_eq!(bitmap.bytes_of(changing, geometry), 0);
        assert_eq!(bitmap.bytes_of(changing, geometry), 2 * 4096 + 1);
    }

    #[test]
    fn chunks_are_counted_up_to_the_last_and_no_further() {
        let file = file();
        let (bitmap, other) = (map(&file, 65), map(&file, 65));
        assert_eq!(bitmap.count(), 0);
        for chunk in [0, 63, 64] {
            bitmap.publish(chunk, None);
            assert!(other.has(chunk), "another mapping sees chunk {chunk}");
        }
        let word = bitmap.word(Bits::Present, 1);
        word.fetch_or(1u64.to_le() << 7, Ordering::Relaxed);
        assert_eq!(other.count(), 3, "a bit beyond the end is no chunk");
        assert!(!other.has(1));
    }

    #[test]
    fn a_checksum_is_where_the_format_says_and_of_its_chunk_only() {
        let file = file();
        let bitmap = map(&file, 65);
        bitmap.publish(64, Some(0x0403_0201));
        bitmap.publish(3, None);
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, OFFSET + 5 * 16 + 64 * 4)
            .unwrap();
        assert_eq!(bytes, [1, 2, 3, 4], "little-endian");
        assert_eq!(bitmap.sum(64), Some(0x0403_0201));
        assert_eq!((bitmap.sum(3), bitmap.sum(0)), (None, None));
        bitmap.publish(64, None);
        assert_eq!(bitmap.sum(64), None, "who published it last knows none");
    }

    #[test]
    fn another_boot_doubts_what_has_a_checksum_and_drops_the_rest() {
        let file = file();
        let bitmap = map(&file, 130);
        for chunk in [0, 1, 63, 64, 129] {
            bitmap.publish(chunk, (chunk != 1).then_some(7));
        }
        // The second time, another boot finds what the first has begun.
        for boot in [[1; 16], [2; 16]] {
            let mut dropped = Vec::new();
            bitmap.come_from_another_boot(boot, |chunks| dropped.push(chunks));
            assert_eq!(dropped, [1..63, 65..129]);
            assert_eq!((bitmap.count(), bitmap.count_held()), (0, 4));
            for chunk in [0, 63, 64, 129] {
                assert!(bitmap.doubts(chunk) && !bitmap.has(chunk), "{chunk}");
            }
            let mut stored = [0; 16];
            file.read_exact_at(&mut stored, BOOT_OFFSET as u64).unwrap();
            assert_eq!(stored, boot);
        }
        bitmap.confirm(63);
        assert!(bitmap.has(63) && !bitmap.doubts(63));
        assert!(bitmap.drop_doubted(64));
        assert!(!bitmap.drop_doubted(64), "once");
        assert!(!bitmap.has(64) && !bitmap.doubts(64));
        assert_eq!((bitmap.count(), bitmap.count_held()), (1, 3));
    }

    #[test]
    fn what_is_durable_stays_present_in_another_boot() {
        let file = file();
        let bitmap = map(&file, 130);
        for chunk in [0, 1, 63, 64] {
            bitmap.publish(chunk, (chunk != 1).then_some(7));
        }
        let first = bitmap.unsynced(1);
        assert!(!first.is_all);
        let all = bitmap.unsynced(2);
        assert!(all.is_all);
        bitmap.publish(2, None);
        bitmap.publish(129, Some(7));
        assert_eq!(bitmap.set_durable(&first), 3);
        assert_eq!(bitmap.set_durable(&all), 1, "the others were");
        let mut dropped = Vec::new();
        for boot in [[1; 16], [2; 16]] {
            dropped.clear();
            bitmap.come_from_another_boot(boot, |chunks| dropped.push(chunks));
            assert_eq!(dropped, [2..63, 65..129]);
            assert_eq!((bitmap.count(), bitmap.count_held()), (4, 5));
            assert!(bitmap.doubts(129) && bitmap.has(1) && !bitmap.doubts(1));
        }
        for bit in [0, 17, 63, 64, 100, 127] {
            let word = bitmap.at(bitmap.regions.durable(0) + bit / 64 * 8);
            word.fetch_xor(1u64.to_le() << (bit % 64), Ordering::Relaxed);
            assert_eq!(bitmap.durable(0), 0, "bit {bit} is not what was written");
            word.fetch_xor(1u64.to_le() << (bit % 64), Ordering::Relaxed);
        }
        let other = super::tests::file();
        assert!(!map(&other, 130).suspend_all_durable());
        assert!(bitmap.may_be_durable(63) && !bitmap.may_be_durable(2));
        let rest = bitmap.suspend_durable(63);
        assert!(bitmap.may_be_durable(63) && bitmap.may_be_durable(2));
        assert_eq!(bitmap.durable(0), 0, "nobody who finds it believes it");
        bitmap.resume_durable(63, rest);
        bitmap.condemn(63);
        assert!(!bitmap.may_be_durable(63) && bitmap.may_be_durable(1));
        assert!(bitmap.doubts(63) && bitmap.sum(63).is_none());
        bitmap.publish(63, Some(7));
        assert!(bitmap.has(63) && !bitmap.doubts(63) && !bitmap.may_be_durable(63));
        assert_eq!(bitmap.unsynced(1).words, [(0, 1 << 63)]);
        assert!(bitmap.suspend_all_durable() && bitmap.may_be_durable(2));
        bitmap.clear_all_durable();
        assert!(!bitmap.may_be_durable(1) && !bitmap.may_be_durable(2));
        bitmap.resume_durable(63, 0b11);
        bitmap.resume_durable(64, 1);
        bitmap.publish(2, None);
        bitmap.keep_only_durable();
        assert_eq!((bitmap.count(), bitmap.has(2)), (3, false));
    }

    #[test]
    fn an_object_with_doubted_chunks_is_not_empty() {
        let file = file();
        let bitmap = map(&file, 1);
        assert!(bitmap.is_empty());
        bitmap.publish(0, Some(1));
        bitmap.come_from_another_boot([1; 16], |_| ());
        assert!(!bitmap.is_empty());
        bitmap.drop_doubted(0);
        assert!(bitmap.is_empty());
    }
}
