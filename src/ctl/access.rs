//! The way to a cache: through the daemon that has it open, or, where there is none, its
//! directory. Both are asked the same, and answer the same.

use crate::failure::{Failure, describe};
use crate::place::Roots;
use crate::show;
use cachefs_control::reports::{
    Entry, Explained, Filled, Hello, Invalidated, OfFile, OpenFiles, Reloaded, Verified, Whole,
};
use cachefs_control::{Client, Command, Failure as Answer, Heard, Name, Refusal, XATTR};
use cachefs_control::{operations, sockets};
use cachefs_core::{Cache, Errno, Origin};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why a command does nothing that is for daemons.
pub const NO_DAEMON: &str = "no daemon has this cache open (see --mount and --cache)";

/// What a command comes to.
pub type Asked<T> = Result<T, Refusal>;

/// The way to a cache.
pub struct Access {
    way: Way,
    roots: Option<Roots>,
}

enum Way {
    Daemon {
        client: Mutex<Client>,
        daemon: Daemon,
    },
    Directory {
        cache: Arc<Cache>,
        directory: PathBuf,
        origin: Option<Origin>,
    },
}

/// A daemon that answers.
#[derive(Clone)]
pub struct Daemon {
    /// Its socket.
    pub socket: PathBuf,
    /// What it says of itself.
    pub hello: Hello,
}

/// The daemon of a mountpoint.
pub fn daemon_of_mount(mountpoint: &Path) -> Result<Daemon, Failure> {
    let shown = show::path(mountpoint);
    let mut told = vec![0; cachefs_control::PATH_BYTES_MAX];
    let told = match rustix::fs::getxattr(mountpoint, XATTR, &mut told[..]) {
        Ok(length) => PathBuf::from(OsStr::from_bytes(&told[..length])),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => {
            let text = format!("{shown} is not the mountpoint of a cachefsd that can be reached");
            return Err(Failure::new(text));
        }
        Err(errno) => return Err(Failure::new(format!("{shown}: {}", show::errno(errno)))),
    };
    reach(&told).map_err(|failure| Failure::new(format!("the daemon of {shown}: {failure}")))
}

/// The daemons that have a cache directory open, of which those of an origin.
pub fn daemons(cache: &Path, origin: Option<&Path>) -> Vec<Daemon> {
    // One who may not look there is told so by the directory itself.
    let found = sockets(cache).unwrap_or_default();
    let answering = found.iter().filter_map(|socket| reach(socket).ok());
    // An origin that is unreachable may be told by its plain name.
    let wanted = origin.map(|root| {
        let real = root.canonicalize().or_else(|_| std::path::absolute(root));
        real.unwrap_or_else(|_| root.to_owned())
    });
    let is_wanted = |daemon: &Daemon| {
        let root = wanted.as_deref();
        root.is_none_or(|root| daemon.hello.origin.path() == root)
    };
    answering.filter(is_wanted).collect()
}

fn reach(socket: &Path) -> Result<Daemon, Answer> {
    let hello = Client::connect(socket)?.ask(Command::Hello)?;
    Ok(Daemon {
        socket: socket.to_owned(),
        hello,
    })
}

impl Access {
    /// Through a daemon.
    pub fn of_daemon(daemon: &Daemon) -> Result<Self, Failure> {
        let client = Client::connect(&daemon.socket)
            .map_err(|error| Failure::new(format!("the daemon: {}", describe(&error))))?;
        let (origin, mountpoint) = (&daemon.hello.origin, &daemon.hello.mountpoint);
        Ok(Self {
            way: Way::Daemon {
                client: Mutex::new(client),
                daemon: daemon.clone(),
            },
            roots: Some(Roots::of_mount(
                origin.path(),
                mountpoint.as_ref().map(Name::path),
            )),
        })
    }

    /// Through a directory.
    pub fn of_directory(cache: Cache, directory: &Path, origin: Option<(Origin, Roots)>) -> Self {
        let (origin, roots) = origin.unzip();
        Self {
            way: Way::Directory {
                cache: Arc::new(cache),
                directory: directory.to_owned(),
                origin,
            },
            roots,
        }
    }

    /// The same way, for another thread.
    pub fn another(&self) -> Result<Self, Failure> {
        match &self.way {
            Way::Daemon { daemon, .. } => Self::of_daemon(daemon),
            Way::Directory {
                cache,
                directory,
                origin,
            } => Ok(Self {
                way: Way::Directory {
                    cache: Arc::clone(cache),
                    directory: directory.clone(),
                    origin: origin.clone(),
                },
                roots: self.roots.clone(),
            }),
        }
    }

    /// Who has the cache open, if it is not this tool.
    pub fn daemon(&self) -> Option<&Daemon> {
        match &self.way {
            Way::Daemon { daemon, .. } => Some(daemon),
            Way::Directory { .. } => None,
        }
    }

    /// The cache, if this tool has opened it.
    pub fn cache(&self) -> Option<&Cache> {
        match &self.way {
            Way::Daemon { .. } => None,
            Way::Directory { cache, .. } => Some(cache),
        }
    }

    /// Names on the command line. None: no origin was named.
    pub fn roots(&self) -> Result<&Roots, Failure> {
        self.roots.as_ref().ok_or_else(|| {
            let text = "which origin? Name its root with --origin DIR or CACHEFS_ORIGIN: \
                the root that the other users of the cache name";
            Failure::usage(text)
        })
    }

