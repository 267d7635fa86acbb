//! The metadata file of an object, byte by byte. All numbers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format |
//! | 12..16 | length of the header, texts included |
//! | 16..20 | bytes of a chunk |
//! | 20..24 | bytes of the tag in use |
//! | 24..104 | version token: size, mtime, ctime, inode, tag (48 bytes) |
//! | 104..120 | boot id: under which chunks are known to be what was written |
//! | 120..128 | nonce: part of the data file's name |
//! | 128..144 | key: hash of the identity |
//! | 144..156 | lengths of origin, file id and path |
//! | 156..160 | flags: bit 0, the object is direct; the others are zero |
//! | 160..168 | offset of the bits, a multiple of 8 |
//! | 168..176 | XXH3 of the header with this field, the boot id and the mode zero |
//! | 176..184 | mode: bit 0, direct until every chunk is present; bit 1, pinned |
//! | 184..192 | zero |
//! | 192.. | origin, file id, path |
//!
//! At the offset of the bits, of n chunks, w = ⌈n / 64⌉ words of 8 bytes each time:
//!
//! | words | bit of each chunk |
//! |---|---|
//! | w | present: it may be read |
//! | w | summed: its checksum is valid |
//! | w | doubted: it may be read once its checksum has been found to be right |
//! | 2 w | durable: its bytes are on the device. Behind each word is its check |
//!
//! Then 4 bytes for each chunk: the CRC32C of its bytes, those of the file only; and
//! zeros up to the end of the page. `docs/format.md` says how all this is used.
//!
//! But for boot id and mode, the header never changes once the file has its name.
//! The file is shared with other processes, so the header is copied and checked
//! before it is used.

use crate::error::Errno;
use crate::ids::Identity;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, ORIGIN_NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::token::{TAG_BYTES_MAX, VersionToken};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"CACHEFSO";
/// Raised whenever a reader of the last format would misread the new one.
pub(crate) const FORMAT: u32 = 5;
const FIXED_BYTES: usize = 192;
const CHECKSUM: std::ops::Range<usize> = 168..176;
/// Where the mode is.
pub(super) const MODE_OFFSET: usize = 176;
const MODE: std::ops::Range<usize> = MODE_OFFSET..MODE_OFFSET + 8;
/// The only flag.
const DIRECT: u32 = 1;
/// Bytes that a header has at most.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + ORIGIN_NAME_BYTES_MAX + 2 * PATH_BYTES_MAX + 64;
/// Files grow by pages, so that a mapping never ends inside one.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Where the boot id is.
pub(super) const BOOT_OFFSET: usize = 104;
const BOOT: std::ops::Range<usize> = BOOT_OFFSET..BOOT_OFFSET + 16;
/// Bytes of a checksum.
pub(super) const SUM_BYTES: u64 = 4;

const _: () = assert!(56 + TAG_BYTES_MAX == BOOT_OFFSET);
// What is changed in place is accessed as numbers of 8 bytes, and no sector of a
// disk holds only a part of it.
const _: () = assert!(BOOT_OFFSET.is_multiple_of(8) && MODE_OFFSET.is_multiple_of(8));
const _: () = assert!(CHECKSUM.end == MODE_OFFSET && MODE.end < FIXED_BYTES && FIXED_BYTES < 512);

/// What there is a bit of for each chunk, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// It may be read.
    Present,
    /// Its checksum is valid.
    Summed,
    /// It may be read once its checksum has been found to be right.
    Doubted,
}

const KINDS_OF_BITS: u64 = 3;
const _: () = assert!(Bits::Doubted as u64 + 1 == KINDS_OF_BITS);
/// Words of durable bits and of their checks, for each word of other bits.
const DURABLE_WORDS: u64 = 2;

/// Where the changing parts of a metadata file are, but for those in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Regions {
    /// Of the bits.
    pub(super) offset: u64,
    /// Of the file.
    pub(super) chunks: u64,
    /// Of the object.
    pub(super) nonce: u64,
}

