//! A thread that waits for an origin's answer, and not for ever: another one, which may
//! hang in the file system, asks.

use super::{Inner, Opened, OriginJob};
use crate::error::{Errno, Error, Result};
use crate::store::Spot;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One question about a path, which was admitted.
pub(crate) struct Asking {
    origin: Arc<Inner>,
    path: Vec<u8>,
    spot: Spot,
    answer: Mutex<Answer>,
    arrived: Condvar,
}

enum Answer {
    Awaited,
    Given(Box<Result<Opened>>),
    /// Nobody waits for it any more.
    Late,
}

impl Asking {
    pub(super) fn new(origin: &Arc<Inner>, path: &[u8], spot: Spot) -> Arc<Self> {
        Arc::new(Self {
            origin: Arc::clone(origin),
            path: path.to_vec(),
            spot,
            answer: Mutex::new(Answer::Awaited),
            arrived: Condvar::new(),
        })
    }

    /// On a thread that may hang.
    pub(super) fn ask(&self) {
        if matches!(*self.answer.lock(), Answer::Late) {
            return;
        }
        let answer = Box::new(self.origin.ask_admitted(&self.path, self.spot));
        let mut place = self.answer.lock();
        if let Answer::Awaited = *place {
            *place = Answer::Given(answer);
        }
        self.arrived.notify_all();
    }

    /// On the thread that wants to know. ETIMEDOUT: there was no answer within `limit`.
    pub(super) fn wait(self: &Arc<Self>, limit: Duration) -> Result<Opened> {
        let deadline = Instant::now() + limit;
        let mut place = self.answer.lock();
        while let Answer::Awaited = *place {
            if self.arrived.wait_until(&mut place, deadline).timed_out() {
                break;
            }
        }
        if let Answer::Given(answer) = std::mem::replace(&mut *place, Answer::Late) {
            return *answer;
        }
        drop(place);
        // One that no thread has begun takes no room any more.
        let mine = |job: &OriginJob| match job {
            OriginJob::Ask(asking) => Arc::ptr_eq(asking, self),
            _ => false,
        };
        drop(self.origin.openers().recall(mine));
        self.origin.told::<()>(&Err(Errno::TIMEDOUT));
        let path = String::from_utf8_lossy(&self.path);
        let text = format!("open {path}: the origin has not answered in {limit:?}");
        Err(Error::new(Errno::TIMEDOUT, text))
    }
}
