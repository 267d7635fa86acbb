//! Rows of `bench preload`: programs with the library for LD_PRELOAD, against themselves
//! without it.

use super::cost::{Clock, Cost};
use super::direct;
use super::fio;
use super::mount::Memory;
use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Side, Target};
use super::rows::Bed;
use super::scratch::{DATA, make_cold};
use super::subject::open_cache;
use super::trouble::Trouble;
use crate::commands::run::library;
use cachefs_core::OriginOptions;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Files of the rows about opens: what the processor's caches hold, and what they do not.
pub const FEW: u64 = 32;
/// As above.
pub const MANY: u64 = 2_000;
/// Bytes of each.
const FILE_BYTES: usize = 4096;
/// Opens of one measurement, at least.
const OPENS: u64 = 20_000;
/// Measurements of these for one of another row: short ones in turns, since the speed of a
/// machine drifts by more than what is to be seen.
const TURNS: u16 = 5;
/// Starts of a program in one measurement.
const STARTS: u32 = 50;
/// Until files that were just made are old enough to be cached.
const SETTLE: Duration = Duration::from_millis(150);

/// A cache with the files of the bed in it, and programs that use it.
struct Preloaded<'a> {
    bed: &'a Bed,
    library: PathBuf,
    cache: PathBuf,
}

impl<'a> Preloaded<'a> {
    /// `names`: of the files, below the origin.
    fn new(bed: &'a Bed, names: &[String], bytes: u64) -> Result<Self, Trouble> {
        let library = library().map_err(|failure| {
            Trouble::CannotRun(failure.message().unwrap_or_default().to_owned())
        })?;
        let cache = bed.scratch.path().join("preloaded-cache");
        bed.scratch.remove(&cache)?;
        std::thread::sleep(SETTLE);
        let opened = open_cache(&cache, &bed.config, bytes)?;
        let origin = opened.open_directory(&bed.origin, &OriginOptions::default())?;
        for name in names {
            bed.scratch.go_on()?;
            let file = origin.open(name.as_bytes())?;
            file.fill(0, u64::MAX, |_, _| !bed.scratch.is_stopped())?;
        }
        drop(origin);
        opened.close()?;
        Ok(Self {
            bed,
            library,
            cache,
        })
    }

    /// A program with the library, or without.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, mode: Option<&str>) -> Command {
        let mut command = Command::new(program);
        if let Some(mode) = mode {
            command
                .env("LD_PRELOAD", &self.library)
                .env("CACHEFS_ORIGINS", &self.bed.origin)
                .env("CACHEFS_DIR", &self.cache)
                .env("CACHEFS_MODE", mode);
        }
        command
    }

    /// The data file of the only object.
    fn copy(&self) -> Result<PathBuf, Trouble> {
        let mut left = vec![self.cache.join("objects")];
        let mut look = || -> std::io::Result<PathBuf> {
            while let Some(directory) = left.pop() {
                for entry in fs::read_dir(directory)? {
                    let path = entry?.path();
                    if path.is_dir() {
                        left.push(path);
                    } else if path.extension().is_some_and(|suffix| suffix == "data") {
                        return Ok(path);
                    }
                }
            }
            Err(std::io::ErrorKind::NotFound.into())
        };
        look().map_err(Trouble::io("look for the cached copy"))
    }
}

impl Drop for Preloaded<'_> {
    fn drop(&mut self) {
        // The scratch directory's end meets what cannot be removed again.
        drop(self.bed.scratch.remove(&self.cache));
    }
}

/// Cached files opened, read and closed in a mode, against the origin's without the
/// library.
pub fn opens(bed: &Bed, files: u64, mode: &'static str, most: f64) -> Result<Measured, Trouble> {
    let root = bed.origin.join(format!("small-{files}"));
    make_files(&root, files)?;
    let name = |index| format!("small-{files}/{index}");
    let names: Vec<_> = (0..files).map(name).collect();
    let preloaded = Preloaded::new(bed, &names, (files * 16384).max(1 << 20))?;
    let ratio = |pair: &[(Cost, Cost)]| Spread::of_ratios(pair, Cost::time_per_operation);
    compare_opens(&preloaded, mode, (&root, files), |pairs| {
        Check::new("time per file", ratio(pairs), Target::AtMost(most))
    })
}

/// Files outside the origin.
pub fn outside(bed: &Bed) -> Result<Measured, Trouble> {
    let root = bed.scratch.path().join("outside");
    make_files(&root, FEW)?;
    let preloaded = Preloaded::new(bed, &[], 1 << 20)?;
    let more = |(own, other): &(Cost, Cost)| own.time_per_operation() - other.time_per_operation();
    compare_opens(&preloaded, "verify", (&root, FEW), |pairs| {
        let spread = Spread::of(pairs.iter().map(more));
        Check::new("nanoseconds more for a file", spread, Target::AtMost(100.0))
    })
}

fn make_files(root: &Path, files: u64) -> Result<(), Trouble> {
    let make = || {
        fs::create_dir_all(root)?;
        for index in 0..files {
            fs::write(root.join(index.to_string()), [7; FILE_BYTES])?;
        }
        Ok(())
    };
    make().map_err(Trouble::io("make small files"))
}

