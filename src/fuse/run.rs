//! The life of the daemon: mount, serve, end.

use crate::control;
use crate::failure::{Failure, describe};
use crate::listing::Listings;
use crate::log::Level;
use crate::mount::{self, Mount};
use crate::nodes::Nodes;
use crate::notices::Notices;
use crate::opened::Retries;
use crate::passthrough::Passthrough;
use crate::server::{self, Counts, Daemon};
use crate::settings::Settings;
use crate::tree::Tree;
use cachefs_control::Server;
use cachefs_core::Cache;
use parking_lot::{Mutex, RwLock};
use rustix::process::{Resource, Rlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// For how long those who use the mount may go on after the daemon was asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// Mounts, tells `ready` so, and serves until the mount is taken away.
pub fn run(settings: Settings, level: Level, ready: impl FnOnce()) -> Result<(), Failure> {
    raise_limit();
    let mountpoint = settings.mountpoint.clone();
    let readahead = settings.max_readahead;
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::new(format!("handle signals: {}", describe(&error))))?;
    let (daemon, mount) = start(settings, level)?;
    let control = listen(&daemon);
    end_on_signals(signals, mountpoint.clone(), Arc::clone(&daemon))?;
    let serving = Arc::clone(&daemon);
    let server = thread::Builder::new().name("cachefsd".to_owned());
    let server = server.spawn(move || server::serve(&serving));
    let server = server.map_err(|error| Failure::new(describe(&error)))?;
    if let Err(error) = mount::set_readahead(&mountpoint, readahead) {
        let why = describe(&error);
        tracing::info!("the kernel reads ahead by what it takes itself: {why}");
    }
    report(&daemon);
    tell_manager(&[NotifyState::Ready]);
    ready();
    let served = server.join();
    tell_manager(&[NotifyState::Stopping]);
    tracing::info!("{} is not mounted any more", mountpoint.display());
    // What is under way for clients ends with it.
    daemon.cache.close()?;
    drop(control);
    drop(mount);
    match served {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(format!(
            "serve the mount: {}",
            describe(&error)
        ))),
        Err(_) => Err(Failure::new("serve the mount: a thread has panicked")),
    }
}

/// Everything that can fail, before the mount is said to be up.
fn start(settings: Settings, level: Level) -> Result<(Arc<Daemon>, Mount), Failure> {
    let cache = Cache::open(&settings.cache_dir, &settings.config)?;
    let origin = cache.open_directory(&settings.origin, &settings.origin_options)?;
    let (tree, root) = Tree::open(&settings.origin).map_err(|errno| {
        let shown = settings.origin.display();
        Failure::new(format!(
            "open the origin {shown}: {}",
            describe(&errno.into())
        ))
    })?;
    // From here on, the mountpoint may be the origin's own place: everything that is
    // below it was opened before.
    let mount = Mount::make(&settings, &settings.cache_dir)?;
    let device = Arc::new(mount.device()?);
    let passthrough = Passthrough::new(&device, mount.passthrough_refusal());
    passthrough.probe(&settings.cache_dir);
    let notices = Notices::start(&device)
        .map_err(|error| Failure::new(format!("start a thread: {}", describe(&error))))?;
    let daemon = Daemon {
        nodes: Nodes::new(&root),
        listings: Listings::default(),
        live: RwLock::new(settings.live),
        level,
        // As it was written, to be compared with what is written later.
        values: Mutex::new(settings.read_again()?.values()),
        counts: Counts::default(),
        retries: Retries::default(),
        control: OnceLock::new(),
        settings,
        cache,
        origin,
        tree,
        passthrough,
        notices,
        device,
    };
    Ok((Arc::new(daemon), mount))
}

/// Listens to whoever may command the daemon. A mount can do without.
fn listen(daemon: &Arc<Daemon>) -> Option<Server> {
    match control::start(daemon) {
        Ok(server) => {
            let path = server.path().to_owned();
            daemon.control.set(path).expect("there is one socket");
            Some(server)
        }
        Err(error) => {
            let why = describe(&error);
            tracing::warn!("no control socket, so no tool can reach this daemon: {why}");
            None
        }
    }
}

/// Says what the mount runs on.
fn report(daemon: &Daemon) {
    let settings = &daemon.settings;
    let (origin, mountpoint) = (settings.origin.display(), settings.mountpoint.display());
    tracing::info!("{origin} is mounted on {mountpoint}");
    if let cachefs_core::State::PassThrough(reason) = daemon.cache.report().state {
        tracing::warn!("nothing is kept: {reason}");
    }
    match daemon.passthrough.refusal() {
        None => tracing::info!("complete files are handed to the kernel (passthrough)"),
        Some(why) => tracing::info!("no passthrough: {why}; the daemon serves all reads itself"),
    }
}

/// Every file that is open takes a few descriptors.
fn raise_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(errno) = rustix::process::setrlimit(Resource::Nofile, all) {
        tracing::warn!("raise the limit of open files: {errno}");
    }
}

/// A signal takes the mount away, upon which the threads end; but for SIGHUP, where there
/// is a configuration file to be read anew.
fn end_on_signals(
    mut signals: Signals,
    mountpoint: PathBuf,
    daemon: Arc<Daemon>,
) -> Result<(), Failure> {
    let thread = thread::Builder::new().name("cachefsd-signals".to_owned());
    let spawned = thread.spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP && daemon.settings.has_file() {
                reload(&daemon);
                continue;
            }
            match mount::unmount(&mountpoint) {
                // The threads are told by the kernel.
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!("the mount is in use: its users have {GRACE:?} to end");
                    thread::sleep(GRACE);
                    if let Err(error) = daemon.cache.close() {
                        tracing::warn!("{error}");
                    }
                    if let Some(socket) = daemon.control.get() {
                        // Else the next daemon finds that nobody listens there.
                        let _left = std::fs::remove_file(socket);
                    }
                    process::exit(0);
                }
                Err(error) => tracing::error!("take the mount away: {}", describe(&error)),
            }
        }
    });
    spawned
        .map(drop)
        .map_err(|error| Failure::new(describe(&error)))
}

fn reload(daemon: &Daemon) {
    match daemon.reload() {
        Ok(reloaded) => {
            for option in &reloaded.changed {
                tracing::info!("{option} from now on");
            }
            for option in &reloaded.needs_remount {
                tracing::warn!("{option} has changed, and takes a new mount");
            }
        }
        Err(failure) => tracing::error!("read the configuration anew: {}", failure.message()),
    }
}

fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!("tell the service manager: {}", describe(&error));
    }
}
