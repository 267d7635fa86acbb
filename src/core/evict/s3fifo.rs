//! S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
//! what is used once goes soon, what is used again stays.
//!
//! A newcomer enters a short queue. Whoever reaches its end unused has to go, and is
//! remembered by a fingerprint; whoever was used moves to the long queue, as does one
//! that comes back while it is remembered. The long queue gives each use one more
//! round. So a scan, or a loop over more than there is room for, passes through the
//! short queue and leaves the rest alone. See docs/eviction.md for how it compares.
//!
//! All of it is in the slot table. Anybody enters and uses objects; only the evictor
//! asks who is next.

use super::table::{Entry, Handle, Head, State, Table, USES_MAX};
use crate::ids::Key;

/// Of all blocks, the share of the short queue: one in so many.
const SHORT_SHARE: u64 = 10;
/// Fingerprints that are remembered at least.
const GONE_MIN: u64 = 64;

/// Enters an object that has no slot. None: there is no room for one more. For whoever
/// has the lock of the key's bucket.
pub(super) fn enter(table: &Table, key: Key, nonce: u64, state: State) -> Option<Handle> {
    let room = table.totals().objects.max(GONE_MIN);
    let is_long = table.recall(key, room) || state.is_long();
    let handle = table.insert(key, nonce, state.with_long(is_long))?;
    if !state.is_pinned() {
        table.enter(is_long, handle);
    }
    Some(handle)
}

/// The next to go, of those that may. It stays the next until it is gone or kept.
pub(super) fn next(table: &Table, mut may_go: impl FnMut(&Entry) -> bool) -> Option<Entry> {
    // Each may be met with all of its uses, move to the long queue and be met there
    // again; whoever is left after that may not go.
    let rounds = USES_MAX + 2;
    let mut steps = 2 * rounds * (table.length(false) + table.length(true));
    // If all of the long queue may not go, one of the short one may.
    let mut long_steps = rounds * table.length(true);
    while steps > 0 {
        steps -= 1;
        let totals = table.totals();
        let is_short_small = totals.short_blocks <= totals.blocks / SHORT_SHARE;
        let prefers_long = is_short_small && long_steps > 0;
        let (is_long, head) = match table.head(prefers_long) {
            Head::Nothing => (!prefers_long, table.head(!prefers_long)),
            head => (prefers_long, head),
        };
        let entry = match head {
            Head::Nothing => return None,
            Head::Stale => {
                table.advance(is_long);
                continue;
            }
            Head::Entry(entry) => entry,
        };
        if entry.state.uses() == 0 && may_go(&entry) {
            return Some(entry);
        }
        long_steps = long_steps.saturating_sub(is_long.into());
        // In use counts as used. The long queue asks for more than one use.
        go_round(table, entry.handle, is_long);
    }
    None
}

/// The next to go of one origin. The others keep their places: only uses are taken off
/// those of its own that it passes over, as a round of the queue would.
pub(super) fn next_of(
    table: &Table,
    origin: u64,
    mut may_go: impl FnMut(&Entry) -> bool,
) -> Option<Entry> {
    for _ in 0..=USES_MAX {
        for entry in table.queued(false).chain(table.queued(true)) {
            if entry.state.origin() != origin {
                continue;
            }
            if entry.state.uses() == 0 {
                if may_go(&entry) {
                    return Some(entry);
                }
            } else {
                let used = |state: State| state.with_uses(state.uses().saturating_sub(1));
                table.update(entry.handle, used);
            }
        }
    }
    None
}

/// Takes the first of a queue to the end of the long one.
fn go_round(table: &Table, handle: Handle, was_long: bool) {
    let used = |state: State| {
        let uses = if was_long {
            state.uses().saturating_sub(1)
        } else {
            0
        };
        state.with_long(true).with_uses(uses)
    };
    // Before it leaves its place, so that whoever is killed here loses none.
    if table.update(handle, used).is_some() {
        table.enter(true, handle);
    }
    table.advance(was_long);
}

/// The next could not go after all.
pub(super) fn keep(table: &Table, entry: &Entry) {
    let is_long = entry.state.is_long();
    match table.head(is_long) {
        Head::Entry(head) if head.handle == entry.handle => {
            go_round(table, entry.handle, is_long);
        }
        // It was the next of its origin only.
        _ => drop(table.touch(entry.handle)),
    }
}

/// An object has been evicted.
pub(super) fn evicted(table: &Table, handle: Handle, key: Key) {
    let Some(before) = table.remove(handle) else {
        return;
    };
    if !before.is_long() && before.uses() == 0 {
        table.remember(key);
    }
}

#[cfg(any(test, feature = "bench"))]
pub(super) mod alone {
    //! The same in a table of this process alone, for traces and tests.

