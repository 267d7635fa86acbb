//! Options of a cache: the structure and its string keys.

use super::extensible::{copy_in, copy_out, init};
use super::guard;
use super::pointer::text;
use super::types::*;
use cachefs_core::{Config, EngineChoice, Errno, Error, OPTIONS, OptionInfo, OptionType, Result};
use once_cell::sync::Lazy;
use std::ffi::{CString, c_char};

/// The configuration that options stand for, without the log.
pub(super) fn config(options: &cachefs_cache_options) -> Result<Config> {
    if options.flags != 0 || options.reserved != 0 {
        let text = "cachefs_cache_options: a flag that this release does not know is set";
        return Err(Error::new(Errno::INVAL, text));
    }
    Ok(Config {
        engine: match options.engine {
            CACHEFS_ENGINE_AUTO => EngineChoice::Auto,
            CACHEFS_ENGINE_URING => EngineChoice::Uring,
            CACHEFS_ENGINE_PSYNC => EngineChoice::Psync,
            other => {
                let text = format!("there is no engine {other}");
                return Err(Error::new(Errno::INVAL, text));
            }
        },
        capacity_bytes: options.capacity_bytes,
        chunk_bytes: options.chunk_bytes.into(),
        pool_bytes: options.pool_bytes,
        memory_bytes: options.memory_bytes,
        lease_bytes: options.lease_bytes,
        objects_max: options.objects_max,
        capacity_run_percent: options.capacity_run_percent.into(),
        capacity_cull_percent: options.capacity_cull_percent.into(),
        space_run_percent: options.space_run_percent.into(),
        space_cull_percent: options.space_cull_percent.into(),
        space_stop_percent: options.space_stop_percent.into(),
        inodes_run_percent: options.inodes_run_percent.into(),
        inodes_cull_percent: options.inodes_cull_percent.into(),
        inodes_stop_percent: options.inodes_stop_percent.into(),
        pinned_percent: options.pinned_percent.into(),
        readahead: options.readahead.into(),
        readahead_bytes: options.readahead_bytes,
        direct_copy_bytes: options.direct_copy_bytes,
        threads: options.threads.into(),
        queue_depth: options.queue_depth.into(),
        psync_threads: options.psync_threads.into(),
        fill_depth: options.fill_depth.into(),
        fill_bytes_per_second: options.fill_bytes_per_second,
        fill_operations_per_second: options.fill_operations_per_second,
        fill_latency_percent: options.fill_latency_percent.into(),
        fill_priority: options.fill_priority.into(),
        fill_after_percent: options.fill_after_percent.into(),
        async_limit: options.async_limit.into(),
        origin_timeout_ms: options.origin_timeout_ms.into(),
        device_timeout_ms: options.device_timeout_ms.into(),
        close_timeout_ms: options.close_timeout_ms.into(),
        log_level: options.log_level.into(),
        sq_poll: options.sq_poll.into(),
        sq_poll_idle_ms: options.sq_poll_idle_ms.into(),
        sq_poll_cpu: options.sq_poll_cpu.into(),
        io_poll: options.io_poll.into(),
        spin_us: options.spin_us.into(),
        io_workers: options.io_workers.into(),
        huge_pages: options.huge_pages.into(),
        direct_io: options.direct_io.into(),
        copy_method: options.copy_method.into(),
        verify_bytes_per_second: options.verify_bytes_per_second,
        durable: options.durable.into(),
        sync_interval_ms: options.sync_interval_ms.into(),
        withhold: options.withhold.into(),
        log: None,
    })
}

