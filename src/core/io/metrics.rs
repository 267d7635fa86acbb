//! What engines have done: counters and latencies.
//!
//! Each engine keeps its own numbers and takes their lock, which nobody else
//! wants, once for a batch; whoever asks adds them up.

use super::Verb;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::Arc;

/// Latencies are told apart from here on, in ns: a page-cache hit takes more.
const LATENCY_NS_MIN: u64 = 64;
/// The longest latency that is told apart, in ns (an hour); longer ones count as it.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits of a latency.
const LATENCY_DIGITS: u8 = 2;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $merge:ident),* $(,)?) => {
        /// What the engines of one cache have done since it was opened.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct EngineStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Latencies of each kind of operation.
            pub latencies: Vec<Latency>,
        }

        /// The counters of one engine, kept by its thread.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: u64,)*
        }

        impl Tally {
            fn merge(&mut self, other: &Tally) {
                $(self.$name = $merge(self.$name, other.$name);)*
            }

            fn into_stats(self, latencies: Vec<Latency>) -> EngineStats {
                EngineStats { $($name: self.$name,)* latencies }
            }
        }
    };
}

impl Tally {
    /// An operation has moved so many bytes.
    pub(crate) fn moved(&mut self, verb: Verb, bytes: usize) {
        match verb {
            Verb::Read => self.bytes_read += bytes as u64,
            Verb::Write | Verb::Splice => self.bytes_written += bytes as u64,
            _ => {}
        }
    }
}

fn sum(one: u64, other: u64) -> u64 {
    one.wrapping_add(other)
}

fn high(one: u64, other: u64) -> u64 {
    one.max(other)
}

counters! {
    /// Operations that engines took.
    submissions: sum,
    /// Operations that ended.
    completions: sum,
    /// Operations taken and not ended (now).
    in_flight: sum,
    /// io_uring_enter(2) calls; system calls of transfers, of the psync engine.
    enters: sum,
    /// Times that a submission queue had no room.
    sq_full: sum,
    /// Most operations that have waited for room in one submission queue.
    backlog_high_water: high,
    /// Times that a completion queue was found to have overflowed. Nothing is lost by it.
    cq_overflows: sum,
    /// Transfers that were continued because they had been short.
    short_transfers: sum,
    /// Cancellations that ended their operation.
    cancels_won: sum,
    /// Cancellations that came too late.
    cancels_lost: sum,
    /// Completions of operations that had already ended: a bug, in the kernel or here.
    stale_completions: sum,
    /// Wake-ups by other threads.
    wakes: sum,
    /// Bytes that operations read.
    bytes_read: sum,
    /// Bytes that operations wrote.
    bytes_written: sum,
}

/// Latencies of one kind of operation, from the push to the outcome, in ns.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// `read`, `write`, `stat`, …
    pub operation: &'static str,
    /// Operations that ended.
    pub count: u64,
    /// Mean, ns.
    pub mean_ns: u64,
    /// Half took no longer, ns.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, ns.
    pub p99_ns: u64,
    /// 999 of 1000 took no longer, ns.
    pub p999_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
}

/// The numbers of all engines of one cache.
#[derive(Default)]
pub(crate) struct Metrics {
    engines: Mutex<Vec<Arc<Mutex<Numbers>>>>,
    /// Of engines that are no more.
    retired: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    tally: Tally,
    /// By verb; made on first use.
    latencies: [Option<Histogram<u32>>; Verb::COUNT],
}

/// The numbers of one engine.
pub(crate) struct Meter {
    metrics: Arc<Metrics>,
    numbers: Arc<Mutex<Numbers>>,
}

/// Open while a batch is recorded.
pub(crate) struct Recording<'a>(parking_lot::MutexGuard<'a, Numbers>);

impl Metrics {
    /// A meter for a new engine.
    pub(crate) fn meter(self: &Arc<Self>) -> Meter {
        let numbers: Arc<Mutex<Numbers>> = Arc::default();
        self.engines.lock().push(Arc::clone(&numbers));
        Meter {
            metrics: Arc::clone(self),
            numbers,
        }
    }

