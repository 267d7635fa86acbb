//! Who is told of the end of a request.

use crate::completion::Completion;
use crate::io::{Wake, signal};
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Who is told, exactly once.
pub(crate) enum Sink {
    /// A closure, on the shard's thread.
    Callback(Box<dyn FnOnce(Completion) + Send>),
    /// A queue of the application.
    Queue(Arc<Remote>),
    /// A thread that waits.
    Blocked(Arc<Waiting>),
}

impl Sink {
    /// `wake` is how the engine of a queue is woken from the calling thread.
    pub(crate) fn deliver(self, completion: Completion, wake: &mut dyn FnMut(&Arc<dyn Wake>)) {
        match self {
            Sink::Callback(callback) => callback(completion),
            Sink::Queue(remote) => remote.deliver(completion.tag, completion, wake),
            Sink::Blocked(waiting) => waiting.deliver(completion),
        }
    }
}

/// A thread that waits for its request.
#[derive(Default)]
pub(crate) struct Waiting {
    done: Mutex<Option<Completion>>,
    arrived: Condvar,
}

impl Waiting {
    fn deliver(&self, completion: Completion) {
        *self.done.lock() = Some(completion);
        self.arrived.notify_one();
    }

    /// Waits for the completion, or for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<Completion> {
        let mut done = self.done.lock();
        while done.is_none() {
            match limit {
                None => self.arrived.wait(&mut done),
                Some(limit) => {
                    if self.arrived.wait_for(&mut done, limit).timed_out() {
                        break;
                    }
                }
            }
        }
        *done
    }
}

/// Where shards leave the completions of a queue's requests.
#[derive(Default)]
pub(crate) struct Remote {
    done: Mutex<Vec<(u64, Completion)>>,
    waker: OnceCell<Arc<dyn Wake>>,
    event: OnceCell<Arc<OwnedFd>>,
}

impl Remote {
    /// What wakes the queue from now on. False: there is one already.
    pub(crate) fn set_waker(&self, waker: Arc<dyn Wake>) -> bool {
        self.waker.set(waker).is_ok()
    }

    /// What tells event loops from now on. False: there is one already.
    pub(crate) fn set_event(&self, event: Arc<OwnedFd>) -> bool {
        self.event.set(event).is_ok()
    }

    /// Wakes the queue's thread for another reason than a completion.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        if let Some(event) = self.event.get() {
            signal(event.as_fd());
        }
    }

    /// Takes what was left, with the ids of the requests.
    pub(crate) fn take(&self) -> Vec<(u64, Completion)> {
        std::mem::take(&mut self.done.lock())
    }

    fn deliver(&self, id: u64, completion: Completion, wake: &mut dyn FnMut(&Arc<dyn Wake>)) {
        self.done.lock().push((id, completion));
        if let Some(waker) = self.waker.get() {
            wake(waker);
        }
        if let Some(event) = self.event.get() {
            signal(event.as_fd());
        }
    }
}
