//! Where the bytes come from, and what is known of it.
//!
//! | file | what it does |
//! |---|---|
//! | `dir` | a directory on any mounted file system |
//! | `custom` | somebody's code |
//! | `options` | how an origin is treated |
//! | `known` | what it has said of its paths, for as long as that is believed |
//! | `path` | one name for a path that can be written in several ways |

mod custom;
mod dir;
mod known;
mod options;
mod path;

use crate::error::{Errno, Error, Result};
use crate::ids::Identity;
use crate::limits::{OPENERS_MAX, PATH_BYTES_MAX};
use crate::qos::Bucket;
use crate::shared::Shared;
use crate::store::{Mark, Spot};
use crate::token::VersionToken;
use crate::workers::Workers;
use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(crate) use custom::{Custom, OpenReply, OriginJob, ReadReply, StatReply};
pub use custom::{CustomOrigin, OriginRead};
pub(crate) use dir::Directory;
use known::{Belief, Known};
pub use options::{ORIGIN_OPTIONS, OriginOptions};

/// An origin in use. Clones are the same origin.
#[derive(Clone)]
pub struct Origin(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) cache: Arc<Shared>,
    /// Tells the origins of one cache apart, across restarts.
    name: Vec<u8>,
    kind: Kind,
    known: Known,
    /// What may be read of it.
    pub(crate) quota: Bucket,
    /// See the option `weight`.
    pub(crate) weight: u64,
    /// Open files for library threads, which must not wait for it.
    openers: Arc<Workers<OriginJob>>,
}

pub(crate) enum Kind {
    Directory(Directory),
    Custom(Custom),
}

/// What reads one file of an origin.
pub(crate) enum Source {
    /// On an engine, through a descriptor.
    Descriptor {
        file: Arc<OwnedFd>,
        /// See [`crate::io::Terms`].
        elsewhere: bool,
        /// It is on a device of this host: reads of it end.
        near: bool,
    },
    /// By the origin's own code.
    Path(Arc<CString>),
}

/// A file of an origin, opened and checked.
pub(crate) struct Opened {
    /// None: the origin was not asked.
    pub(crate) source: Option<Source>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) token: VersionToken,
    /// Of before it was asked.
    pub(crate) mark: Mark,
}

impl Source {
    /// See [`crate::io::Terms`]; to close it may wait for its file system as well.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Source::Descriptor {
                elsewhere: true,
                ..
            }
        )
    }

    /// Reads of it end.
    pub(crate) fn is_near(&self) -> bool {
        matches!(self, Source::Descriptor { near: true, .. })
    }

    /// What the engine reads it through.
    pub(crate) fn descriptor(&self) -> Option<&Arc<OwnedFd>> {
        match self {
            Source::Descriptor { file, .. } => Some(file),
            Source::Path(_) => None,
        }
    }
}

impl Origin {
    /// An origin with completed options.
    pub(crate) fn new(
        cache: Arc<Shared>,
        name: Vec<u8>,
        kind: Kind,
        options: &OriginOptions,
    ) -> Self {
        let openers = cache.logged(|| Arc::new(Workers::new("cachefs-open", OPENERS_MAX)));
        Self(Arc::new(Inner {
            cache,
            name,
            kind,
            known: Known::new(options),
            quota: Bucket::new(options.bytes_per_second, options.operations_per_second),
            weight: options.weight,
            openers,
        }))
    }

    /// The name that its objects carry.
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// From now on, what is known of a path counts no more, for any process that uses
    /// the cache directory: the origin is asked before anything is served of it again.
    /// ESHUTDOWN once the cache is closed.
    pub fn invalidate(&self, path: &[u8]) -> Result<()> {
        self.0.cache.check_open()?;
        self.0.cache.invalidations.invalidate(self.0.spot(path));
        Ok(())
    }

    /// The same of everything below a path; so far, of every path of the origin.
    pub fn invalidate_below(&self, path: &[u8]) -> Result<()> {
        self.0.cache.check_open()?;
        self.0.cache.invalidations.invalidate_all(self.0.spot(path));
        Ok(())
    }
}

impl Inner {
    /// The name under which a path is known. To code, each spelling is another file.
    fn plain<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        match self.kind {
            Kind::Directory(_) => path::plain(path),
            Kind::Custom(_) => Cow::Borrowed(path),
        }
    }

    /// Where the invalidations of a path are counted.
    pub(crate) fn spot(&self, path: &[u8]) -> Spot {
        Spot::new(&self.name, &self.plain(path))
    }

    pub(crate) fn mark(&self, spot: Spot) -> Mark {
        self.cache.invalidations.mark(spot)
    }

    /// Whether files are opened without asking for them.
    pub(crate) fn has_ttl(&self) -> bool {
        self.known.has_ttl()
    }

    /// The threads that open files.
    pub(crate) fn openers(&self) -> &Arc<Workers<OriginJob>> {
        &self.openers
    }

    /// Opens a file and samples its version, unless what the origin has said before is
    /// still believed.
    pub(crate) fn open(&self, path: &[u8], spot: Spot) -> Result<Opened> {
        let mark = self.mark(spot);
        let counters = &self.cache.counters;
        match self.known.belief(&self.plain(path), mark) {
            Belief::Nothing => self.ask(path, spot),
            Belief::File(validated) => {
                counters.opens_unasked.add(1);
                Ok(Opened {
                    source: None,
                    identity: Arc::clone(&validated.identity),
                    token: validated.token,
                    mark,
                })
            }
            Belief::Absent(error) => {
                counters.negative_hits.add(1);
                Err(error)
            }
        }
    }

    /// Opens a file and samples its version.
    pub(crate) fn ask(&self, path: &[u8], spot: Spot) -> Result<Opened> {
        let mark = self.mark(spot);
        let opened = self
            .open_source(path)
            .map(|(source, identity, token)| Opened {
                source: Some(source),
                identity: Arc::new(identity),
                token,
                mark,
            });
        let answer = opened.as_ref();
        let answer = answer.map(|opened| (&opened.identity, &opened.token));
        self.known.learn(&self.plain(path), mark, answer);
        opened
    }

    fn open_source(&self, path: &[u8]) -> Result<(Source, Identity, VersionToken)> {
        if path.len() >= PATH_BYTES_MAX {
            let text = "the path is longer than 4095 bytes";
            return Err(Error::new(Errno::NAMETOOLONG, text));
        }
        let path =
            CString::new(path).map_err(|_| Error::new(Errno::INVAL, "the path contains a NUL"))?;
        let (source, file, token) = match &self.kind {
            Kind::Directory(directory) => directory.open(&path)?,
            Kind::Custom(custom) => custom.open(path)?,
        };
        if token.size > i64::MAX as u64 {
            // Offsets are signed in every system call (off_t).
            let text = format!(
                "the origin gives it {} bytes, which no file has",
                token.size
            );
            return Err(Error::new(Errno::OVERFLOW, text));
        }
        let identity = Identity {
            origin: self.name.clone(),
            file,
        };
        Ok((source, identity, token))
    }

    /// The code of a custom origin. Its files have `Source::Path`.
    pub(crate) fn custom_code(&self) -> &Custom {
        match &self.kind {
            Kind::Custom(custom) => custom,
            Kind::Directory(_) => unreachable!("a directory's files have descriptors"),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.openers.end();
    }
}
