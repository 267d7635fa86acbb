//! Least recently used first: what others are measured against.

use super::Policy;
use crate::ids::Key;
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub(crate) struct Lru {
    clock: u64,
    by_time: BTreeMap<u64, Key>,
    times: HashMap<Key, u64>,
}

impl Policy for Lru {
    fn touch(&mut self, key: Key) {
        self.forget(key);
        self.clock += 1;
        self.by_time.insert(self.clock, key);
        self.times.insert(key, self.clock);
    }

    fn resize(&mut self, _: Key, _: u64) {}

    fn forget(&mut self, key: Key) {
        if let Some(time) = self.times.remove(&key) {
            self.by_time.remove(&time);
        }
    }

    fn next(&mut self, mut may_go: impl FnMut(Key) -> bool) -> Option<Key> {
        let mut keys = self.by_time.values().copied();
        keys.find(|key| may_go(*key))
    }
}