/// The reverse: every range in the table of options fits its field.
fn store(config: &Config, options: &mut cachefs_cache_options) {
    options.engine = match config.engine {
        EngineChoice::Auto => CACHEFS_ENGINE_AUTO,
        EngineChoice::Uring => CACHEFS_ENGINE_URING,
        EngineChoice::Psync => CACHEFS_ENGINE_PSYNC,
    };
    options.capacity_bytes = config.capacity_bytes;
    options.chunk_bytes = config.chunk_bytes as u32;
    options.pool_bytes = config.pool_bytes;
    options.memory_bytes = config.memory_bytes;
    options.lease_bytes = config.lease_bytes;
    options.readahead = config.readahead as u32;
    options.readahead_bytes = config.readahead_bytes;
    options.direct_copy_bytes = config.direct_copy_bytes;
    options.threads = config.threads as u32;
    options.queue_depth = config.queue_depth as u32;
    options.psync_threads = config.psync_threads as u32;
    options.fill_depth = config.fill_depth as u32;
    options.fill_bytes_per_second = config.fill_bytes_per_second;
    options.fill_operations_per_second = config.fill_operations_per_second;
    options.fill_latency_percent = config.fill_latency_percent as u32;
    options.fill_priority = config.fill_priority as u32;
    options.fill_after_percent = config.fill_after_percent as u32;
    options.async_limit = config.async_limit as u32;
    options.origin_timeout_ms = config.origin_timeout_ms as u32;
    options.device_timeout_ms = config.device_timeout_ms as u32;
    options.close_timeout_ms = config.close_timeout_ms as u32;
    options.log_level = config.log_level as u32;
    options.sq_poll = config.sq_poll as u32;
    options.sq_poll_idle_ms = config.sq_poll_idle_ms as u32;
    options.sq_poll_cpu = config.sq_poll_cpu as u32;
    options.io_poll = config.io_poll as u32;
    options.spin_us = config.spin_us as u32;
    options.io_workers = config.io_workers as u32;
    options.huge_pages = config.huge_pages as u32;
    options.direct_io = config.direct_io as u32;
    options.copy_method = config.copy_method as u32;
    options.verify_bytes_per_second = config.verify_bytes_per_second;
    options.durable = config.durable as u32;
    options.sync_interval_ms = config.sync_interval_ms as u32;
    options.withhold = config.withhold as u32;
    options.objects_max = config.objects_max;
    options.capacity_run_percent = config.capacity_run_percent as u32;
    options.capacity_cull_percent = config.capacity_cull_percent as u32;
    options.space_run_percent = config.space_run_percent as u32;
    options.space_cull_percent = config.space_cull_percent as u32;
    options.space_stop_percent = config.space_stop_percent as u32;
    options.inodes_run_percent = config.inodes_run_percent as u32;
    options.inodes_cull_percent = config.inodes_cull_percent as u32;
    options.inodes_stop_percent = config.inodes_stop_percent as u32;
    options.pinned_percent = config.pinned_percent as u32;
}

/// Sets every option to its default.
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
pub unsafe extern "C" fn cachefs_cache_options_init(
    options: *mut cachefs_cache_options,
    size: usize,
) -> i32 {
    // SAFETY: the caller promises `size` writable bytes.
    guard::anywhere(|| unsafe { init(options, size) })
}

/// Sets one option from text, as files and command lines have it.
///
/// options  must not be NULL; initialised
/// key      must not be NULL; one of those that cachefs_option_describe() lists
/// value    must not be NULL
///
/// Returns 0, or a negative errno and nothing was changed:
///   -ENOENT  no such key      -ERANGE  outside the range
///   -EINVAL  NULL, or not a value of the option's type      -E2BIG  see cachefs_cache_open()
///
/// Thread-safety: one thread at a time for one structure. Blocks: never. Since: 0.1.
///
/// # Safety
/// `options` must be NULL or an initialised structure; `key` and `value` must be
/// NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_cache_options_set(
    options: *mut cachefs_cache_options,
    key: *const c_char,
    value: *const c_char,
) -> i32 {
    guard::anywhere(|| {
        // SAFETY: the caller promises an initialised structure or NULL.
        let mut copy = unsafe { copy_in(options) }?;
        // SAFETY: the caller promises C strings or NULL.
        let (key, value) = unsafe { (text(key, "the key")?, text(value, "the value")?) };
        let mut config = config(&copy)?;
        config.set(&key.to_string_lossy(), &value.to_string_lossy())?;
        store(&config, &mut copy);
        // SAFETY: as above.
        unsafe { copy_out(options, &copy) }
    })
}

/// The texts of one option, with their NUL, for ever.
struct Texts {
    kind: u32,
    key: CString,
    default_value: CString,
    range: CString,
    meaning: CString,
}

impl Texts {
    fn of<T>(option: &OptionInfo<T>) -> Self {
        let c = |text: String| CString::new(text).expect("the table has no NUL");
        Self {
            kind: match option.kind {
                OptionType::Number => CACHEFS_OPTION_NUMBER,
                OptionType::Size => CACHEFS_OPTION_SIZE,
                OptionType::Choice(_) => CACHEFS_OPTION_CHOICE,
                OptionType::Processor => CACHEFS_OPTION_PROCESSOR,
                OptionType::Set(_) => CACHEFS_OPTION_SET,
            },
            key: c(option.key.to_owned()),
            default_value: c(option.text(option.default)),
            range: c(option.range()),
            meaning: c(option.meaning.to_owned()),
        }
    }
}