impl Regions {
    /// Words that hold one bit of each chunk.
    pub(super) fn words(&self) -> u64 {
        self.chunks.div_ceil(64)
    }

    /// Where the words of one kind begin.
    pub(super) fn bits(&self, kind: Bits) -> u64 {
        self.offset + kind as u64 * self.words() * 8
    }

    /// Where a word of durable bits is; the next one is its check.
    pub(super) fn durable(&self, index: u64) -> u64 {
        self.offset + (KINDS_OF_BITS * self.words() + DURABLE_WORDS * index) * 8
    }

    /// What is written behind a word of durable bits: XXH3 of it, its index and the
    /// object's nonce. It is believed by itself, also if its sector is not what was
    /// written; only zeros need no check.
    pub(super) fn durable_check(&self, index: u64, bits: u64) -> u64 {
        let numbers = [bits, index, self.nonce].map(u64::to_le_bytes);
        xxh3_64(numbers.as_flattened())
    }

    /// Where the checksums begin.
    pub(super) fn sums(&self) -> u64 {
        self.durable(self.words())
    }

    /// Bytes of a metadata file that has all of them.
    pub(super) fn file_bytes(&self) -> u64 {
        (self.sums() + self.chunks * SUM_BYTES).next_multiple_of(PAGE_BYTES)
    }
}

/// The checksum of a chunk: CRC32C, which is never 0 of zeros.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// What an object's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) chunk_bytes: u64,
    pub(crate) token: VersionToken,
    pub(crate) boot_id: [u8; 16],
    pub(crate) nonce: u64,
    /// Its data file is read and written with O_DIRECT, by every process.
    pub(crate) direct: bool,
    pub(crate) identity: Identity,
    /// Where the file was when it was cached: for people only.
    pub(crate) path: Vec<u8>,
}

/// How chunks cover a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) size: u64,
    pub(crate) chunk_bytes: u64,
}

impl Geometry {
    pub(crate) fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_bytes)
    }

    pub(crate) fn chunk_of(&self, offset: u64) -> u64 {
        // A power of two, and asked for by every read: no division.
        offset >> self.chunk_bytes.trailing_zeros()
    }

    /// First byte of a chunk, and its length: shorter at the end of the file.
    pub(crate) fn extent(&self, chunk: u64) -> (u64, u64) {
        let start = chunk * self.chunk_bytes;
        (start, self.chunk_bytes.min(self.size - start))
    }

    /// First byte of some chunks, of which there is one, and their length.
    pub(crate) fn extent_of(&self, chunks: &Range<u64>) -> (u64, u64) {
        let (start, _) = self.extent(chunks.start);
        let (last, length) = self.extent(chunks.end - 1);
        (start, last + length - start)
    }
}