    /// The sum over all engines, those that are no more included.
    pub(crate) fn snapshot(&self) -> EngineStats {
        let mut all = Numbers::default();
        // Held over the sum, so that no engine retires in between and is missed.
        let engines = self.engines.lock();
        all.merge(&self.retired.lock());
        for numbers in engines.iter() {
            all.merge(&numbers.lock());
        }
        all.into_stats()
    }
}

impl Meter {
    /// Records the end of a batch.
    pub(crate) fn record(&self, tally: &Tally) -> Recording<'_> {
        let mut numbers = self.numbers.lock();
        numbers.tally = *tally;
        Recording(numbers)
    }
}

impl Recording<'_> {
    /// Operations that began together took so long.
    pub(crate) fn latency(&mut self, verb: Verb, nanoseconds: u64, count: u32) {
        let histogram = self.0.latencies[verb as usize].get_or_insert_with(new_histogram);
        histogram.saturating_record_n(nanoseconds, count);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut engines = self.metrics.engines.lock();
        engines.retain(|numbers| !Arc::ptr_eq(numbers, &self.numbers));
        self.metrics.retired.lock().merge(&self.numbers.lock());
    }
}

fn new_histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS)
        .expect("the bounds are in order")
}

impl Numbers {
    fn merge(&mut self, other: &Numbers) {
        self.tally.merge(&other.tally);
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(new_histogram);
            mine.add(theirs).expect("the bounds are the same");
        }
    }

    fn into_stats(self) -> EngineStats {
        let pairs = Verb::ALL.into_iter().zip(&self.latencies);
        let latencies = pairs.filter_map(|(verb, histogram)| {
            let histogram = histogram.as_ref()?;
            Some(Latency {
                operation: verb.name(),
                count: histogram.len(),
                mean_ns: histogram.mean() as u64,
                p50_ns: histogram.value_at_quantile(0.5),
                p99_ns: histogram.value_at_quantile(0.99),
                p999_ns: histogram.value_at_quantile(0.999),
                max_ns: histogram.max(),
            })
        });
        let latencies = latencies.collect();
        self.tally.into_stats(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_engines_that_are_no_more_still_count() {
        let metrics: Arc<Metrics> = Arc::default();
        let (one, other) = (metrics.meter(), metrics.meter());
        let tally = |submissions, backlog_high_water| Tally {
            submissions,
            backlog_high_water,
            ..Tally::default()
        };
        one.record(&tally(3, 7)).latency(Verb::Read, 1000, 1);
        drop(one);
        other.record(&tally(4, 5)).latency(Verb::Read, 3000, 1);
        let stats = metrics.snapshot();
        assert_eq!(stats.submissions, 7, "a sum");
        assert_eq!(stats.backlog_high_water, 7, "a maximum");
        assert_eq!(stats.latencies.len(), 1, "only what has happened");
        assert_eq!(stats.latencies[0].count, 2);
    }

    #[test]
    fn latencies_beyond_the_bounds_count_as_the_bounds() {
        let metrics: Arc<Metrics> = Arc::default();
        let meter = metrics.meter();
        meter.record(&Tally::default()).latency(Verb::Stat, 0, 1);
        meter
            .record(&Tally::default())
            .latency(Verb::Stat, u64::MAX, 1);
        let stats = metrics.snapshot();
        assert_eq!(stats.latencies[0].count, 2);
        assert!(stats.latencies[0].max_ns >= LATENCY_NS_MAX);
    }

    #[test]
    fn quantiles_are_of_all_engines_together() {
        let metrics: Arc<Metrics> = Arc::default();
        let meters: Vec<Meter> = (0..10).map(|_| metrics.meter()).collect();
        for (index, meter) in meters.iter().enumerate() {
            let mut recording = meter.record(&Tally::default());
            for value in 0..100u64 {
                recording.latency(Verb::Write, (index as u64 * 100 + value + 1) * 1000, 1);
            }
        }
        let latency = &metrics.snapshot().latencies[0];
        assert_eq!(latency.operation, "write");
        assert!((495_000..=510_000).contains(&latency.p50_ns), "{latency:?}");
        assert!(
            (985_000..=1_000_000).contains(&latency.p99_ns),
            "{latency:?}"
        );
    }
}
