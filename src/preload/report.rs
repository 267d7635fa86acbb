//! What a process has done, told at its end if `CACHEFS_REPORT=1` asks for it.

use crate::settings::{self, FixedPath};
use crate::text::Text;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What became of an open for reading of a file below an origin, and what was done else.
#[derive(Clone, Copy)]
pub enum What {
    /// It was opened in the cache.
    Redirected,
    /// Of those, without asking the origin.
    Trusted,
    /// Nothing of the file is cached.
    NotCached,
    /// A part of it is cached, or another version, or it was not looked at since the host
    /// was started.
    NotWhole,
    /// The cache directory cannot be used.
    NoCache,
    /// It is on another file system than the root of its origin.
    OtherFileSystem,
    /// Its data file could not be opened, or was evicted meanwhile.
    CacheFailed,
    /// The data file cannot tell whose it is: its file system has no extended attributes.
    NoAttributes,
    /// The process may have locks of it, which it would lose.
    Locked,
    /// It was opened with flags that only the origin's file can have.
    Flags,
    /// It was opened for writing.
    Written,
    /// A copy into the cache was asked for.
    Asked,
    /// It could not be: nobody listens, or too many wait.
    NobodyAsked,
    /// A descriptor was given the origin's file again.
    GivenBack,
}

const LINES: [(What, &str); 14] = [
    (What::Redirected, "opened in the cache"),
    (What::Trusted, "  without asking the origin"),
    (What::NotCached, "missed: not cached"),
    (What::NotWhole, "missed: not all of this version is cached"),
    (What::NoCache, "missed: the cache cannot be used"),
    (
        What::OtherFileSystem,
        "missed: on another file system below the origin",
    ),
    (
        What::CacheFailed,
        "missed: the cached file could not be opened",
    ),
    (
        What::NoAttributes,
        "missed: the cache's file system has no user attributes",
    ),
    (What::Locked, "left to the origin: locked by the program"),
    (What::Flags, "left to the origin: opened with other flags"),
    (What::Written, "left to the origin: opened for writing"),
    (What::Asked, "copies asked for"),
    (What::NobodyAsked, "copies not asked for: no filler"),
    (What::GivenBack, "given back to the origin: locks, metadata"),
];

const SIZES: &str = "bytes of the files opened in the cache";
/// Bytes of all that is told.
const BYTES_MAX: usize = 2048;

static COUNTS: [AtomicU64; LINES.len()] = [const { AtomicU64::new(0) }; LINES.len()];
static BYTES: AtomicU64 = AtomicU64::new(0);

/// It will be told, or was.
static IS_PLANNED: AtomicBool = AtomicBool::new(false);
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Counts one.
pub fn count(what: What) {
    if let Some(count) = COUNTS.get(what as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    if is_wanted().is_some() && !IS_PLANNED.swap(true, Ordering::Relaxed) {
        // Before what the program has planned for its end, which may close stderr.
        // SAFETY: the function takes nothing and stays as long as the process. Where it is
        // not taken, the destructor tells.
        unsafe { libc::atexit(tell) };
    }
}

/// Counts the size of a file that was opened in the cache.
pub fn add_bytes(bytes: u64) {
    BYTES.fetch_add(bytes, Ordering::Relaxed);
}

/// The same of one whose size nobody knows yet: it is asked for if it will be told.
pub fn add_bytes_of(data: BorrowedFd<'_>) {
    if is_wanted().is_some()
        && let Ok(stat) = rustix::fs::fstat(data)
    {
        add_bytes(stat.st_size.unsigned_abs());
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = tell;

/// Where it is told, if it is.
fn is_wanted() -> Option<&'static FixedPath> {
    let report = &settings::get()?.report;
    (!report.bytes().is_empty()).then_some(report)
}

/// In one piece; nothing if nothing was done.
extern "C" fn tell() {
    let Some(report) = is_wanted() else {
        return;
    };
    if IS_TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    let counts = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
    if counts.iter().all(|count| *count == 0) {
        return;
    }
    let mut text = Text::<BYTES_MAX>::new();
    // Not by rustix, which takes for granted that no sandbox refuses it.
    // SAFETY: it takes nothing.
    let pid = u64::from(unsafe { libc::getpid() }.unsigned_abs());
    for ((_, words), count) in LINES.into_iter().zip(counts) {
        if count > 0 {
            line(&mut text, pid, words, count);
        }
    }
    line(&mut text, pid, SIZES, BYTES.load(Ordering::Relaxed));
    // There is nobody to tell that nobody can be told.
    let _ = write(report, text.bytes());
}

fn write(report: &FixedPath, text: &[u8]) -> Result<usize, Errno> {
    if report.bytes() == b"1" {
        // SAFETY: a number that is no descriptor gives EBADF, and it is not kept.
        let stderr = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
        return rustix::io::write(stderr, text);
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(report.c_str(), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&file, text)
}

fn line(text: &mut Text<BYTES_MAX>, pid: u64, words: &str, count: u64) {
    let parts: [&[u8]; 2] = [b"cachefs: ", b": "];
    // All of them fit: see the test.
    let _ = text.push(parts[0]);
    let _ = text.push_number(pid);
    let _ = text.push(parts[1]);
    let _ = text.push(words.as_bytes());
    let _ = text.push(parts[1]);
    let _ = text.push_number(count);
    let _ = text.push(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_line() {
        for (index, (what, _)) in LINES.iter().enumerate() {
            assert_eq!(*what as usize, index);
        }
    }

    #[test]
    fn all_lines_fit() {
        let mut text = Text::<BYTES_MAX>::new();
        for (_, words) in LINES {
            line(&mut text, u32::MAX.into(), words, u64::MAX);
        }
        line(&mut text, u32::MAX.into(), SIZES, u64::MAX);
        assert!(text.bytes().len() < BYTES_MAX - 1);
    }
}
