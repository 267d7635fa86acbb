//! A disk with a volatile write cache, which remembers all that was written to it, and
//! so what any power cut could have left of it.
//!
//! It is a FUSE file system with one file, below the loop device that a volume is
//! mounted from. A write of that device arrives here as a write, and a flush of its
//! cache as an fsync. A disk owes us what was written before the last flush that ended;
//! of what was written since, it may have brought any sector to the medium and lost any
//! other. The images made here are exactly these.

use crate::tests::random::Random;
use fuser::{
    Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    Session, SessionACL, WriteFlags,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// What a disk writes in one piece, bytes.
const SECTOR: usize = 512;
/// The file that is the disk, in both directories.
const NAME: &str = "image";
const INODE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

/// Bytes of the fixed part of an entry of the log: where, and how many; a flush has none.
const ENTRY: usize = 16;

/// The disk that is `image` in one directory, shown in another.
struct Disk {
    image: File,
    log: Mutex<File>,
}

impl Disk {
    fn note(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let mut entry = Vec::with_capacity(ENTRY + bytes.len());
        entry.extend_from_slice(&offset.to_le_bytes());
        entry.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        entry.extend_from_slice(bytes);
        self.log.lock().unwrap().write_all(&entry)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_root = inode == INodeNo::ROOT;
        FileAttr {
            ino: inode,
            size: self.image.metadata().map_or(0, |image| image.len()),
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: match is_root {
                true => FileType::Directory,
                false => FileType::RegularFile,
            },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&TTL, &self.attributes(INODE), Generation(0)),
            false => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Each write comes here, when it is made.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.image.read_at(&mut bytes, offset) {
            Ok(count) => reply.data(&bytes[..count]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.image.write_all_at(bytes, offset);
        match written.and_then(|()| self.note(offset, bytes)) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.note(0, &[]) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// Shows `image` of `root` as `disk/image`, and writes `log`, until the input ends. For
/// a process of its own: the kernel gives the device back only when its holder is gone.
pub(super) fn serve(root: &Path) -> ! {
    let image = File::options()
        .read(true)
        .write(true)
        .open(root.join(NAME))
        .unwrap();
    let log = Mutex::new(File::create(root.join("log")).unwrap());
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty()).unwrap();
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    let options = CString::new(options).unwrap();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let shown = root.join("disk");
    rustix::mount::mount("power-cut", &shown, "fuse", flags, options.as_c_str()).unwrap();
    let disk = Disk { image, log };
    let session = Session::from_fd(disk, device, SessionACL::Owner, Config::default()).unwrap();
    std::thread::spawn(move || session.run());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    std::process::exit(0);
}

/// What was written to a disk since it was `first`.
pub(super) struct Log {
    first: Vec<u8>,
    /// Where, and where the bytes are in the log; none: a flush.
    entries: Vec<(u64, std::ops::Range<usize>)>,
    bytes: Vec<u8>,
}

impl Log {
    /// Of the disk below `root`, which was `first` before it was served.
    pub(super) fn read(root: &Path, first: Vec<u8>) -> Self {
        let bytes = std::fs::read(root.join("log")).unwrap();
        let mut entries = Vec::new();
        let mut at = 0;
        // The last one may not be whole.
        while let Some(head) = bytes.get(at..at + ENTRY) {
            let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
            let data = at + ENTRY..at + ENTRY + number(8) as usize;
            if data.end > bytes.len() {
                break;
            }
            at = data.end;
            entries.push((number(0), data));
        }
        Self {
            first,
            entries,
            bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The disk after a power cut at an entry.
    pub(super) fn cut_at(&self, entry: usize, random: &mut Random) -> Vec<u8> {
        let mut image = self.first.clone();
        let before = &self.entries[..entry];
        let is_flush = |(_, data): &(u64, std::ops::Range<usize>)| data.is_empty();
        let flushed = before.iter().rposition(is_flush).unwrap_or(0);
        // All or nothing of what is not flushed happens, too.
        let kept_of_4 = random.below(5);
        for (index, (offset, data)) in before.iter().enumerate() {
            let offset = *offset as usize;
            for (number, sector) in self.bytes[data.clone()].chunks(SECTOR).enumerate() {
                if index <= flushed || random.below(4) < kept_of_4 {
                    let begin = offset + number * SECTOR;
                    image[begin..begin + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }
}