    /// See [`Command::Stat`].
    pub fn stat(&self, origins: bool) -> Asked<Whole> {
        match &self.way {
            Way::Daemon { .. } => self.ask(Command::Stat { origins }),
            Way::Directory {
                cache, directory, ..
            } => Ok(Whole {
                cache: operations::stat(cache, directory, origins)?,
                server: None,
            }),
        }
    }

    /// See [`Command::Open`].
    pub fn open_files(&self, most: usize) -> Asked<OpenFiles> {
        self.only_daemon(Command::Open { most })
    }

    /// See [`Command::Ls`].
    pub fn list(&self, mut each: impl FnMut(Entry)) -> Asked<()> {
        match &self.way {
            Way::Daemon { .. } => self.ask_and_hear(Command::Ls, |heard| {
                if let Heard::Note(note) = heard {
                    match serde_json::from_value(note) {
                        Ok(entry) => each(entry),
                        Err(error) => tracing::warn!("the daemon lists what is no entry: {error}"),
                    }
                }
            }),
            Way::Directory { cache, .. } => operations::list(cache, |entry| {
                each(entry.clone());
                true
            }),
        }
    }

    /// See [`Command::StatFile`].
    pub fn stat_file(&self, path: &Path) -> Asked<OfFile> {
        match self.local() {
            None => self.ask(Command::StatFile { path: path.into() }),
            Some(origin) => operations::stat_file(origin?, &path.into()),
        }
    }

    /// See [`Command::Why`].
    pub fn why(&self, path: &Path) -> Asked<Explained> {
        match self.local() {
            None => self.ask(Command::Why { path: path.into() }),
            Some(origin) => operations::why(origin?, &path.into()),
        }
    }

    /// See [`Command::Warm`]. False of `watch` ends it (ECANCELED), through a daemon only
    /// once this is dropped.
    pub fn warm(&self, path: &Path, mut watch: impl FnMut(u64, u64) -> bool) -> Asked<Filled> {
        match self.local() {
            None => self.ask_and_hear(Command::Warm { path: path.into() }, |heard| {
                if let Heard::Progress(done, total) = heard {
                    watch(done, total);
                }
            }),
            Some(origin) => operations::warm(origin?, &path.into(), watch),
        }
    }

    /// See [`Command::Pin`] and [`Command::Unpin`].
    pub fn pin(&self, path: &Path, pinned: bool) -> Asked<()> {
        let name = Name::from(path);
        match self.local() {
            None if pinned => self.ask(Command::Pin { path: name }),
            None => self.ask(Command::Unpin { path: name }),
            Some(origin) => operations::pin(origin?, &name, pinned),
        }
    }

    /// See [`Command::Evict`].
    pub fn evict(&self, path: &Path) -> Asked<()> {
        match self.local() {
            None => self.ask(Command::Evict { path: path.into() }),
            Some(origin) => operations::evict(origin?, &path.into()),
        }
    }

    /// See [`Command::Invalidate`].
    pub fn invalidate(&self, path: &Path, below: bool) -> Asked<Invalidated> {
        let name = Name::from(path);
        match self.local() {
            None => self.ask(Command::Invalidate { path: name, below }),
            Some(origin) => {
                operations::invalidate(origin?, &name, below)?;
                Ok(Invalidated::default())
            }
        }
    }

    /// See [`Command::Verify`]. False of `watch` ends it (ECANCELED), through a daemon only
    /// once this is dropped.
    pub fn verify(&self, path: Option<&Path>, watch: impl Fn() -> bool) -> Asked<Verified> {
        let name = path.map(Name::from);
        match &self.way {
            Way::Daemon { .. } => self.ask(Command::Verify { path: name }),
            Way::Directory { cache, .. } => {
                let file = match &name {
                    None => None,
                    Some(path) => Some((self.local().expect("it is local")?, path)),
                };
                operations::verify(cache, file, |_| watch())
            }
        }
    }

    /// See [`Command::Reload`].
    pub fn reload(&self) -> Asked<Reloaded> {
        self.only_daemon(Command::Reload)
    }

    /// The origin, if this tool has opened the directory. Err: none was named.
    fn local(&self) -> Option<Asked<&Origin>> {
        match &self.way {
            Way::Daemon { .. } => None,
            Way::Directory { origin, .. } => Some(
                origin
                    .as_ref()
                    .ok_or_else(|| Refusal::new(Errno::INVAL, "no origin was named")),
            ),
        }
    }

    fn only_daemon<T: DeserializeOwned>(&self, command: Command) -> Asked<T> {
        match &self.way {
            Way::Daemon { .. } => self.ask(command),
            Way::Directory { .. } => Err(Refusal::new(Errno::NOTCONN, NO_DAEMON)),
        }
    }

    fn ask<T: DeserializeOwned>(&self, command: Command) -> Asked<T> {
        self.ask_and_hear(command, |_| {})
    }

    fn ask_and_hear<T: DeserializeOwned>(
        &self,
        command: Command,
        hear: impl FnMut(Heard),
    ) -> Asked<T> {
        let Way::Daemon { client, .. } = &self.way else {
            unreachable!("only a daemon is asked");
        };
        let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
        client
            .ask_and_hear(command, hear)
            .map_err(|failure| match failure {
                Answer::Refused(refusal) => refusal,
                Answer::Lost(error) => {
                    let text = match error.kind() {
                        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                            "the daemon has ended meanwhile".to_owned()
                        }
                        _ => format!("the daemon does not answer: {}", describe(&error)),
                    };
                    Refusal::new(Errno::PIPE, text)
                }
            })
    }
}
