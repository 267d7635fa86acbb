//! Whether the cache device takes what is written to it now.
//!
//! What all processes know of a cache is in pages that they map. A store to one that is clean
//! has the kernel ask its file system, which waits while that is frozen or its journal waits
//! for a device that hangs, and nothing can call the thread back. So a store is made only after
//! a beat: a thread of its own passes the gate that is shut first while a file system is being
//! frozen, and stores to the same pages (`awake`). Between the two gates of a freeze is a grace
//! period of RCU (freeze_super() in fs/super.c, percpu_down_write()), so that what was taken
//! within [`FRESH`] says that a store now does not wait. The write of a chunk, or a name that
//! was made or removed, tells as much of the gate. `docs/decisions/020` has the rest.
//!
//! There are beats only while there is something to store: an idle cache has none.

use super::Object;
use crate::limits::{PULSE_ASKED_MAX, PULSE_FRESH_US, PULSE_PATIENCE_MS};
use crate::workers::{Job, Workers};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use rustix::fs::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// For so long no store waits after something was taken.
const FRESH: Duration = Duration::from_micros(PULSE_FRESH_US);
/// A beat that takes longer is not waited for by readers.
const PATIENCE: Duration = Duration::from_millis(PULSE_PATIENCE_MS);

/// Whether something may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// It may.
    Now,
    /// A beat is under way, which tells: whoever asked for it will be called.
    Soon,
    /// The same, and it takes its time: readers need not wait for it.
    Late,
}

/// Calls the listeners of a set of bits.
type Call = Box<dyn Fn(u64) + Send + Sync>;

/// The pulse of one cache device.
pub(crate) struct Pulse {
    shared: Arc<Shared>,
    worker: Workers<Beat>,
}

struct Shared {
    /// Of the cache.
    directory: OwnedFd,
    /// When something was last taken, in ns since `epoch`; 0: never.
    taken: AtomicU64,
    epoch: Instant,
    state: Mutex<State>,
    call: OnceCell<Call>,
}

/// A chunk of an object, for which something will be stored.
type Asked = (Weak<Object>, u64);

#[derive(Default)]
struct State {
    /// What is to be woken by the beat that is under way, if it is not too late for that.
    asked: Vec<Asked>,
    /// When the beat was begun that is under way.
    begun: Option<Instant>,
    /// It was said that it hangs.
    is_told: bool,
    /// Who is to be called when it ends: a bit each.
    listeners: u64,
}

impl Pulse {
    /// Of the file system of a cache directory.
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self {
            shared: Arc::new(Shared {
                directory,
                taken: AtomicU64::new(0),
                epoch: Instant::now(),
                state: Mutex::default(),
                call: OnceCell::new(),
            }),
            worker: Workers::new("cachefs-pulse", 1),
        }
    }

    /// Says how listeners are called. Once.
    pub(crate) fn set_call(&self, call: impl Fn(u64) + Send + Sync + 'static) {
        let set = self.shared.call.set(Box::new(call));
        assert!(set.is_ok(), "a directory has the listeners of one cache");
    }

    /// The device has just taken something. Called where that ends, at once.
    pub(crate) fn took(&self) {
        self.shared.took();
    }

    /// The device has taken something at some time since then.
    pub(crate) fn took_since(&self, then: Instant) {
        self.shared.took_at(then);
    }

    /// Whether no store waits now. Begins nothing: one load and a look at the clock.
    pub(crate) fn is_fresh(&self) -> bool {
        self.age() <= FRESH
    }

    fn age(&self) -> Duration {
        match self.shared.taken.load(Ordering::Acquire) {
            0 => Duration::MAX,
            taken => self.now().saturating_sub(Duration::from_nanos(taken)),
        }
    }

    /// The time that it counts in.
    pub(super) fn now(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    /// How long ago something was taken, for a store that has to do with a chunk. None: such a
    /// store may have to wait now.
    pub(super) fn age_for(&self, object: &Object, chunk: u64) -> Option<Duration> {
        let age = self.age().max(object.woken_for(chunk));
        (age <= FRESH && object.is_dirty(chunk)).then_some(age)
    }

    /// Whether something may be stored now that has to do with a chunk, if any; if not, this
    /// listener is called once that may have changed. Does not wait.
    pub(crate) fn takes(&self, listener: usize, what: Option<(&Arc<Object>, u64)>) -> Takes {
        let age = match what {
            Some((object, chunk)) => self.age_for(object, chunk),
            None => Some(self.age()).filter(|age| *age <= FRESH),
        };
        if let Some(age) = age {
            if age > FRESH / 2 {
                // So that a stream of stores never waits.
                self.beat(0, what);
            }
            return Takes::Now;
        }
        match self.beat(1 << listener, what) {
            Some(begun) if begun.elapsed() < PATIENCE => Takes::Soon,
            Some(_) => Takes::Late,
            // No thread is to be had for it: then this one waits, if it has to.
            None => {
                if let Some((object, chunk)) = what {
                    object.wake(chunk);
                }
                self.took();
                Takes::Now
            }
        }
    }

    /// Has a beat under way, and these listeners called at its end. Says when it was begun.
    fn beat(&self, listeners: u64, what: Option<(&Arc<Object>, u64)>) -> Option<Instant> {
        let mut state = self.shared.state.lock();
        let begun = match state.begun {
            Some(begun) => begun,
            None => {
                self.worker.submit(Beat(Arc::clone(&self.shared))).ok()?;
                *state.begun.insert(Instant::now())
            }
        };
        if let Some((object, chunk)) = what {
            state.ask(object, chunk);
        }
        state.listeners |= listeners;
        Some(begun)
    }

    /// Whether a beat is under way, and this listener is called at its end.
    pub(crate) fn will_call(&self, listener: usize) -> bool {
        let state = self.shared.state.lock();
        state.begun.is_some() && state.listeners & 1 << listener != 0
    }

    /// When the beat was begun that is under way.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.shared.state.lock().begun
    }

    /// The same until it was said that this one hangs.
    pub(crate) fn untold(&self) -> Option<Instant> {
        let state = self.shared.state.lock();
        state.begun.filter(|_| !state.is_told)
    }

    /// It hangs, and whoever calls says so; false: somebody has.
    pub(crate) fn tell(&self, begun: Instant) -> bool {
        let mut state = self.shared.state.lock();
        let is_first = state.begun == Some(begun) && !state.is_told;
        state.is_told |= is_first;
        is_first
    }

    /// When readers do not wait any more for a beat that was begun then.
    pub(crate) fn late_at(begun: Instant) -> Instant {
        begun + PATIENCE
    }

    /// Ends the thread; returns 1 if it was still inside a beat at `deadline`.
    pub(super) fn shut_down(&self, deadline: Instant) -> usize {
        self.worker.shut_down(deadline)
    }
}

