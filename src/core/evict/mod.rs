//! Who has to go: accounts of the cache directory and the order of eviction.
//!
//! Decides only; the store removes. An object in use is never chosen.

#[cfg(any(test, feature = "bench"))]
mod lru;
mod s3fifo;
#[cfg(any(test, feature = "bench"))]
pub mod traces;

use crate::ids::Key;
use parking_lot::Mutex;
use s3fifo::S3Fifo;
use std::collections::HashMap;

/// Gives the order in which objects are evicted.
pub(crate) trait Policy {
    /// The object is new, of no bytes, or it was used.
    fn touch(&mut self, key: Key);
    /// It has so many bytes now.
    fn resize(&mut self, key: Key, bytes: u64);
    /// It is gone.
    fn forget(&mut self, key: Key);
    /// The next to go, of those that may. It is known until it is forgotten.
    fn next(&mut self, may_go: impl FnMut(Key) -> bool) -> Option<Key>;
}

/// The bytes and objects of one directory, as this process knows them.
pub(crate) struct Accounts {
    capacity_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used_bytes: u64,
    objects: HashMap<Key, Entry>,
    order: S3Fifo,
    /// Of the entry that was made last.
    serial: u64,
}

struct Entry {
    /// Which object of the key: an older one may still be in use.
    nonce: u64,
    /// No other entry has had it.
    serial: u64,
    /// What it takes in the directory, reserved bytes included.
    bytes: u64,
    /// Handles that this process has open.
    users: u32,
}

/// An answer to [`Accounts::reserve`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The bytes are reserved.
    Granted,
    /// Remove this object, call `forget`, and ask again.
    AfterRemoving(Key, u64),
    /// Everything else is in use.
    Refused,
}

impl Accounts {
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            state: Mutex::default(),
        }
    }

    /// Enters an object that was found in the directory; the later, the longer kept.
    pub(crate) fn found(&self, key: Key, nonce: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.replace(key, nonce, bytes);
    }

    /// Enters an object that is now in use, once for each handle. `bytes` is
    /// what it takes if it is new here. Gives the serial that
    /// the handle is known by.
    pub(crate) fn used(&self, key: Key, nonce: u64, bytes: u64) -> u64 {
        let mut state = self.state.lock();
        if state
            .objects
            .get(&key)
            .is_none_or(|entry| entry.nonce != nonce)
        {
            state.replace(key, nonce, bytes);
        } else {
            state.order.touch(key);
        }
        let entry = state.entry(key, nonce).expect("entered above");
        entry.users += 1;
        entry.serial
    }

    /// A handle is closed.
    pub(crate) fn unused(&self, key: Key, serial: u64) {
        if let Some(entry) = self.state.lock().used_entry(key, serial) {
            entry.users -= 1;
        }
    }

    /// Asks for room for `bytes` more of an object in use.
    pub(crate) fn reserve(&self, key: Key, serial: u64, bytes: u64) -> Room {
        let mut state = self.state.lock();
        if state.used_entry(key, serial).is_none() {
            return Room::Refused;
        }
        if state.used_bytes.saturating_add(bytes) > self.capacity_bytes {
            return match state.victim() {
                Some((key, nonce)) => Room::AfterRemoving(key, nonce),
                None => Room::Refused,
            };
        }
        let entry = state.used_entry(key, serial).expect("found above");
        entry.bytes += bytes;
        let bytes_now = entry.bytes;
        state.used_bytes += bytes;
        state.order.resize(key, bytes_now);
        Room::Granted
    }

    /// An object could not be removed: another process uses it.
    pub(crate) fn keep(&self, key: Key) {
        let mut state = self.state.lock();
        if state.objects.contains_key(&key) {
            state.order.touch(key);
        }
    }

    /// Gives back bytes that were reserved and not written.
    pub(crate) fn release(&self, key: Key, serial: u64, bytes: u64) {
        let mut state = self.state.lock();
        if let Some(entry) = state.used_entry(key, serial) {
            entry.bytes -= bytes;
            let bytes_now = entry.bytes;
            state.used_bytes -= bytes;
            state.order.resize(key, bytes_now);
        }
    }

    /// The object is no longer in the directory.
    pub(crate) fn forget(&self, key: Key, nonce: u64) {
        let mut state = self.state.lock();
        if state.entry(key, nonce).is_some() {
            state.remove(key);
        }
    }

    /// An object to remove because the directory is over its limit.
    pub(crate) fn surplus(&self) -> Option<(Key, u64)> {
        let mut state = self.state.lock();
        (state.used_bytes > self.capacity_bytes)
            .then(|| state.victim())
            .flatten()
    }

    /// Bytes and objects.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.used_bytes, state.objects.len() as u64)
    }
}

