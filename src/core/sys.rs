//! System calls that no safe wrapper offers, each wrapped once.

mod copying;
mod mapped;

pub(crate) use copying::{
    Files, copy_range, data_from, device, has_no_other_user, is_free, lock_range, open_direct,
    pages_cached, pages_dirty, punch, reflink,
};
pub(crate) use mapped::{Mapped, prefetch, store_again, store_half_again};

use crate::error::Errno;
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

thread_local! {
    /// Without a destructor, so that it is there until the thread is gone:
    /// programs call us from destructors of their own.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// A number for the calling thread that no other has had.
pub(crate) fn current_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if THREAD.get() == 0 {
        THREAD.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    THREAD.get()
}

/// Which lock to take on the first byte of a file.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
    /// Gives back the one that is had.
    None,
}

/// Takes an open-file-description lock on byte 0 without waiting (fcntl(2),
/// F_OFD_SETLK): it belongs to the open file, so it dies with its last holder. That may be
/// a child that was forked meanwhile: see [`Lock::None`] for who cannot wait for its exec.
pub(crate) fn try_lock(fd: BorrowedFd<'_>, lock: Lock) -> Result<(), Errno> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::None => libc::F_UNLCK,
    };
    // SAFETY: `flock` is a C structure of integers, for which zero is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_len = 1;
    // SAFETY: fcntl(2) reads one `flock` during the call; the descriptor is borrowed.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    check(result as isize).map(drop)
}

/// pread(2) into memory that need not be initialised.
///
/// # Safety
/// `length` bytes at `buffer` must be writable and nobody else's during the call.
pub(crate) unsafe fn pread(
    fd: BorrowedFd<'_>,
    buffer: *mut u8,
    length: usize,
    offset: u64,
) -> Result<usize, Errno> {
    // Without libc, whose pread(3) pays for being a cancellation point: a thread
    // that ends in the middle of a read of ours would leave a hole in our books.
    // SAFETY: the caller promises the memory, which need not be initialised.
    let target = unsafe { slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
    let (read, _rest) = rustix::io::pread(fd, target, to_off(offset)? as u64)?;
    Ok(read.len())
}

/// pwrite(2).
///
/// # Safety
/// `length` bytes at `buffer` must be readable and unchanged during the call.
pub(crate) unsafe fn pwrite(
    fd: BorrowedFd<'_>,
    buffer: *const u8,
    length: usize,
    offset: u64,
) -> Result<usize, Errno> {
    // SAFETY: the caller promises the memory; the descriptor is borrowed.
    check(unsafe { libc::pwrite(fd.as_raw_fd(), buffer.cast(), length, to_off(offset)?) })
}

/// fallocate(2): leave the length of the file alone.
pub(crate) const FALLOC_FL_KEEP_SIZE: i32 = 0x01;
/// fallocate(2): allocate blocks that are written zeros (linux/falloc.h, 6.17).
pub(crate) const FALLOC_FL_WRITE_ZEROES: i32 = 0x80;

/// Gives a part of a file its blocks (fallocate(2)); its length stays.
pub(crate) fn allocate(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length)
}

/// The same with blocks that are marked as written, so that the first write to
/// them changes no metadata. EOPNOTSUPP where the device cannot.
pub(crate) fn allocate_zeroed(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    fallocate(fd, FALLOC_FL_WRITE_ZEROES, offset, length)
}

fn fallocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, length: u64) -> Result<(), Errno> {
    let (offset, length) = (to_off(offset)?, to_off(length)?);
    // SAFETY: the call touches no memory; the descriptor is borrowed.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, length) } as isize).map(drop)
}

/// splice(2). An offset of None: it is a pipe.
pub(crate) fn splice(
    source: BorrowedFd<'_>,
    from: Option<u64>,
    target: BorrowedFd<'_>,
    to: Option<u64>,
    length: usize,
) -> Result<usize, Errno> {
    let mut from = from.map(|from| from as i64);
    let mut to = to.map(|to| to as i64);
    let pointer = |place: &mut Option<i64>| {
        place
            .as_mut()
            .map_or(std::ptr::null_mut(), |place| &raw mut *place)
    };
    // SAFETY: splice(2) reads and writes the two offsets during the call.
    check(unsafe {
        libc::splice(
            source.as_raw_fd(),
            pointer(&mut from),
            target.as_raw_fd(),
            pointer(&mut to),
            length,
            libc::SPLICE_F_MOVE,
        )
    })
}

/// Gives the calling thread an I/O priority (ioprio_set(2)).
pub(crate) fn set_io_priority(priority: u16) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: the call touches no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS,
            0,
            libc::c_int::from(priority),
        )
    };
    check(result as isize).map(drop)
}

/// The kernel's file offsets are signed.
fn to_off(offset: u64) -> Result<libc::off_t, Errno> {
    libc::off_t::try_from(offset).map_err(|_| Errno::OVERFLOW)
}

fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last_errno())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Starts a library thread with every signal blocked, so that the program's
/// handlers never run on it (signal masks are inherited at pthread_create(3)).
pub(crate) fn spawn(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    // SAFETY: sigfillset(3) and pthread_sigmask(3) write the two sets that live
    // on this frame and touch nothing else but this thread's mask.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let thread = thread::Builder::new().name(name).spawn(body);
    // SAFETY: `before` was written by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    thread
}

