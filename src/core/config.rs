//! Options of a cache: one table of keys for every way to set them.

use crate::buf::Pages;
use crate::error::{Errno, Error, Result};
use crate::io::{EngineChoice, EngineOptions, FEATURE_NAMES, FeatureSet};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, IO_WORKERS_MAX, LEASE_BYTES_MAX, LEASE_UNIT_BYTES,
    OBJECT_BYTES_MAX, OBJECTS_MAX, PROCESSORS_MAX, QOS_RATE_MAX, QUEUE_DEPTH_MAX,
    SPIN_PROCESSORS_MIN, SPIN_US_DEFAULT, SPIN_US_MAX, THREADS_MAX,
};
use crate::options::OptionType::{Choice, Number, Processor, Set, Size};
use crate::options::{BOOL, Field, GIB, KIB, MIB, OptionInfo, option, parse};
use std::time::Duration;

/// Options of a cache. A zero means the default of [`OPTIONS`].
#[derive(Clone, Default)]
pub struct Config {
    /// Which engine to use.
    pub engine: EngineChoice,
    /// See the key `capacity_bytes`.
    pub capacity_bytes: u64,
    /// See the key `objects_max`; 0 takes what the directory has.
    pub objects_max: u64,
    /// See the key `chunk_bytes`; 0 takes what the directory has.
    pub chunk_bytes: u64,
    /// See the key `capacity_run_percent`.
    pub capacity_run_percent: u64,
    /// See the key `capacity_cull_percent`.
    pub capacity_cull_percent: u64,
    /// See the key `space_run_percent`.
    pub space_run_percent: u64,
    /// See the key `space_cull_percent`.
    pub space_cull_percent: u64,
    /// See the key `space_stop_percent`.
    pub space_stop_percent: u64,
    /// See the key `inodes_run_percent`.
    pub inodes_run_percent: u64,
    /// See the key `inodes_cull_percent`.
    pub inodes_cull_percent: u64,
    /// See the key `inodes_stop_percent`.
    pub inodes_stop_percent: u64,
    /// See the key `pinned_percent`.
    pub pinned_percent: u64,
    /// See the key `pool_bytes`.
    pub pool_bytes: u64,
    /// See the key `threads`.
    pub threads: u64,
    /// See the key `queue_depth`.
    pub queue_depth: u64,
    /// See the key `psync_threads`.
    pub psync_threads: u64,
    /// See the key `sq_poll`: 0 or 1.
    pub sq_poll: u64,
    /// See the key `sq_poll_idle_ms`.
    pub sq_poll_idle_ms: u64,
    /// See the key `sq_poll_cpu`: the processor's number plus 1; 0: any.
    pub sq_poll_cpu: u64,
    /// See the key `io_poll`: 0 or 1.
    pub io_poll: u64,
    /// See the key `spin_us`.
    pub spin_us: u64,
    /// See the key `io_workers`.
    pub io_workers: u64,
    /// See the key `huge_pages`: 0 auto, 1 false, 2 true.
    pub huge_pages: u64,
    /// See the key `direct_io`: 0 or 1.
    pub direct_io: u64,
    /// See the key `memory_bytes`.
    pub memory_bytes: u64,
    /// See the key `lease_bytes`.
    pub lease_bytes: u64,
    /// See the key `readahead`: 0 true, 1 false.
    pub readahead: u64,
    /// See the key `readahead_bytes`.
    pub readahead_bytes: u64,
    /// See the key `copy_method`.
    pub copy_method: u64,
    /// See the key `direct_copy_bytes`.
    pub direct_copy_bytes: u64,
    /// See the key `durable`: 0 true, 1 false.
    pub durable: u64,
    /// See the key `sync_interval_ms`.
    pub sync_interval_ms: u64,
    /// See the key `verify_bytes_per_second`.
    pub verify_bytes_per_second: u64,
    /// See the key `withhold`: bits as of [`FeatureSet`].
    pub withhold: u64,
    /// See the key `fill_depth`.
    pub fill_depth: u64,
    /// See the key `fill_bytes_per_second`.
    pub fill_bytes_per_second: u64,
    /// See the key `fill_operations_per_second`.
    pub fill_operations_per_second: u64,
    /// See the key `fill_latency_percent`.
    pub fill_latency_percent: u64,
    /// See the key `fill_priority`: 0 low, 1 idle, 2 none.
    pub fill_priority: u64,
    /// See the key `fill_after_percent`.
    pub fill_after_percent: u64,
    /// See the key `async_limit`.
    pub async_limit: u64,
    /// See the key `origin_timeout_ms`.
    pub origin_timeout_ms: u64,
    /// See the key `device_timeout_ms`.
    pub device_timeout_ms: u64,
    /// See the key `close_timeout_ms`.
    pub close_timeout_ms: u64,
    /// See the key `log_level`.
    pub log_level: u64,
    /// Receives the cache's messages, on every thread that works for it.
    pub log: Option<tracing::Dispatch>,
}

