//! What looks after the cache directory beside the work: it puts right what dead
//! processes have left, and makes room before it is asked for.

use super::Store;
use super::repair::Repair;
use crate::evict::Handle;
use crate::limits::KEEP_MS;
use crate::upkeep::{Chore, Reminder, Upkeep};
use once_cell::sync::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How it is told.
#[derive(Default)]
pub(super) struct Keeper {
    reminder: OnceCell<Reminder>,
    told_now: AtomicBool,
    told_later: AtomicBool,
}

impl Keeper {
    /// Begins to look after a store.
    pub(super) fn begin(&self, upkeep: &Upkeep, store: &Arc<Store>) {
        let chore = Keeping {
            store: Arc::downgrade(store),
            repair: Some(Repair::new(true)),
            rest: Rest::new(),
        };
        let reminder = self.reminder.set(upkeep.add(chore));
        assert!(reminder.is_ok(), "it is begun once");
        self.ring();
    }

    /// Has it look now. Does not wait.
    pub(super) fn ring(&self) {
        if !self.told_now.swap(true, Ordering::AcqRel)
            && let Some(reminder) = self.reminder.get()
        {
            reminder.now();
        }
    }

    /// Has it look in a while: the cache is in use.
    pub(super) fn ring_later(&self) {
        if !self.told_later.swap(true, Ordering::AcqRel)
            && let Some(reminder) = self.reminder.get()
        {
            reminder.at(later());
        }
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_millis(KEEP_MS)
}

/// The chore.
struct Keeping {
    store: Weak<Store>,
    /// What is not done of a repair.
    repair: Option<Repair>,
    rest: Rest,
}

/// What repairs have found in use, until it was counted. Whoever closes it does that,
/// but for one that was closing it at that moment, or had it open only to sync it.
struct Rest {
    handles: Vec<Handle>,
    tries: u32,
    next: Instant,
}

impl Rest {
    fn new() -> Self {
        Self {
            handles: Vec::new(),
            tries: 0,
            next: Instant::now(),
        }
    }

    fn extend(&mut self, handles: Vec<Handle>) {
        self.handles.extend(handles);
        self.tries = 0;
        self.next = later();
    }

    /// Counts those that nobody uses any more, when it is time to. Says when that is next.
    fn count(&mut self, store: &Store) -> Option<Instant> {
        if self.handles.is_empty() {
            return None;
        }
        let now = Instant::now();
        if now >= self.next {
            let table = store.accounts.table();
            self.handles.retain(|handle| {
                let entry = table.get(*handle);
                let uncounted = entry.filter(|entry| entry.state.is_filling());
                uncounted.is_some_and(|entry| !store.count_unused(&entry))
            });
            // Some may be in use for days.
            self.tries += 1;
            self.next = now + Duration::from_millis(KEEP_MS) * self.tries;
        }
        (!self.handles.is_empty()).then_some(self.next)
    }
}

impl Chore for Keeping {
    fn work(&mut self, stop: &AtomicBool) -> Option<Instant> {
        let store = self.store.upgrade()?;
        store.keeper.told_now.store(false, Ordering::Release);
        store.keeper.told_later.store(false, Ordering::Release);
        store.pay();
        store.membership.look_for_dead(store.accounts.table());
        let due = [self.repair(&store), self.rest.count(&store)];
        store.cull(&|| stop.load(Ordering::Acquire));
        due.into_iter().flatten().min()
    }

    fn finish(&mut self, _: Instant) {
        let Some(store) = self.store.upgrade() else {
            return;
        };
        store.pay_at_the_end();
        if let Some(repair) = self.repair.take() {
            repair.give_up(&store);
        }
    }
}

impl Keeping {
    /// Does the next piece of a repair. Says when it goes on, if it does.
    fn repair(&mut self, store: &Store) -> Option<Instant> {
        if self.repair.is_none() {
            self.repair = store.needs_repair().then(|| Repair::new(false));
        }
        let repair = self.repair.as_mut()?;
        // If another process does it, that may die as well.
        let Some(_keeper) = store.membership.keeper() else {
            return Some(later());
        };
        if repair.go_on(store) {
            let repair = self.repair.take();
            self.rest
                .extend(repair.map_or_else(Vec::new, Repair::in_use));
            return None;
        }
        Some(repair.next())
    }
}