impl State {
    fn entry(&mut self, key: Key, nonce: u64) -> Option<&mut Entry> {
        self.objects
            .get_mut(&key)
            .filter(|entry| entry.nonce == nonce)
    }

    /// The entry of a handle. An object that was forgotten and found again has one
    /// that knows nothing of its earlier handles.
    fn used_entry(&mut self, key: Key, serial: u64) -> Option<&mut Entry> {
        self.objects
            .get_mut(&key)
            .filter(|entry| entry.serial == serial)
    }

    fn replace(&mut self, key: Key, nonce: u64, bytes: u64) {
        self.remove(key);
        self.used_bytes += bytes;
        self.serial += 1;
        let entry = Entry {
            nonce,
            serial: self.serial,
            bytes,
            users: 0,
        };
        self.objects.insert(key, entry);
        self.order.touch(key);
        self.order.resize(key, bytes);
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.objects.remove(&key) {
            self.used_bytes -= entry.bytes;
            self.order.forget(key);
        }
    }

    fn victim(&mut self) -> Option<(Key, u64)> {
        let objects = &self.objects;
        let key = self.order.next(|key| objects[&key].users == 0)?;
        Some((key, self.objects[&key].nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key([number; 16])
    }

    #[test]
    fn the_least_recently_used_object_goes_first() {
        let accounts = Accounts::new(10);
        accounts.found(key(1), 1, 4);
        accounts.found(key(2), 2, 4);
        let handle = accounts.used(key(1), 1, 0);
        accounts.unused(key(1), handle);
        let handle = accounts.used(key(3), 3, 0);
        assert_eq!(
            accounts.reserve(key(3), handle, 4),
            Room::AfterRemoving(key(2), 2)
        );
        accounts.forget(key(2), 2);
        assert_eq!(accounts.reserve(key(3), handle, 4), Room::Granted);
        assert_eq!(accounts.totals(), (8, 2));
    }

    #[test]
    fn an_object_in_use_is_never_chosen() {
        let accounts = Accounts::new(10);
        accounts.used(key(1), 1, 8);
        let handle = accounts.used(key(2), 2, 0);
        assert_eq!(accounts.reserve(key(2), handle, 4), Room::Refused);
        assert_eq!(accounts.totals().0, 8, "a refusal reserves nothing");
    }

    #[test]
    fn room_is_granted_up_to_the_last_byte_and_not_beyond() {
        let accounts = Accounts::new(10);
        let handle = accounts.used(key(1), 1, 0);
        assert_eq!(accounts.reserve(key(1), handle, 10), Room::Granted);
        assert_eq!(accounts.reserve(key(1), handle, 1), Room::Refused);
        accounts.release(key(1), handle, 1);
        assert_eq!(accounts.reserve(key(1), handle, 1), Room::Granted);
    }

    #[test]
    fn a_replaced_object_gets_no_more_room() {
        let accounts = Accounts::new(10);
        let handle = accounts.used(key(1), 1, 3);
        accounts.used(key(1), 2, 0);
        assert_eq!(accounts.reserve(key(1), handle, 1), Room::Refused);
        accounts.unused(key(1), handle);
        assert_eq!(accounts.totals(), (0, 1));
    }

    #[test]
    fn handles_of_an_object_that_was_given_up_do_not_count_for_it_when_it_is_found_again() {
        let accounts = Accounts::new(10);
        let old = accounts.used(key(1), 1, 8);
        accounts.forget(key(1), 1);
        let new = accounts.used(key(1), 1, 8);
        accounts.release(key(1), old, 8);
        accounts.unused(key(1), old);
        let other = accounts.used(key(2), 2, 0);
        assert_eq!(accounts.reserve(key(2), other, 4), Room::Refused);
        accounts.unused(key(1), new);
        let unused = Room::AfterRemoving(key(1), 1);
        assert_eq!(accounts.reserve(key(2), other, 4), unused);
    }
}
