//! Where the bytes come from, and what is known of it.
//!
//! | file | what it does |
//! |---|---|
//! | `dir` | a directory on any mounted file system |
//! | `custom` | somebody's code |
//! | `options` | how an origin is treated |
//! | `known` | what it has said of its paths, for as long as that is believed |
//! | `health` | whether it answers |
//! | `asking` | a thread that waits for its answer, and not for ever |
//! | `path` | one name for a path that can be written in several ways |

mod asking;
mod custom;
mod dir;
mod health;
mod known;
mod options;
mod path;

use crate::error::{Context, Errno, Error, Result};
use crate::exec::on_shard;
use crate::ids::Identity;
use crate::limits::{OPENERS_MAX, PATH_BYTES_MAX};
use crate::qos::Bucket;
use crate::shared::Shared;
use crate::store::{Invalidations, Mark, Spot};
use crate::sys;
use crate::token::VersionToken;
use crate::workers::Workers;
use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use asking::Asking;
pub(crate) use custom::{Custom, OpenReply, OriginJob, ReadReply, StatReply};
pub use custom::{CustomOrigin, OriginRead};
pub(crate) use dir::{Directory, FILE_ID_BYTES_MAX, file_id};
use health::Health;
pub(crate) use health::is_unreachable;
pub use health::{Circuit, OriginReport};
use known::{Belief, Known};
pub use options::{ORIGIN_OPTIONS, OriginOptions};
pub(crate) use path::is_plain;

/// An origin in use. Clones are the same origin.
#[derive(Clone)]
pub struct Origin(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) cache: Arc<Shared>,
    /// Tells the origins of one cache apart, across restarts.
    name: Vec<u8>,
    kind: Kind,
    known: Known,
    health: Health,
    pub(crate) retrying: Retrying,
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
    /// The origin could not be reached, and this is what it said last: until when that is
    /// served, by the boot clock.
    pub(crate) stale_until: Option<Duration>,
}

/// How often and when a request is tried again.
#[derive(Clone, Copy)]
pub(crate) struct Retrying {
    pub(crate) times: u32,
    first: Duration,
    longest: Duration,
}

impl Retrying {
    fn new(options: &OriginOptions) -> Self {
        Self {
            times: options.retries as u32,
            first: Duration::from_millis(options.retry_first_ms),
            longest: Duration::from_millis(options.retry_max_ms),
        }
    }

