//! Options of an origin: the structure and its string keys.

use super::extensible::{copy_in, copy_out, init};
use super::guard;
use super::options::Described;
use super::pointer::text;
use super::types::*;
use cachefs_core::{Errno, Error, ORIGIN_OPTIONS, OriginOptions, Result};
use once_cell::sync::Lazy;
use std::ffi::c_char;

/// What a program has said about an origin; NULL: nothing.
///
/// # Safety
/// `options` must be NULL or an initialised structure.
pub(super) unsafe fn given(options: *const cachefs_origin_options) -> Result<OriginOptions> {
    if options.is_null() {
        return Ok(OriginOptions::default());
    }
    // SAFETY: the caller promises an initialised structure.
    load(&unsafe { copy_in(options) }?)
}

fn load(options: &cachefs_origin_options) -> Result<OriginOptions> {
    if options.flags != 0 {
        let text = "cachefs_origin_options: a flag that this release does not know is set";
        return Err(Error::new(Errno::INVAL, text));
    }
    Ok(OriginOptions {
        validation: options.validation.into(),
        validate_ttl_ms: options.validate_ttl_ms,
        negative_ttl_ms: options.negative_ttl_ms,
        retries: options.retries,
        retry_first_ms: options.retry_first_ms,
        retry_max_ms: options.retry_max_ms,
        breaker_failures: options.breaker_failures,
        breaker_probe_ms: options.breaker_probe_ms,
        stale_ms: options.stale_ms,
        quota_bytes: options.quota_bytes,
        share_percent: options.share_percent,
        bytes_per_second: options.bytes_per_second,
        operations_per_second: options.operations_per_second,
        weight: options.weight,
    })
}

/// The reverse: every range in the table of options fits its field.
fn store(known: &OriginOptions, options: &mut cachefs_origin_options) {
    options.validation = known.validation as u32;
    options.validate_ttl_ms = known.validate_ttl_ms;
    options.negative_ttl_ms = known.negative_ttl_ms;
    options.retries = known.retries;
    options.retry_first_ms = known.retry_first_ms;
    options.retry_max_ms = known.retry_max_ms;
    options.breaker_failures = known.breaker_failures;
    options.breaker_probe_ms = known.breaker_probe_ms;
    options.stale_ms = known.stale_ms;
    options.quota_bytes = known.quota_bytes;
    options.share_percent = known.share_percent;
    options.bytes_per_second = known.bytes_per_second;
    options.operations_per_second = known.operations_per_second;
    options.weight = known.weight;
}

/// Sets every option of an origin to its default.
///
/// options  must not be NULL; `size` bytes
/// size     sizeof *options
///
/// Returns 0, or a negative errno:
///   -EINVAL  NULL, or `size` below 8     -E2BIG  `size` above 4096
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `options` must be NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_options_init(
    options: *mut cachefs_origin_options,
    size: usize,
) -> i32 {
    // SAFETY: the caller promises `size` writable bytes.
    guard::anywhere(|| unsafe { init(options, size) })
}

/// Sets one option of an origin from text, as files and command lines have it.
///
/// options  must not be NULL; initialised
/// key      must not be NULL; one of those that cachefs_origin_option_describe() lists
/// value    must not be NULL
///
/// Returns 0, or a negative errno and nothing was changed:
///   -ENOENT  no such key      -ERANGE  outside the range
///   -EINVAL  NULL, or not a value of the option's type      -E2BIG  see cachefs_origin_open()
///
/// Thread-safety: one thread at a time for one structure. Blocks: never. Since: 0.1.
///
/// # Safety
/// `options` must be NULL or an initialised structure; `key` and `value` must be
/// NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_options_set(
    options: *mut cachefs_origin_options,
    key: *const c_char,
    value: *const c_char,
) -> i32 {
    guard::anywhere(|| {
        // SAFETY: the caller promises an initialised structure or NULL.
        let mut copy = unsafe { copy_in(options) }?;
        // SAFETY: the caller promises C strings or NULL.
        let (key, value) = unsafe { (text(key, "the key")?, text(value, "the value")?) };
        let mut known = load(&copy)?;
        known.set(&key.to_string_lossy(), &value.to_string_lossy())?;
        store(&known, &mut copy);
        // SAFETY: as above.
        unsafe { copy_out(options, &copy) }
    })
}

static DESCRIBED: Lazy<Described> = Lazy::new(|| Described::of(ORIGIN_OPTIONS));

/// Describes the options of an origin one by one: call it with 0, 1, … until -ENOENT.
/// No key is one of cachefs_option_describe(), so that a command line can have both.
///
/// index  which option
/// info   must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno:
///   -ENOENT  no option has this index      -EINVAL  NULL, or struct_size not set
///   -E2BIG   struct_size above 4096
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `info` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_origin_option_describe(
    index: u32,
    info: *mut cachefs_option_info,
) -> i32 {
    guard::anywhere(|| {
        let value = DESCRIBED.get(index)?;
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(info, &value) }
    })
}

#[cfg(test)]
mod tests {
    use super::super::extensible::zeroed;
    use super::*;

    /// As numbers, in the order of the table.
    fn numbers(options: &OriginOptions) -> Vec<u64> {
        let mut options = options.clone();
        let all = ORIGIN_OPTIONS.iter();
        all.map(|option| option.value(&mut options)).collect()
    }

    #[test]
    fn every_option_survives_the_way_through_the_structure() {
        for option in ORIGIN_OPTIONS {
            let mut before = OriginOptions::default();
            before.set(option.key, &option.text(option.max)).unwrap();
            let mut options: cachefs_origin_options = zeroed();
            store(&before, &mut options);
            let after = load(&options).unwrap();
            assert_eq!(numbers(&before), numbers(&after), "{}", option.key);
            assert!(numbers(&after).contains(&option.max), "{}", option.key);
        }
    }
}