    use super::super::Policy;
    use super::super::table::{Sizes, State, Table};
    use super::{enter, evicted, next};
    use crate::ids::Key;
    use rustix::fs::MemfdFlags;
    use std::os::fd::AsFd;

    pub(in crate::evict) struct S3Fifo {
        pub(in crate::evict) table: Table,
    }

    impl S3Fifo {
        /// For so many objects at once.
        pub(in crate::evict) fn new(objects_max: u64) -> Self {
            let sizes = Sizes::new(objects_max, 7);
            let file = rustix::fs::memfd_create("slots", MemfdFlags::CLOEXEC);
            let file = file.expect("memory for a table");
            rustix::fs::ftruncate(&file, sizes.file_bytes()).expect("memory for a table");
            let table = Table::map(file.as_fd(), sizes).expect("memory for a table");
            Self { table }
        }
    }

    impl Policy for S3Fifo {
        fn touch(&mut self, key: Key) {
            let table = &self.table;
            match table.find(key) {
                Some(entry) => table.touch(entry.handle).map(drop),
                None => enter(table, key, 0, State::default()).map(drop),
            };
        }

        fn resize(&mut self, key: Key, bytes: u64) {
            if let Some(entry) = self.table.find(key) {
                let resized = |state: State| state.with_blocks(bytes);
                self.table.update(entry.handle, resized);
            }
        }

        fn forget(&mut self, key: Key) {
            if let Some(entry) = self.table.find(key) {
                evicted(&self.table, entry.handle, key);
            }
        }

        fn next(&mut self, mut may_go: impl FnMut(Key) -> bool) -> Option<Key> {
            if self.table.is_crowded() {
                self.table.queue_anew();
            }
            next(&self.table, |entry| may_go(entry.key)).map(|entry| entry.key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::alone::S3Fifo;
    use super::*;

    fn key(number: u8) -> Key {
        let mut key = [0; 16];
        key[12] = number;
        Key(key)
    }

    /// A policy with these objects, of a block each.
    fn with(numbers: std::ops::Range<u8>) -> S3Fifo {
        let mut policy = S3Fifo::new(256);
        for number in numbers {
            policy.touch(key(number));
            policy.resize(key(number), 1);
        }
        policy
    }

    fn next(policy: &mut S3Fifo) -> Option<Key> {
        let next = policy.next(|_| true);
        next.inspect(|key| policy.forget(*key))
    }

    #[test]
    fn the_first_that_was_not_used_again_goes_first() {
        let mut policy = with(0..4);
        policy.touch(key(0));
        assert_eq!(next(&mut policy), Some(key(1)));
        assert_eq!(next(&mut policy), Some(key(2)));
        assert_eq!(next(&mut policy), Some(key(3)));
        assert_eq!(next(&mut policy), Some(key(0)));
        assert_eq!(next(&mut policy), None);
    }

    #[test]
    fn one_that_comes_back_soon_stays_when_others_pass() {
        let mut policy = with(0..10);
        assert_eq!(next(&mut policy), Some(key(0)));
        policy.touch(key(0));
        policy.resize(key(0), 1);
        // What passes through the short queue does not push it out.
        for number in 20..60 {
            policy.touch(key(number));
            policy.resize(key(number), 1);
            assert_ne!(next(&mut policy), Some(key(0)));
        }
    }

    #[test]
    fn what_may_not_go_is_passed_over_and_stays_known() {
        let mut policy = with(0..3);
        assert_eq!(policy.next(|other| other == key(2)), Some(key(2)));
        assert_eq!(policy.next(|_| false), None);
        let mut left: Vec<_> = std::iter::from_fn(|| next(&mut policy)).collect();
        left.sort_by_key(|key| key.0);
        assert_eq!(left, [key(0), key(1), key(2)]);
    }

    #[test]
    fn what_was_forgotten_and_found_again_goes_once() {
        let mut policy = with(0..2);
        for _ in 0..10_000 {
            policy.forget(key(0));
            policy.touch(key(0));
            policy.resize(key(0), 1);
        }
        let mut gone: Vec<_> = std::iter::from_fn(|| next(&mut policy)).collect();
        gone.sort_by_key(|key| key.0);
        assert_eq!(gone, [key(0), key(1)]);
    }

    #[test]
    fn objects_whose_places_were_lost_get_new_ones() {
        let mut policy = with(0..20);
        for _ in 0..10 {
            policy.table.advance(false);
        }
        policy.table.queue_anew();
        let gone: Vec<_> = std::iter::from_fn(|| next(&mut policy)).collect();
        assert_eq!(gone.len(), 20);
        assert_eq!(
            gone[..10],
            std::array::from_fn::<_, 10, _>(|n| key(n as u8 + 10))
        );
    }
}
