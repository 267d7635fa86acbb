//! Stores to mapped pages that were put off, since the device might have had their thread
//! wait: see `pulse`. The keeper makes them, on a thread that may.

use super::{Object, Store};
use crate::evict::Handle;
use crate::ids::Key;
use crate::limits::OWED_TOUCHES_MAX;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// One that is owed. But for uses, there are no more of them than there are objects and
/// chunks at work.
pub(super) enum Owed {
    /// An object was used.
    Touch(Handle),
    /// So many bytes were reserved for it and not written.
    Release(Handle, u64),
    /// It is not in use any more, and has to be counted if nobody else uses it.
    Count(Handle),
    /// It is whole, and nobody says so yet.
    Seal(Weak<Object>),
    /// A doubted chunk of it is what was written.
    Confirm(Weak<Object>, u64),
    /// Nothing of it is trusted any more.
    Remove(Key, u64),
    /// Something else.
    Other(Box<dyn FnOnce() + Send>),
}

/// What is owed.
#[derive(Default)]
pub(super) struct Owing(Mutex<List>);

#[derive(Default)]
struct List {
    all: Vec<Owed>,
    touches: usize,
    /// The keeper has ended: whoever owes something pays it at once.
    is_over: bool,
}

impl Owing {
    /// Takes one; false: there are too many of its kind. Whoever owes after the end pays at
    /// once.
    fn take(&self, one: Owed) -> std::result::Result<bool, Owed> {
        let mut list = self.0.lock();
        if list.is_over {
            return Err(one);
        }
        let is_touch = matches!(one, Owed::Touch(_));
        if is_touch && list.touches == OWED_TOUCHES_MAX {
            return Ok(false);
        }
        list.touches += usize::from(is_touch);
        list.all.push(one);
        Ok(true)
    }

    /// Gives those that match.
    fn give(&self, which: impl Fn(&Owed) -> bool) -> Vec<Owed> {
        let mut list = self.0.lock();
        let given: Vec<Owed> = list.all.extract_if(.., |one| which(one)).collect();
        let is_touch = |one: &&Owed| matches!(one, Owed::Touch(_));
        list.touches -= given.iter().filter(is_touch).count();
        given
    }
}

impl Store {
    /// Whether a store to a mapped page does not wait now.
    pub(super) fn may_pay(&self) -> bool {
        self.pulse.is_fresh()
    }

    /// Does it now if that does not wait, or else soon.
    pub(super) fn pay_or_owe(&self, one: Owed) {
        match self.may_pay() {
            true => self.pay_one(one),
            false => self.owe(one),
        }
    }

    /// Does it soon.
    pub(super) fn owe(&self, one: Owed) {
        let is_urgent = !matches!(one, Owed::Touch(_));
        match self.owing.take(one) {
            Ok(true) if is_urgent => self.keeper.ring(),
            // A use that is not counted costs the order of eviction, and nothing else.
            Ok(_) => self.keeper.ring_later(),
            Err(one) => self.pay_one(one),
        }
    }

    /// Does all that is owed.
    pub(super) fn pay(&self) {
        let all = self.owing.give(|_| true);
        all.into_iter().for_each(|one| self.pay_one(one));
    }

    /// Does what whoever makes room has to know of: who was used, and what is free.
    pub(super) fn pay_accounts(&self) {
        let is_one = |one: &Owed| matches!(one, Owed::Touch(_) | Owed::Release(..));
        let accounts = self.owing.give(is_one);
        accounts.into_iter().for_each(|one| self.pay_one(one));
    }

    /// Does all for the last time.
    pub(super) fn pay_at_the_end(&self) {
        self.owing.0.lock().is_over = true;
        self.pay();
    }

    fn pay_one(&self, one: Owed) {
        let living = |object: Weak<Object>| object.upgrade();
        match one {
            Owed::Touch(handle) => {
                self.accounts.table().touch(handle);
            }
            Owed::Release(handle, bytes) => self.accounts.release(handle, bytes),
            Owed::Count(handle) => {
                let entry = self.accounts.table().get(handle);
                if let Some(entry) = entry.filter(|entry| entry.state.is_filling()) {
                    self.count_unused(&entry);
                }
            }
            Owed::Seal(object) => {
                if let Some(object) = living(object) {
                    object.settle();
                }
            }
            Owed::Confirm(object, chunk) => {
                // It may have been taken back meanwhile.
                if let Some(object) = living(object)
                    && object.doubts(chunk)
                    && object.has_sum(chunk)
                {
                    object.confirm(chunk);
                }
            }
            Owed::Remove(key, nonce) => self.remove(key, nonce),
            Owed::Other(work) => work(),
        }
    }
}

impl Object {
    /// Says that it is whole, if it is and nobody has said so.
    pub(super) fn say_whole(self: &Arc<Self>) {
        if self.is_to_be_settled() {
            self.store.pay_or_owe(Owed::Seal(Arc::downgrade(self)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal() -> Owed {
        Owed::Remove(Key([1; 16]), 2)
    }

    fn other() -> Owed {
        Owed::Other(Box::new(|| ()))
    }

    #[test]
    fn what_is_owed_is_given_once_and_by_kind() {
        let owing = Owing::default();
        assert!(matches!(owing.take(removal()), Ok(true)));
        assert!(matches!(owing.take(other()), Ok(true)));
        let removals = owing.give(|one| matches!(one, Owed::Remove(..)));
        assert_eq!(removals.len(), 1);
        assert_eq!(
            (owing.give(|_| true).len(), owing.give(|_| true).len()),
            (1, 0)
        );
    }

    #[test]
    fn uses_beyond_the_limit_are_not_counted_and_the_rest_is_owed() {
        let owing = Owing::default();
        let touch = || Owed::Touch(Handle::default());
        for _ in 0..OWED_TOUCHES_MAX {
            assert!(matches!(owing.take(touch()), Ok(true)));
        }
        assert!(matches!(owing.take(touch()), Ok(false)));
        assert!(matches!(owing.take(removal()), Ok(true)));
        assert_eq!(owing.give(|_| true).len(), OWED_TOUCHES_MAX + 1);
        assert!(
            matches!(owing.take(touch()), Ok(true)),
            "there is room again"
        );
    }

    #[test]
    fn nothing_is_owed_after_the_end() {
        let owing = Owing::default();
        owing.0.lock().is_over = true;
        assert!(matches!(owing.take(removal()), Err(Owed::Remove(..))));
    }
}