impl Field for EngineChoice {
    fn get(&self) -> u64 {
        match self {
            EngineChoice::Auto => 0,
            EngineChoice::Uring => 1,
            EngineChoice::Psync => 2,
        }
    }

    fn set(&mut self, value: u64) {
        *self = match value {
            0 => EngineChoice::Auto,
            1 => EngineChoice::Uring,
            _ => EngineChoice::Psync,
        };
    }
}

/// Every option, in the order in which they are listed to people.
pub static OPTIONS: &[OptionInfo<Config>] = &[
    option!(
        engine,
        Choice(&["auto", "uring", "psync"]),
        0,
        0..=2,
        "What performs I/O; auto takes uring where the kernel grants it."
    ),
    option!(
        capacity_bytes,
        Size,
        10 * GIB,
        MIB..=u64::MAX >> 1,
        "Limit of the cache directory, which remembers it."
    ),
    option!(
        objects_max,
        Number,
        0,
        0..=OBJECTS_MAX,
        "Objects in the cache directory; 0: as it was made, one for 16 KiB of its limit."
    ),
    option!(
        chunk_bytes,
        Size,
        MIB,
        CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX,
        "Unit of presence, a power of two; fixed when the directory is first used."
    ),
    option!(
        capacity_run_percent,
        Number,
        95,
        1..=100,
        "Percent of capacity_bytes and objects_max in use at which evicting beside the work ends."
    ),
    option!(
        capacity_cull_percent,
        Number,
        98,
        1..=100,
        "Percent of capacity_bytes and objects_max in use at which it begins."
    ),
    option!(
        space_run_percent,
        Number,
        7,
        1..=99,
        "Percent of the file system's blocks that are free at which evicting for it ends (brun)."
    ),
    option!(
        space_cull_percent,
        Number,
        5,
        1..=99,
        "Percent of them at which it begins (bcull)."
    ),
    option!(
        space_stop_percent,
        Number,
        1,
        1..=99,
        "Percent of them below which nothing is stored (bstop)."
    ),
    option!(
        inodes_run_percent,
        Number,
        7,
        1..=99,
        "Percent of the file system's inodes that are free at which evicting for it ends (frun)."
    ),
    option!(
        inodes_cull_percent,
        Number,
        5,
        1..=99,
        "Percent of them at which it begins (fcull)."
    ),
    option!(
        inodes_stop_percent,
        Number,
        1,
        1..=99,
        "Percent of them below which nothing is stored (fstop)."
    ),
    option!(
        pinned_percent,
        Number,
        50,
        1..=100,
        "Percent of capacity_bytes that pinned objects may take."
    ),
    option!(
        pool_bytes,
        Size,
        64 * MIB,
        512 * KIB..=64 * GIB,
        "Memory for reads from origins, over all library threads."
    ),
    option!(
        threads,
        Number,
        2,
        1..=THREADS_MAX,
        "Library threads that serve misses, fills and callbacks."
    ),
    option!(
        queue_depth,
        Number,
        256,
        8..=QUEUE_DEPTH_MAX,
        "Operations that a library thread has in flight at its engine."
    ),
    option!(
        psync_threads,
        Number,
        8,
        1..=1024,
        "Threads of the psync engine; half as many more are for what it writes."
    ),
    option!(
        sq_poll,
        BOOL,
        0,
        0..=1,
        "A kernel thread submits for all rings; it needs a processor to spare."
    ),
    option!(
        sq_poll_idle_ms,
        Number,
        1_000,
        1..=600_000,
        "Milliseconds without work after which that thread sleeps."
    ),
    option!(
        sq_poll_cpu,
        Processor,
        0,
        0..=PROCESSORS_MAX,
        "Processor that it stays on."
    ),
    option!(
        io_poll,
        BOOL,
        0,
        0..=1,
        "Poll the device for direct reads, where it has poll queues (see direct_io)."
    ),
    option!(
        spin_us,
        Number,
        0,
        0..=SPIN_US_MAX,
        "Microseconds that a wait polls at most before it sleeps; 0: 50 from 8 processors on."
    ),
    option!(
        io_workers,
        Number,
        16,
        1..=IO_WORKERS_MAX,
        "Kernel threads of each library thread for I/O that blocks."
    ),
    option!(
        huge_pages,
        Choice(&["auto", "false", "true"]),
        0,
        0..=2,
        "Pages of buffers: auto takes transparent huge ones, true reserved ones if there are some."
    ),
    option!(
        direct_io,
        BOOL,
        0,
        0..=1,
        "New objects are read and written past the page cache (O_DIRECT)."
    ),
    option!(
        memory_bytes,
        Size,
        0,
        0..=64 * GIB,
        "Memory to lock for what is read most, 16384 chunks at most: such hits take no system call."
    ),
    option!(
        lease_bytes,
        Size,
        64 * MIB,
        LEASE_UNIT_BYTES..=LEASE_BYTES_MAX,
        "Bytes that may be leased at once, counted in pages of 4 KiB."
    ),
    option!(
        readahead,
        Choice(&["true", "false"]),
        0,
        0..=1,
        "Fetch what a run of reads will want before it is asked for."
    ),
    option!(
        readahead_bytes,
        Size,
        64 * MIB,
        64 * KIB..=64 * GIB,
        "Limit of what is ahead of its readers, over all files; less than a chunk is nothing."
    ),
    option!(
        copy_method,
        Choice(&["auto", "reflink", "copy_file_range", "ring", "splice"]),
        0,
        0..=4,
        "How files are copied into the cache; the plainest way follows where one is refused."
    ),
    option!(
        direct_copy_bytes,
        Size,
        64 * MIB,
        1..=OBJECT_BYTES_MAX,
        "Size from which on a cold file that is copied whole is written past the page cache."
    ),
    option!(
        durable,
        Choice(&["true", "false"]),
        0,
        0..=1,
        "What is stored is synced in the background, and outlives a crash of the host."
    ),
    option!(
        sync_interval_ms,
        Number,
        30_000,
        1..=86_400_000,
        "Milliseconds after which what was stored is synced (see durable)."
    ),
    option!(
        verify_bytes_per_second,
        Size,
        0,
        0..=64 * GIB,
        "Bytes a second at which what is cached is compared with its checksums; 0: it is not."
    ),
    option!(
        withhold,
        Set(&FEATURE_NAMES),
        0,
        0..=FeatureSet::ALL.bits() as u64,
        "Features of io_uring not to use, against bugs of a kernel."
    ),
    option!(
        fill_depth,
        Number,
        8,
        1..=256,
        "Chunks of one request that are fetched at the same time."
    ),
    option!(
        fill_bytes_per_second,
        Size,
        0,
        0..=QOS_RATE_MAX,
        "Bytes a second that fills write to the cache; 0: no limit. Readers do not wait for it."
    ),
    option!(
        fill_operations_per_second,
        Number,
        0,
        0..=QOS_RATE_MAX,
        "The same in writes of up to a chunk."
    ),
    option!(
        fill_latency_percent,
        Number,
        200,
        101..=1_000_000,
        "Fills become fewer while hits take more than this percentage of what they take alone."
    ),
    option!(
        fill_priority,
        Choice(&["low", "idle", "none"]),
        0,
        0..=2,
        "I/O priority of fills at the cache device, for schedulers that know priorities."
    ),
    option!(
        fill_after_percent,
        Number,
        0,
        0..=100,
        "Percentage of a file from which on all of it is fetched, when nobody reads; 0: never."
    ),
    option!(
        async_limit,
        Number,
        4096,
        1..=1 << 20,
        "Callback reads and fills in flight at once, over the cache."
    ),
    option!(
        origin_timeout_ms,
        Number,
        30_000,
        1..=86_400_000,
        "Milliseconds after which a read that the origin does not answer fails."
    ),
    option!(
        device_timeout_ms,
        Number,
        10_000,
        10..=3_600_000,
        "Milliseconds after which an operation of the cache device counts as one that hangs."
    ),
    option!(
        close_timeout_ms,
        Number,
        5_000,
        1..=600_000,
        "Milliseconds that closing waits for I/O that does not finish."
    ),
    option!(
        log_level,
        Choice(&["error", "warn", "info", "debug", "trace"]),
        2,
        1..=5,
        "Messages above this level are not made."
    ),
];