    /// The pause before the retry of this number, from 1: anything up to a limit, which
    /// doubles each time. So many who failed together do not come back together.
    pub(crate) fn pause(&self, number: u32) -> Duration {
        let doubled = 2u32.saturating_pow(number.saturating_sub(1));
        let limit = self.first.saturating_mul(doubled).min(self.longest);
        let mut random = [0xff; 4];
        if let Err(errno) = sys::random(&mut random) {
            tracing::debug!("a retry waits as long as it may: {errno}");
        }
        limit.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
    }
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
        let health = Health::new(&name, options);
        let openers = cache.logged(|| Arc::new(Workers::new("cachefs-open", OPENERS_MAX)));
        Self(Arc::new(Inner {
            cache,
            name,
            kind,
            known: Known::new(options),
            health,
            retrying: Retrying::new(options),
            quota: Bucket::new(options.bytes_per_second, options.operations_per_second),
            weight: options.weight,
            openers,
        }))
    }

    /// The name that its objects carry.
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// Whether it answers.
    pub fn report(&self) -> OriginReport {
        self.0.health.report()
    }

    /// From now on, what is known of a path counts no more, for any process that uses
    /// the cache directory: the origin is asked before anything is served of it again.
    /// ESHUTDOWN once the cache is closed; ETIMEDOUT: the cache device does not answer, so
    /// that other processes hear of it only when it does. For this one it holds.
    pub fn invalidate(&self, path: &[u8]) -> Result<()> {
        let spot = self.0.spot(path);
        self.count(move |invalidations| invalidations.invalidate(spot))
    }

    /// The same of everything below a path; so far, of every path of the origin.
    pub fn invalidate_below(&self, path: &[u8]) -> Result<()> {
        let spot = self.0.spot(path);
        self.count(move |invalidations| invalidations.invalidate_all(spot))
    }

    /// Counts an invalidation.
    fn count(&self, invalidate: impl FnOnce(&Invalidations) + Send + 'static) -> Result<()> {
        let cache = &self.0.cache;
        cache.check_open()?;
        let Ok(store) = &cache.store else {
            invalidate(&cache.invalidations);
            return Ok(());
        };
        let invalidations = Arc::clone(&cache.invalidations);
        let told = store.gently(move |_| invalidate(&invalidations));
        if told.is_err() {
            cache.invalidations.forget_all_here();
        }
        told
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
    pub(crate) fn open(self: &Arc<Self>, path: &[u8], spot: Spot) -> Result<Opened> {
        let mark = self.mark(spot);
        let counters = &self.cache.counters;
        match self.known.belief(&self.plain(path), mark) {
            Belief::Nothing => {
                let asked = self.ask(path, spot);
                asked.or_else(|error| self.last_known(path, mark, error))
            }
            Belief::File(validated) => {
                counters.opens_unasked.add(1);
                Ok(Opened {
                    source: None,
                    identity: Arc::clone(&validated.identity),
                    token: validated.token,
                    mark,
                    stale_until: None,
                })
            }
            Belief::Absent(error) => {
                counters.negative_hits.add(1);
                Err(error)
            }
        }
    }

    /// What an origin said that cannot be reached, if that is not too long ago.
    fn last_known(&self, path: &[u8], mark: Mark, error: Error) -> Result<Opened> {
        if !is_unreachable(error.errno()) {
            return Err(error);
        }
        let known = self.known.stale(&self.plain(path), mark);
        let (validated, until) = known.ok_or(error)?;
        self.cache.counters.stale_opens.add(1);
        Ok(Opened {
            source: None,
            identity: Arc::clone(&validated.identity),
            token: validated.token,
            mark,
            stale_until: Some(until),
        })
    }

    /// Whether the origin may be asked now. Err: it fails, with this.
    pub(crate) fn admit(&self) -> std::result::Result<(), Errno> {
        self.health.admit(sys::boot_time())
    }

    /// The origin is not left alone.
    pub(crate) fn is_in_reach(&self) -> bool {
        self.health.is_closed()
    }

    /// The origin was asked for something.
    pub(crate) fn told<T>(&self, answer: &std::result::Result<T, Errno>) {
        self.health.told(
            match answer {
                Err(errno) if is_unreachable(*errno) => Err(*errno),
                _ => Ok(()),
            },
            sys::boot_time(),
        );
    }

    /// A request is tried again.
    pub(crate) fn retried(&self) {
        self.cache.counters.origin_retries.add(1);
        self.health.retried();
    }

    /// Another number whenever the origin answers after a failure.
    pub(crate) fn recoveries(&self) -> u64 {
        self.health.recoveries()
    }

    /// Opens a file and samples its version; tries again as its options say. Blocks.
    pub(crate) fn ask(self: &Arc<Self>, path: &[u8], spot: Spot) -> Result<Opened> {
        let mut tried = 0;
        loop {
            let asked = self.ask_in_time(path, spot);
            let failed = asked.as_ref().err();
            let unreached = failed.is_some_and(|error| is_unreachable(error.errno()));
            // A library thread must not sleep.
            let ends = !unreached || !self.is_in_reach() || on_shard() || self.cache.is_closed();
            if ends || tried >= self.retrying.times {
                return asked;
            }
            tried += 1;
            self.retried();
            std::thread::sleep(self.retrying.pause(tried));
        }
    }

    /// The same as `ask_once`, within a limit where a file system may never answer. What
    /// code does is its own affair: it is called on this thread.
    fn ask_in_time(self: &Arc<Self>, path: &[u8], spot: Spot) -> Result<Opened> {
        let is_near = |directory: &Directory| directory.is_near();
        match &self.kind {
            Kind::Directory(directory) if !is_near(directory) => {}
            _ => return self.ask_once(path, spot),
        }
        // Before a thread is taken up by it.
        self.admit_open(path)?;
        let asking = Asking::new(self, path, spot);
        match self.openers.submit(OriginJob::Ask(Arc::clone(&asking))) {
            Ok(()) => asking.wait(self.cache.origin_timeout),
            Err(_) => self.ask_once(path, spot),
        }
    }

    fn admit_open(&self, path: &[u8]) -> Result<()> {
        self.admit().context(|| {
            let path = String::from_utf8_lossy(path);
            format!("open {path}: its origin is left alone for a while")
        })
    }

    /// Opens a file and samples its version, unless the origin is left alone.
    pub(crate) fn ask_once(&self, path: &[u8], spot: Spot) -> Result<Opened> {
        self.admit_open(path)?;
        self.ask_admitted(path, spot)
    }

    fn ask_admitted(&self, path: &[u8], spot: Spot) -> Result<Opened> {
        let mark = self.mark(spot);
        let opened = self
            .open_source(path)
            .map(|(source, identity, token)| Opened {
                source: Some(source),
                identity: Arc::new(identity),
                token,
                mark,
                stale_until: None,
            });
        self.told(&opened.as_ref().map_err(Error::errno));
        let answer = opened.as_ref();
        let answer = answer.map(|opened| (&opened.identity, &opened.token));
        self.known.learn(&self.plain(path), mark, answer);
        opened
    }

    /// The same of a directory's file that its user has opened. What has its path is not
    /// learned from it. EOPNOTSUPP: the origin is code.
    pub(crate) fn ask_through(&self, fd: &Arc<OwnedFd>, path: &[u8], spot: Spot) -> Result<Opened> {
        let Kind::Directory(directory) = &self.kind else {
            let text = "an origin that is code has no descriptors";
            return Err(Error::new(Errno::OPNOTSUPP, text));
        };
        self.admit_open(path)?;
        let mark = self.mark(spot);
        let asked = c_path(path).and_then(|path| directory.admit(Arc::clone(fd), &path));
        self.told(&asked.as_ref().map_err(Error::errno));
        let (source, identity, token) = self.identified(asked?)?;
        Ok(Opened {
            source: Some(source),
            identity: Arc::new(identity),
            token,
            mark,
            stale_until: None,
        })
    }

    fn open_source(&self, path: &[u8]) -> Result<(Source, Identity, VersionToken)> {
        let path = c_path(path)?;
        self.identified(match &self.kind {
            Kind::Directory(directory) => directory.open(&path)?,
            Kind::Custom(custom) => custom.open(path)?,
        })
    }

    /// What an origin said, with the origin's name.
    fn identified(
        &self,
        (source, file, token): (Source, Vec<u8>, VersionToken),
    ) -> Result<(Source, Identity, VersionToken)> {
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

fn c_path(path: &[u8]) -> Result<CString> {
    if path.len() >= PATH_BYTES_MAX {
        let text = "the path is longer than 4095 bytes";
        return Err(Error::new(Errno::NAMETOOLONG, text));
    }
    CString::new(path).map_err(|_| Error::new(Errno::INVAL, "the path contains a NUL"))
}
