//! `cachefs bench`: measures the library against other tools.
//!
//! | file | what it does |
//! |---|---|
//! | `rows` | the rows, and what they are run on |
//! | `direct`, `cached`, `copy`, `opened`, `idle`, `many`, `disk` | measure one kind of row each |
//! | `cold`, `tail` | the same: first reads, and hits beside fills |
//! | `mount`, `mounted` | the rows of a mount, and the mount |
//! | `preloaded` | the same of programs with the library for LD_PRELOAD |
//! | `slow` | an origin that takes its time |
//! | `subject`, `reader` | a cached file, and the ways to read it |
//! | `scratch`, `child` | a directory for files, and other programs in it |
//! | `pairs`, `cost`, `system_calls` | turns, ratios, and what a run took |
//! | `fio` | what fio is asked for, and what it says |
//! | `report` | what is printed |
//! | `trouble` | why a row has no figures |

mod cached;
mod child;
mod cold;
mod copy;
mod cost;
mod direct;
mod disk;
mod fio;
mod idle;
mod many;
mod mount;
mod mounted;
mod opened;
mod pairs;
mod preloaded;
mod reader;
mod report;
mod rows;
mod scratch;
mod slow;
mod subject;
mod system_calls;
mod tail;
mod trouble;

use super::stop::{self, Stop};
use super::{doctor, stdout, write_json};
use crate::args::{Bench, BenchRun};
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::show;
use cachefs_core::Cache;
use report::{RowOutcome, RowReport, Setting};
use rows::{
    Bed, CACHE_ROWS, COLD, COPY, ENGINE_ROWS, MOUNT_ROWS, P99, PRELOAD_ROWS, Row, read_size,
};
use scratch::Scratch;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use trouble::Trouble;

/// The names of all rows of `bench engine`.
pub fn engine_rows() -> impl Iterator<Item = &'static str> {
    ENGINE_ROWS.iter().map(|row| row.name)
}

/// The names of all rows of `bench cache`.
pub fn cache_rows() -> impl Iterator<Item = &'static str> {
    CACHE_ROWS.iter().map(|row| row.name)
}

/// The names of all rows of `bench mount`.
pub fn mount_rows() -> impl Iterator<Item = &'static str> {
    MOUNT_ROWS.iter().map(|row| row.name)
}

/// The names of all rows of `bench preload`.
pub fn preload_rows() -> impl Iterator<Item = &'static str> {
    PRELOAD_ROWS.iter().map(|row| row.name)
}

/// Measures what was asked for.
pub fn run(context: &Context, bench: &Bench) -> Outcome {
    match bench {
        Bench::Engine(args) => {
            let rows = choose(&ENGINE_ROWS, &args.rows);
            let extent = Extent {
                size: args.size,
                idle: args.idle,
                ..Extent::default()
            };
            run_rows(context, &args.run, &rows, extent)
        }
        Bench::Cache(args) => {
            let rows = choose(&CACHE_ROWS, &args.rows);
            let extent = Extent {
                size: args.size,
                objects: args.objects,
                mixed_seconds: args.seconds.into(),
                ..Extent::default()
            };
            run_rows(context, &args.run, &rows, extent)
        }
        Bench::Preload(args) => {
            let rows = choose(&PRELOAD_ROWS, &args.rows);
            let extent = Extent {
                size: args.size,
                ..Extent::default()
            };
            run_rows(context, &args.run, &rows, extent)
        }
        Bench::Opens(args) => Ok(preloaded::open_all(&args.directory, args.files)?),
        Bench::Mount(args) => {
            let rows = choose(&MOUNT_ROWS, &args.rows);
            let extent = Extent {
                size: args.size,
                daemon: args.daemon.clone(),
                ..Extent::default()
            };
            run_rows(context, &args.run, &rows, extent)
        }
    }
}