impl Header {
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            size: self.token.size,
            chunk_bytes: self.chunk_bytes,
        }
    }

    fn header_bytes(&self) -> usize {
        FIXED_BYTES + self.identity.origin.len() + self.identity.file.len() + self.path.len()
    }

    /// What lies behind the header: at an 8-byte boundary, so that its words are atomic.
    pub(super) fn regions(&self) -> Regions {
        Regions {
            offset: self.header_bytes().next_multiple_of(8) as u64,
            chunks: self.geometry().chunks(),
            nonce: self.nonce,
        }
    }

    /// Bytes of the whole metadata file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.regions().file_bytes()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_bytes());
        let number = |out: &mut Vec<u8>, value: usize| {
            out.extend_from_slice(&u32::try_from(value).expect("bounded").to_le_bytes());
        };
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        number(&mut out, self.header_bytes());
        number(&mut out, self.chunk_bytes as usize);
        out.extend_from_slice(&self.token.tag_length.to_le_bytes());
        out.extend_from_slice(&self.token.size.to_le_bytes());
        out.extend_from_slice(&self.token.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.token.ctime_ns.to_le_bytes());
        out.extend_from_slice(&self.token.inode.to_le_bytes());
        out.extend_from_slice(&self.token.tag);
        out.extend_from_slice(&self.boot_id);
        out.extend_from_slice(&self.nonce.to_le_bytes());
        out.extend_from_slice(&self.identity.key().0);
        number(&mut out, self.identity.origin.len());
        number(&mut out, self.identity.file.len());
        number(&mut out, self.path.len());
        let flags = if self.direct { DIRECT } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.regions().offset.to_le_bytes());
        out.resize(FIXED_BYTES, 0);
        out.extend_from_slice(&self.identity.origin);
        out.extend_from_slice(&self.identity.file);
        out.extend_from_slice(&self.path);
        let checksum = checksum_of_header(&mut out.clone());
        out[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The header at the start of `bytes`, or None if it is not whole and sound.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader(bytes);
        if reader.take(8)? != MAGIC || reader.u32()? != FORMAT {
            return None;
        }
        let length = reader.u32()? as usize;
        let checked = bytes.get(..length).filter(|_| length >= FIXED_BYTES)?;
        let stored = u64::from_le_bytes(checked[CHECKSUM].try_into().ok()?);
        if stored != checksum_of_header(&mut checked.to_vec()) {
            return None;
        }
        let chunk_bytes = u64::from(reader.u32()?);
        let tag_length = reader.u32()?;
        let token = VersionToken {
            tag_length,
            size: reader.u64()?,
            mtime_ns: reader.u64()? as i64,
            ctime_ns: reader.u64()? as i64,
            inode: reader.u64()?,
            tag: reader.take(TAG_BYTES_MAX)?.try_into().ok()?,
        };
        let boot_id = reader.take(16)?.try_into().ok()?;
        let nonce = reader.u64()?;
        let key = reader.take(16)?;
        let lengths = [reader.u32()?, reader.u32()?, reader.u32()?].map(|n| n as usize);
        let flags = reader.u32()?;
        let offset = reader.u64()?;
        let mut texts = Reader(checked.get(FIXED_BYTES..)?);
        let header = Header {
            chunk_bytes,
            token,
            boot_id,
            nonce,
            direct: flags & DIRECT != 0,
            identity: Identity {
                origin: texts.take(lengths[0])?.to_vec(),
                file: texts.take(lengths[1])?.to_vec(),
            },
            path: texts.take(lengths[2])?.to_vec(),
        };
        let sound = chunk_bytes.is_power_of_two()
            && (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
            && flags & !DIRECT == 0
            && tag_length as usize <= TAG_BYTES_MAX
            && key == header.identity.key().0
            && length == header.header_bytes()
            && offset == header.regions().offset;
        sound.then_some(header)
    }
}

/// The path in a metadata file of an object with this nonce, or None if it is not sound.
/// Allocates nothing.
pub(crate) fn path_of<'a>(
    file: BorrowedFd<'_>,
    nonce: u64,
    buffer: &'a mut [u8; HEADER_BYTES_MAX],
) -> Option<&'a [u8]> {
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::pread(file, &mut buffer[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    path_in(buffer.get_mut(..length)?, nonce)
}

/// The path in a header at the start of `bytes`, which is changed. None: it is not sound,
/// or of an object with another nonce. Allocates nothing.
fn path_in(bytes: &mut [u8], nonce: u64) -> Option<&[u8]> {
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    };
    let (format, length) = (number(8)?, number(12)?);
    let texts = [number(144)?, number(148)?, number(152)?];
    let is_ours = bytes.starts_with(MAGIC)
        && format == FORMAT as usize
        && bytes.get(120..128)? == nonce.to_le_bytes();
    let start = FIXED_BYTES.checked_add(texts[0])?.checked_add(texts[1])?;
    let end = start.checked_add(texts[2])?;
    let header = bytes.get_mut(..length).filter(|_| length >= FIXED_BYTES)?;
    let stored: [u8; 8] = header[CHECKSUM].try_into().ok()?;
    let is_sound = u64::from_le_bytes(stored) == checksum_of_header(header);
    header.get(start..end).filter(|_| is_ours && is_sound)
}

