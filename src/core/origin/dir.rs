//! A directory on any mounted file system.

use super::Source;
use crate::error::{Context, Errno, Error, Result};
use crate::filesystem::{self, Distance};
use crate::sys::{self, Attributes};
use crate::token::VersionToken;
use parking_lot::Mutex;
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a resolution that raced with a rename is tried again (openat2(2), EAGAIN).
const RESOLVE_RETRIES_MAX: u32 = 16;

pub(crate) struct Directory {
    root: OwnedFd,
    /// Without links.
    path: PathBuf,
    /// The mount of the root itself; 0 where mounts cannot be told apart.
    mount: u64,
    /// The root's file system is on a device of this host.
    near: bool,
    /// A cache directory inside this origin, whose files are refused.
    cache: Option<PathBuf>,
    /// Tells what a file's reads may do; an epoll descriptor.
    poller: OwnedFd,
    /// The file systems below the root.
    mounts: Mutex<HashMap<u64, Arc<Mount>>>,
}

/// A file system below the root.
struct Mount {
    /// Where it is, relative to the root: part of a file's identity in place of
    /// the device number, which network file systems change from mount to mount.
    place: Box<[u8]>,
    near: bool,
}

impl Directory {
    /// Opens the root. ELOOP if it lies inside the cache directory.
    pub(crate) fn open_root(root: &Path, cache: Option<&Path>) -> Result<Self> {
        let shown = root.display();
        let path = std::fs::canonicalize(root)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .context(|| format!("open the origin {shown}"))?;
        if cache.is_some_and(|cache| path.starts_with(cache)) {
            let text = format!("the origin {shown} lies inside the cache directory");
            return Err(Error::new(Errno::LOOP, text));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .context(|| format!("open the origin {shown}"))?;
        let mount = sys::attributes(fd.as_fd())
            .context(|| format!("stat the origin {shown}"))?
            .mount;
        Ok(Self {
            near: mount != 0 && is_near(fd.as_fd()),
            root: fd,
            mount,
            poller: epoll::create(epoll::CreateFlags::CLOEXEC)
                .context(|| "create an epoll descriptor")?,
            cache: cache
                .filter(|cache| cache.starts_with(&path))
                .map(Path::to_owned),
            path,
            mounts: Mutex::default(),
        })
    }

    /// Whether what is asked of it ends: it is on a device of this host.
    pub(super) fn is_near(&self) -> bool {
        self.near
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        self.path.as_os_str().as_bytes().to_vec()
    }

    /// Opens a regular file below the root; gives its identity and version.
    pub(super) fn open(&self, path: &CStr) -> Result<(Source, Vec<u8>, VersionToken)> {
        let shown = || format!("open {}", path.to_string_lossy());
        let fd = self.resolve(path).context(shown)?;
        self.admit(Arc::new(fd), path)
    }

    /// The same of a file that its user has opened already.
    pub(super) fn admit(
        &self,
        fd: Arc<OwnedFd>,
        path: &CStr,
    ) -> Result<(Source, Vec<u8>, VersionToken)> {
        let shown = || format!("open {}", path.to_string_lossy());
        let attributes = sys::attributes(fd.as_fd()).context(shown)?;
        match attributes.mode & libc::S_IFMT {
            libc::S_IFREG => {}
            libc::S_IFDIR => return Err(Errno::ISDIR).context(shown),
            _ => {
                let text = format!("{}: not a regular file", shown());
                return Err(Error::new(Errno::INVAL, text));
            }
        }
        self.refuse_own_cache(&fd).context(shown)?;
        let (identity, near) = self.identity(&fd, &attributes);
        let elsewhere = sys::has_poll(self.poller.as_fd(), fd.as_fd());
        Ok((
            Source::Descriptor {
                file: fd,
                elsewhere,
                near,
            },
            identity,
            attributes.into(),
        ))
    }

    /// openat2(2) with RESOLVE_BENEATH: neither `..` nor a link leads out of
    /// the root (EXDEV). O_NONBLOCK, so that a FIFO does not wait for a writer.
    fn resolve(&self, path: &CStr) -> std::result::Result<OwnedFd, Errno> {
        let relative = path.to_bytes();
        let slashes = relative.iter().take_while(|byte| **byte == b'/').count();
        let relative = match &relative[slashes..] {
            [] => OsStr::new("."),
            rest => OsStr::from_bytes(rest),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_RETRIES_MAX {
            match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // A socket or a device without a driver: not a regular file.
                Err(Errno::NXIO) => return Err(Errno::INVAL),
                Err(errno) => return Err(errno),
                Ok(fd) => {
                    // io_uring answers EAGAIN in place of waiting where such a
                    // file's file system cannot read without blocking.
                    rustix::fs::fcntl_setfl(&fd, OFlags::empty())?;
                    return Ok(fd);
                }
            }
        }
        Err(Errno::AGAIN)
    }

    fn refuse_own_cache(&self, fd: &OwnedFd) -> std::result::Result<(), Errno> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = rustix::fs::readlink(link, Vec::new())?;
        if Path::new(OsStr::from_bytes(path.to_bytes())).starts_with(cache) {
            return Err(Errno::LOOP);
        }
        Ok(())
    }

