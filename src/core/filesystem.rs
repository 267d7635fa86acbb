//! What kind of file system a file is on (statfs(2)).

use crate::error::Errno;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// How far its bytes are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// In memory: the page cache is all there is.
    Memory,
    /// On a device of this host, as far as the file system knows.
    Local,
    /// Behind a network or a program, which may never answer. Also file systems
    /// that nobody has named here: that costs a copy, the other mistake a hang.
    Remote,
}

/// File systems that keep everything in memory: tmpfs, ramfs, hugetlbfs
/// (linux/magic.h).
const IN_MEMORY: [u32; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

/// File systems on block devices, by what statfs(2) calls `f_type` (linux/magic.h,
/// and the file systems' own headers). Overlays are not among them, since they
/// do not tell what they lie on.
const ON_DEVICES: [u32; 17] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0xe0f5_e1e2, // EROFS
    0x7371_7368, // squashfs
    0x0000_9660, // ISO 9660
    0x1501_3346, // UDF
    0x0000_4d44, // FAT
    0x2011_bab0, // exFAT
    0x5346_544e, // NTFS
    0x7366_746e, // NTFS3
    0x3153_464a, // JFS
    0x0000_3434, // NILFS
    0x5265_4973, // ReiserFS
];

const EXT: u32 = 0xef53;
/// File systems that always give away the blocks of a removed file so late: XFS keeps
/// busy extents from data until the log is on the device, btrfs pins extents until the
/// transaction is.
const FREE_LATE: [u32; 2] = [0x5846_5342, 0x9123_683e];

/// Whether the blocks of a removed file are given to another one only once its removal
/// would outlive a crash of the host: else it may come back, with the other one's bytes.
/// ext4 does so if it has a journal and was not mounted with data=writeback
/// (Documentation/filesystems/ext4). Of others nothing is known.
pub(crate) fn frees_late(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let kind = rustix::fs::fstatfs(fd)?.f_type as u32;
    if kind != EXT {
        return Ok(FREE_LATE.contains(&kind));
    }
    let device = rustix::fs::fstat(fd)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link
        .ok()
        .and_then(|link| Some(link.file_name()?.to_owned()));
    let options = name.and_then(|name| {
        let path = Path::new("/proc/fs/ext4").join(name).join("options");
        std::fs::read_to_string(path).ok()
    });
    Ok(options.is_some_and(|options| orders_data(&options)))
}

/// By what ext4 tells of its options, which have no word of data without a journal.
fn orders_data(options: &str) -> bool {
    let mut options = options.lines();
    options.any(|option| ["data=ordered", "data=journal"].contains(&option))
}

/// Where the file's bytes are.
pub(crate) fn distance(fd: BorrowedFd<'_>) -> Result<Distance, Errno> {
    // The type has 32 bits; how wide its field is depends on the architecture.
    Ok(of_type(rustix::fs::fstatfs(fd)?.f_type as u32))
}

fn of_type(kind: u32) -> Distance {
    if IN_MEMORY.contains(&kind) {
        Distance::Memory
    } else if ON_DEVICES.contains(&kind) {
        Distance::Local
    } else {
        Distance::Remote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn what_waits_for_a_server_or_a_program_is_remote() {
        let remote = [
            0x0000_6969, // NFS
            0xff53_4d42, // CIFS
            0xfe53_4d42, // SMB2
            0x6573_5546, // FUSE
            0x0102_1997, // 9p
            0x00c3_6400, // Ceph
            0x5346_414f, // AFS
            0x6b41_4653, // kAFS
            0x794c_7630, // overlayfs
        ];
        for kind in remote {
            assert_eq!(of_type(kind), Distance::Remote, "{kind:#x}");
        }
    }

    #[test]
    fn ext4_gives_blocks_away_late_with_a_journal_and_ordered_data() {
        assert!(orders_data("rw\nbarrier\ndata=ordered\ncommit=5\n"));
        assert!(orders_data("rw\ndata=journal\n"));
        assert!(!orders_data("rw\ndata=writeback\n"));
        assert!(!orders_data("rw\nbarrier\n"), "without a journal");
        let shm = File::open("/dev/shm").unwrap();
        assert_eq!(frees_late(shm.as_fd()), Ok(false));
    }

    #[test]
    fn memory_is_told_from_devices() {
        let shm = File::open("/dev/shm").unwrap();
        assert_eq!(distance(shm.as_fd()), Ok(Distance::Memory));
        assert_eq!(of_type(0xef53), Distance::Local);
    }

    #[test]
    fn an_unknown_file_system_is_taken_to_be_remote() {
        let proc = File::open("/proc/self/status").unwrap();
        assert_eq!(distance(proc.as_fd()), Ok(Distance::Remote));
    }
}
