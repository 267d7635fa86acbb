//! Stores to mapped pages that were put off, since the device might have had their thread
//! wait: see `pulse`. The keeper makes them, on a thread that may.

use super::room::Closed;
use super::{Object, Store};
use crate::evict::Handle;
use crate::ids::Key;
use crate::limits::OWED_TOUCHES_MAX;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// One that is owed. But for uses, there are no more of them than there are objects and
/// chunks at work.
pub(super) enum Owed {
    /// An object was used.
    Touch(Handle),
    /// So many bytes were reserved for it and not written.
    Release(Handle, u64),
    /// It is not in use any more, and has to be counted if nobody else uses it.
    Count(Box<Closed>),
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
    all: VecDeque<Owed>,
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
        list.all.push_back(one);
        Ok(true)
    }

    fn len(&self) -> usize {
        self.0.lock().all.len()
    }

    /// Gives the oldest.
    fn next(&self) -> Option<Owed> {
        let mut list = self.0.lock();
        let one = list.all.pop_front()?;
        list.touches -= usize::from(matches!(one, Owed::Touch(_)));
        Some(one)
    }

    /// Gives those that match.
    fn give(&self, which: impl Fn(&Owed) -> bool) -> VecDeque<Owed> {
        let mut list = self.0.lock();
        let all = std::mem::take(&mut list.all);
        let (given, kept): (VecDeque<Owed>, _) = all.into_iter().partition(|one| which(one));
        list.all = kept;
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

    /// Does all that is owed. One after the other: whoever makes room finds the rest.
    pub(super) fn pay(&self) {
        let mut left = self.owing.len();
        while left > 0
            && let Some(one) = self.owing.next()
        {
            self.pay_one(one);
            left -= 1;
        }
    }

    /// Does what whoever makes room has to know of: who was used, and what is free or not in
    /// use any more.
    pub(super) fn pay_accounts(&self) {
        let is_one =
            |one: &Owed| matches!(one, Owed::Touch(_) | Owed::Release(..) | Owed::Count(_));
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
            Owed::Count(closed) => self.count_closed(&closed),
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
            self.store.owe(Owed::Seal(Arc::downgrade(self)));
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
