//! A FUSE file system that shows a directory and stops answering when it is told
//! to, for tests of what becomes of requests that never end.
//!
//!     hung-fs MOUNTPOINT DIRECTORY
//!
//! It mounts itself and writes "ready". Then each line of its input is a command,
//! answered by the number of requests that it keeps unanswered: `hang read`, `hang
//! write` and `hang getattr` keep those of that kind from now on, `go` answers what
//! is kept and all that follows, and `count` does nothing. At the end of its input it
//! ends, and the kernel fails what is under way with ENOTCONN, as it does when the
//! server of such a file system has died.
//!
//! A program of its own, since the kernel gives the device back only when every
//! thread of its holder is gone: a test that is killed while it hangs in its own
//! file system would stay for ever.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, process, thread};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, Session, SessionACL,
    TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::mount::MountFlags;

/// Exit status where the system does not allow to mount.
const SKIPPED: i32 = 77;

/// Nothing is remembered by the kernel, so that it asks each time.
const TTL: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

fn main() -> io::Result<()> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [mountpoint, directory] = arguments.as_slice() else {
        return Err(io::Error::other("usage: hung-fs MOUNTPOINT DIRECTORY"));
    };
    let gate = Arc::new(Gate::default());
    let shown = Shown::new(directory, Arc::clone(&gate))?;
    let device = match mount(mountpoint) {
        Ok(device) => device,
        Err(error) => {
            println!("FUSE cannot be mounted: {error}");
            process::exit(SKIPPED);
        }
    };
    let session = Session::from_fd(shown, device, SessionACL::Owner, Config::default())?;
    thread::spawn(move || session.run());
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("hang", kind)) => gate.close(kind),
            None if line == "go" => gate.open(),
            None if line == "count" => {}
            _ => return Err(io::Error::other(format!("{line} is no command"))),
        }
        println!("{}", gate.count());
        io::stdout().flush()?;
    }
    Ok(())
}

/// Mounts without the help of fusermount3(1), which need not be installed.
fn mount(mountpoint: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        user.as_raw(),
        group.as_raw()
    );
    let options = CString::new(options).expect("there is no NUL in it");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("hung-fs", mountpoint, "fuse", flags, options.as_c_str())?;
    Ok(device)
}

/// Keeps the answers of those kinds of requests that hang.
#[derive(Default)]
struct Gate(Mutex<Kept>);

type Answer = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Kept {
    hanging: HashSet<String>,
    answers: Vec<Answer>,
}

impl Gate {
    fn close(&self, kind: &str) {
        let mut kept = self.0.lock().expect("nothing panics with it");
        kept.hanging.insert(kind.to_owned());
    }

    fn open(&self) {
        let kept = std::mem::take(&mut *self.0.lock().expect("nothing panics with it"));
        kept.answers.into_iter().for_each(|answer| answer());
    }

    fn count(&self) -> usize {
        self.0.lock().expect("nothing panics with it").answers.len()
    }

    fn pass(&self, kind: &str, answer: impl FnOnce() + Send + 'static) {
        let mut kept = self.0.lock().expect("nothing panics with it");
        if kept.hanging.contains(kind) {
            kept.answers.push(Box::new(answer));
        } else {
            drop(kept);
            answer();
        }
    }
}

/// The directory. Inodes have the numbers that they have there, but for the root.
struct Shown {
    gate: Arc<Gate>,
    /// O_PATH descriptors of all that was looked up. They keep the numbers in use.
    nodes: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    files: Mutex<HashMap<u64, Arc<File>>>,
}