/// Since the host was started, sleep included: no clock that somebody sets.
pub(crate) fn boot_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The kernel's name for this boot (random(4)). Where /proc does not tell, a
/// number that no object has: what was cached before is then not trusted.
pub(crate) fn boot_id() -> Result<[u8; 16], Errno> {
    match boot_id_told() {
        Some(id) => Ok(id),
        None => {
            let mut id = [0; 16];
            random(&mut id)?;
            Ok(id)
        }
    }
}

/// Opens a file of the cache. Reading it, or mapping it, does not change when it was last
/// read: that is something to be written, which would wait while its device hangs. Another
/// user's file has its time changed nevertheless (open(2), O_NOATIME). Allocates nothing
/// where the name is a C string.
pub(crate) fn open_at(
    directory: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(&directory, name, flags | OFlags::NOATIME, mode) {
        Err(Errno::PERM) => rustix::fs::openat(&directory, name, flags, mode),
        other => other,
    }
}

/// The same if the kernel has all of the way to it in memory, so that nobody waits for the
/// device or for others who do (openat2(2), RESOLVE_CACHED). EAGAIN: it has not. Before Linux
/// 5.12, and of another user's file, whoever asks may wait.
pub(crate) fn open_cached(
    directory: impl AsFd,
    name: &str,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let cached = rustix::fs::ResolveFlags::CACHED;
    let quiet = flags | OFlags::NOATIME;
    match rustix::fs::openat2(&directory, name, quiet, Mode::empty(), cached) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            open_at(&directory, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// The same where /proc tells it. Allocates nothing.
pub(crate) fn boot_id_told() -> Option<[u8; 16]> {
    let path = c"/proc/sys/kernel/random/boot_id";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let mut text = [0; 64];
    let length = rustix::io::read(&file, &mut text).ok()?;
    let mut digits = text[..length]
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = (digits.next()? << 4 | digits.next()?) as u8;
    }
    digits.next().is_none().then_some(id)
}

/// Fills a few bytes from the kernel's generator (getrandom(2), which gives up
/// to 256 bytes in one piece).
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Errno> {
    let wanted = bytes.len();
    match rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())? {
        given if given == wanted => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// What statx(2) says of an open file, as far as the core asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Type and permissions.
    pub(crate) mode: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
    /// Nanoseconds since 1970.
    pub(crate) ctime_ns: i64,
    /// Number of the file in its file system.
    pub(crate) inode: u64,
    /// The mount that it was opened through; 0 before Linux 5.8.
    pub(crate) mount: u64,
}

/// A time of statx(2) in nanoseconds since 1970.
pub(crate) fn nanoseconds(seconds: i64, rest: u32) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(rest))
}

/// Fields that [`Attributes`] needs.
pub(crate) const STATX_MASK: u32 = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;

impl From<&libc::statx> for Attributes {
    fn from(raw: &libc::statx) -> Self {
        let nanoseconds = |time: &libc::statx_timestamp| nanoseconds(time.tv_sec, time.tv_nsec);
        Self {
            mode: u32::from(raw.stx_mode),
            size: raw.stx_size,
            mtime_ns: nanoseconds(&raw.stx_mtime),
            ctime_ns: nanoseconds(&raw.stx_ctime),
            inode: raw.stx_ino,
            mount: raw.stx_mnt_id,
        }
    }
}

/// What O_DIRECT asks for, in bytes. Powers of two; 0: the file cannot have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectAlignment {
    /// Of addresses.
    pub(crate) memory: u32,
    /// Of offsets and lengths.
    pub(crate) offset: u32,
}

/// What an open file asks of O_DIRECT (statx(2), STATX_DIOALIGN); None where the
/// file system or the kernel (before 6.1) does not tell.
pub(crate) fn direct_alignment(fd: BorrowedFd<'_>) -> Result<Option<DirectAlignment>, Errno> {
    let raw = statx(fd, libc::STATX_DIOALIGN)?;
    Ok(
        (raw.stx_mask & libc::STATX_DIOALIGN != 0).then_some(DirectAlignment {
            memory: raw.stx_dio_mem_align,
            offset: raw.stx_dio_offset_align,
        }),
    )
}

/// Whether the file's file system answers poll(2) for it: epoll_ctl(2) refuses
/// those that do not with EPERM. With any other errno nobody can tell: true is the
/// careful answer. `poller` is an epoll descriptor.
pub(crate) fn has_poll(poller: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> bool {
    let nothing = epoll::EventData::new_u64(0);
    match epoll::add(poller, fd, nothing, epoll::EventFlags::empty()) {
        Ok(()) => {
            // What is left goes with the file.
            let _gone = epoll::delete(poller, fd);
            true
        }
        Err(errno) => errno != Errno::PERM,
    }
}

/// statx(2) of an open file.
pub(crate) fn attributes(fd: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    Ok(Attributes::from(&statx(fd, STATX_MASK)?))
}

fn statx(fd: BorrowedFd<'_>, mask: u32) -> Result<libc::statx, Errno> {
    // SAFETY: `statx` is a C structure of integers, for which zero is a value.
    let mut raw: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and `raw` is writable during the call.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            &raw mut raw,
        )
    };
    check(result as isize)?;
    Ok(raw)
}
