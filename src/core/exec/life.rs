//! How far a library thread is.

use crate::error::{Errno, Error, Result};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Told by the thread, waited for by who opens and closes the cache.
#[derive(Default)]
pub(crate) struct Life {
    state: Mutex<State>,
    changed: Condvar,
    /// It left operations in the kernel.
    left_behind: AtomicBool,
}

#[derive(Default)]
enum State {
    #[default]
    Starting,
    Running,
    /// It has nothing more to do. Err: it could not start.
    Ended(Result<()>),
}

impl Life {
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_all();
    }

    /// The thread is ready for messages.
    pub(crate) fn run(&self) {
        self.set(State::Running);
    }

    /// The thread could not start.
    pub(crate) fn fail(&self, error: Error) {
        self.set(State::Ended(Err(error)));
    }

    /// The kernel still has operations of the thread, whose exit waits for them
    /// (`io_wq_put_and_exit`): nobody may wait for it in turn.
    pub(crate) fn leave_behind(&self) {
        self.left_behind.store(true, Ordering::Release);
    }

    /// Whether the thread, which has ended, may be waited for.
    pub(crate) fn can_exit(&self) -> bool {
        !self.left_behind.load(Ordering::Acquire)
    }

    /// Waits until the thread runs, or says why it does not.
    pub(crate) fn started(&self) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Starting => self.changed.wait(&mut state),
                State::Running => return Ok(()),
                State::Ended(result) => return result.clone(),
            }
        }
    }

    /// Waits until the thread has ended; false: it had not at `deadline`.
    pub(crate) fn ended(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !matches!(&*state, State::Ended(_)) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }
}

/// Ends the life of a thread when it is dropped, however the thread ends.
pub(crate) struct Ending(pub(crate) Arc<Life>);

impl Drop for Ending {
    fn drop(&mut self) {
        let result = match &*self.0.state.lock() {
            State::Ended(_) => return,
            State::Running => Ok(()),
            State::Starting => {
                let text = "a library thread ended at its start";
                Err(Error::new(Errno::NOTRECOVERABLE, text))
            }
        };
        self.0.set(State::Ended(result));
    }
}
