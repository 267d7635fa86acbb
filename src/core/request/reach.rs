//! Files of which the origin has to be asked before a request can go on: those that were
//! opened without asking and of which something is missing, and those that were
//! invalidated. A thread of the origin's asks; several requests wait for one answer.

use super::{Again, Shard};
use crate::error::{Errno, Error};
use crate::file::FileInner;
use crate::origin::{OpenReply, Opened, OriginJob};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The files that are being asked for, by their address, which they keep meanwhile.
#[derive(Default)]
pub(crate) struct Reaching(HashMap<usize, Reach>);

struct Reach {
    /// Requests, each with when it is told that the origin does not answer.
    waiters: Vec<(usize, Instant)>,
}

fn address(file: &Arc<FileInner>) -> usize {
    Arc::as_ptr(file).addr()
}

impl Reaching {
    /// When the first request has to be told.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let waiters = self.0.values().flat_map(|reach| &reach.waiters);
        waiters.map(|(_, deadline)| *deadline).min()
    }

    /// Takes out the requests that match, and gives them.
    fn take(&mut self, mut which: impl FnMut(usize, Instant) -> bool) -> Vec<usize> {
        let mut taken = Vec::new();
        for reach in self.0.values_mut() {
            reach.waiters.retain(|(slot, deadline)| {
                let out = which(*slot, *deadline);
                taken.extend(out.then_some(*slot));
                !out
            });
        }
        taken
    }
}

impl Shard {
    /// Has a request wait until its file was asked for.
    pub(super) fn reach(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        let file = Arc::clone(&request.file);
        let reach = self.reaching.0.get_mut(&address(&file));
        let deadline = Instant::now() + self.config.origin_timeout;
        if let Some(reach) = reach {
            reach.waiters.push((slot, deadline));
        } else {
            let reply = OpenReply {
                port: Arc::clone(&self.port),
                file: Arc::clone(&file),
            };
            if file
                .origin
                .openers()
                .submit(OriginJob::Open(reply))
                .is_err()
            {
                request.fail(Errno::AGAIN);
                return;
            }
            let waiters = vec![(slot, deadline)];
            self.reaching.0.insert(address(&file), Reach { waiters });
        }
        request.outstanding += 1;
        request.reaching = true;
    }

    /// The origin has answered, or cannot be asked.
    pub(crate) fn opened(&mut self, file: &Arc<FileInner>, opened: Result<Opened, Error>) {
        let reach = self.reaching.0.remove(&address(file));
        let waiters = reach.map(|reach| reach.waiters).unwrap_or_default();
        let asked = opened.map(|opened| file.asked(opened));
        for (slot, _) in waiters {
            self.stop_reaching(slot);
            let request = &mut self.requests[slot];
            match &asked {
                Ok(version) if request.version.is_same(version) => {
                    request.version = Arc::clone(version);
                }
                Ok(_) => request.restart(Again::Moved),
                Err(error) if !request.lacks_source && file.stays_stale(error.errno()) => {
                    request.version = file.version();
                }
                Err(error) => request.origin_failed(while_reading(error)),
            }
            self.advance(slot);
        }
    }

    fn stop_reaching(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        request.outstanding -= 1;
        request.reaching = false;
        request.unsure = false;
    }

    /// Takes a request that ends early out of those that wait.
    pub(crate) fn leave_reaching(&mut self, slot: usize) {
        if self.requests[slot].reaching {
            self.reaching.take(|waiter, _| waiter == slot);
            self.stop_reaching(slot);
        }
    }

    /// Gives up on origins that do not answer. Who asks later waits for the same answer.
    pub(crate) fn expire_reaching(&mut self, now: Instant) {
        for slot in self.reaching.take(|_, deadline| deadline <= now) {
            self.stop_reaching(slot);
            let request = &mut self.requests[slot];
            request.file.origin.told::<()>(&Err(Errno::TIMEDOUT));
            request.origin_failed(Errno::TIMEDOUT);
            self.advance(slot);
        }
    }

    /// Ends what is left when the shard ends.
    pub(crate) fn abandon_reaching(&mut self) {
        for slot in self.reaching.take(|_, _| true) {
            self.stop_reaching(slot);
        }
    }
}

/// What a read says whose file could not be opened: one that was there and has gone is a
/// stale handle, as on network file systems.
fn while_reading(error: &Error) -> Errno {
    match error.errno() {
        Errno::NOENT | Errno::NOTDIR => Errno::STALE,
        errno => errno,
    }
}
