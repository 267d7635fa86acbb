//! From the cached file to the origin's: for what has to be done to that itself, as locks
//! and changes of its metadata.

use crate::attach::{self, Root};
use crate::errno::Kept;
use crate::identity::{self, Identity, device_of};
use crate::locks::Own;
use crate::redirect::path_below;
use crate::report::{self, What};
use crate::settings::{self, PATH_BYTES_MAX, Settings};
use crate::text::{Text, link_of};
use cachefs_core::peek::{self, DataName, FileKey, OBJECTS};
use libc::AT_FDCWD;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, Stat};
use rustix::io::{DupFlags, Errno, FdFlags};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// What a descriptor is.
pub enum Found {
    /// Not one of the cache.
    Other,
    /// Of the cache; the origin's file, opened anew.
    Origin(Own),
    /// Of the cache, and the origin's file cannot be found any more.
    Lost,
}

/// The origin's file of a descriptor that this library may have redirected. Where the process
/// has locks of it, that is given back: it would have to stay open anyway.
pub fn origin_of(fd: i32) -> Found {
    if fd < 0 || settings::get().is_none() {
        return Found::Other;
    }
    let _errno = Kept::new();
    // SAFETY: a number that is no descriptor gives EBADF, and it is not kept.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let Ok(stat) = rustix::fs::fstat(borrowed) else {
        return Found::Other;
    };
    match identity::of_descriptor(fd, stat.st_mode, stat.st_ino) {
        None => Found::Other,
        Some(identity) => {
            let reopened = rustix::fs::fcntl_getfl(borrowed)
                .and_then(|status| reopen(borrowed, &identity, status));
            match reopened {
                Ok(origin) if origin.is_locked() => {
                    move_to(&origin, fd).map_or(Found::Lost, |()| Found::Other)
                }
                Ok(origin) => Found::Origin(origin),
                Err(_) => Found::Lost,
            }
        }
    }
}

/// The origin's file of one that this library may have redirected, by a name that a
/// descriptor of that has. It cannot be read from, but opened by a name of its own.
pub fn origin_named(dir: i32, path: &CStr) -> Found {
    if settings::get().is_none() {
        return Found::Other;
    }
    let _errno = Kept::new();
    let dir = match dir {
        _ if path.to_bytes().starts_with(b"/") => CWD,
        AT_FDCWD => CWD,
        ..0 => return Found::Other,
        // SAFETY: a number that is no descriptor gives EBADF, and it is not kept.
        _ => unsafe { BorrowedFd::borrow_raw(dir) },
    };
    let Ok(stat) = rustix::fs::statat(dir, path, AtFlags::empty()) else {
        return Found::Other;
    };
    if !identity::may_be_of(stat.st_mode) {
        return Found::Other;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(data) = rustix::fs::openat(dir, path, flags, Mode::empty()) else {
        return Found::Other;
    };
    let name = link_of(&data);
    let Some(identity) = identity::of_path(name.c_str(), stat.st_mode, stat.st_ino) else {
        return Found::Other;
    };
    reopen(data.as_fd(), &identity, flags).map_or(Found::Lost, Found::Origin)
}

/// What is opened while this is held is to have the lowest number.
fn out_of_the_way(fd: OwnedFd) -> OwnedFd {
    const ABOVE: i32 = 200;
    // There may be no higher one.
    rustix::io::fcntl_dupfd_cloexec(&fd, ABOVE).unwrap_or(fd)
}

/// What a data file is called in the cache, and the path below its origin that is noted there: a
/// descriptor does not tell by which it was opened.
fn noted<'a>(
    data: BorrowedFd<'_>,
    settings: &Settings,
    buffer: &'a mut [u8; peek::HEADER_BYTES_MAX],
) -> Result<(DataName, &'a [u8]), Errno> {
    let mut link = [MaybeUninit::uninit(); PATH_BYTES_MAX];
    let mut objects = Text::<PATH_BYTES_MAX>::new();
    objects.push(settings.cache.bytes())?;
    objects.push(b"/")?;
    objects.push(OBJECTS.as_bytes())?;
    let name = path_below(data, objects.bytes(), &mut link).ok_or(Errno::STALE)?;
    let name = DataName::parse(name).ok_or(Errno::STALE)?;
    objects.push(b"/")?;
    objects.push(&name.metadata_name())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let metadata = rustix::fs::open(objects.c_str(), flags, Mode::empty())?;
    let below = peek::path_in(metadata.as_fd(), &name, buffer).ok_or(Errno::STALE)?;
    Ok((name, below))
}