/// Refuses a value outside the range, or that no chunk can have.
fn check(option: &OptionInfo<Config>, value: u64) -> Result<()> {
    if option.key == "chunk_bytes" && !value.is_power_of_two() && option.check(value).is_ok() {
        let text = format!("chunk_bytes is not a power of two: {value}");
        return Err(Error::new(Errno::INVAL, text));
    }
    option.check(value)
}

impl Config {
    /// Sets one option from text. Nothing is changed on error: ENOENT (no such
    /// key), EINVAL (not a value), ERANGE (outside the range).
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (option, number) = parse(OPTIONS, key, value)?;
        check(option, number)?;
        (option.field)(self).set(number);
        Ok(())
    }

    /// With every zero replaced by its default and every value in its range.
    /// `chunk_bytes` and `capacity_bytes` stay 0: the directory may know better.
    pub fn completed(&self) -> Result<Config> {
        let mut config = self.clone();
        for option in OPTIONS {
            let field = (option.field)(&mut config);
            if field.get() != 0 {
                check(option, field.get())?;
            } else if !["chunk_bytes", "capacity_bytes"].contains(&option.key) {
                field.set(option.default);
            }
        }
        config.check_marks()?;
        Ok(config)
    }

    /// Marks that follow each other the wrong way would have the cache evict for ever,
    /// or never.
    fn check_marks(&self) -> Result<()> {
        let used = [self.capacity_run_percent, self.capacity_cull_percent];
        let space = [
            self.space_stop_percent,
            self.space_cull_percent,
            self.space_run_percent,
        ];
        let inodes = [
            self.inodes_stop_percent,
            self.inodes_cull_percent,
            self.inodes_run_percent,
        ];
        let rises = |marks: [u64; 3]| marks.is_sorted_by(|one, next| one < next);
        let text = if !used.is_sorted() {
            "capacity_run_percent is above capacity_cull_percent"
        } else if !rises(space) {
            "space_stop_percent, space_cull_percent and space_run_percent do not go up"
        } else if !rises(inodes) {
            "inodes_stop_percent, inodes_cull_percent and inodes_run_percent do not go up"
        } else {
            return Ok(());
        };
        Err(Error::new(Errno::INVAL, text))
    }
}

