//! What a disk has not written yet: the bytes that were there before, so that a
//! crash can bring them back, sector by sector.

use super::Random;
use crate::error::Errno;
use rustix::fs::{Mode, OFlags};
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What a disk writes in one piece, bytes.
const SECTOR_BYTES: u64 = 512;

/// The last writes, the oldest first.
#[derive(Default)]
pub(super) struct Journal {
    /// Older ones have reached the disk: page caches write back what is old.
    pub(super) limit_bytes: u64,
    pub(super) fails_syncs: bool,
    bytes: u64,
    writes: VecDeque<Write>,
}

struct Write {
    /// Through the page cache, which takes any piece. Kept open, so that a file
    /// without a name can be torn as well.
    file: Arc<OwnedFd>,
    /// Two opens of one file are the same disk.
    identity: (u64, u64),
    offset: u64,
    before: Vec<u8>,
    /// A sync has failed at it: the kernel takes its pages for clean, and no other
    /// sync will write them.
    is_forgotten: bool,
}

impl Journal {
    /// Notes what a write is about to replace.
    pub(super) fn before_write(&mut self, file: &Arc<OwnedFd>, offset: u64, length: usize) {
        if self.limit_bytes == 0 || length == 0 {
            return;
        }
        let file = match through_the_page_cache(file) {
            Ok(file) => file,
            Err(errno) => {
                tracing::warn!("a direct file cannot be torn: {errno}");
                return;
            }
        };
        // Zeros lie behind the end of the file.
        let mut before = vec![0; length];
        let mut got = 0;
        while got < length {
            match rustix::io::pread(&file, &mut before[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(errno) => {
                    tracing::warn!("a file that only takes writes cannot be torn: {errno}");
                    return;
                }
            }
        }
        let Ok(stat) = rustix::fs::fstat(&file) else {
            return;
        };
        self.bytes += length as u64;
        self.writes.push_back(Write {
            file,
            identity: (stat.st_dev, stat.st_ino),
            offset,
            before,
            is_forgotten: false,
        });
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.writes.pop_front() else {
                break;
            };
            self.bytes -= oldest.before.len() as u64;
        }
    }

    /// The writes to a file so far have reached the disk, or never will.
    pub(super) fn sync(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(file)?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.fails_syncs {
            let of_file = self.writes.iter_mut();
            for write in of_file.filter(|write| write.identity == identity) {
                write.is_forgotten = true;
            }
            return Err(Errno::IO);
        }
        self.writes
            .retain(|write| write.identity != identity || write.is_forgotten);
        let bytes = |write: &Write| write.before.len() as u64;
        self.bytes = self.writes.iter().map(bytes).sum();
        Ok(())
    }

    /// Takes sectors back, from the last write to the first: each is left as it
    /// is as soon as the generator says so. Returns how many lost a write.
    pub(super) fn crash(&mut self, random: &mut Random) -> u64 {
        let mut kept = HashSet::new();
        let mut lost = HashSet::new();
        for write in std::mem::take(&mut self.writes).iter().rev() {
            let end = write.offset + write.before.len() as u64;
            let mut at = write.offset;
            while at < end {
                let sector = at / SECTOR_BYTES;
                let next = end.min((sector + 1) * SECTOR_BYTES);
                let name = (write.identity, sector);
                if kept.contains(&name) || random.chance(500) {
                    kept.insert(name);
                } else {
                    lost.insert(name);
                    write.take_back(at, next);
                }
                at = next;
            }
        }
        self.bytes = 0;
        lost.len() as u64
    }
}

/// The same file without O_DIRECT.
fn through_the_page_cache(file: &Arc<OwnedFd>) -> Result<Arc<OwnedFd>, Errno> {
    if !rustix::fs::fcntl_getfl(file)?.contains(OFlags::DIRECT) {
        return Ok(Arc::clone(file));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(Arc::new)
}

impl Write {
    fn take_back(&self, start: u64, end: u64) {
        let piece = (start - self.offset) as usize..(end - self.offset) as usize;
        let written = rustix::io::pwrite(&self.file, &self.before[piece.clone()], start);
        assert_eq!(written, Ok(piece.len()), "a test's disk takes writes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_crash_leaves_each_sector_as_one_of_its_writes_left_it() {
        const SECTORS: usize = 400;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'a'; SECTORS * 512], 0).unwrap();
        let descriptor = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
        let mut journal = Journal {
            limit_bytes: 1 << 20,
            ..Journal::default()
        };
        for version in [b'b', b'c'] {
            journal.before_write(&descriptor, 0, SECTORS * 512);
            file.write_all_at(&[version; SECTORS * 512], 0).unwrap();
        }
        let lost = journal.crash(&mut Random::new(1));
        let mut bytes = vec![0; SECTORS * 512];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let mut seen = [0; 256];
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "in one piece");
            seen[usize::from(sector[0])] += 1;
        }
        assert!(
            [b'a', b'b', b'c']
                .iter()
                .all(|one| seen[usize::from(*one)] > 0)
        );
        assert_eq!(lost, seen[usize::from(b'a')] + seen[usize::from(b'b')]);
        assert_eq!(
            journal.crash(&mut Random::new(1)),
            0,
            "nothing is kept back"
        );
    }

    #[test]
    fn what_is_older_than_the_limit_has_reached_the_disk() {
        let file = tempfile::tempfile().unwrap();
        let descriptor = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
        let mut journal = Journal {
            limit_bytes: 512 * 8,
            ..Journal::default()
        };
        for sector in 0..64 {
            journal.before_write(&descriptor, sector * 512, 512);
            file.write_all_at(&[b'x'; 512], sector * 512).unwrap();
        }
        assert!(journal.crash(&mut Random::new(1)) > 0);
        let mut bytes = vec![0; 56 * 512];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'x'));
    }
}
