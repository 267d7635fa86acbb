//! Whose a data file of the cache is: an extended attribute tells it to everybody who has
//! a descriptor of it, however that was come by (dup, fork, exec, a socket).
//!
//! It is written by whoever opens a data file first in place of the origin's, and stays:
//! a data file is of one version, and what is told is the same for all of a version,
//! since a change of any of it would change the origin's ctime.

use crate::attach::{self, Attached};
use crate::give_back::identity_by_name;
use crate::settings;
use rustix::fs::{Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use xxhash_rust::xxh3::xxh3_64;

/// Short, so that it fits into an inode of 256 bytes of ext4.
const NAME: &CStr = c"user.cachefs";
/// The first two bytes; another layout has another number.
const FORMAT: u16 = 1;
/// Bytes of the attribute.
const BYTES: usize = 64;
/// What the data files of a cache may have (see `store`): nobody asks others.
const MODE: u32 = libc::S_IFREG | 0o600;

/// What a file of an origin was when it was cached, as far as a copy of it is not it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Type and permissions.
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    /// XXH3 of the origin's name.
    origin: u64,
    inode: u64,
    /// Nanoseconds since 1970.
    ctime: i64,
    mtime: i64,
    /// Major and minor number, as of when it was written: for who does not know the origin.
    device: (u32, u32),
    /// Inode of the data file, so that a copy of the attribute is told from it.
    own: u64,
}

/// Major and minor number of where a file is.
pub fn device_of(stat: &Stat) -> (u32, u32) {
    (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    )
}

impl Identity {
    pub fn of(stat: &Stat, origin: &[u8], own_inode: u64) -> Self {
        let token = cachefs_core::peek::version_of(stat);
        Self {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            // More than there can be of a file.
            links: stat.st_nlink.try_into().unwrap_or(u32::MAX),
            origin: xxh3_64(origin),
            inode: stat.st_ino,
            ctime: token.ctime_ns,
            mtime: token.mtime_ns,
            device: device_of(stat),
            own: own_inode,
        }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let mut places = out.iter_mut();
        let mut put = |bytes: &[u8]| {
            let pairs = bytes.iter().zip(places.by_ref());
            pairs.for_each(|(byte, place)| *place = *byte);
        };
        put(&FORMAT.to_le_bytes());
        put(&(self.mode as u16).to_le_bytes());
        for number in [self.uid, self.gid, self.links] {
            put(&number.to_le_bytes());
        }
        put(&self.origin.to_le_bytes());
        put(&self.inode.to_le_bytes());
        put(&self.ctime.to_le_bytes());
        put(&self.mtime.to_le_bytes());
        put(&self.device.0.to_le_bytes());
        put(&self.device.1.to_le_bytes());
        put(&self.own.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let rest = &mut rest;
        (bytes.len() == BYTES && u16::from_le_bytes(next(rest)?) == FORMAT).then_some(())?;
        Some(Self {
            mode: u16::from_le_bytes(next(rest)?).into(),
            uid: u32::from_le_bytes(next(rest)?),
            gid: u32::from_le_bytes(next(rest)?),
            links: u32::from_le_bytes(next(rest)?),
            origin: u64::from_le_bytes(next(rest)?),
            inode: u64::from_le_bytes(next(rest)?),
            ctime: i64::from_le_bytes(next(rest)?),
            mtime: i64::from_le_bytes(next(rest)?),
            device: (
                u32::from_le_bytes(next(rest)?),
                u32::from_le_bytes(next(rest)?),
            ),
            own: u64::from_le_bytes(next(rest)?),
        })
    }

    /// Has a data file tell whose it is, and when that was changed.
    pub fn write(&self, data: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::fsetxattr(data, NAME, &self.encode(), XattrFlags::empty())?;
        let (tv_sec, tv_nsec) = time(self.mtime);
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: rustix::fs::Timespec { tv_sec, tv_nsec },
        };
        rustix::fs::futimens(data, &times)
    }

    /// Whose a file is that has this inode. None: it is not a data file of a cache. `by_name`
    /// tells it where the attribute may not be asked for.
    fn read(
        inode: u64,
        read: impl FnOnce(&CStr, &mut [u8; BYTES]) -> Result<usize, Errno>,
        by_name: impl FnOnce() -> Option<Self>,
    ) -> Option<Self> {
        let mut bytes = [0; BYTES];
        match read(NAME, &mut bytes) {
            Ok(length) => Self::decode(bytes.get(..length)?).filter(|found| found.own == inode),
            // There is none, or a longer one, or there cannot be any; or no such file.
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP | Errno::BADF | Errno::NOENT) => {
                None
            }
            Err(_) => by_name(),
        }
    }

    /// Device and mount of its origin, where this process knows that.
    fn place(&self) -> ((u32, u32), Option<u64>) {
        let attached = settings::get().and_then(attach::get);
        let roots = attached.map(|attached: &Attached| attached.origins.iter().flatten());
        let mut roots = roots.into_iter().flatten();
        match roots.find(|root| xxh3_64(root.name()) == self.origin) {
            Some(root) => (root.device, Some(root.mount)),
            None => (self.device, None),
        }
    }

    /// Whether the origin's file still is what was cached, by what fstat(2) says of it.
    pub fn is_of(&self, stat: &Stat) -> bool {
        let token = cachefs_core::peek::version_of(stat);
        stat.st_ino == self.inode && token.ctime_ns == self.ctime && token.mtime_ns == self.mtime
    }

    /// Of which origin it is.
    pub fn is_of_origin(&self, name: &[u8]) -> bool {
        xxh3_64(name) == self.origin
    }
}

