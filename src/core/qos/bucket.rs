//! A token bucket that lends: whoever takes pays afterwards, by having those behind it
//! wait. So a chunk may be larger than what comes in a second, and none starves.
//!
//! Ours, since the crates either keep to numbers of 32 bits, refuse what is larger than
//! the bucket, or sleep; it is a moment in time under a lock, and takes any clock.

use crate::limits::QOS_CREDIT_MS;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

const CREDIT: Duration = Duration::from_millis(QOS_CREDIT_MS);

/// So many bytes and operations a second; 0: as many as one likes.
pub(crate) struct Bucket {
    bytes: u64,
    operations: u64,
    /// When all that was taken is paid. None: nothing was.
    paid: Mutex<Option<Instant>>,
}

impl Bucket {
    pub(crate) fn new(bytes: u64, operations: u64) -> Self {
        Self {
            bytes,
            operations,
            paid: Mutex::new(None),
        }
    }

    /// Until when one has to wait that may take what will be paid within `ahead`. None:
    /// not at all.
    pub(crate) fn waits(&self, now: Instant, ahead: Duration) -> Option<Instant> {
        if self.is_unlimited() {
            return None;
        }
        let paid = (*self.paid.lock())?;
        let at = paid.checked_sub(ahead)?;
        (at > now).then_some(at)
    }

    /// Takes one operation of so many bytes. What was not used before counts only for a
    /// moment.
    pub(crate) fn take(&self, bytes: u64, operations: u64, now: Instant) {
        if self.is_unlimited() {
            return;
        }
        let cost = price(bytes, self.bytes).max(price(operations, self.operations));
        let mut paid = self.paid.lock();
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let from = paid.map_or(earliest, |paid| paid.max(earliest));
        *paid = from.checked_add(cost).or(Some(from));
    }

    fn is_unlimited(&self) -> bool {
        self.bytes == 0 && self.operations == 0
    }
}

/// The time that an amount takes.
fn price(amount: u64, per_second: u64) -> Duration {
    if per_second == 0 {
        return Duration::ZERO;
    }
    let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(per_second);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NOW: Duration = Duration::ZERO;

    /// Takes operations of so many bytes as soon as it may, for `seconds`; how many.
    fn run(bucket: &Bucket, bytes: u64, seconds: u64) -> u64 {
        let begun = Instant::now();
        let (mut now, mut taken) = (begun, 0);
        while now < begun + Duration::from_secs(seconds) {
            match bucket.waits(now, NOW) {
                Some(at) => now = at,
                None => {
                    bucket.take(bytes, 1, now);
                    taken += 1;
                }
            }
        }
        taken
    }

    #[test]
    fn over_time_it_gives_its_rate_whatever_the_size() {
        for (size, per_second) in [(MIB, 10), (4096, 2560), (64 * MIB, 0)] {
            let taken = run(&Bucket::new(10 * MIB, 0), size, 10);
            let expected = per_second * 10;
            let credit = 1 + MIB / size;
            assert!(
                taken >= expected && taken <= expected + 1 + credit,
                "{taken} of {size}"
            );
        }
        let taken = run(&Bucket::new(0, 100), 64 * MIB, 10);
        assert!((1000..=1011).contains(&taken), "{taken}");
    }

    #[test]
    fn the_scarcer_of_bytes_and_operations_decides() {
        let taken = run(&Bucket::new(10 * MIB, 5), MIB, 10);
        assert!((50..=52).contains(&taken), "{taken}");
        let taken = run(&Bucket::new(MIB, 5), MIB, 10);
        assert!((10..=12).contains(&taken), "{taken}");
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (bucket, now) = (Bucket::new(0, 0), Instant::now());
        for _ in 0..1000 {
            bucket.take(u64::MAX, u64::MAX, now);
        }
        assert_eq!(bucket.waits(now, NOW), None);
    }

    #[test]
    fn a_pause_saves_no_more_than_a_moment() {
        let (bucket, begun) = (Bucket::new(MIB, 0), Instant::now());
        bucket.take(MIB, 1, begun);
        let later = begun + Duration::from_secs(3600);
        let mut taken = 0;
        while bucket.waits(later, NOW).is_none() {
            bucket.take(MIB / 100, 1, later);
            taken += 1;
        }
        let credit = QOS_CREDIT_MS / 10;
        assert!((credit..=credit + 2).contains(&taken), "{taken}");
    }

    #[test]
    fn those_who_go_first_may_take_in_advance() {
        let (bucket, now) = (Bucket::new(MIB, 0), Instant::now());
        bucket.take(MIB, 1, now);
        assert!(bucket.waits(now, NOW).is_some());
        assert_eq!(bucket.waits(now, Duration::from_secs(1)), None);
        bucket.take(MIB, 1, now);
        let at = bucket
            .waits(now, Duration::from_secs(1))
            .expect("enough is enough");
        assert!(at < now + Duration::from_secs(1));
    }
}
