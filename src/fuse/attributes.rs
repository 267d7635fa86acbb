//! What a file is: as statx(2) tells, and as the kernel wants to hear it.

use crate::wire::Attr;
use cachefs_core::VersionToken;
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Type bits of a mode (inode(7)).
pub const TYPE_MASK: u32 = libc::S_IFMT;
/// A directory.
pub const DIRECTORY: u32 = libc::S_IFDIR;
/// A regular file.
pub const REGULAR: u32 = libc::S_IFREG;

/// Tells the files of the origin apart, for as long as they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Of its file system, as in `st_dev`.
    pub device: u64,
    /// Within it.
    pub inode: u64,
}

/// Tells the versions of a file's content apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl From<&VersionToken> for Version {
    fn from(token: &VersionToken) -> Self {
        Self {
            size: token.size,
            mtime_ns: token.mtime_ns,
            ctime_ns: token.ctime_ns,
        }
    }
}

/// One look at a file.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub id: FileId,
    pub version: Version,
    /// With the number of the origin's file.
    pub attr: Attr,
}

impl Seen {
    /// Looks at a file by its open descriptor.
    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Self::at(fd, b"", AtFlags::EMPTY_PATH)
    }

    /// Looks at a file by its name, without following a link.
    pub fn named(directory: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        Self::at(directory, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn at(fd: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Self, Errno> {
        let flags = flags | AtFlags::NO_AUTOMOUNT;
        let raw = rustix::fs::statx(fd, name, flags, StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&raw))
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.attr.mode & TYPE_MASK == DIRECTORY
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.attr.mode & TYPE_MASK == REGULAR
    }

    /// The attributes of a file whose content stays at an earlier version.
    pub fn with_content_of(mut self, version: &Version) -> Self {
        (self.attr.mtime, self.attr.mtime_ns) = split(version.mtime_ns);
        self.attr.size = version.size;
        self.version = *version;
        self
    }
}

impl From<&Statx> for Seen {
    fn from(raw: &Statx) -> Self {
        let device = rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor);
        let nanoseconds = |time: &StatxTimestamp| {
            let seconds = time.tv_sec.saturating_mul(1_000_000_000);
            seconds.saturating_add(i64::from(time.tv_nsec))
        };
        Self {
            id: FileId {
                device,
                inode: raw.stx_ino,
            },
            version: Version {
                size: raw.stx_size,
                mtime_ns: nanoseconds(&raw.stx_mtime),
                ctime_ns: nanoseconds(&raw.stx_ctime),
            },
            attr: Attr {
                ino: raw.stx_ino,
                size: raw.stx_size,
                blocks: raw.stx_blocks,
                atime: raw.stx_atime.tv_sec.cast_unsigned(),
                mtime: raw.stx_mtime.tv_sec.cast_unsigned(),
                ctime: raw.stx_ctime.tv_sec.cast_unsigned(),
                atime_ns: raw.stx_atime.tv_nsec,
                mtime_ns: raw.stx_mtime.tv_nsec,
                ctime_ns: raw.stx_ctime.tv_nsec,
                mode: u32::from(raw.stx_mode),
                nlink: raw.stx_nlink,
                uid: raw.stx_uid,
                gid: raw.stx_gid,
                // The kernel's own form of a device number (`new_decode_dev`).
                rdev: encode_device(raw.stx_rdev_major, raw.stx_rdev_minor),
                blksize: raw.stx_blksize,
                flags: 0,
            },
        }
    }
}

/// Seconds, and the nanoseconds beyond them.
fn split(nanoseconds: i64) -> (u64, u32) {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let rest = nanoseconds.rem_euclid(1_000_000_000);
    (seconds.cast_unsigned(), rest as u32)
}

fn encode_device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// The number that the mount shows for a file. Files of the root's own file system keep
/// theirs; numbers of file systems mounted below it are made to differ from them, since
/// on the mount they all have one `st_dev`.
pub fn shown_inode(id: FileId, root_device: u64) -> u64 {
    if id.device == root_device {
        return id.inode;
    }
    // Any odd factor keeps numbers of one device apart.
    let turned = id.device.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
    id.inode ^ turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_have_nanoseconds_that_count_up() {
        assert_eq!(split(1_500_000_000), (1, 500_000_000));
        assert_eq!(split(-500_000_000), (u64::MAX, 500_000_000));
    }

    #[test]
    fn device_numbers_have_the_kernels_form() {
        assert_eq!(encode_device(1, 3), 0x103);
        assert_eq!(
            encode_device(259, 0x12345),
            0x1231_0345 & 0xfff0_0000 | 0x10345
        );
    }

    #[test]
    fn files_of_the_root_keep_their_numbers_and_others_do_not_clash_with_them() {
        let here = FileId {
            device: 1,
            inode: 7,
        };
        let there = FileId {
            device: 2,
            inode: 7,
        };
        assert_eq!(shown_inode(here, 1), 7);
        assert_ne!(shown_inode(there, 1), 7);
    }
}
