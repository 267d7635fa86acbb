//! Copies files that somebody has asked for without waiting: what a fill of the socket
//! leads to.

use cachefs_core::{Completion, Errno, Item, Origin, submit_batch};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

/// Files that wait to be copied; those that come when so many wait are passed over.
pub const WAITING_MAX: usize = 4096;
/// Files that are copied at once.
const AT_ONCE: usize = 4;

/// Copies files of one origin, at low priority. Dropping it forgets those that wait, and
/// waits for those that are under way.
pub struct Filler {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

struct Inner {
    origin: Origin,
    /// By which absolute paths begin: the origin's root, and where it is mounted.
    roots: Vec<PathBuf>,
    state: Mutex<State>,
    stirred: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Those that wait or are under way.
    known: HashSet<Vec<u8>>,
    is_over: bool,
}

impl Filler {
    /// Copies files of an origin that are named by absolute paths below one of the roots.
    pub fn start(origin: Origin, roots: Vec<PathBuf>) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            origin,
            roots,
            state: Mutex::default(),
            stirred: Condvar::new(),
        });
        let mut filler = Self {
            inner,
            threads: Vec::new(),
        };
        for number in 0..AT_ONCE {
            let inner = Arc::clone(&filler.inner);
            let thread = thread::Builder::new().name(format!("cachefs-fill-{number}"));
            filler.threads.push(thread.spawn(move || inner.work())?);
        }
        Ok(filler)
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.inner.state.lock().known.is_empty()
    }

    /// Has a file copied when there is time for it. False: it is not below a root, or too
    /// many wait.
    pub fn fill(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let mut roots = self.inner.roots.iter();
        let Some(below) = roots.find_map(|root| path.strip_prefix(root).ok()) else {
            tracing::debug!("{}: not below the origin, so not copied", path.display());
            return false;
        };
        let below = below.as_os_str().as_bytes().to_vec();
        let mut state = self.inner.state.lock();
        if state.known.contains(&below) {
            return true;
        }
        if state.waiting.len() >= WAITING_MAX {
            tracing::debug!("{WAITING_MAX} files wait to be copied, so others are passed over");
            return false;
        }
        state.known.insert(below.clone());
        state.waiting.push_back(below);
        drop(state);
        self.inner.stirred.notify_one();
        true
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.is_over = true;
        state.waiting.clear();
        drop(state);
        self.inner.stirred.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that copies files has panicked");
            }
        }
    }
}

impl Inner {
    fn work(&self) {
        while let Some(path) = self.next() {
            if let Err(error) = self.copy(&path) {
                let shown = String::from_utf8_lossy(&path).into_owned();
                tracing::debug!("{shown}: not copied: {error}");
            }
            self.state.lock().known.remove(&path);
        }
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(path) = state.waiting.pop_front() {
                return Some(path);
            }
            self.stirred.wait(&mut state);
        }
    }

    fn copy(&self, path: &[u8]) -> cachefs_core::Result<()> {
        let file = self.origin.open(path)?;
        if file.residency().complete {
            return Ok(());
        }
        let item = Item::background_fill(file);
        let (ended_in, ended) = channel();
        let callback = move |completions: &[Completion]| {
            // Whoever waits is there until it is told.
            let _told = ended_in.send(completions[0].result);
        };
        submit_batch(vec![item], |_| {}, callback)?;
        // The callback is called once, also when the cache is closed.
        match ended.recv().unwrap_or(Err(Errno::SHUTDOWN)) {
            Ok(_) => Ok(()),
            Err(errno) => {
                tracing::debug!("a file is not copied: {errno}");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cachefs_core::{Cache, Config, OriginOptions};

    #[test]
    fn so_many_files_wait_and_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache"), &Config::default()).unwrap();
        let origin = cache.open_directory(directory.path(), &OriginOptions::default());
        // Without threads, nothing is taken out.
        let filler = Filler {
            inner: Arc::new(Inner {
                origin: origin.unwrap(),
                roots: vec!["/o".into()],
                state: Mutex::default(),
                stirred: Condvar::new(),
            }),
            threads: Vec::new(),
        };
        let path = |index: usize| format!("/o/{index}").into_bytes();
        for index in 0..WAITING_MAX {
            assert!(filler.fill(&path(index)));
        }
        assert!(!filler.fill(&path(WAITING_MAX)));
        // One that waits is as good as asked for.
        assert!(filler.fill(&path(0)));
        assert_eq!(filler.inner.state.lock().waiting.len(), WAITING_MAX);
    }
}
