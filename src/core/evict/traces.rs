//! Made-up sequences of opens, to compare policies by.

use super::Policy;
use super::lru::Lru;
use super::s3fifo::alone::S3Fifo;
use crate::ids::Key;
use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_128;

/// Objects that are opened again and again.
const OBJECTS: usize = 10_000;
/// Opens of a trace.
const OPENS: usize = 100_000;

/// A sequence of opens of objects of equal size.
pub struct Trace {
    /// As in docs/eviction.md.
    pub name: &'static str,
    opens: Vec<u64>,
}

/// Hits of all opens, by policy.
#[derive(Clone, Copy, Debug)]
pub struct Ratios {
    /// Least recently used first.
    pub lru: f64,
    /// What the cache uses.
    pub s3fifo: f64,
}

/// xorshift64*: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The n-th object is opened in proportion to 1 / n^0.9, as files of web servers are.
fn zipf(numbers: &mut Numbers, opens: usize) -> impl Iterator<Item = u64> {
    let weights = (1..=OBJECTS).map(|rank| (rank as f64).powf(-0.9));
    let sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = sums[OBJECTS - 1];
    (0..opens).map(move |_| {
        let point = numbers.share() * total;
        sums.partition_point(|sum| *sum < point) as u64
    })
}

/// Every trace; `capacity` is that of the cache, in objects: the loop depends on it.
pub fn all(capacity: usize) -> Vec<Trace> {
    let mut numbers = Numbers(88_172_645_463_325_252);
    let plain = zipf(&mut numbers, OPENS).collect();
    let mut scanned = Vec::with_capacity(OPENS);
    let mut once = OBJECTS as u64;
    let mut popular = zipf(&mut numbers, OPENS);
    while scanned.len() < OPENS {
        scanned.extend(popular.by_ref().take(6000));
        // A backup, say: each file once, and never again.
        scanned.extend(once..once + 4000);
        once += 4000;
    }
    let length = (capacity + capacity / 10) as u64;
    let looped = (0..OPENS as u64).map(|open| open % length).collect();
    vec![
        Trace {
            name: "zipf",
            opens: plain,
        },
        Trace {
            name: "zipf with scans",
            opens: scanned,
        },
        Trace {
            name: "loop over 1.1 times the cache",
            opens: looped,
        },
    ]
}

impl Trace {
    /// What each policy makes of it.
    pub fn ratios(&self, capacity: usize) -> Ratios {
        Ratios {
            lru: self.run(Lru::default(), capacity),
            s3fifo: self.run(S3Fifo::new(capacity as u64 + 1), capacity),
        }
    }

    fn run(&self, mut policy: impl Policy, capacity: usize) -> f64 {
        let mut cached = HashSet::with_capacity(capacity);
        let mut hits = 0;
        for object in &self.opens {
            let key = Key(xxh3_128(&object.to_le_bytes()).to_be_bytes());
            let is_new = cached.insert(key);
            hits += u64::from(!is_new);
            policy.touch(key);
            if is_new {
                policy.resize(key, 1);
            }
            while cached.len() > capacity {
                // Who is being opened is in use.
                let out = policy.next(|other| other != key);
                let out = out.expect("all others are unused");
                policy.forget(out);
                cached.remove(&out);
            }
        }
        hits as f64 / self.opens.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_at_least_as_good_as_lru_and_better_with_scans_and_loops() {
        for capacity in [100, 1000] {
            for trace in all(capacity) {
                let Ratios { lru, s3fifo } = trace.ratios(capacity);
                let text = format!("{}, {capacity}: {s3fifo} to {lru}", trace.name);
                assert!(s3fifo >= lru, "{text}");
                match trace.name {
                    "zipf" => {}
                    "zipf with scans" => assert!(s3fifo > 1.1 * lru, "{text}"),
                    _ => assert!(s3fifo > lru + 0.5, "{text}"),
                }
            }
        }
    }
}
