//! Where the bytes come from.

mod custom;
mod dir;
mod known;
mod options;

use crate::error::{Errno, Error, Result};
use crate::ids::Identity;
use crate::limits::PATH_BYTES_MAX;
use crate::shared::Shared;
use crate::token::VersionToken;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use custom::{Custom, OriginJob, ReadReply, StatReply};
pub use custom::{CustomOrigin, OriginRead};
pub(crate) use dir::Directory;
use known::Known;
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
    },
    /// By the origin's own code.
    Path(Arc<CString>),
}

/// A file of an origin, opened and checked.
pub(crate) struct Opened {
    pub(crate) source: Source,
    /// It is on a device of this host: reads of it end.
    pub(crate) near: bool,
    pub(crate) identity: Identity,
    pub(crate) token: VersionToken,
}

impl Origin {
    /// An origin with completed options.
    pub(crate) fn new(
        cache: Arc<Shared>,
        name: Vec<u8>,
        kind: Kind,
        options: &OriginOptions,
    ) -> Self {
        let known = Known::new(Duration::from_millis(options.negative_ttl_ms));
        Self(Arc::new(Inner {
            cache,
            name,
            kind,
            known,
        }))
    }

    /// The name that its objects carry.
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }
}

impl Inner {
    /// Opens a file and samples its version, unless the origin has said a moment ago
    /// that there is none.
    pub(crate) fn open(&self, path: &[u8]) -> Result<Opened> {
        if let Some(error) = self.known.absence(path) {
            self.cache.counters.negative_hits.add(1);
            return Err(error);
        }
        let opened = self.ask(path);
        if let Err(error) = &opened {
            self.known.failed(path, error);
        }
        opened
    }

    fn ask(&self, path: &[u8]) -> Result<Opened> {
        if path.len() >= PATH_BYTES_MAX {
            return Err(Error::new(
                Errno::NAMETOOLONG,
                "the path is longer than 4095 bytes",
            ));
        }
        let path =
            CString::new(path).map_err(|_| Error::new(Errno::INVAL, "the path contains a NUL"))?;
        let (source, file, token, near) = match &self.kind {
            Kind::Directory(directory) => directory.open(&path)?,
            Kind::Custom(custom) => {
                let (source, file, token) = custom.open(path)?;
                (source, file, token, false)
            }
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
        Ok(Opened {
            source,
            near,
            identity,
            token,
        })
    }

    /// The code of a custom origin. Its files have `Source::Path`.
    pub(crate) fn custom_code(&self) -> &Custom {
        match &self.kind {
            Kind::Custom(custom) => custom,
            Kind::Directory(_) => unreachable!("a directory's files have descriptors"),
        }
    }
}
