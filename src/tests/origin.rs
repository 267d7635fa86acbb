//! Origins of the tests: real directories, and code that counts, hangs and lies.

use cachefs_core::{CustomOrigin, Errno, OriginRead, VersionToken};
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The byte that every test file has at an offset: no two chunks are alike.
pub(crate) fn byte_at(file: u64, offset: u64) -> u8 {
    word_at(file, offset)[(offset & 7) as usize]
}

/// Eight of them at once: at a multiple of eight.
fn word_at(file: u64, offset: u64) -> [u8; 8] {
    (offset >> 3)
        .wrapping_add(file << 40)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_le_bytes()
}

/// Writes the bytes of a test file from `offset` on. By words, since tests are
/// not optimised and some files are large.
pub(crate) fn write_content(file: u64, offset: u64, bytes: &mut [u8]) {
    let ragged = (offset.next_multiple_of(8) - offset) as usize;
    let (head, rest) = bytes.split_at_mut(ragged.min(bytes.len()));
    let (words, tail) = rest.as_chunks_mut::<8>();
    let mut at = offset + head.len() as u64;
    for (byte, at) in head.iter_mut().zip(offset..) {
        *byte = byte_at(file, at);
    }
    for word in words {
        *word = word_at(file, at);
        at += 8;
    }
    for (byte, at) in tail.iter_mut().zip(at..) {
        *byte = byte_at(file, at);
    }
}

/// The bytes of a test file.
pub(crate) fn content(file: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    write_content(file, offset, &mut bytes);
    bytes
}

/// Writes a file, and waits until it is old enough to be trusted.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    grow_old();
}

/// A file that changed less than 20 ms ago is not trusted, so not stored.
pub(crate) fn grow_old() {
    std::thread::sleep(Duration::from_millis(30));
}

/// A file made by code, which can be told to misbehave.
pub(crate) struct TestOrigin {
    pub(crate) size: AtomicU64,
    /// Its mtime; the content is a function of it.
    pub(crate) version: AtomicI64,
    /// Every byte is the version's number, so that a mixture shows.
    pub(crate) uniform: bool,
    /// After so many reads the file changes by itself; 0: never.
    pub(crate) changes_every: u64,
    pub(crate) reads: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) stats: AtomicU64,
    /// What `stat` fails with, if not 0.
    pub(crate) stat_errno: AtomicI64,
    /// `stat` hangs as well while `hang` is true.
    pub(crate) stat_hangs: AtomicBool,
    /// Fails reads, if not 0.
    pub(crate) errno: AtomicI64,
    /// Fails the next read, if not 0.
    pub(crate) errno_once: AtomicI64,
    /// Gives only half of what was asked for.
    pub(crate) short: AtomicBool,
    /// Reads hang while this is true.
    pub(crate) hang: Mutex<bool>,
    pub(crate) resumed: Condvar,
    /// How long a read takes.
    pub(crate) delay: Duration,
    pub(crate) blocking_threads: u32,
}

impl TestOrigin {
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size: AtomicU64::new(size),
            version: AtomicI64::new(1),
            uniform: false,
            changes_every: 0,
            reads: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            stats: AtomicU64::new(0),
            stat_errno: AtomicI64::new(0),
            stat_hangs: AtomicBool::new(false),
            errno: AtomicI64::new(0),
            errno_once: AtomicI64::new(0),
            short: AtomicBool::new(false),
            hang: Mutex::new(false),
            resumed: Condvar::new(),
            delay: Duration::ZERO,
            blocking_threads: 4,
        }
    }

    pub(crate) fn set_hang(&self, hang: bool) {
        *self.hang.lock().unwrap() = hang;
        self.resumed.notify_all();
    }

    /// One read: the count, or a negative errno.
    pub(crate) fn read_into(&self, bytes: &mut [u8], offset: u64) -> i64 {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        if self.changes_every > 0 && reads.is_multiple_of(self.changes_every) {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        self.wait_while_hanging();
        std::thread::sleep(self.delay);
        let errno = match self.errno_once.swap(0, Ordering::SeqCst) {
            0 => self.errno.load(Ordering::SeqCst),
            once => once,
        };
        if errno != 0 {
            return -errno;
        }
        let size = self.size.load(Ordering::SeqCst);
        let mut length = bytes.len().min(size.saturating_sub(offset) as usize);
        if self.short.load(Ordering::SeqCst) {
            length /= 2;
        }
        self.fill(&mut bytes[..length], offset);
        self.bytes_read.fetch_add(length as u64, Ordering::SeqCst);
        length as i64
    }

    fn wait_while_hanging(&self) {
        let mut hang = self.hang.lock().unwrap();
        while *hang {
            hang = self.resumed.wait(hang).unwrap();
        }
    }

    fn fill(&self, bytes: &mut [u8], offset: u64) {
        let version = self.version.load(Ordering::SeqCst) as u64;
        if self.uniform {
            bytes.fill(version as u8);
            return;
        }
        write_content(version, offset, bytes);
    }
}

impl CustomOrigin for TestOrigin {
    fn stat(&self, path: &CStr) -> Result<VersionToken, Errno> {
        self.stats.fetch_add(1, Ordering::SeqCst);
        if self.stat_hangs.load(Ordering::SeqCst) {
            self.wait_while_hanging();
        }
        if path == c"missing" {
            return Err(Errno::NOENT);
        }
        let errno = self.stat_errno.load(Ordering::SeqCst);
        if errno != 0 {
            return Err(Errno::from_raw_os_error(errno as i32));
        }
        Ok(VersionToken {
            size: self.size.load(Ordering::SeqCst),
            mtime_ns: self.version.load(Ordering::SeqCst),
            ctime_ns: 0,
            inode: 0,
            tag_length: 0,
            tag: [0; cachefs_core::TAG_BYTES_MAX],
        })
    }

    fn read(&self, mut read: OriginRead) {
        let offset = read.offset();
        let result = self.read_into(read.buffer(), offset);
        read.complete(match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => Err(Errno::from_raw_os_error(-result as i32)),
        });
    }

    fn threads(&self) -> u32 {
        self.blocking_threads
    }
}