fn compare_opens(
    preloaded: &Preloaded<'_>,
    mode: &str,
    (root, files): (&Path, u64),
    check: impl Fn(&[(Cost, Cost)]) -> Check,
) -> Result<Measured, Trouble> {
    let bed = preloaded.bed;
    let tool = std::env::current_exe().map_err(Trouble::io("find this tool"))?;
    let run = |mode: Option<&str>| -> Result<Cost, Trouble> {
        let mut command = preloaded.command(&tool, mode);
        command.args(["bench", "opens"]).arg(root);
        command.arg(files.to_string());
        let child = bed.scratch.run(&mut command)?;
        let nanoseconds = child.output.trim().parse();
        let nanoseconds =
            nanoseconds.map_err(|_| Trouble::Failed(format!("it says {:?}", child.output)))?;
        Ok(Cost {
            operations: files * rounds(files),
            bytes: files * rounds(files) * FILE_BYTES as u64,
            elapsed: Duration::from_nanos(nanoseconds),
            ..child.cost
        })
    };
    // The first brings everything into memory, and has each data file tell whose it is.
    run(Some(mode))?;
    run(None)?;
    let pairs = interleave(bed.pairs * TURNS, || run(Some(mode)), || run(None))?;
    Ok(measured(&pairs, "file", check(&pairs)))
}

fn measured(pairs: &[(Cost, Cost)], operation: &'static str, check: Check) -> Measured {
    let side = |name, of: fn(&(Cost, Cost)) -> &Cost| {
        Side::new(name, operation, pairs.iter().map(of), None)
    };
    Measured {
        checks: vec![check],
        sides: vec![
            side("preloaded", |pair| &pair.0),
            side("native", |pair| &pair.1),
        ],
        notes: Vec::new(),
    }
}

/// How often all files are opened in one measurement.
fn rounds(files: u64) -> u64 {
    OPENS.div_ceil(files.max(1))
}

/// What `bench opens` does: opens, reads and closes so many files of a directory again and
/// again, and tells the nanoseconds that this took.
pub fn open_all(root: &Path, files: u64) -> std::io::Result<()> {
    let paths: Vec<_> = (0..files)
        .map(|index| root.join(index.to_string()))
        .collect();
    let mut bytes = [0; FILE_BYTES];
    let mut all = |rounds| -> std::io::Result<Duration> {
        let begun = Instant::now();
        for path in (0..rounds).flat_map(|_| &paths) {
            File::open(path)?.read_exact(&mut bytes)?;
        }
        Ok(begun.elapsed())
    };
    // What is done once by each process is not counted.
    all(1)?;
    let took = all(rounds(files))?;
    writeln!(std::io::stdout(), "{}", took.as_nanos())
}

/// What the library adds to the start of a program.
pub fn start(bed: &Bed) -> Result<Measured, Trouble> {
    let preloaded = Preloaded::new(bed, &[], 1 << 20)?;
    let run = |mode: Option<&str>| -> Result<Cost, Trouble> {
        bed.scratch.go_on()?;
        let clock = Clock::of_children();
        for _ in 0..STARTS {
            let mut command = preloaded.command("/bin/true", mode);
            let status = command.stdin(Stdio::null()).status();
            status.map_err(Trouble::io("start /bin/true"))?;
        }
        Ok(clock.cost(STARTS.into(), 0))
    };
    run(None)?;
    let pairs = interleave(bed.pairs * TURNS, || run(Some("verify")), || run(None))?;
    let more = |(own, other): &(Cost, Cost)| {
        (own.time_per_operation() - other.time_per_operation()) / 1000.0
    };
    let spread = Spread::of(pairs.iter().map(more));
    let check = Check::new(
        "microseconds more for a start",
        spread,
        Target::AtMost(300.0),
    );
    Ok(measured(&pairs, "start", check))
}

/// Reads of a cached file by fio.
pub fn reads(
    bed: &Bed,
    memory: Memory,
    (random, block, depth): (bool, u64, u32),
) -> Result<Measured, Trouble> {
    let preloaded = Preloaded::new(bed, &[DATA.to_owned()], bed.read_size())?;
    let (file, copy) = (bed.origin.join(DATA), preloaded.copy()?);
    let mut job = direct::job(random, block, depth, bed.read_size());
    if memory == Memory::Cold {
        // What was read once is not cold any more.
        job.reads = job
            .reads
            .min(job.span / block / if random { 16 } else { 1 });
    }
    let run = |mode: Option<&str>| -> Result<Cost, Trouble> {
        if memory == Memory::Cold {
            make_cold(&copy)?;
            make_cold(&file)?;
        }
        let mut command = preloaded.command("fio", mode);
        command.args(match memory {
            Memory::Direct => job.arguments(&file),
            Memory::Warm | Memory::Cold => job.buffered_arguments(&file),
        });
        let child = bed.scratch.run(&mut command)?;
        fio::parse(&child.output, child.cost.device_bytes).map_err(Trouble::Failed)
    };
    make_cold(&copy)?;
    make_cold(&file)?;
    run(None)?;
    run(Some("verify"))?;
    let pairs = interleave(bed.pairs, || run(Some("verify")), || run(None))?;
    let ratio = Spread::of_ratios(&pairs, Cost::throughput);
    let check = Check::new("throughput", ratio, Target::AtLeast(0.98));
    let mut measured = measured(&pairs, "read", check);
    if memory == Memory::Direct {
        let text = "what is opened with O_DIRECT is opened at the origin";
        measured.notes.push(text.to_owned());
    }
    Ok(measured)
}