/// What has a path below an origin now, which may be anything, as a FIFO that waits for its
/// writer: so it is not really opened.
fn named(root: &Root, below: &[u8]) -> Result<(OwnedFd, Stat), Errno> {
    let mut path = Text::<PATH_BYTES_MAX>::new();
    path.push(root.name())?;
    path.push(b"/")?;
    path.push(below)?;
    let named = rustix::fs::open(path.c_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&named)?;
    if root.device != device_of(&stat) {
        return Err(Errno::STALE);
    }
    Ok((named, stat))
}

fn reopen(fd: BorrowedFd<'_>, identity: &Identity, status: OFlags) -> Result<Own, Errno> {
    let settings = settings::get().ok_or(Errno::STALE)?;
    let attached = attach::get(settings).ok_or(Errno::STALE)?;
    let mut roots = attached.origins.iter().flatten();
    let root = roots.find(|root| identity.is_of_origin(root.name()));
    let root = root.ok_or(Errno::STALE)?;
    let mut buffer = [0; peek::HEADER_BYTES_MAX];
    let (_, below) = noted(fd, settings, &mut buffer)?;
    let (named, stat) = named(root, below)?;
    if !identity.is_of(&stat) {
        return Err(Errno::STALE);
    }
    if status.contains(OFlags::PATH) {
        return Ok(Own::new(out_of_the_way(named), stat));
    }
    // A name of a descriptor is a link.
    let status = status.difference(OFlags::NOFOLLOW) | OFlags::CLOEXEC;
    let origin = rustix::fs::open(link_of(&named).c_str(), status, Mode::empty())?;
    Ok(Own::new(origin, stat))
}

/// Whose a data file is that may not be asked for its attribute (a sandbox): what the origin's
/// file is now, by the path that is noted. None: it is not a data file, or that file is gone.
#[cold]
pub fn identity_by_name(data: BorrowedFd<'_>, own_inode: u64) -> Option<Identity> {
    let settings = settings::get()?;
    let attached = attach::get(settings)?;
    let mut buffer = [0; peek::HEADER_BYTES_MAX];
    let (name, below) = noted(data, settings, &mut buffer).ok()?;
    attached.origins.iter().flatten().find_map(|root| {
        let (_named, stat) = named(root, below).ok()?;
        let key = FileKey::new(root.name(), stat.st_ino);
        name.is_of(key)
            .then(|| Identity::of(&stat, root.name(), own_inode))
    })
}

/// Has a descriptor be of the origin's file from now on, at the same offset. ESTALE: that
/// cannot be found any more. What was duplicated from it stays in the cache.
pub fn give_back(fd: i32) -> Result<(), Errno> {
    let origin = match origin_of(fd) {
        Found::Other => return Ok(()),
        Found::Origin(origin) => origin,
        Found::Lost => return Err(Errno::STALE),
    };
    let _errno = Kept::new();
    move_to(&origin, fd)
}

/// Has a number be one of the origin's file, at the offset that it has.
fn move_to(origin: &Own, fd: i32) -> Result<(), Errno> {
    // SAFETY: it was open a moment ago; a number that is none gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let offset = rustix::fs::tell(borrowed)?;
    rustix::fs::seek(origin, SeekFrom::Start(offset))?;
    let is_cloexec = rustix::io::fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC);
    let mut dup = DupFlags::empty();
    dup.set(DupFlags::CLOEXEC, is_cloexec);
    // SAFETY: whoever uses the number now uses the same file by it afterwards.
    let mut target = unsafe { OwnedFd::from_raw_fd(fd) };
    let replaced = rustix::io::dup3(origin, &mut target, dup);
    let _number = target.into_raw_fd();
    replaced?;
    report::count(What::GivenBack);
    Ok(())
}
