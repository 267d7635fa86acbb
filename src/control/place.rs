//! Where a server listens: in the directory of its cache, which only its owner can enter.
//!
//! `control/HASH-N.sock`: the hash is of the origin's root, so that whoever knows cache
//! and origin finds it without asking; N counts the servers of the same two, from 0.

use nix::sys::socket::sockopt::PeerCredentials;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Pid;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The extended attribute by which a mountpoint tells the path of its socket.
pub const XATTR: &str = "user.cachefs.control";

/// Where sockets are, below the cache directory.
pub const DIRECTORY: &str = "control";
/// What is locked while a socket is made.
const LOCK: &str = "lock";
/// Servers of one cache and one origin.
const SERVERS_MAX: u32 = 16;
/// Connections that wait to be taken: beyond, whoever comes is refused.
const BACKLOG: i32 = 256;
/// For how long a server may take no more connections before it is taken for dead.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// For how long others may be making sockets, each of which may have to find out that so
/// many servers do not answer.
const LOCK_MAX: Duration = Duration::from_secs(100);

/// A socket that somebody listens on, which goes with this.
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// Makes a socket for a server of a cache directory, which is there, and of an origin
    /// by its root without links. 0600, in a directory that is 0700.
    pub fn take(cache: &Path, origin: &Path) -> io::Result<(Self, UnixListener)> {
        let directory = cache.join(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _lock = lock(&directory.join(LOCK))?;
        for number in 0..SERVERS_MAX {
            let path = directory.join(file_name(origin, number));
            match connect(&path) {
                // Somebody listens there, or does not come to it.
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Whoever did is dead.
                Err(_) => std::fs::remove_file(&path)?,
            }
            let listener = listen(&path)?;
            return Ok((Self { path }, listener));
        }
        Err(io::Error::other(format!(
            "{SERVERS_MAX} servers of this cache and this origin are there already"
        )))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is gone with its cache, or stays as that of a dead one would.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("remove {}: {error}", self.path.display());
        }
    }
}

/// The sockets of a cache directory, also those that nobody listens on any more.
pub fn sockets(cache: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(cache.join(DIRECTORY)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "sock") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A lock that goes with its process, whatever happens to that.
fn lock(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    let limit = Instant::now() + LOCK_MAX;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The name of a socket: FNV-1a of the root's bytes, in hexadecimal, and a number.
fn file_name(origin: &Path, number: u32) -> String {
    let hash = hash_of(origin.as_os_str().as_encoded_bytes());
    format!("{hash:016x}-{number}.sock")
}

/// The number in the names of the sockets of an origin, by its root.
pub fn hash_of(origin: &[u8]) -> u64 {
    origin.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A path in place of one that may be longer than an address of a socket can be
/// (108 bytes): by the descriptor of its directory.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, OwnedFd)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    Ok((SocketAddrUnix::new(short)?, directory))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(socket)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = socket()?;
    // The mode of the file is that of the socket, less the umask. Nobody else may come to
    // it for a moment either.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let (address, _directory) = address(path)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Connects to a socket by its path. TimedOut: its server takes no connections.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = socket()?;
    // As long as a connection may take (unix(7)).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT_MAX))?;
    let (address, _directory) = address(path)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => return Err(errno.into()),
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(socket.into())
}

/// The user and the process at the other end, as they were when it connected. No process:
/// it is one of another namespace, which has no number here.
pub(crate) fn peer(socket: &impl AsFd) -> io::Result<(u32, Option<Pid>)> {
    let peer = nix::sys::socket::getsockopt(socket, PeerCredentials)?;
    Ok((peer.uid(), Pid::from_raw(peer.pid())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_come() {
        let cache = tempfile::tempdir().unwrap();
        let (place, _listener) = Place::take(cache.path(), Path::new("/o")).unwrap();
        assert_eq!(mode(place.path()), 0o600);
        assert_eq!(mode(place.path().parent().unwrap()), 0o700);
    }

    #[test]
    fn servers_of_the_same_cache_and_origin_are_told_apart() {
        let cache = tempfile::tempdir().unwrap();
        let take = || Place::take(cache.path(), Path::new("/o")).unwrap();
        let (first, second) = (take(), take());
        assert_ne!(first.0.path(), second.0.path());
        assert_eq!(sockets(cache.path()).unwrap().len(), 2);
        let freed = first.0.path().to_owned();
        drop(first);
        assert_eq!(take().0.path(), freed);
    }

    #[test]
    fn the_socket_of_a_dead_server_is_taken_over() {
        let cache = tempfile::tempdir().unwrap();
        let (place, listener) = Place::take(cache.path(), Path::new("/o")).unwrap();
        let path = place.path().to_owned();
        // As after a kill: the socket stays, and nobody listens.
        std::mem::forget(place);
        drop(listener);
        assert!(connect(&path).is_err());
        let (place, _listener) = Place::take(cache.path(), Path::new("/o")).unwrap();
        assert_eq!(place.path(), path);
        assert!(connect(&path).is_ok());
    }

    #[test]
    fn so_many_servers_may_be_there_and_no_more() {
        let cache = tempfile::tempdir().unwrap();
        let take = || Place::take(cache.path(), Path::new("/o"));
        let held: Vec<_> = (0..SERVERS_MAX).map(|_| take().unwrap()).collect();
        assert!(take().is_err());
        drop(held);
    }

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let outside = tempfile::tempdir().unwrap();
        let cache = outside.path().join("d".repeat(200));
        std::fs::create_dir(&cache).unwrap();
        let (place, _listener) = Place::take(&cache, Path::new("/o")).unwrap();
        assert!(connect(place.path()).is_ok());
    }

    #[test]
    fn the_name_is_the_documented_hash() {
        // As anybody's implementation of FNV-1a tells.
        let name = file_name(Path::new("/mnt/nfs"), 2);
        assert_eq!(name, "b51667b02d11a861-2.sock");
    }
}