impl State {
    /// Has the next beat wake what belongs to a chunk, once.
    fn ask(&mut self, object: &Arc<Object>, chunk: u64) {
        let page = object.page_of(chunk);
        let is_it = |(other, at): &Asked| {
            other.as_ptr() == Arc::as_ptr(object) && object.page_of(*at) == page
        };
        if self.asked.len() < PULSE_ASKED_MAX && !self.asked.iter().any(is_it) {
            self.asked.push((Arc::downgrade(object), chunk));
        }
    }
}

impl Shared {
    fn took(&self) {
        self.took_at(Instant::now());
    }

    fn took_at(&self, when: Instant) {
        let when = when.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.taken.fetch_max(when, Ordering::AcqRel);
    }
}

/// One beat.
struct Beat(Arc<Shared>);

impl Job for Beat {
    fn run(self) {
        let shared = self.0;
        // It is there, so nothing is changed or written; but before that is known, the gate was
        // passed (mnt_want_write() in filename_create() of fs/namei.c). Whatever else is said
        // is an answer as well: whoever stores something is told why it cannot be.
        let root = shared.directory.as_fd();
        let _is_there = rustix::fs::mkdirat(root, super::OBJECTS, Mode::RWXU);
        shared.took();
        let mut asked = Vec::new();
        let listeners = loop {
            let mut state = shared.state.lock();
            // Its memory is for those who ask next.
            std::mem::swap(&mut state.asked, &mut asked);
            if asked.is_empty() {
                state.begun = None;
                state.is_told = false;
                break std::mem::take(&mut state.listeners);
            }
            drop(state);
            // An object keeps in mind the pages that were woken last: those that were asked for
            // first, since who holds buffers asks before who wants some.
            for (object, chunk) in asked.drain(..).rev() {
                if let Some(object) = object.upgrade() {
                    object.wake(chunk);
                }
            }
        };
        if listeners != 0
            && let Some(call) = shared.call.get()
        {
            call(listeners);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Config, OriginOptions};
    use rustix::fs::OFlags;
    use std::sync::mpsc::channel;

    fn pulse() -> (Pulse, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
        (Pulse::new(file), directory)
    }

    #[test]
    fn nothing_is_taken_before_the_first_beat_whose_listeners_are_called() {
        let (pulse, _directory) = pulse();
        assert!(!pulse.is_fresh());
        let (called, calls) = channel();
        pulse.set_call(move |listeners| called.send(listeners).unwrap());
        assert_eq!(pulse.takes(3, None), Takes::Soon);
        assert_eq!(calls.recv_timeout(Duration::from_secs(60)), Ok(1 << 3));
        assert_eq!(pulse.begun(), None);
        assert!(calls.try_recv().is_err(), "once");
    }

    #[test]
    fn what_was_taken_counts_for_a_moment() {
        let (pulse, _directory) = pulse();
        // A busy machine may be slower than the moment.
        let fresh = (0..1000).any(|_| {
            pulse.took();
            pulse.is_fresh()
        });
        assert!(fresh);
        std::thread::sleep(FRESH * 2);
        assert!(!pulse.is_fresh());
    }

    #[test]
    fn what_is_copied_is_stored_also_if_no_thread_is_to_be_had_for_beats() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("origin");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("file"), [7; 100_000]).unwrap();
        let cache = Cache::open(&directory.path().join("cache"), &Config::default()).unwrap();
        let origin = cache.open_directory(&root, &OriginOptions::default());
        let file = origin.unwrap().open(b"file").unwrap();
        let store = file.0.origin.cache.store.as_ref().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        assert_eq!(store.pulse.shut_down(limit), 0);
        let filled = file.fill(0, u64::MAX, |_, _| Instant::now() < limit);
        assert_eq!(filled.unwrap(), 100_000);
    }

    #[test]
    fn a_beat_that_does_not_end_is_late_and_not_begun_again() {
        let (pulse, _directory) = pulse();
        let begun = Instant::now().checked_sub(PATIENCE).unwrap();
        pulse.shared.state.lock().begun = Some(begun);
        assert_eq!(pulse.takes(0, None), Takes::Late);
        assert_eq!(pulse.begun(), Some(begun));
    }
}