/// The texts of a table of options.
pub(super) struct Described(Vec<Texts>);

impl Described {
    pub(super) fn of<T>(options: &[OptionInfo<T>]) -> Self {
        Self(options.iter().map(Texts::of).collect())
    }

    /// ENOENT if the table is not that long.
    pub(super) fn get(&'static self, index: u32) -> Result<cachefs_option_info> {
        let texts = self.0.get(index as usize);
        let texts = texts.ok_or_else(|| Error::new(Errno::NOENT, "there are no more options"))?;
        Ok(cachefs_option_info {
            struct_size: 0,
            r#type: texts.kind,
            key: texts.key.as_ptr(),
            default_value: texts.default_value.as_ptr(),
            range: texts.range.as_ptr(),
            meaning: texts.meaning.as_ptr(),
        })
    }
}

static DESCRIBED: Lazy<Described> = Lazy::new(|| Described::of(OPTIONS));

/// Describes the options one by one: call it with 0, 1, … until -ENOENT.
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
pub unsafe extern "C" fn cachefs_option_describe(
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

    #[test]
    fn every_option_survives_the_way_through_the_structure() {
        for option in OPTIONS {
            let mut before = Config::default();
            // Not 0, which is what the structure has by itself.
            let value = option.text(option.max.min(option.min.max(1)));
            before.set(option.key, &value).unwrap();
            let mut options: cachefs_cache_options = zeroed();
            store(&before, &mut options);
            let mut again: cachefs_cache_options = zeroed();
            store(&config(&options).unwrap(), &mut again);
            // SAFETY: the structure has no padding: every byte is a field.
            let bytes = |options: &cachefs_cache_options| unsafe {
                std::slice::from_raw_parts(
                    (&raw const *options).cast::<u8>(),
                    size_of::<cachefs_cache_options>(),
                )
                .to_vec()
            };
            assert_eq!(bytes(&options), bytes(&again), "{}", option.key);
            assert_ne!(bytes(&options), bytes(&zeroed()), "{}", option.key);
        }
    }

    #[test]
    fn the_largest_value_of_each_option_fits_its_field() {
        for option in OPTIONS.iter().filter(|option| option.key != "engine") {
            let mut config_max = Config::default();
            config_max
                .set(option.key, &option.text(option.max))
                .unwrap();
            let mut options: cachefs_cache_options = zeroed();
            store(&config_max, &mut options);
            let back = config(&options).unwrap();
            let mut again = Config::default();
            again.set(option.key, &option.text(option.max)).unwrap();
            let pick = |config: &Config| {
                [
                    config.capacity_bytes,
                    config.chunk_bytes,
                    config.pool_bytes,
                    config.threads,
                ]
                .into_iter()
                .chain([config.queue_depth, config.psync_threads, config.fill_depth])
                .chain([config.async_limit, config.origin_timeout_ms])
                .chain([config.close_timeout_ms, config.log_level, config.sq_poll])
                .chain([config.sq_poll_idle_ms, config.sq_poll_cpu, config.io_poll])
                .chain([config.spin_us, config.io_workers, config.huge_pages])
                .chain([config.direct_io, config.copy_method, config.withhold])
                .chain([config.memory_bytes, config.direct_copy_bytes])
                .chain([config.capacity_run_percent])
                .chain([config.capacity_cull_percent])
                .chain([config.space_run_percent])
                .chain([config.space_cull_percent])
                .chain([config.space_stop_percent])
                .chain([config.inodes_run_percent])
                .chain([config.inodes_cull_percent])
                .chain([config.inodes_stop_percent])
                .chain([config.pinned_percent])
                .chain([config.lease_bytes, config.durable, config.sync_interval_ms])
                .chain([config.verify_bytes_per_second])
                .chain([config.device_timeout_ms])
                .chain([config.readahead, config.readahead_bytes, config.objects_max])
                .collect::<Vec<u64>>()
            };
            assert_eq!(pick(&back), pick(&again), "{}", option.key);
        }
    }
}
