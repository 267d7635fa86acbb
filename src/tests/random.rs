//! Random numbers from a seed that a failing test prints.

use once_cell::sync::Lazy;

/// xorshift64*: enough for choosing ranges, and reproducible everywhere.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

/// The clock's, or that of the environment variable CACHEFS_SEED.
static SEED: Lazy<u64> = Lazy::new(|| {
    let given = std::env::var("CACHEFS_SEED").ok();
    let given = given.and_then(|text| text.parse().ok());
    let clock = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |since| since.as_nanos() as u64)
    };
    given.unwrap_or_else(clock) | 1
});

impl Random {
    /// From the one seed of this process, so that naming it brings back a run.
    pub(crate) fn new() -> Self {
        let seed = *SEED;
        Self { seed, state: seed }
    }

    /// One of several that go their own ways.
    pub(crate) fn of(index: u64) -> Self {
        let mut random = Self::new();
        random.state ^= (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        random.state |= 1;
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 0 to `bound`, small numbers as often as large ones.
    pub(crate) fn any_size(&mut self, bound: u64) -> u64 {
        let bits = u64::from(bound.ilog2()) + 1;
        let size = self.next() >> (64 - 1 - self.below(bits)).min(63);
        size.min(bound)
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("reproduce with CACHEFS_SEED={}", self.seed);
        }
    }
}
