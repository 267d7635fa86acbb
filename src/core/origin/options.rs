//! How an origin is treated: one table of keys for every way to say it.

use crate::error::Result;
use crate::limits::{
    BREAKER_FAILURES_MAX, ORIGIN_MS_MAX, ORIGIN_RETRIES_MAX, QOS_RATE_MAX, WEIGHT_MAX,
};
use crate::options::OptionType::{Choice, Number, Size};
use crate::options::{Field, OptionInfo, option, parse};

/// Options of an origin. A zero means the default of [`ORIGIN_OPTIONS`].
#[derive(Clone, Debug, Default)]
pub struct OriginOptions {
    /// See the key `validation`: 0 always, 1 ttl, 2 never.
    pub validation: u64,
    /// See the key `validate_ttl_ms`.
    pub validate_ttl_ms: u64,
    /// See the key `negative_ttl_ms`.
    pub negative_ttl_ms: u64,
    /// See the key `retries`.
    pub retries: u64,
    /// See the key `retry_first_ms`.
    pub retry_first_ms: u64,
    /// See the key `retry_max_ms`.
    pub retry_max_ms: u64,
    /// See the key `breaker_failures`.
    pub breaker_failures: u64,
    /// See the key `breaker_probe_ms`.
    pub breaker_probe_ms: u64,
    /// See the key `stale_ms`.
    pub stale_ms: u64,
    /// See the key `quota_bytes`.
    pub quota_bytes: u64,
    /// See the key `share_percent`.
    pub share_percent: u64,
    /// See the key `bytes_per_second`.
    pub bytes_per_second: u64,
    /// See the key `operations_per_second`.
    pub operations_per_second: u64,
    /// See the key `weight`.
    pub weight: u64,
}

/// Every option of an origin, in the order in which they are listed to people.
pub static ORIGIN_OPTIONS: &[OptionInfo<OriginOptions>] = &[
    option!(
        validation,
        Choice(&["always", "ttl", "never"]),
        0,
        0..=2,
        "When the origin is asked for a file's version: at each open, at the first one and \
         again after validate_ttl_ms, or only at the first one."
    ),
    option!(
        validate_ttl_ms,
        Number,
        60_000,
        1..=ORIGIN_MS_MAX,
        "Milliseconds for which a version is believed with validation=ttl."
    ),
    option!(
        negative_ttl_ms,
        Number,
        0,
        0..=ORIGIN_MS_MAX,
        "Milliseconds for which a path that the origin does not have is not looked for again."
    ),
    option!(
        retries,
        Number,
        0,
        0..=ORIGIN_RETRIES_MAX,
        "Times that a read is tried again whose origin could not be reached."
    ),
    option!(
        retry_first_ms,
        Number,
        100,
        1..=3_600_000,
        "Milliseconds before the first time, at most; twice as many before each further one."
    ),
    option!(
        retry_max_ms,
        Number,
        5_000,
        1..=3_600_000,
        "Milliseconds before any of them, at most."
    ),
    option!(
        breaker_failures,
        Number,
        0,
        0..=BREAKER_FAILURES_MAX,
        "Failures in a row after which the origin is left alone; 0: it never is."
    ),
    option!(
        breaker_probe_ms,
        Number,
        1_000,
        1..=ORIGIN_MS_MAX,
        "Milliseconds after which an origin that is left alone is asked once."
    ),
    option!(
        stale_ms,
        Number,
        0,
        0..=ORIGIN_MS_MAX,
        "Milliseconds for which a cached file is served whose origin cannot be reached, since \
         it was last asked for."
    ),
    option!(
        quota_bytes,
        Size,
        0,
        0..=u64::MAX >> 1,
        "Bytes that the origin's files may take of the cache; beyond, its own go. 0: all of it."
    ),
    option!(
        share_percent,
        Number,
        0,
        0..=100,
        "Percent of capacity_bytes beyond which the origin's files go first. 0: never."
    ),
    option!(
        bytes_per_second,
        Size,
        0,
        0..=QOS_RATE_MAX,
        "Bytes a second that are read from the origin; 0: no limit. Readers go first."
    ),
    option!(
        operations_per_second,
        Number,
        0,
        0..=QOS_RATE_MAX,
        "The same in reads of the origin, of up to a chunk."
    ),
    option!(
        weight,
        Number,
        100,
        1..=WEIGHT_MAX,
        "Its share of what several origins of a cache want at once."
    ),
];

/// When the origin is asked for a file's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    /// At each open.
    Always,
    /// At the first open, and again when the answer is too old.
    Ttl,
    /// At the first open.
    Never,
}

impl OriginOptions {
    pub(super) fn validation(&self) -> Validation {
        match self.validation {
            0 => Validation::Always,
            1 => Validation::Ttl,
            _ => Validation::Never,
        }
    }

    /// Sets one option from text. Nothing is changed on error: ENOENT (no such
    /// key), EINVAL (not a value), ERANGE (outside the range).
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (option, number) = parse(ORIGIN_OPTIONS, key, value)?;
        (option.field)(self).set(number);
        Ok(())
    }

    /// With every zero replaced by its default and every value in its range.
    pub fn completed(&self) -> Result<Self> {
        let mut options = self.clone();
        for option in ORIGIN_OPTIONS {
            let field: &mut dyn Field = (option.field)(&mut options);
            match field.get() {
                0 => field.set(option.default),
                given => option.check(given)?,
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Errno;

    #[test]
    fn every_default_and_bound_is_accepted_as_text() {
        for option in ORIGIN_OPTIONS {
            for value in [option.default, option.min, option.max] {
                let text = option.text(value);
                let result = OriginOptions::default().set(option.key, &text);
                assert!(result.is_ok(), "{} = {text}: {result:?}", option.key);
            }
        }
    }

    #[test]
    fn one_beyond_a_bound_is_out_of_range() {
        for option in ORIGIN_OPTIONS.iter().filter(|o| o.kind == Number) {
            let mut options = OriginOptions::default();
            let error = options.set(option.key, &(option.max + 1).to_string());
            assert_eq!(error.unwrap_err().errno(), Errno::RANGE, "{}", option.key);
            (option.field)(&mut options).set(option.max + 1);
            let error = options.completed().unwrap_err();
            assert_eq!(error.errno(), Errno::RANGE, "{}", option.key);
        }
    }

    #[test]
    fn no_key_is_one_of_the_cache() {
        for option in ORIGIN_OPTIONS {
            let same = crate::config::OPTIONS.iter().find(|o| o.key == option.key);
            assert!(
                same.is_none(),
                "{}: a command line could mean both",
                option.key
            );
        }
    }
}