impl Shown {
    fn new(directory: &Path, gate: Arc<Gate>) -> io::Result<Self> {
        let root = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            gate,
            nodes: Mutex::new(HashMap::from([(INodeNo::ROOT.0, Arc::new(root))])),
            files: Mutex::default(),
        })
    }

    fn node(&self, inode: INodeNo) -> io::Result<Arc<OwnedFd>> {
        let nodes = self.nodes.lock().expect("nothing panics with it");
        let node = nodes.get(&inode.0).map(Arc::clone);
        node.ok_or_else(|| io::Error::from_raw_os_error(libc::ESTALE))
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let files = self.files.lock().expect("nothing panics with it");
        let file = files.get(&handle.0).map(Arc::clone);
        file.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn keep(&self, file: OwnedFd) -> FileHandle {
        let number = file.as_raw_fd() as u64;
        let mut files = self.files.lock().expect("nothing panics with it");
        files.insert(number, Arc::new(file.into()));
        FileHandle(number)
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&*self.node(parent)?, name, flags, Mode::empty())?;
        let attributes = attributes(&found)?;
        let mut nodes = self.nodes.lock().expect("nothing panics with it");
        nodes
            .entry(attributes.ino.0)
            .or_insert_with(|| Arc::new(found));
        Ok(attributes)
    }

    fn create(
        &self,
        parent: INodeNo,
        name: &OsStr,
        (mode, flags): (u32, i32),
    ) -> io::Result<(FileAttr, FileHandle, FopenFlags)> {
        let flags = OFlags::from_bits_retain(flags as u32) | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(&*self.node(parent)?, name, flags, mode)?;
        let how = how_to_open(&file);
        Ok((self.find(parent, name)?, self.keep(file), how))
    }

    fn open_again(&self, inode: INodeNo, flags: OFlags) -> io::Result<OwnedFd> {
        // The link is ours; whether the file is one was decided by its look-up.
        let flags = flags - OFlags::NOFOLLOW;
        let path = link(&*self.node(inode)?);
        Ok(rustix::fs::open(
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    fn change(
        &self,
        inode: INodeNo,
        size: Option<u64>,
        times: [Option<TimeOrNow>; 2],
    ) -> io::Result<FileAttr> {
        if let Some(size) = size {
            File::from(self.open_again(inode, OFlags::WRONLY)?).set_len(size)?;
        }
        let node = self.node(inode)?;
        if times.iter().any(Option::is_some) {
            let [last_access, last_modification] = times.map(timespec);
            let times = Timestamps {
                last_access,
                last_modification,
            };
            rustix::fs::utimensat(CWD, link(&node), &times, AtFlags::empty())?;
        }
        attributes(&node)
    }

    fn list(&self, inode: INodeNo) -> io::Result<Vec<fs::DirEntry>> {
        fs::read_dir(link(&*self.node(inode)?))?.collect()
    }
}

fn link(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Reads and writes go past the page cache, so that each comes here: but for the
/// files that the library maps.
fn how_to_open(file: &impl AsRawFd) -> FopenFlags {
    let path = fs::read_link(link(file)).unwrap_or_default();
    let extension = path.extension();
    let mapped = extension.is_some_and(|end| end == "meta" || end == "new")
        || path.ends_with("slots")
        || path.ends_with("cachefs.invalidations");
    match mapped {
        true => FopenFlags::empty(),
        false => FopenFlags::FOPEN_DIRECT_IO,
    }
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        Some(TimeOrNow::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let tv_nsec = since.subsec_nanos().into();
            Timespec {
                tv_sec: since.as_secs() as i64,
                tv_nsec,
            }
        }
    }
}

fn attributes(fd: &impl AsFd) -> io::Result<FileAttr> {
    let stat: Stat = rustix::fs::fstat(fd)?;
    let time = |seconds: i64, nanoseconds: u64| -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds as u32)
    };
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        _ => FileType::RegularFile,
    };
    Ok(FileAttr {
        ino: INodeNo(stat.st_ino),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind,
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn answer_entry(reply: ReplyEntry, result: io::Result<FileAttr>) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_attributes(reply: ReplyAttr, result: io::Result<FileAttr>) {
    match result {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_empty(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Shown {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.find(parent, name));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let node = self.node(inode);
        self.gate.pass("getattr", move || {
            answer_attributes(reply, node.and_then(|node| attributes(&*node)));
        });
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _user: Option<u32>,
        _group: Option<u32>,
        size: Option<u64>,
        access: Option<TimeOrNow>,
        modification: Option<TimeOrNow>,
        _change: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _creation: Option<SystemTime>,
        _mac_change: Option<SystemTime>,
        _mac_backup: Option<SystemTime>,
        _mac_flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer_attributes(reply, self.change(inode, size, [access, modification]));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.node(parent).and_then(|parent| {
            Ok(rustix::fs::mkdirat(
                &*parent,
                name,
                Mode::from_raw_mode(mode),
            )?)
        });
        answer_entry(reply, made.and_then(|()| self.find(parent, name)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self
            .node(parent)
            .and_then(|parent| Ok(rustix::fs::unlinkat(&*parent, name, AtFlags::empty())?));
        answer_empty(reply, removed);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.node(parent).and_then(|parent| {
            let new_parent = self.node(new_parent)?;
            Ok(rustix::fs::renameat(
                &*parent,
                name,
                &*new_parent,
                new_name,
            )?)
        });
        answer_empty(reply, renamed);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match Shown::create(self, parent, name, (mode, flags)) {
            Ok((attributes, handle, how)) => {
                reply.created(&TTL, &attributes, GENERATION, handle, how);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_again(inode, OFlags::from_bits_retain(flags.0 as u32)) {
            Ok(file) => {
                let how = how_to_open(&file);
                reply.opened(self.keep(file), how);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = self.file(handle);
        self.gate.pass("read", move || {
            let mut bytes = vec![0; size as usize];
            match file.and_then(|file| file.read_at(&mut bytes, offset)) {
                Ok(count) => reply.data(&bytes[..count]),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (file, bytes) = (self.file(handle), bytes.to_vec());
        self.gate.pass("write", move || {
            match file.and_then(|file| file.write_at(&bytes, offset)) {
                Ok(count) => reply.written(count as u32),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn flush(
        &self,
        _: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let mut files = self.files.lock().expect("nothing panics with it");
        files.remove(&handle.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        answer_empty(reply, self.file(handle).and_then(|file| file.sync_all()));
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.list(inode) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        for (entry, next) in entries.iter().zip(1u64..).skip(offset as usize) {
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_dir() => FileType::Directory,
                _ => FileType::RegularFile,
            };
            let number = std::os::unix::fs::DirEntryExt::ino(entry);
            if reply.add(INodeNo(number), next, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let found = self
            .node(inode)
            .and_then(|node| Ok(rustix::fs::fstatvfs(&*node)?));
        match found {
            Ok(stat) => reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                stat.f_bsize as u32,
                stat.f_namemax as u32,
                stat.f_frsize as u32,
            ),
            Err(error) => reply.error(Errno::from(error)),
        }
    }
}