/// Takes the first bytes of what is left.
fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// Seconds and nanoseconds.
fn time(nanoseconds: i64) -> (i64, i64) {
    (
        nanoseconds.div_euclid(1_000_000_000),
        nanoseconds.rem_euclid(1_000_000_000),
    )
}

/// Whether a file may be a data file, by its mode.
pub fn may_be_of(mode: u32) -> bool {
    mode == MODE
}

/// Whose an open file is, by what fstat(2) says of it.
pub fn of_descriptor(fd: i32, mode: u32, inode: u64) -> Option<Identity> {
    if mode != MODE || fd < 0 {
        return None;
    }
    // SAFETY: a number that is no descriptor gives EBADF, and it is not kept.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Identity::read(
        inode,
        |name, bytes| rustix::fs::fgetxattr(fd, name, bytes),
        || identity_by_name(fd, inode),
    )
}

/// Whose a file is that a name leads to.
pub fn of_path(path: &CStr, mode: u32, inode: u64) -> Option<Identity> {
    if mode != MODE {
        return None;
    }
    let by_name = || {
        let data = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        identity_by_name(data.ok()?.as_fd(), inode)
    };
    let ask = |name: &CStr, bytes: &mut [u8; BYTES]| rustix::fs::getxattr(path, name, bytes);
    Identity::read(inode, ask, by_name)
}

/// What the answer of a stat is about.
pub enum Asked<'a> {
    Descriptor(i32),
    Path(&'a CStr),
}

impl Asked<'_> {
    fn identity(&self, mode: u32, inode: u64) -> Option<Identity> {
        match self {
            Asked::Descriptor(fd) => of_descriptor(*fd, mode, inode),
            Asked::Path(path) => of_path(path, mode, inode),
        }
    }
}

/// Has an answer of fstat(2) be about the origin's file.
pub fn fix_stat(asked: &Asked<'_>, stat: &mut libc::stat) {
    let Some(identity) = asked.identity(stat.st_mode, stat.st_ino) else {
        return;
    };
    let ((major, minor), _) = identity.place();
    stat.st_dev = libc::makedev(major, minor);
    stat.st_ino = identity.inode;
    stat.st_mode = identity.mode;
    stat.st_nlink = identity.links.into();
    stat.st_uid = identity.uid;
    stat.st_gid = identity.gid;
    (stat.st_mtime, stat.st_mtime_nsec) = time(identity.mtime);
    (stat.st_ctime, stat.st_ctime_nsec) = time(identity.ctime);
}

/// The same of statx(2).
pub fn fix_statx(asked: &Asked<'_>, stat: &mut libc::statx) {
    let Some(identity) = asked.identity(stat.stx_mode.into(), stat.stx_ino) else {
        return;
    };
    let ((major, minor), mount) = identity.place();
    (stat.stx_dev_major, stat.stx_dev_minor) = (major, minor);
    stat.stx_ino = identity.inode;
    stat.stx_mode = identity.mode as u16;
    stat.stx_nlink = identity.links;
    (stat.stx_uid, stat.stx_gid) = (identity.uid, identity.gid);
    if let Some(mount) = mount {
        stat.stx_mnt_id = mount;
    }
    // When the copy was made is nobody's business.
    stat.stx_mask &= !libc::STATX_BTIME;
    let stamp = |nanoseconds: i64, target: &mut libc::statx_timestamp| {
        let (seconds, rest) = time(nanoseconds);
        target.tv_sec = seconds;
        target.tv_nsec = rest as u32;
    };
    stamp(identity.mtime, &mut stat.stx_mtime);
    stamp(identity.ctime, &mut stat.stx_ctime);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_round_trip() {
        let identity = Identity {
            mode: 0o100_644,
            uid: 1,
            gid: 2,
            links: 3,
            origin: u64::MAX,
            inode: 5 << 40,
            ctime: -6,
            mtime: i64::MIN,
            device: (7, 8),
            own: 9,
        };
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Some(identity));
        assert_eq!(Identity::decode(&bytes[1..]), None);
        let mut other = bytes;
        other[0] ^= 1;
        assert_eq!(Identity::decode(&other), None);
    }

    #[test]
    fn times_before_1970_are_whole() {
        assert_eq!(time(-1), (-1, 999_999_999));
        assert_eq!(time(1_500_000_000), (1, 500_000_000));
    }
}
