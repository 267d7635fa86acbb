//! The commands, as every daemon does them: a mount, and an agent that has none. What
//! differs between the two, each tells as a [`Host`].

use crate::filler::Filler;
use crate::name::Name;
use crate::operations::{self, Outcome};
use crate::protocol::{Command, Refusal};
use crate::reports::{Hello, Invalidated, OfMount, OfServer, OpenFiles, Reloaded, Whole};
use crate::server::Out;
use cachefs_core::{Cache, Origin};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a client is told how far a copy is.
const PROGRESS: Duration = Duration::from_millis(50);

/// Who has a cache and an origin of it open, and what only it can do.
pub trait Host {
    /// The cache.
    fn cache(&self) -> &Cache;

    /// The origin that paths are below.
    fn origin(&self) -> &Origin;

    /// What `stat` adds of a mount.
    fn mount(&self) -> Option<OfMount> {
        None
    }

    /// Has the kernel forget a path that counts no more and, with `below`, what is below
    /// it: how many names and versions it knew.
    fn forget(&self, _path: &Name, _below: bool) -> u64 {
        0
    }

    /// The files that are open, at most so many.
    fn open_files(&self, _most: usize) -> Outcome<OpenFiles> {
        Err(without_mount())
    }

    /// Reads the configuration anew.
    fn reload(&self) -> Outcome<Reloaded> {
        Err(without_mount())
    }
}

fn without_mount() -> Refusal {
    let text = "an agent has no mount: this is for a cachefsd";
    Refusal::new(Errno::OPNOTSUPP, text)
}

/// What a daemon tells of itself, and has been told.
pub struct About {
    /// Its name.
    pub program: &'static str,
    /// The cache directory, from `/`.
    pub directory: PathBuf,
    /// The origin's root, from `/` and without links.
    pub root: PathBuf,
    /// Where that is mounted.
    pub mountpoint: Option<PathBuf>,
}

/// Does what commands ask for, and copies what was asked for without an answer.
pub struct Commands<H> {
    filler: Filler,
    host: H,
    about: About,
    begun: Instant,
}

impl<H: Host> Commands<H> {
    /// Begins, with the threads that copy.
    pub fn start(host: H, about: About) -> io::Result<Self> {
        let roots = std::iter::once(&about.root).chain(&about.mountpoint);
        let filler = Filler::start(host.origin().clone(), roots.cloned().collect())?;
        Ok(Self {
            filler,
            host,
            about,
            begun: Instant::now(),
        })
    }

    /// Does one: what it comes to, as JSON.
    pub fn run(&self, command: &Command, out: &mut Out<'_>) -> Outcome<Value> {
        let (host, cache, origin) = (&self.host, self.host.cache(), self.host.origin());
        match command {
            Command::Hello => json(&self.hello()),
            Command::Stat { origins } => json(&self.stat(*origins)?),
            Command::StatFile { path } => json(&operations::stat_file(origin, path)?),
            Command::Open { most } => json(&host.open_files(*most)?),
            Command::Ls => json(&operations::list(cache, |entry| out.note(entry))?),
            Command::Why { path } => json(&operations::why(origin, path)?),
            Command::Warm { path } => {
                let mut next = Instant::now();
                json(&operations::warm(origin, path, |done, total| {
                    if Instant::now() < next {
                        return true;
                    }
                    next = Instant::now() + PROGRESS;
                    out.is_wanted() && out.progress(done, total)
                })?)
            }
            Command::Pin { path } => json(&operations::pin(origin, path, true)?),
            Command::Unpin { path } => json(&operations::pin(origin, path, false)?),
            Command::Evict { path } => json(&operations::evict(origin, path)?),
            Command::Invalidate { path, below } => {
                operations::invalidate(origin, path, *below)?;
                let nodes = host.forget(path, *below);
                json(&Invalidated { nodes })
            }
            Command::Verify { path } => {
                let file = path.as_ref().map(|path| (origin, path));
                json(&operations::verify(cache, file, |_| out.is_wanted())?)
            }
            Command::Reload => json(&host.reload()?),
        }
    }

    /// Has a file copied when there is time for it, by its absolute path below the root or
    /// the mountpoint.
    pub fn fill(&self, path: &[u8]) {
        self.filler.fill(path);
    }

    /// Whether nothing is to be copied.
    pub fn is_idle(&self) -> bool {
        self.filler.is_idle()
    }

    /// For how long it has been there.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends, once the copies that are under way have.
    pub fn end(self) -> H {
        drop(self.filler);
        self.host
    }

    fn hello(&self) -> Hello {
        let about = &self.about;
        Hello {
            program: about.program.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            cache: Name::from(&about.directory),
            origin: Name::from(&about.root),
            mountpoint: about.mountpoint.as_ref().map(Name::from),
        }
    }

    fn stat(&self, origins: bool) -> Outcome<Whole> {
        let (host, about) = (&self.host, &self.about);
        let cache = host.cache();
        let counters = cache.stats();
        let counters = counters.numbers();
        Ok(Whole {
            cache: operations::stat(cache, &about.directory, origins)?,
            server: Some(OfServer {
                hello: self.hello(),
                seconds: self.age().as_secs(),
                counters: counters.map(|(name, n)| (name.to_owned(), n)).collect(),
                origin_health: operations::health(host.origin()),
                mount: host.mount(),
            }),
        })
    }
}

fn json(answer: &impl Serialize) -> Outcome<Value> {
    serde_json::to_value(answer).map_err(|error| Refusal::new(Errno::IO, error.to_string()))
}
