//! The command line.

use crate::commands::bench;
use crate::options;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Looks after a cache of libcachefs: fills it, reads through it, and shows
/// what is in it.
#[derive(Parser)]
#[command(name = "cachefs", version, after_long_help = help_end())]
pub struct Args {
    /// What is the same for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cache, in front of what, and how.
#[derive(clap::Args)]
pub struct Global {
    /// Cache directory [default: /var/cache/cachefs for root, else
    /// cachefs in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, global = true, value_name = "DIR", env = "CACHEFS_DIR")]
    pub cache: Option<PathBuf>,
    /// Root of the origin
    ///
    /// What is cached belongs to the root of its origin, so this must be the
    /// root that the other users of the cache name: what is warmed below
    /// /mnt/nfs is not found by a program whose origin is /mnt/nfs/data.
    #[arg(long, global = true, value_name = "DIR", env = "CACHEFS_ORIGIN")]
    pub origin: Option<PathBuf>,
    /// Mountpoint of a cachefsd: the command is for that daemon
    ///
    /// Without it, it is for the daemon that has the cache directory open, if
    /// there is one, and else for the directory itself, as it always is with
    /// options of its own (-o). A daemon's origin need not be named.
    #[arg(long, global = true, value_name = "DIR", env = "CACHEFS_MOUNT")]
    pub mount: Option<PathBuf>,
    /// Before the command.
    #[command(flatten)]
    pub options: Options,
}

/// Cache options. Not `global`: clap would forget those before the command
/// when there are others after it.
#[derive(clap::Args)]
pub struct Options {
    /// A cache option; can be repeated
    ///
    /// Options in CACHEFS_OPTIONS, separated by commas, come before these.
    /// The limit of the directory, capacity_bytes, is kept in it: without it, the limit is
    /// what was last asked for.
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub options: Vec<String>,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Copy files and directories into the cache
    #[command(after_long_help = WARM_HELP)]
    Warm(Warm),
    /// Run a program that opens files below the origin from the cache
    #[command(after_long_help = RUN_HELP)]
    Run(Run),
    /// Copy what programs ask for into the cache, until nobody asks any more
    ///
    /// "cachefs run" starts it where there is none.
    Agent(Agent),
    /// Write files to stdout, through the cache
    #[command(after_long_help = PATH_HELP)]
    Cat(Cat),
    /// Show the cache, or how much of files is in it
    #[command(after_long_help = PATH_HELP)]
    Stat(Stat),
    /// Say why reads of files are served as they are
    #[command(after_long_help = PATH_HELP)]
    Why(Why),
    /// Compare what is cached with its checksums, and drop what is wrong
    #[command(after_long_help = VERIFY_HELP)]
    Verify(Verify),
    /// List what is in the cache
    Ls(Ls),
    /// Show what a daemon is doing, again and again
    Top(Top),
    /// Keep what is cached of files, and will be, from being evicted
    #[command(after_long_help = PATH_HELP)]
    Pin(Files),
    /// Let what is cached of files be evicted again
    #[command(after_long_help = PATH_HELP)]
    Unpin(Files),
    /// Remove what is cached of files
    #[command(after_long_help = PATH_HELP)]
    Evict(Files),
    /// Ask the origin anew for files, and for all below directories
    #[command(after_long_help = INVALIDATE_HELP)]
    Invalidate(Invalidate),
    /// Have a daemon read its configuration file anew
    Reload(Options),
    /// Measure the library against other tools
    #[command(subcommand)]
    Bench(Bench),
    /// Check whether this system can run a cache, and how well
    #[command(visible_alias = "check-io-uring")]
    Doctor(Options),
    /// List the cache options
    Options(Options),
}

impl Args {
    /// Every option, in the order of the command line.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        let after = match &self.command {
            Command::Warm(args) => &args.options,
            Command::Run(args) => &args.options,
            Command::Agent(args) => &args.options,
            Command::Cat(args) => &args.options,
            Command::Stat(args) => &args.options,
            Command::Why(args) => &args.options,
            Command::Verify(args) => &args.options,
            Command::Ls(args) => &args.options,
            Command::Top(args) => &args.options,
            Command::Pin(args) | Command::Unpin(args) | Command::Evict(args) => &args.options,
            Command::Invalidate(args) => &args.options,
            Command::Bench(Bench::Engine(args)) => &args.run.options,
            Command::Bench(Bench::Cache(args)) => &args.run.options,
            Command::Bench(Bench::Mount(args)) => &args.run.options,
            Command::Bench(Bench::Preload(args)) => &args.run.options,
            Command::Bench(Bench::Opens(args)) => &args.options,
            Command::Doctor(options) | Command::Options(options) | Command::Reload(options) => {
                options
            }
        };
        let before = &self.global.options;
        [before, after]
            .into_iter()
            .flat_map(|options| options.options.iter().map(String::as_str))
    }
}

