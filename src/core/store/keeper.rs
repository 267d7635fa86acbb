//! A thread that looks after the cache directory beside the work: it puts right what
//! dead processes have left, and makes room before it is asked for.

use super::{Store, repair};
use crate::limits::KEEP_MS;
use crate::sys;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How the thread is told. Outlives the store, of which the thread only knows where it
/// was.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
    /// It was told and has not looked.
    is_rung: AtomicBool,
    over: Condvar,
}

#[derive(Default)]
struct Rung {
    again: bool,
    ending: bool,
    running: bool,
}

/// Ends the thread when the store is gone, however it went.
pub(super) struct Keeper(Arc<Bell>);

impl Keeper {
    /// Of a store that is being made.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Has it look soon. Does not wait.
    pub(super) fn ring(&self) {
        if self.0.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.state.lock().again = true;
        self.0.rung.notify_one();
    }

    /// Ends it; false: it is still at work at `deadline`.
    pub(super) fn end(&self, deadline: Instant) -> bool {
        let mut state = self.0.state.lock();
        state.ending = true;
        self.0.rung.notify_one();
        while state.running {
            if self.0.over.wait_until(&mut state, deadline).timed_out() {
                return !state.running;
            }
        }
        true
    }

    /// Begins to look after a store. Without a thread, others have to.
    pub(super) fn begin(&self, store: &Arc<Store>) {
        let (bell, store) = (Arc::clone(&self.0), Arc::downgrade(store));
        let log = tracing::dispatcher::get_default(Clone::clone);
        let body = move || {
            tracing::dispatcher::with_default(&log, || bell.serve(&store));
        };
        self.0.state.lock().running = true;
        if let Err(error) = sys::spawn("cachefs-keeper".to_owned(), body) {
            self.0.state.lock().running = false;
            tracing::warn!("no thread looks after the cache directory: {error}");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.state.lock().ending = true;
        self.0.rung.notify_one();
    }
}

impl Bell {
    fn is_ending(&self) -> bool {
        self.state.lock().ending
    }

    /// Waits for the next time to look. False: there is none.
    fn wait(&self) -> bool {
        let until = Instant::now() + Duration::from_millis(KEEP_MS);
        let mut state = self.state.lock();
        while !state.ending && !state.again {
            if self.rung.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.again = false;
        self.is_rung.store(false, Ordering::Release);
        !state.ending
    }

    fn serve(&self, store: &Weak<Store>) {
        let mut is_first = true;
        while !self.is_ending() {
            let Some(store) = store.upgrade() else { break };
            is_first &= !store.keep(is_first, &|| self.is_ending());
            drop(store);
            if !self.wait() {
                break;
            }
        }
        self.state.lock().running = false;
        self.over.notify_all();
    }
}

impl Store {
    /// Does what there is to do. False: not all of what is done first.
    fn keep(&self, is_first: bool, over: &dyn Fn() -> bool) -> bool {
        self.membership.look_for_dead(self.accounts.table());
        let Some(_keeper) = self.membership.keeper() else {
            return false;
        };
        let done = repair::repair(self, is_first, over);
        self.cull(over);
        done
    }
}
