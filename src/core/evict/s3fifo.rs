//! S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
//! what is used once goes soon, what is used again stays.
//!
//! A newcomer enters a short queue. Whoever reaches its end unused has to go, and is
//! remembered by a fingerprint; whoever was used moves to the long queue, as does one
//! that comes back while it is remembered. The long queue gives each use one more
//! round. So a scan, or a loop over more than there is room for, passes through the
//! short queue and leaves the rest alone. See docs/eviction.md for how it compares.

use super::Policy;
use crate::ids::Key;
use std::collections::{HashMap, VecDeque};

/// Of all bytes, the share of the short queue: one in so many.
const SHORT_SHARE: u64 = 10;
/// Uses that are remembered, at most: rounds in the long queue.
const USES_MAX: u8 = 3;
/// Fingerprints that are remembered at least.
const GONE_MIN: usize = 64;

#[derive(Default)]
pub(crate) struct S3Fifo {
    known: HashMap<Key, Known>,
    short: Queue,
    long: Queue,
    gone: Gone,
    serial: u32,
}

struct Known {
    bytes: u64,
    /// Tells it from an earlier one of its key, whose place in a queue is left behind.
    serial: u32,
    uses: u8,
    is_long: bool,
}

#[derive(Default)]
struct Queue {
    /// The next to go is first. What is gone otherwise stays until it is met, or until
    /// there is more of it than of the rest.
    places: VecDeque<(Key, u32)>,
    /// Those that count.
    count: usize,
    bytes: u64,
}

/// Fingerprints of those that went unused, the oldest first.
#[derive(Default)]
struct Gone {
    order: VecDeque<u32>,
    counts: HashMap<u32, u32>,
}

impl Policy for S3Fifo {
    fn touch(&mut self, key: Key) {
        if let Some(known) = self.known.get_mut(&key) {
            known.uses = (known.uses + 1).min(USES_MAX);
            return;
        }
        self.serial = self.serial.wrapping_add(1);
        let known = Known {
            bytes: 0,
            serial: self.serial,
            uses: 0,
            is_long: self.gone.take(fingerprint(key)),
        };
        self.queue(known.is_long).enter(key, &known);
        self.known.insert(key, known);
    }

    fn resize(&mut self, key: Key, bytes: u64) {
        if let Some(known) = self.known.get_mut(&key) {
            let before = std::mem::replace(&mut known.bytes, bytes);
            let is_long = known.is_long;
            let queue = self.queue(is_long);
            queue.bytes = queue.bytes - before + bytes;
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(known) = self.known.remove(&key) else {
            return;
        };
        let queue = if known.is_long {
            &mut self.long
        } else {
            &mut self.short
        };
        queue.leave(&known);
        if queue.places.len() > 2 * queue.count + GONE_MIN {
            let all = &self.known;
            queue.places.retain(|(key, serial)| {
                let known = all.get(key);
                known.is_some_and(|known| known.serial == *serial)
            });
        }
        if !known.is_long && known.uses == 0 {
            let room = self.known.len().max(GONE_MIN);
            self.gone.enter(fingerprint(key), room);
        }
    }

    fn next(&mut self, mut may_go: impl FnMut(Key) -> bool) -> Option<Key> {
        // Each may be met with all of its uses, move to the long queue and be met
        // there again; whoever is left after that may not go.
        let rounds = usize::from(USES_MAX) + 2;
        let mut steps = rounds * (self.short.places.len() + self.long.places.len());
        while steps > 0 {
            steps -= 1;
            let all = self.short.bytes + self.long.bytes;
            let is_short = self.long.count == 0 || self.short.bytes > all / SHORT_SHARE;
            let is_long = !(is_short && self.short.count > 0);
            let (key, serial) = self.queue(is_long).places.pop_front()?;
            let Some(known) = self.known.get_mut(&key) else {
                continue;
            };
            if known.serial != serial || known.is_long != is_long {
                continue;
            }
            if known.uses == 0 && may_go(key) {
                // Until it is forgotten, it is the next.
                self.queue(is_long).places.push_front((key, serial));
                return Some(key);
            }
            // In use counts as used. The long queue asks for more than one use.
            known.uses = if is_long {
                known.uses.saturating_sub(1)
            } else {
                self.short.leave(known);
                0
            };
            known.is_long = true;
            if is_long {
                self.long.places.push_back((key, serial));
            } else {
                self.long.enter(key, known);
            }
        }
        None
    }
}

impl S3Fifo {
    fn queue(&mut self, is_long: bool) -> &mut Queue {
        if is_long {
            &mut self.long
        } else {
            &mut self.short
        }
    }
}

impl Queue {
    fn enter(&mut self, key: Key, known: &Known) {
        self.places.push_back((key, known.serial));
        self.count += 1;
        self.bytes += known.bytes;
    }

    fn leave(&mut self, known: &Known) {
        self.count -= 1;
        self.bytes -= known.bytes;
    }
}

impl Gone {
    fn enter(&mut self, fingerprint: u32, room: usize) {
        self.order.push_back(fingerprint);
        *self.counts.entry(fingerprint).or_insert(0) += 1;
        while self.order.len() > room {
            let oldest = self.order.pop_front().expect("there are more than none");
            self.take(oldest);
        }
    }

    /// Forgets one that is remembered; false: it is not.
    fn take(&mut self, fingerprint: u32) -> bool {
        let Some(count) = self.counts.get_mut(&fingerprint) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&fingerprint);
        }
        true
    }
}

/// A key is a hash: any part of it will do.
fn fingerprint(key: Key) -> u32 {
    let [.., a, b, c, d] = key.0;
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        let mut key = [0; 16];
        key[12] = number;
        Key(key)
    }

    /// A policy with these objects, of a byte each.
    fn with(numbers: std::ops::Range<u8>) -> S3Fifo {
        let mut policy = S3Fifo::default();
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
        for _ in 0..1000 {
            policy.forget(key(0));
            policy.touch(key(0));
            policy.resize(key(0), 1);
        }
        let places = policy.short.places.len() + policy.long.places.len();
        assert!(places <= 2 * 2 + 2 * GONE_MIN, "{places} places");
        let mut gone: Vec<_> = std::iter::from_fn(|| next(&mut policy)).collect();
        gone.sort_by_key(|key| key.0);
        assert_eq!(gone, [key(0), key(1)]);
    }

    #[test]
    fn the_bytes_of_the_queues_are_those_of_their_objects() {
        let mut policy = with(0..20);
        policy.touch(key(3));
        policy.resize(key(3), 100);
        for _ in 0..5 {
            next(&mut policy);
        }
        let sum: u64 = policy.known.values().map(|known| known.bytes).sum();
        assert_eq!(policy.short.bytes + policy.long.bytes, sum);
        assert_eq!(policy.short.count + policy.long.count, policy.known.len());
    }
}
