//! Options of a cache: one table of keys for every way to set them.

use crate::buf::Pages;
use crate::error::{Errno, Error, Result};
use crate::io::{EngineChoice, EngineOptions, FEATURE_NAMES, FeatureSet};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, IO_WORKERS_MAX, LEASE_BYTES_MAX, LEASE_UNIT_BYTES,
    OBJECT_BYTES_MAX, OBJECTS_MAX, PROCESSORS_MAX, QUEUE_DEPTH_MAX, SPIN_PROCESSORS_MIN,
    SPIN_US_DEFAULT, SPIN_US_MAX, THREADS_MAX,
};
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
    /// See the key `withhold`: bits as of [`FeatureSet`].
    pub withhold: u64,
    /// See the key `fill_depth`.
    pub fill_depth: u64,
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

/// How the value of an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// A decimal number.
    Number,
    /// Bytes, with an optional unit.
    Size,
    /// One of the words, whose numbers go up from the option's `min` in this order.
    Choice(&'static [&'static str]),
    /// `any`, or the number of a processor, which stands for one more.
    Processor,
    /// `none`, or words joined by `+`: each is a bit, the first the lowest.
    Set(&'static [&'static str]),
}

/// One option.
pub struct OptionInfo {
    /// Its name everywhere: C, configuration, command line.
    pub key: &'static str,
    /// How its value is written.
    pub kind: OptionType,
    /// What 0 stands for.
    pub default: u64,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
    /// One sentence.
    pub meaning: &'static str,
    field: fn(&mut Config) -> Field<'_>,
}