/// See [`Command::Warm`].
#[derive(clap::Args)]
pub struct Warm {
    /// Files, and directories with all that is below them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Files that are copied at the same time
    #[arg(short, long, default_value_t = 4, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Run`].
#[derive(clap::Args)]
pub struct Run {
    /// When the origin is asked: verify, at each open; wait, the same, and what
    /// is not cached is waited for; trust or trust:MILLISECONDS, not again for
    /// so long
    #[arg(long, value_name = "MODE", default_value = "verify", value_parser = run_mode)]
    pub mode: String,
    /// Have each process tell on stderr, at its end, what it opened in the cache
    #[arg(long)]
    pub report: bool,
    /// Copy nothing: use what is cached already
    #[arg(long)]
    pub no_agent: bool,
    /// The program, and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub words: Vec<OsString>,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

fn run_mode(text: &str) -> Result<String, String> {
    let is_number = |digits: &str| digits.parse::<u64>().is_ok();
    match text {
        "verify" | "wait" | "trust" => Ok(text.to_owned()),
        _ if text.strip_prefix("trust:").is_some_and(is_number) => Ok(text.to_owned()),
        _ => Err("not verify, wait, trust or trust:MILLISECONDS".to_owned()),
    }
}

/// See [`Command::Agent`].
#[derive(clap::Args)]
pub struct Agent {
    /// Go on in the background, and return once others can ask
    #[arg(long)]
    pub background: bool,
    /// Says nothing once others can ask: how --background starts it
    #[arg(long, hide = true)]
    pub detached: bool,
    /// How long nobody has to ask, and no process to be there that has asked
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub idle: u32,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Cat`].
#[derive(clap::Args)]
pub struct Cat {
    /// Files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Say at the end where the bytes came from
    #[arg(short, long)]
    pub verbose: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Stat`].
#[derive(clap::Args)]
pub struct Stat {
    /// Files; without one, the cache as a whole
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Why`].
#[derive(clap::Args)]
pub struct Why {
    /// Files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Verify`].
#[derive(clap::Args)]
pub struct Verify {
    /// Files; without one, all that is cached
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Ls`].
#[derive(clap::Args)]
pub struct Ls {
    /// List only what matches
    ///
    /// `*` and `?` stand for anything but a slash, `**` for directories,
    /// `[a-z]` for one character, `{a,b}` for one of several. A pattern
    /// without a slash is matched against the name of the file, any other
    /// against its path below the root of the origin.
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Show the share that is present, and the size
    #[arg(short)]
    pub long: bool,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Pin`], [`Command::Unpin`] and [`Command::Evict`].
#[derive(clap::Args)]
pub struct Files {
    /// Files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Invalidate`].
#[derive(clap::Args)]
pub struct Invalidate {
    /// Files, and directories with all that is below them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Command::Top`].
#[derive(clap::Args)]
pub struct Top {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub interval: f64,
    /// Looks, after which it ends
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Open files that are shown, those that are open more often first
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    pub lines: usize,
    /// Write JSON, a line each time
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// Seconds, and parts of them.
fn interval(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number: &f64| (0.01..=86_400.0).contains(number));
    number.ok_or_else(|| "not a number of seconds from 0.01 to 86400".to_owned())
}

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// Measure the I/O engine, side by side with pread(2), fio and cp
    #[command(after_long_help = BENCH_HELP)]
    Engine(BenchEngine),
    /// Measure the cache, side by side with pread(2)
    #[command(after_long_help = BENCH_HELP)]
    Cache(BenchCache),
    /// Measure a mount, side by side with the same reads of a local file
    #[command(after_long_help = BENCH_HELP)]
    Mount(BenchMount),
    /// Measure the library for LD_PRELOAD, side by side with the same programs
    /// without it
    #[command(after_long_help = BENCH_HELP)]
    Preload(BenchPreload),
    /// What "bench preload" measures
    #[command(hide = true)]
    Opens(BenchOpens),
}

/// What all benchmarks are told.
#[derive(clap::Args)]
pub struct BenchRun {
    /// Where to make the files that are read [default: beside the cache
    /// directory, or in $TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Measurements of each side
    #[arg(long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u16).range(1..=999))]
    pub pairs: u16,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

/// See [`Bench::Engine`].
#[derive(clap::Args)]
pub struct BenchEngine {
    /// Size of the file that is copied; what is read has up to 1 GiB of it
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = options::size)]
    pub size: u64,
    /// Run only this row; can be repeated
    #[arg(long = "row", value_name = "NAME",
          value_parser = clap::builder::PossibleValuesParser::new(bench::engine_rows()))]
    pub rows: Vec<String>,
    /// How long the idle engine is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub idle: u16,
    /// As for all.
    #[command(flatten)]
    pub run: BenchRun,
}