/// Those that were named; all of them if none was.
fn choose(rows: &'static [Row], names: &[String]) -> Vec<&'static Row> {
    let chosen = |row: &&Row| names.is_empty() || names.iter().any(|name| name == row.name);
    rows.iter().filter(chosen).collect()
}

#[derive(Serialize)]
struct Report {
    setting: Setting,
    rows: Vec<RowReport>,
}

/// How much is measured.
#[derive(Clone, Default)]
struct Extent {
    /// Bytes of the file.
    size: u64,
    /// Seconds that the idle engine is watched.
    idle: u16,
    /// Objects of a cache that has very many.
    objects: u64,
    /// Seconds that the disk is watched.
    mixed_seconds: u64,
    /// The program cachefsd.
    daemon: Option<PathBuf>,
}

fn run_rows(context: &Context, args: &BenchRun, rows: &[&Row], extent: Extent) -> Outcome {
    let bed = make_bed(context, args, rows, extent).map_err(whole_failure)?;
    let setting = setting(&bed)?;
    if !args.json {
        show(&setting.text())?;
    }
    let mut reports = Vec::new();
    for row in rows {
        let outcome = match (row.run)(&bed) {
            Ok(measured) => RowOutcome::Measured(measured),
            Err(Trouble::CannotRun(reason)) => RowOutcome::NotRun { reason },
            Err(Trouble::Failed(reason)) => RowOutcome::Failed { reason },
            Err(interrupted) => return Err(whole_failure(interrupted)),
        };
        let (name, title) = (row.name, row.title);
        let report = RowReport {
            name,
            title,
            outcome,
        };
        if !args.json {
            show(&report.text())?;
        }
        reports.push(report);
    }
    let failed = |report: &RowReport| matches!(report.outcome, RowOutcome::Failed { .. });
    let failures = reports.iter().filter(|report| failed(report)).count();
    if args.json {
        let rows = reports;
        write_json(&Report { setting, rows })?;
    }
    match failures {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{} failed",
            show::count(count as u64, "row")
        ))),
    }
}

/// Without its origin and its cached copies, nothing can be measured.
fn whole_failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::CannotRun(text) | Trouble::Failed(text) => Failure::new(text),
        Trouble::Interrupted(signal) => Failure::interrupted(stop::status(signal) as u8),
    }
}

fn make_bed(
    context: &Context,
    args: &BenchRun,
    rows: &[&Row],
    extent: Extent,
) -> Result<Bed, Trouble> {
    let size = extent.size;
    let stop = Stop::on_signals().map_err(Trouble::io("handle signals"))?;
    // A file and its copy at once.
    let copies = |row: &&Row| [COPY, P99].contains(&row.name) || row.name.starts_with(COLD);
    let copied = rows.iter().copied().any(|row| copies(&row));
    let copy = if copied { size } else { 0 };
    let needed = read_size(size).saturating_add(copy).saturating_mul(2);
    let scratch = Scratch::new(&directory(context, args), needed, stop)?;
    let origin = scratch.origin("origin", read_size(size))?;
    Ok(Bed {
        scratch,
        config: context.config.clone(),
        pairs: args.pairs,
        size,
        idle: extent.idle,
        objects: extent.objects,
        mixed_seconds: extent.mixed_seconds,
        origin,
        daemon: extent.daemon.unwrap_or_else(daemon),
        options: args.options.options.clone(),
    })
}

/// The daemon that was built or installed with this tool; else the one that is found.
fn daemon() -> PathBuf {
    const NAME: &str = "cachefsd";
    let tool = std::env::current_exe().unwrap_or_default();
    let beside = tool.with_file_name(NAME);
    let above = tool.parent().and_then(Path::parent);
    let installed = above.map(|above| above.join("sbin").join(NAME));
    let mut places = std::iter::once(beside).chain(installed);
    places
        .find(|path| path.is_file())
        .unwrap_or_else(|| NAME.into())
}

/// Beside the cache, since that is where files are to be fast.
fn directory(context: &Context, args: &BenchRun) -> PathBuf {
    if let Some(directory) = &args.dir {
        return directory.clone();
    }
    let cache = context.cache_directory();
    let parent = std::path::absolute(cache).unwrap_or_else(|_| cache.to_owned());
    match parent.parent() {
        Some(parent) if parent.is_dir() => parent.to_owned(),
        _ => std::env::temp_dir(),
    }
}

fn setting(bed: &Bed) -> Result<Setting, Failure> {
    let path = bed.scratch.path();
    let cache = Cache::open(&path.join("report"), &bed.config)?;
    let file_system = doctor::file_system(path)
        .map_err(|error| Failure::new(format!("the file system: {}", describe(&error))))?;
    Ok(Setting {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        directory: show::path(path.parent().unwrap_or(path)),
        file_system: file_system.unwrap_or_else(|| "unknown file system".to_owned()),
        engine: show::text(&cache.report().engine_reason),
        pairs: bed.pairs,
    })
}

/// Writes at once, since the next row takes long.
fn show(text: &str) -> Outcome {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