enum Field<'a> {
    Number(&'a mut u64),
    Engine(&'a mut EngineChoice),
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

macro_rules! number {
    ($key:ident, $kind:expr, $default:expr, $range:expr, $meaning:expr) => {
        OptionInfo {
            key: stringify!($key),
            kind: $kind,
            default: $default,
            min: *$range.start(),
            max: *$range.end(),
            meaning: $meaning,
            field: |config| Field::Number(&mut config.$key),
        }
    };
}

use OptionType::{Choice, Number, Processor, Set, Size};

const BOOL: OptionType = Choice(&["false", "true"]);

/// Every option, in the order in which they are listed to people.
pub static OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        key: "engine",
        kind: Choice(&["auto", "uring", "psync"]),
        default: 0,
        min: 0,
        max: 2,
        meaning: "What performs I/O; auto takes uring where the kernel grants it.",
        field: |config| Field::Engine(&mut config.engine),
    },
    number!(
        capacity_bytes,
        Size,
        10 * GIB,
        MIB..=u64::MAX >> 1,
        "Limit of the cache directory, which remembers it."
    ),
    number!(
        objects_max,
        Number,
        0,
        0..=OBJECTS_MAX,
        "Objects in the cache directory; 0: as it was made, one for 16 KiB of its limit."
    ),
    number!(
        chunk_bytes,
        Size,
        MIB,
        CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX,
        "Unit of presence, a power of two; fixed when the directory is first used."
    ),
    number!(
        capacity_run_percent,
        Number,
        95,
        1..=100,
        "Percent of capacity_bytes and objects_max in use at which evicting beside the work ends."
    ),
    number!(
        capacity_cull_percent,
        Number,
        98,
        1..=100,
        "Percent of capacity_bytes and objects_max in use at which it begins."
    ),
    number!(
        space_run_percent,
        Number,
        7,
        1..=99,
        "Percent of the file system's blocks that are free at which evicting for it ends (brun)."
    ),
    number!(
        space_cull_percent,
        Number,
        5,
        1..=99,
        "Percent of them at which it begins (bcull)."
    ),
    number!(
        space_stop_percent,
        Number,
        1,
        1..=99,
        "Percent of them below which nothing is stored (bstop)."
    ),
    number!(
        inodes_run_percent,
        Number,
        7,
        1..=99,
        "Percent of the file system's inodes that are free at which evicting for it ends (frun)."
    ),
    number!(
        inodes_cull_percent,
        Number,
        5,
        1..=99,
        "Percent of them at which it begins (fcull)."
    ),
    number!(
        inodes_stop_percent,
        Number,
        1,
        1..=99,
        "Percent of them below which nothing is stored (fstop)."
    ),
    number!(
        pinned_percent,
        Number,
        50,
        1..=100,
        "Percent of capacity_bytes that pinned objects may take."
    ),
    number!(
        pool_bytes,
        Size,
        64 * MIB,
        512 * KIB..=64 * GIB,
        "Memory for reads from origins, over all library threads."
    ),
    number!(
        threads,
        Number,
        2,
        1..=THREADS_MAX,
        "Library threads that serve misses, fills and callbacks."
    ),
    number!(
        queue_depth,
        Number,
        256,
        8..=QUEUE_DEPTH_MAX,
        "Operations that a library thread has in flight at its engine."
    ),
    number!(
        psync_threads,
        Number,
        8,
        1..=1024,
        "Threads of the psync engine."
    ),
    number!(
        sq_poll,
        BOOL,
        0,
        0..=1,
        "A kernel thread submits for all rings; it needs a processor to spare."
    ),
    number!(
        sq_poll_idle_ms,
        Number,
        1_000,
        1..=600_000,
        "Milliseconds without work after which that thread sleeps."
    ),
    number!(
        sq_poll_cpu,
        Processor,
        0,
        0..=PROCESSORS_MAX,
        "Processor that it stays on."
    ),
    number!(
        io_poll,
        BOOL,
        0,
        0..=1,
        "Poll the device for direct reads, where it has poll queues (see direct_io)."
    ),
    number!(
        spin_us,
        Number,
        0,
        0..=SPIN_US_MAX,
        "Microseconds that a wait polls at most before it sleeps; 0: 50 from 8 processors on."
    ),
    number!(
        io_workers,
        Number,
        16,
        1..=IO_WORKERS_MAX,
        "Kernel threads of each library thread for I/O that blocks."
    ),
    number!(
        huge_pages,
        Choice(&["auto", "false", "true"]),
        0,
        0..=2,
        "Pages of buffers: auto takes transparent huge ones, true reserved ones if there are some."
    ),
    number!(
        direct_io,
        BOOL,
        0,
        0..=1,
        "New objects are read and written past the page cache (O_DIRECT)."
    ),
    number!(
        memory_bytes,
        Size,
        0,
        0..=64 * GIB,
        "Memory to lock for what is read most, 16384 chunks at most: such hits take no system call."
    ),
    number!(
        lease_bytes,
        Size,
        64 * MIB,
        LEASE_UNIT_BYTES..=LEASE_BYTES_MAX,
        "Bytes that may be leased at once, counted in pages of 4 KiB."
    ),
    number!(
        readahead,
        Choice(&["true", "false"]),
        0,
        0..=1,
        "Fetch what a run of reads will want before it is asked for."
    ),
    number!(
        readahead_bytes,
        Size,
        64 * MIB,
        64 * KIB..=64 * GIB,
        "Limit of what is ahead of its readers, over all files; less than a chunk is nothing."
    ),
    number!(
        copy_method,
        Choice(&["auto", "reflink", "copy_file_range", "ring", "splice"]),
        0,
        0..=4,
        "How files are copied into the cache; the plainest way follows where one is refused."
    ),
    number!(
        direct_copy_bytes,
        Size,
        64 * MIB,
        1..=OBJECT_BYTES_MAX,
        "Size from which on a cold file that is copied whole is written past the page cache."
    ),
    number!(
        durable,
        Choice(&["true", "false"]),
        0,
        0..=1,
        "What is stored is synced in the background, and outlives a crash of the host."
    ),
    number!(
        sync_interval_ms,
        Number,
        30_000,
        1..=86_400_000,
        "Milliseconds after which what was stored is synced (see durable)."
    ),
    number!(
        withhold,
        Set(&FEATURE_NAMES),
        0,
        0..=FeatureSet::ALL.bits() as u64,
        "Features of io_uring not to use, against bugs of a kernel."
    ),
    number!(
        fill_depth,
        Number,
        8,
        1..=256,
        "Chunks of one request that are fetched at the same time."
    ),
    number!(
        async_limit,
        Number,
        4096,
        1..=1 << 20,
        "Callback reads and fills in flight at once, over the cache."
    ),
    number!(
        origin_timeout_ms,
        Number,
        30_000,
        1..=86_400_000,
        "Milliseconds after which a read that the origin does not answer fails."
    ),
    number!(
        device_timeout_ms,
        Number,
        10_000,
        10..=3_600_000,
        "Milliseconds after which an operation of the cache device counts as one that hangs."
    ),
    number!(
        close_timeout_ms,
        Number,
        5_000,
        1..=600_000,
        "Milliseconds that closing waits for I/O that does not finish."
    ),
    number!(
        log_level,
        Choice(&["error", "warn", "info", "debug", "trace"]),
        2,
        1..=5,
        "Messages above this level are not made."
    ),
];

impl OptionInfo {
    /// The number of a choice's first word.
    fn first_word(&self) -> u64 {
        self.min
    }

