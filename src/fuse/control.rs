//! What the daemon does for those who speak to its control socket.

use crate::failure::Failure;
use crate::server::Daemon;
use cachefs_control::reports::{OfMount, OpenFile, OpenFiles, Reloaded};
use cachefs_control::{About, Command, Commands, Host, Name, Out, Place, Refusal, Server, Service};
use cachefs_core::{Cache, Origin};
use rustix::io::Errno;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Files that `open` tells of at most.
const OPEN_MAX: usize = 10_000;

/// The service of a mount.
struct Control(Commands<Mounted>);

/// A daemon, as commands see it.
struct Mounted(Arc<Daemon>);

/// Listens on a socket in the cache directory.
pub fn start(daemon: &Arc<Daemon>) -> io::Result<Server> {
    let settings = &daemon.settings;
    let place = Place::take(&settings.cache_dir, &settings.origin)?;
    let about = About {
        program: "cachefsd",
        directory: settings.cache_dir.clone(),
        root: settings.origin.clone(),
        mountpoint: Some(settings.mountpoint.clone()),
    };
    let commands = Commands::start(Mounted(Arc::clone(daemon)), about)?;
    Server::start(place, Arc::new(Control(commands)))
}

impl Service for Control {
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        self.0.run(command, out)
    }

    fn fill(&self, path: &[u8]) {
        self.0.fill(path);
    }
}

impl Host for Mounted {
    fn cache(&self) -> &Cache {
        &self.0.cache
    }

    fn origin(&self) -> &Origin {
        &self.0.origin
    }

    fn mount(&self) -> Option<OfMount> {
        Some(mount(&self.0))
    }

    fn forget(&self, path: &Name, below: bool) -> u64 {
        self.0.forget_path(&path.0, below)
    }

    fn open_files(&self, most: usize) -> Result<OpenFiles, Refusal> {
        Ok(open_files(&self.0, most))
    }

    fn reload(&self) -> Result<Reloaded, Refusal> {
        let refused = |failure: Failure| Refusal::new(Errno::INVAL, failure.message());
        self.0.reload().map_err(refused)
    }
}

fn mount(daemon: &Daemon) -> OfMount {
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

fn open_files(daemon: &Daemon, most: usize) -> OpenFiles {
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