impl Config {
    /// How long what is stored waits to be synced. Of a completed configuration.
    pub(crate) fn sync_interval(&self) -> Option<Duration> {
        (self.durable == 0).then(|| Duration::from_millis(self.sync_interval_ms))
    }

    /// For how long the device of the cache may take. Of a completed configuration.
    pub(crate) fn device_timeout(&self) -> Duration {
        Duration::from_millis(self.device_timeout_ms)
    }

    /// Bytes that may be ahead of readers. Of a completed configuration.
    pub(crate) fn readahead_limit(&self) -> u64 {
        match self.readahead {
            0 => self.readahead_bytes,
            _ => 0,
        }
    }

    /// What engines are asked to be. Of a completed configuration.
    pub fn engine_options(&self) -> EngineOptions {
        let withheld = FeatureSet::from_bits(self.withhold as u32);
        EngineOptions {
            choice: self.engine,
            depth: self.queue_depth as u32,
            psync_threads: self.psync_threads as u32,
            sq_poll: (self.sq_poll != 0).then(|| Duration::from_millis(self.sq_poll_idle_ms)),
            sq_poll_cpu: self.sq_poll_cpu.checked_sub(1).map(|cpu| cpu as u32),
            io_poll: self.io_poll != 0,
            spin: self.spin(),
            io_workers: self.io_workers as u32,
            pages: match self.huge_pages {
                0 => Pages::Transparent,
                1 => Pages::Small,
                _ => Pages::Reserved,
            },
            features: FeatureSet::ALL.minus(withheld),
        }
    }