    /// A value as a person reads it.
    pub fn text(&self, value: u64) -> String {
        match self.kind {
            Choice(words) => words[(value - self.first_word()) as usize].to_owned(),
            Number => value.to_string(),
            Size => size_text(value),
            Processor => match value.checked_sub(1) {
                None => "any".to_owned(),
                Some(processor) => processor.to_string(),
            },
            Set(words) => {
                let bits = words.iter().enumerate();
                let set = bits.filter(|(bit, _)| value & 1 << bit != 0);
                let set: Vec<&str> = set.map(|(_, word)| *word).collect();
                if set.is_empty() {
                    "none".to_owned()
                } else {
                    set.join("+")
                }
            }
        }
    }

    /// `LOW..HIGH`, or the words of a choice separated by `|`.
    pub fn range(&self) -> String {
        match self.kind {
            Choice(words) => words.join("|"),
            Processor => format!("any|0..{}", self.max - 1),
            Set(words) => format!("none|{}", words.join("+")),
            _ => format!("{}..{}", self.text(self.min), self.text(self.max)),
        }
    }

    /// The number that a text stands for; one that no field can hold is the
    /// largest, which is outside of every range.
    fn parse(&self, text: &str) -> Result<u64> {
        let parsed = match self.kind {
            Choice(words) => {
                let word = words.iter().position(|word| *word == text);
                word.map(|index| index as u64 + self.first_word())
            }
            Number => parse_number(text),
            Size => parse_size(text),
            Processor if text == "any" => Some(0),
            Processor => parse_number(text).map(|processor| processor.saturating_add(1)),
            Set(_) if text == "none" => Some(0),
            Set(words) => {
                let bit = |word| words.iter().position(|one| *one == word);
                let bits = text.split('+').map(|word| Some(1u64 << bit(word)?));
                bits.sum()
            }
        };
        parsed.ok_or_else(|| {
            let (key, range) = (self.key, self.range());
            Error::new(
                Errno::INVAL,
                format!("{key} is not one of {range}: \"{text}\""),
            )
        })
    }

    /// Refuses a value outside the range. 0 is the default, except in text.
    fn check(&self, value: u64) -> Result<()> {
        if value < self.min || value > self.max {
            let (key, range) = (self.key, self.range());
            let text = format!("{key} is outside {range}: {value}");
            return Err(Error::new(Errno::RANGE, text));
        }
        if self.key == "chunk_bytes" && !value.is_power_of_two() {
            let text = format!("chunk_bytes is not a power of two: {value}");
            return Err(Error::new(Errno::INVAL, text));
        }
        Ok(())
    }
}

impl Config {
    /// Sets one option from text. Nothing is changed on error: ENOENT (no such
    /// key), EINVAL (not a value), ERANGE (outside the range).
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let option = OPTIONS
            .iter()
            .find(|option| option.key == key)
            .ok_or_else(|| Error::new(Errno::NOENT, format!("no option is named \"{key}\"")))?;
        let number = option.parse(value)?;
        option.check(number)?;
        match (option.field)(self) {
            Field::Number(field) => *field = number,
            Field::Engine(field) => {
                *field = match number {
                    0 => EngineChoice::Auto,
                    1 => EngineChoice::Uring,
                    _ => EngineChoice::Psync,
                }
            }
        }
        Ok(())
    }

    /// With every zero replaced by its default and every value in its range.
    /// `chunk_bytes` and `capacity_bytes` stay 0: the directory may know better.
    pub fn completed(&self) -> Result<Config> {
        let mut config = self.clone();
        for option in OPTIONS {
            if let Field::Number(field) = (option.field)(&mut config) {
                if *field != 0 {
                    option.check(*field)?;
                } else if !["chunk_bytes", "capacity_bytes"].contains(&option.key) {
                    *field = option.default;
                }
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

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// The largest unit that leaves a whole number.
fn size_text(bytes: u64) -> String {
    for (unit, factor) in UNITS {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// Powers of 1024 under both spellings, as dd(1) and systemd take `K` and `M`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        _ => UNITS
            .iter()
            .find(|(name, _)| unit == *name || unit == &name[..1])
            .map(|(_, factor)| *factor)?,
    };
    Some(parse_number(number)?.saturating_mul(factor))
}

fn parse_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
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
    fn sizes_take_units() {
        assert_eq!(parse_size("3"), Some(3));
        assert_eq!(parse_size("3K"), Some(3 << 10));
        assert_eq!(parse_size("3GiB"), Some(3 << 30));
        assert_eq!(parse_size("3GB"), None);
        assert_eq!(parse_size("-1"), None);
        assert_eq!(
            parse_size("99999999T"),
            Some(u64::MAX),
            "more than there is"
        );
        assert_eq!(parse_size("99999999999999999999"), Some(u64::MAX));
        assert_eq!(parse_size(""), None);
        assert_eq!(parse_size("+1"), None);
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
