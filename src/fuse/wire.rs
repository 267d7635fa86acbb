//! The structures of the FUSE protocol, version 7.31 and later (linux/fuse.h), as far
//! as a read-only mount needs them. All numbers are in the processor's byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a request is for: `enum fuse_opcode`.
pub mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const NOTIFY_REPLY: u32 = 41;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const TMPFILE: u32 = 51;
}

/// Flags of a reply to OPEN and OPENDIR: `FOPEN_…`.
pub mod fopen {
    pub const KEEP_CACHE: u32 = 1 << 1;
    pub const NOFLUSH: u32 = 1 << 5;
    pub const PASSTHROUGH: u32 = 1 << 7;
}

/// Bytes of the largest request but a write that the kernel makes; it wants room for
/// `max_write` and its headers, and never less than 8 KiB (FUSE_MIN_READ_BUFFER).
pub const REQUEST_HEADERS_BYTES: usize = 4096;

/// The node of the mount's root.
pub const ROOT: u64 = 1;

/// In front of each request.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InHeader {
    pub length: u32,
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    pub extension_length: u16,
    pub padding: u16,
}

/// In front of each reply.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct OutHeader {
    pub length: u32,
    /// A negative errno, or 0.
    pub error: i32,
    pub unique: u64,
}

/// What stat(2) tells: `struct fuse_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    pub atime: u64,
    pub mtime: u64,
    pub ctime: u64,
    pub atime_ns: u32,
    pub mtime_ns: u32,
    pub ctime_ns: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub blksize: u32,
    pub flags: u32,
}

/// Answers LOOKUP, and is in each entry of READDIRPLUS.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub struct EntryOut {
    /// 0: no such file, to be remembered for `entry_valid`.
    pub node: u64,
    pub generation: u64,
    pub entry_valid: u64,
    pub attr_valid: u64,
    pub entry_valid_ns: u32,
    pub attr_valid_ns: u32,
    pub attr: Attr,
}

/// Answers GETATTR.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct AttrOut {
    pub attr_valid: u64,
    pub attr_valid_ns: u32,
    pub padding: u32,
    pub attr: Attr,
}

/// FORGET.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForgetIn {
    pub lookups: u64,
}

/// BATCH_FORGET: so many [`ForgetOne`] follow.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BatchForgetIn {
    pub count: u32,
    pub padding: u32,
}

/// One node to forget.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForgetOne {
    pub node: u64,
    pub lookups: u64,
}

/// OPEN and OPENDIR.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenIn {
    pub flags: u32,
    pub open_flags: u32,
}

/// Answers OPEN and OPENDIR.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct OpenOut {
    pub handle: u64,
    pub flags: u32,
    pub backing: i32,
}

/// READ, READDIR and READDIRPLUS.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReadIn {
    pub handle: u64,
    pub offset: u64,
    pub size: u32,
    pub read_flags: u32,
    pub lock_owner: u64,
    pub flags: u32,
    pub padding: u32,
}

/// RELEASE and RELEASEDIR.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReleaseIn {
    pub handle: u64,
    pub flags: u32,
    pub release_flags: u32,
    pub lock_owner: u64,
}

/// GETXATTR, before the name, and LISTXATTR.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetxattrIn {
    pub size: u32,
    pub padding: u32,
}

/// Answers both of them when they ask with a size of 0.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct GetxattrOut {
    pub size: u32,
    pub padding: u32,
}

/// ACCESS.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AccessIn {
    pub mask: u32,
    pub padding: u32,
}

/// LSEEK.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LseekIn {
    pub handle: u64,
    pub offset: u64,
    pub whence: u32,
    pub padding: u32,
}

/// Answers LSEEK.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct LseekOut {
    pub offset: u64,
}

/// Answers STATFS.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub struct StatfsOut {
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub block_size: u32,
    pub name_max: u32,
    pub fragment_size: u32,
    pub padding: u32,
    pub spare: [u32; 6],
}

/// One entry of READDIR, before its name.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct Dirent {
    pub ino: u64,
    /// Where the next entry is.
    pub offset: u64,
    pub name_length: u32,
    /// As in `d_type` of readdir(3).
    pub kind: u32,
}

/// Bytes of an entry with such a name: they are padded to eight.
pub const fn entry_bytes(plus: bool, name_length: usize) -> usize {
    let head = if plus { size_of::<EntryOut>() } else { 0 };
    (head + size_of::<Dirent>() + name_length).next_multiple_of(8)
}

/// Notices to the kernel have a `unique` of 0 and one of these in place of an error.
pub mod notice {
    pub const INVAL_INODE: i32 = 2;
    pub const INVAL_ENTRY: i32 = 3;
    /// Linux 6.16 (protocol 7.44).
    pub const INC_EPOCH: i32 = 8;
}

/// What the kernel remembers of a node is to be dropped.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct InvalInodeOut {
    pub node: u64,
    /// Below 0: only its attributes.
    pub offset: i64,
    /// 0: to its end.
    pub length: i64,
}

/// A name in a directory is to be looked up anew; it follows, with a NUL.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct InvalEntryOut {
    pub parent: u64,
    /// Without the NUL.
    pub name_length: u32,
    pub flags: u32,
}

const _: () = assert!(size_of::<InHeader>() == 40 && size_of::<OutHeader>() == 16);
const _: () = assert!(size_of::<Attr>() == 88 && size_of::<EntryOut>() == 128);
const _: () = assert!(size_of::<AttrOut>() == 104 && size_of::<OpenOut>() == 16);
const _: () = assert!(size_of::<ReadIn>() == 40 && size_of::<ReleaseIn>() == 24);
const _: () = assert!(size_of::<StatfsOut>() == 80 && size_of::<Dirent>() == 24);
const _: () = assert!(size_of::<LseekIn>() == 24 && size_of::<InvalInodeOut>() == 24);
const _: () = assert!(size_of::<InvalEntryOut>() == 16);