    /// Spinning takes a processor from others, so by default there have to be many.
    fn spin(&self) -> Duration {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let microseconds = match self.spin_us {
            0 if processors < SPIN_PROCESSORS_MIN => 0,
            0 => SPIN_US_DEFAULT,
            given => given,
        };
        Duration::from_micros(microseconds)
    }
}

/// The default of an option, which must be in the table.
pub(crate) fn default_of(key: &str) -> u64 {
    let option = OPTIONS.iter().find(|option| option.key == key);
    option.expect("it is in the table").default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_bound_is_accepted_as_text() {
        for option in OPTIONS {
            for value in [option.default, option.min, option.max] {
                let text = option.text(value);
                let result = Config::default().set(option.key, &text);
                if option.key == "capacity_bytes" || value != option.max {
                    assert!(result.is_ok(), "{} = {text}: {result:?}", option.key);
                }
            }
        }
    }

    #[test]
    fn one_beyond_a_bound_is_out_of_range() {
        for option in OPTIONS.iter().filter(|o| matches!(o.kind, Number | Size)) {
            let below = option.min.checked_sub(1);
            for value in below.into_iter().chain([option.max + 1]) {
                let error = Config::default().set(option.key, &value.to_string());
                assert_eq!(error.unwrap_err().errno(), Errno::RANGE, "{}", option.key);
            }
        }
    }

    #[test]
    fn a_processor_is_a_number_or_any() {
        let mut config = Config::default();
        config.set("sq_poll_cpu", "0").unwrap();
        assert_eq!(config.sq_poll_cpu, 1);
        config.set("sq_poll_cpu", "any").unwrap();
        assert_eq!(config.sq_poll_cpu, 0);
        let error = config.set("sq_poll_cpu", "first").unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL);
    }

    #[test]
    fn a_set_is_words_joined_by_plus() {
        let mut config = Config::default();
        config.set("withhold", "SUBMIT_ALL+DEFER_TASKRUN").unwrap();
        let features = config.completed().unwrap().engine_options().features;
        assert!(!features.has(crate::Feature::SubmitAll));
        assert!(!features.has(crate::Feature::DeferTaskrun));
        assert!(features.has(crate::Feature::SingleIssuer));
        config.set("withhold", "none").unwrap();
        assert_eq!(config.withhold, 0);
        let error = config.set("withhold", "NOTHING").unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL);
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let mut config = Config::default();
        config.set("threads", "3").unwrap();
        assert_eq!(
            config.set("threads", "x").unwrap_err().errno(),
            Errno::INVAL
        );
        assert_eq!(
            config.set("threads", "0").unwrap_err().errno(),
            Errno::RANGE
        );
        assert_eq!(config.set("thread", "1").unwrap_err().errno(), Errno::NOENT);
        assert_eq!(config.threads, 3);
    }

    #[test]
    fn a_chunk_is_a_power_of_two() {
        let error = Config::default().set("chunk_bytes", "100000");
        assert_eq!(error.unwrap_err().errno(), Errno::INVAL);
    }
}