/// See [`Bench::Cache`].
#[derive(clap::Args)]
pub struct BenchCache {
    /// Size of the cold files; what is read in memory has up to 1 GiB of it
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = options::size)]
    pub size: u64,
    /// Run only this row; can be repeated
    #[arg(long = "row", value_name = "NAME",
          value_parser = clap::builder::PossibleValuesParser::new(bench::cache_rows()))]
    pub rows: Vec<String>,
    /// Objects of a cache that has very many: each takes 8 KiB and two inodes
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=3_000_000))]
    pub objects: u64,
    /// How long the disk is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub seconds: u16,
    /// As for all.
    #[command(flatten)]
    pub run: BenchRun,
}

/// See [`Bench::Mount`].
#[derive(clap::Args)]
pub struct BenchMount {
    /// Size of the file that is read, up to 1 GiB
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = options::size)]
    pub size: u64,
    /// Run only this row; can be repeated
    #[arg(long = "row", value_name = "NAME",
          value_parser = clap::builder::PossibleValuesParser::new(bench::mount_rows()))]
    pub rows: Vec<String>,
    /// The daemon [default: the one beside this tool, or in the sbin of its
    /// installation, or in $PATH]
    #[arg(long, value_name = "FILE")]
    pub daemon: Option<PathBuf>,
    /// As for all.
    #[command(flatten)]
    pub run: BenchRun,
}

/// See [`Bench::Preload`].
#[derive(clap::Args)]
pub struct BenchPreload {
    /// Size of the file that is read, up to 1 GiB
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = options::size)]
    pub size: u64,
    /// Run only this row; can be repeated
    #[arg(long = "row", value_name = "NAME",
          value_parser = clap::builder::PossibleValuesParser::new(bench::preload_rows()))]
    pub rows: Vec<String>,
    /// As for all.
    #[command(flatten)]
    pub run: BenchRun,
}

/// See [`Bench::Opens`].
#[derive(clap::Args)]
pub struct BenchOpens {
    /// Where the files are
    pub directory: PathBuf,
    /// How many
    pub files: u64,
    /// After the command.
    #[command(flatten)]
    pub options: Options,
}

const BENCH_HELP: &str = "\
Both sides of a row take turns on the same file, the first one alternating, and
the ratio is taken of each pair: of a machine whose speed drifts, only that
means something. Shown are the median of the ratios and, in brackets, their
range, then what each side took by the median of its runs.

A row that cannot be run says why; that is no error. docs/performance.md says
what is compared with what.";

const INVALIDATE_HELP: &str = "\
Each daemon that has the cache open is told, and has the kernel drop names,
attributes and pages before the command returns; so are all other programs that
use the cache directory.

Which file a name means:
  An absolute name must lie below the origin or the mountpoint. Any other is
  taken from the current directory if that lies below one of them, else from the
  origin's root.";

const VERIFY_HELP: &str = "\
Reads what is cached past the page cache. What is wrong is dropped, a chunk at a
time, and fetched again when it is next read. What has no checksum, since the
kernel had copied it, gets one. The exit status is 3 if something was dropped.";

const RUN_HELP: &str = "\
The program is started with libcachefs_preload.so in LD_PRELOAD. A file below
the origin that is whole in the cache is opened there; any other is opened at
the origin, and an agent is asked to copy it. docs/preload.md says what is
never opened in the cache.

What does not open its files by functions of the C library is told of before it
is started, and runs without a cache: statically linked programs, those of Go,
those of another C library, and those that get privileges when they are started.";

const PATH_HELP: &str = "\
Which file a name means:
  An absolute name must lie below the origin. Any other is taken from the
  current directory if that lies below the origin, else from the origin's root.";

const WARM_HELP: &str = "\
Which file a name means:
  An absolute name must lie below the origin. Any other is taken from the
  current directory if that lies below the origin, else from the origin's root.

Links are followed as the origin follows them: not where they lead out of it,
nor where they are absolute. Those, dangling links, and what is neither file
nor directory (FIFOs, sockets, devices) are skipped, and named; it is an error
only if one of them is a PATH itself. Each directory is walked once, so links
may form circles. What is in the cache already is not copied again.

An error with one file does not stop the others: the exit status is then 1.
Interrupted by Ctrl-C, it is 130, and what was copied stays in the cache.";

fn help_end() -> String {
    let exit = "Exit status: 0, 1 if something failed, 2 if the command line is wrong.\n\
        CACHEFS_LOG says which messages of the cache are shown, as \"debug\" or \"off\".";
    format!("{}\n{exit}", options::help())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_before_and_after_the_command_add_up() {
        let words = ["cachefs", "-o", "a=1", "ls", "-o", "b=2"];
        let args = Args::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        assert!(args.options().eq(["a=1", "b=2"]));
    }
}