/// XXH3 of what never changes of a header; the rest of it is made zero.
fn checksum_of_header(header: &mut [u8]) -> u64 {
    for changes in [BOOT, CHECKSUM, MODE] {
        header[changes].fill(0);
    }
    xxh3_64(header)
}

/// Takes fields from the front; None past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            chunk_bytes: 1 << 20,
            token: VersionToken {
                size: (5 << 20) + 1,
                mtime_ns: -3,
                ctime_ns: 4,
                inode: 5,
                tag_length: 2,
                tag: [6; TAG_BYTES_MAX],
            },
            boot_id: [7; 16],
            nonce: 8,
            direct: true,
            identity: Identity {
                origin: b"/origin".to_vec(),
                file: b"9".to_vec(),
            },
            path: b"a/b".to_vec(),
        }
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        for direct in [false, true] {
            let header = Header { direct, ..header() };
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
    }

    #[test]
    fn the_path_is_found_only_in_a_sound_header_of_the_nonce() {
        let bytes = header().encode();
        assert_eq!(path_in(&mut bytes.clone(), 8), Some(&b"a/b"[..]));
        assert_eq!(path_in(&mut bytes.clone(), 9), None);
        for bit in [8 * 8, 12 * 8, 144 * 8 + 31, 150 * 8, (bytes.len() - 1) * 8] {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(path_in(&mut damaged, 8), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(path_in(&mut bytes[..length].to_vec(), 8), None);
        }
    }

    #[test]
    fn a_flag_of_the_future_is_not_misread() {
        let mut bytes = header().encode();
        bytes[156] |= 2;
        let checksum = checksum_of_header(&mut bytes.clone());
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::decode(&bytes), None);
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_is_noticed() {
        let bytes = header().encode();
        // Whatever the mode says, it is one or the other; and another boot id is another's.
        let checked = |bit: &usize| !MODE.contains(&(bit / 8)) && !BOOT.contains(&(bit / 8));
        for bit in (0..bytes.len() * 8).filter(checked) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..length]), None, "length {length}");
        }
    }

    #[test]
    fn chunks_cover_the_file_exactly() {
        let geometry = header().geometry();
        assert_eq!(geometry.chunks(), 6);
        assert_eq!(geometry.extent(5), (5 << 20, 1));
        assert_eq!(geometry.extent(0), (0, 1 << 20));
        let empty = Geometry {
            size: 0,
            ..geometry
        };
        assert_eq!(empty.chunks(), 0);
    }

    #[test]
    fn regions_follow_each_other_and_end_with_a_page() {
        for (chunks, words) in [(0, 0), (1, 1), (64, 1), (65, 2), (1 << 24, 1 << 18)] {
            let regions = Regions {
                offset: 200,
                chunks,
                nonce: 1,
            };
            assert_eq!(regions.bits(Bits::Present), 200);
            assert_eq!(regions.bits(Bits::Summed), 200 + words * 8);
            assert_eq!(regions.bits(Bits::Doubted), 200 + words * 16);
            assert_eq!(regions.durable(0), 200 + words * 24);
            assert_eq!(regions.sums(), 200 + words * 40);
            let end = regions.sums() + chunks * 4;
            assert!(regions.file_bytes() >= end && regions.file_bytes() < end + PAGE_BYTES);
            assert!(regions.file_bytes().is_multiple_of(PAGE_BYTES));
        }
    }

    #[test]
    fn a_chunk_of_zeros_is_not_vouched_for_by_a_checksum_that_was_never_written() {
        let mut length = CHUNK_BYTES_MAX;
        while length > 0 {
            assert_ne!(checksum(&vec![0; length as usize]), 0, "{length} zeros");
            length /= 2;
        }
    }

    #[test]
    fn checksums_are_those_of_iscsi() {
        // RFC 3720, B.4.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
    }
}
