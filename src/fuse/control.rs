//! What the daemon does for those who speak to its control socket.

use crate::failure::Failure;
use crate::server::Daemon;
use cachefs_control::reports::{Hello, Invalidated, OfMount, OfServer, OpenFile, OpenFiles, Whole};
use cachefs_control::{Command, Filler, Name, Out, Place, Refusal, Server, Service, operations};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often a client is told how far a copy is.
const PROGRESS: Duration = Duration::from_millis(50);
/// Files that `open` tells of at most.
const OPEN_MAX: usize = 10_000;

/// The service of a mount.
struct Control {
    daemon: Arc<Daemon>,
    filler: Filler,
    begun: Instant,
}

/// Listens on a socket in the cache directory.
pub fn start(daemon: &Arc<Daemon>) -> io::Result<Server> {
    let settings = &daemon.settings;
    let place = Place::take(&settings.cache_dir, &settings.origin)?;
    let user = rustix::process::geteuid().as_raw();
    let roots = vec![settings.origin.clone(), settings.mountpoint.clone()];
    let control = Control {
        daemon: Arc::clone(daemon),
        filler: Filler::start(daemon.origin.clone(), roots)?,
        begun: Instant::now(),
    };
    Server::start(place, user, Arc::new(control))
}

impl Service for Control {
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        let Daemon { cache, origin, .. } = &*self.daemon;
        match command {
            Command::Hello => json(&self.hello()),
            Command::Stat { origins } => json(&self.stat(*origins)?),
            Command::StatFile { path } => json(&operations::stat_file(origin, path)?),
            Command::Open { most } => json(&self.open_files(*most)),
            Command::Ls => {
                operations::list(cache, |entry| out.note(entry))?;
                Ok(Value::Null)
            }
            Command::Why { path } => json(&operations::why(origin, path)?),
            Command::Warm { path } => {
                let file = origin.open(&path.0)?;
                let mut next = Instant::now();
                json(&operations::warm(&file, |done, total| {
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
                let nodes = self.daemon.forget_path(&path.0, *below);
                json(&Invalidated { nodes })
            }
            Command::Verify { path } => {
                let watch = |_: &_| out.is_wanted();
                json(&operations::verify(cache, origin, path.as_ref(), watch)?)
            }
            Command::Reload => {
                let reloaded = self.daemon.reload();
                let refused =
                    |failure: Failure| Refusal::new(Errno::INVAL, failure.message().to_owned());
                json(&reloaded.map_err(refused)?)
            }
        }
    }

    fn fill(&self, path: &[u8]) {
        self.filler.fill(path);
    }
}

fn json(answer: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(|error| Refusal::new(Errno::IO, error.to_string()))
}

impl Control {
    fn hello(&self) -> Hello {
        let settings = &self.daemon.settings;
        Hello {
            program: "cachefsd".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            cache: Name::from(&settings.cache_dir),
            origin: Name::from(&settings.origin),
            mountpoint: Some(Name::from(&settings.mountpoint)),
        }
    }

    fn stat(&self, origins: bool) -> Result<Whole, Refusal> {
        let daemon = &self.daemon;
        let settings = &daemon.settings;
        let capacity = settings.config.completed()?.capacity_bytes;
        let cache = operations::stat(&daemon.cache, &settings.cache_dir, capacity, origins)?;
        let counters = daemon.cache.stats();
        let counters = counters.numbers();
        let server = OfServer {
            hello: self.hello(),
            seconds: self.begun.elapsed().as_secs(),
            counters: counters.map(|(name, n)| (name.to_owned(), n)).collect(),
            origin_health: operations::health(&daemon.origin),
            mount: Some(self.mount()),
        };
        Ok(Whole {
            cache,
            server: Some(server),
        })
    }

    fn mount(&self) -> OfMount {
        let daemon = &self.daemon;
        let mut mount = OfMount {
            no_passthrough: daemon.passthrough.refusal(),
            nodes: daemon.nodes.count() as u64,
            requests: daemon.counts.requests.load(Ordering::Relaxed),
            reads: daemon.counts.reads.load(Ordering::Relaxed),
            threads: daemon.settings.fuse_threads as u64,
            ..OfMount::default()
        };
        for node in daemon.nodes.all().iter().filter(|node| node.is_regular) {
            // One that is being opened or looked at is in use.
            match node.opened.try_lock().as_deref() {
                Some(None) => {}
                Some(Some(opened)) => {
                    mount.files_open += 1;
                    mount.files_handed_over += u64::from(opened.is_the_kernels());
                }
                None => mount.files_open += 1,
            }
        }
        mount
    }

    fn open_files(&self, most: usize) -> OpenFiles {
        let daemon = &self.daemon;
        let mut files = Vec::new();
        for node in daemon.nodes.all().iter().filter(|node| node.is_regular) {
            let opened = node.opened.try_lock();
            if let Some(Some(opened)) = opened.as_deref() {
                let path = Name(daemon.tree.path(&daemon.nodes, node));
                let size = node.state.lock().version.size;
                let served = opened.served();
                files.push(OpenFile {
                    path,
                    opens: opened.count(),
                    is_handed_over: opened.is_the_kernels(),
                    bytes_read: served.map_or(0, |served| served.course.lock().total()),
                    size,
                    bytes_present: served.map_or(0, |served| served.file.residency().bytes_present),
                });
            }
        }
        files.sort_by_key(|file| std::cmp::Reverse((file.opens, file.bytes_read)));
        files.truncate(most.min(OPEN_MAX));
        OpenFiles { files }
    }
}
