//! What waits until the cache device takes something: see `store/pulse`. A thread that
//! stores while it does not would wait in the kernel, with all its requests.

use super::Shard;
use crate::completion::Operation;
use crate::exec::{Message, OpTarget};
use crate::io::Outcome;
use crate::store::{Object, Pulse, Store, Takes};
use std::sync::Arc;
use std::time::Instant;

/// What one shard holds back.
#[derive(Default)]
pub(crate) struct Held {
    /// Requests that will store.
    requests: Vec<usize>,
    /// Fetches that replace what is wrong, and their serial numbers.
    fetches: Vec<(usize, u64)>,
    /// Ends of operations and of calls, after which something is stored.
    outcomes: Vec<Outcome>,
    messages: Vec<Message>,
    /// What is fetched later is not looked at before.
    pub(super) later: bool,
    /// Readers have been told that it takes long.
    is_late: bool,
}

impl Shard {
    /// Whether something may be stored now that has to do with a chunk, if any. If not, the
    /// shard hears of it.
    pub(crate) fn device_takes(&self, what: Option<(&Arc<Object>, u64)>) -> Takes {
        match &self.store {
            Some(store) => store.pulse.takes(self.config.index, what),
            None => Takes::Now,
        }
    }

    /// If an operation was the write of a chunk, the device has taken it after `since`.
    pub(crate) fn device_took_some(&self, outcome: &Outcome, since: Instant) {
        if let OpTarget::Fetch(slot) = OpTarget::of(outcome.tag)
            && outcome.result.is_ok()
            && self.fetches[slot].is_being_stored()
            && let Some(store) = &self.store
        {
            store.pulse.took_since(since);
        }
    }

    /// Whether the end of an operation has something stored to mapped pages that the device
    /// does not take now.
    pub(crate) fn is_to_be_held(&self, target: OpTarget, is_ok: bool) -> bool {
        let waits = |what| self.device_takes(what) != Takes::Now;
        match target {
            OpTarget::Check(check) => {
                // Both ask, so that one beat is for both.
                let ends = self.copying.ends_of(check);
                ends.map(waits).contains(&true)
            }
            OpTarget::Fetch(slot) => {
                let fetch = &self.fetches[slot];
                fetch.is_being_stored() && waits(fetch.stored_chunk())
            }
            // What cannot be read is dropped, but nobody waits for that for long.
            OpTarget::Request(_) | OpTarget::Bounce(_) if !is_ok => {
                self.device_takes(None) == Takes::Soon
            }
            _ => false,
        }
    }

    /// Has a request wait.
    pub(super) fn hold(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        request.outstanding += 1;
        request.held = true;
        self.held.requests.push(slot);
        self.have_it_told();
    }

    /// Makes sure that what is held is let go of.
    pub(super) fn have_it_told(&self) {
        let calls = |store: &Arc<Store>| store.pulse.will_call(self.config.index);
        if !self.store.as_ref().is_some_and(calls) {
            // A closed port has let go of everything.
            drop(self.port.post(Message::DeviceTakes));
        }
    }

    fn let_go(&mut self, slot: usize) {
        let request = &mut self.requests[slot];
        request.outstanding -= 1;
        request.held = false;
    }

    /// A request ends early.
    pub(crate) fn leave_held(&mut self, slot: usize) {
        if self.requests[slot].held {
            self.held.requests.retain(|one| *one != slot);
            self.let_go(slot);
        }
    }

    /// Has a fetch wait that has a buffer, which it gives back.
    pub(super) fn hold_fetch(&mut self, slot: usize) {
        let serial = self.fetches[slot].serial;
        self.held.fetches.push((slot, serial));
        self.have_it_told();
    }

    fn release_fetches(&mut self) {
        for (slot, serial) in std::mem::take(&mut self.held.fetches) {
            if self
                .fetches
                .get(slot)
                .is_some_and(|one| one.serial == serial)
            {
                self.starved.push_back(slot);
                self.unfed = true;
            }
        }
    }

    /// Has the end of an operation wait; it is told once more.
    pub(crate) fn hold_outcome(&mut self, outcome: Outcome) {
        self.held.outcomes.push(outcome);
        self.have_it_told();
    }

    /// The same of a message.
    pub(crate) fn hold_message(&mut self, message: Message) {
        self.held.messages.push(message);
        self.have_it_told();
    }

    /// The device takes something again. What comes too late for that is held once more.
    pub(crate) fn release_held(&mut self) {
        self.held.is_late = false;
        self.held.later = false;
        for message in std::mem::take(&mut self.held.messages) {
            self.receive(message);
        }
        self.release_outcomes();
        self.release_fetches();
        self.release_requests(|_, _| true);
    }

    fn release_requests(&mut self, mut which: impl FnMut(&Self, usize) -> bool) {
        let held = std::mem::take(&mut self.held.requests);
        let (out, stay) = held.into_iter().partition(|slot| which(self, *slot));
        self.held.requests = stay;
        for slot in out {
            self.let_go(slot);
            self.advance(slot);
        }
    }

    fn release_outcomes(&mut self) {
        for outcome in std::mem::take(&mut self.held.outcomes) {
            self.ended(outcome);
        }
    }

    /// What was written is about to be published.
    pub(crate) fn waits_to_publish(&self) -> bool {
        !self.held.outcomes.is_empty() && !self.held.is_late
    }

    /// When a beat has to be looked at that does not end.
    pub(crate) fn next_beat_deadline(&self) -> Option<Instant> {
        let store = self.store.as_ref()?;
        let held = &self.held;
        let is_any =
            !held.requests.is_empty() || !held.outcomes.is_empty() || !held.fetches.is_empty();
        let reads = (is_any && !held.is_late)
            .then(|| store.pulse.begun())
            .flatten();
        let hangs = store
            .pulse
            .untold()
            .map(|begun| store.health.hangs_at(begun));
        reads.map(Pulse::late_at).into_iter().chain(hangs).min()
    }

    /// Has readers ask their origins, and fills fail, if a beat does not end.
    pub(crate) fn expire_held(&mut self, now: Instant) {
        let Some(store) = &self.store else {
            return;
        };
        let Some(begun) = store.pulse.begun() else {
            return;
        };
        if store.health.hangs_at(begun) <= now {
            if store.pulse.tell(begun) {
                store.health.hung(begun);
            }
            // What may not be stored is not waited for.
            self.release_fetches();
            self.release_requests(|_, _| true);
            self.refuse_ahead();
        } else if Pulse::late_at(begun) <= now && !self.held.is_late {
            self.held.is_late = true;
            self.release_outcomes();
            self.release_fetches();
            let is_read =
                |shard: &Self, slot: usize| shard.requests[slot].operation == Operation::Read;
            self.release_requests(is_read);
        }
    }

    /// Ends what is left when the shard ends.
    pub(crate) fn abandon_held(&mut self) {
        for slot in std::mem::take(&mut self.held.requests) {
            self.let_go(slot);
        }
        self.held.outcomes.clear();
    }
}