    /// The inode and the place of its file system below the root; and whether that
    /// is near.
    fn identity(&self, fd: &OwnedFd, attributes: &Attributes) -> (Vec<u8>, bool) {
        let mut buffer = [0; FILE_ID_BYTES_MAX];
        let mut identity = file_id(attributes.inode, &mut buffer).to_vec();
        if attributes.mount == self.mount {
            return (identity, self.near);
        }
        let mount = self.mount_of(fd, attributes.mount);
        identity.push(b' ');
        identity.extend_from_slice(&mount.place);
        (identity, mount.near)
    }

    fn mount_of(&self, fd: &OwnedFd, mount: u64) -> Arc<Mount> {
        let mut mounts = self.mounts.lock();
        let known = mounts.entry(mount).or_insert_with(|| {
            // Unknown places get the number, which is good until the next mount.
            let place = mount_point(mount).unwrap_or_else(|| mount.to_string().into());
            let below = place.strip_prefix(&self.path).unwrap_or(&place);
            Arc::new(Mount {
                place: below.as_os_str().as_bytes().into(),
                near: is_near(fd.as_fd()),
            })
        });
        Arc::clone(known)
    }
}

/// Digits that an inode has at most.
pub(crate) const FILE_ID_BYTES_MAX: usize = 20;

/// What tells a file on the file system of the root from the others there: its inode, in
/// decimal. Allocates nothing.
pub(crate) fn file_id(inode: u64, buffer: &mut [u8; FILE_ID_BYTES_MAX]) -> &[u8] {
    let mut start = buffer.len();
    let mut rest = inode;
    for (place, byte) in buffer.iter_mut().enumerate().rev() {
        *byte = b'0' + (rest % 10) as u8;
        start = place;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    &buffer[start..]
}

fn is_near(fd: BorrowedFd<'_>) -> bool {
    // What does not even tell its type is not trusted to answer.
    filesystem::distance(fd).is_ok_and(|distance| distance != Distance::Remote)
}

/// Where a mount is, from /proc/self/mountinfo (proc(5)): fields 1 and 5.
fn mount_point(mount: u64) -> Option<PathBuf> {
    let text = std::fs::read("/proc/self/mountinfo").ok()?;
    let wanted = mount.to_string();
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let here = fields.next()? == wanted.as_bytes();
        let point = fields.nth(3)?;
        here.then(|| PathBuf::from(OsStr::from_bytes(point)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_file_is_its_inode_in_decimal() {
        for inode in [0, 7, 10, 1234567890, u64::MAX] {
            let mut buffer = [0; FILE_ID_BYTES_MAX];
            assert_eq!(file_id(inode, &mut buffer), inode.to_string().as_bytes());
        }
    }

    #[test]
    fn files_are_read_with_waiting() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), b"x").unwrap();
        let origin = Directory::open_root(directory.path(), None).unwrap();
        let fd = origin.resolve(c"file").unwrap();
        assert!(
            !rustix::fs::fcntl_getfl(&fd)
                .unwrap()
                .contains(OFlags::NONBLOCK)
        );
    }

    #[test]
    fn the_mount_of_proc_is_found() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let mount = sys::attributes(proc.as_fd()).unwrap().mount;
        assert_eq!(mount_point(mount), Some(PathBuf::from("/proc")));
    }
}
