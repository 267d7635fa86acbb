//! `cachefs stat`: the cache as a whole, or how much of files is in it.

use super::{stdout, write_json};
use crate::args::Stat;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::place::Place;
use crate::show;
use cachefs_core::{EngineKind, ObjectInfo};
use indicatif::BinaryBytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The cache in JSON.
#[derive(Serialize)]
struct CacheReport {
    directory: String,
    /// Its exact bytes, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_bytes: Option<Vec<u8>>,
    /// `normal`, `degraded`, `off` or `pass-through`.
    state: &'static str,
    /// Why not normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason: Option<String>,
    engine: &'static str,
    engine_reason: String,
    /// The limit that the options of this command give.
    capacity_bytes: u64,
    /// What the directory holds, metadata included.
    cached_bytes: u64,
    cached_objects: u64,
    origins: Vec<OriginReport>,
}

/// What of one origin is cached.
#[derive(Default, Serialize)]
struct OriginReport {
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_bytes: Option<Vec<u8>>,
    objects: u64,
    complete_objects: u64,
    /// Of the files that have objects.
    file_bytes: u64,
    bytes_present: u64,
}

/// One file in JSON.
#[derive(Serialize)]
struct FileReport {
    /// As it was given.
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
    size: u64,
    /// A hash that changes when the file does.
    version: String,
    /// Nanoseconds since 1970.
    mtime_ns: i64,
    inode: u64,
    complete: bool,
    bytes_present: u64,
    percent_present: u64,
    chunks_present: u64,
    chunks_total: u64,
    chunk_bytes: u64,
}

/// Shows the cache, or each file.
pub fn run(context: &Context, args: &Stat) -> Outcome {
    if args.files.is_empty() {
        return run_cache(context, args.json);
    }
    let cache = context.look()?;
    let place = context.place(&cache)?;
    let mut reports = Vec::new();
    let mut failed = false;
    for name in &args.files {
        match file_report(&place, name) {
            Ok(report) => reports.push(report),
            Err(message) => {
                context.console.say(message);
                failed = true;
            }
        }
    }
    if args.json {
        write_json(&reports)?;
    } else {
        let mut out = stdout();
        for report in &reports {
            write_file(&mut out, report)?;
        }
        out.flush()?;
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}

fn run_cache(context: &Context, json: bool) -> Outcome {
    let cache = context.look()?;
    let (report, stats) = (cache.report(), cache.stats());
    let directory = context.cache_directory().as_os_str().as_bytes();
    let report = CacheReport {
        directory: String::from_utf8_lossy(directory).into_owned(),
        directory_bytes: show::exact(directory),
        state: report.state.name(),
        state_reason: report.state.reason().map(str::to_owned),
        engine: match report.engine {
            EngineKind::Uring => "uring",
            EngineKind::Psync => "psync",
        },
        engine_reason: report.engine_reason,
        capacity_bytes: context.config.completed()?.capacity_bytes,
        cached_bytes: stats.cached_bytes,
        cached_objects: stats.cached_objects,
        origins: by_origin(&cache.objects()?),
    };
    if json {
        return write_json(&report);
    }
    let mut out = stdout();
    write_cache(&mut out, &report)?;
    Ok(out.flush()?)
}

/// Sums of each origin, by name.
fn by_origin(objects: &[ObjectInfo]) -> Vec<OriginReport> {
    let mut origins: BTreeMap<&[u8], OriginReport> = BTreeMap::new();
    for object in objects {
        let report = origins
            .entry(&object.origin)
            .or_insert_with(|| OriginReport {
                origin: String::from_utf8_lossy(&object.origin).into_owned(),
                origin_bytes: show::exact(&object.origin),
                ..OriginReport::default()
            });
        report.objects += 1;
        report.complete_objects += u64::from(object.chunks_present == object.chunks_total);
        report.file_bytes += object.size;
        report.bytes_present += object.bytes_present;
    }
    origins.into_values().collect()
}

fn write_cache(out: &mut impl Write, report: &CacheReport) -> std::io::Result<()> {
    writeln!(out, "cache     {}", show::text(&report.directory))?;
    match &report.state_reason {
        None => writeln!(out, "state     {}", report.state)?,
        Some(reason) => writeln!(out, "state     {}: {}", report.state, show::text(reason))?,
    }
    writeln!(
        out,
        "engine    {} ({})",
        report.engine, report.engine_reason
    )?;
    let held = BinaryBytes(report.cached_bytes);
    writeln!(
        out,
        "held      {held} in {}",
        show::count(report.cached_objects, "object")
    )?;
    let limit = BinaryBytes(report.capacity_bytes);
    writeln!(
        out,
        "capacity  {limit} (of this command: -o capacity_bytes)"
    )?;
    for origin in &report.origins {
        let name = show::text(&origin.origin);
        let (present, size) = (
            BinaryBytes(origin.bytes_present),
            BinaryBytes(origin.file_bytes),
        );
        let files = show::count(origin.objects, "file");
        let complete = origin.complete_objects;
        writeln!(
            out,
            "origin    {name}: {present} of {size}, {files}, {complete} complete"
        )?;
    }
    Ok(())
}

fn file_report(place: &Place, name: &Path) -> Result<FileReport, String> {
    let path = place.find(name)?;
    let file = place.open(&path);
    let file = file.map_err(|error| show::text(error.message()))?;
    let (info, residency) = (file.info(), file.residency());
    let name = name.as_os_str().as_bytes();
    Ok(FileReport {
        file: String::from_utf8_lossy(name).into_owned(),
        file_bytes: show::exact(name),
        size: info.token.size,
        version: format!("{:016x}", info.version),
        mtime_ns: info.token.mtime_ns,
        inode: info.token.inode,
        complete: residency.complete,
        bytes_present: residency.bytes_present,
        percent_present: show::percent(residency.bytes_present, info.token.size),
        chunks_present: residency.chunks_present,
        chunks_total: residency.chunks_total,
        chunk_bytes: residency.chunk_bytes,
    })
}

fn write_file(out: &mut impl Write, report: &FileReport) -> std::io::Result<()> {
    let whole = match (report.complete, report.bytes_present) {
        (true, _) => "complete",
        (false, 0) => "not cached",
        (false, _) => "in part",
    };
    writeln!(out, "file      {}", show::text(&report.file))?;
    writeln!(
        out,
        "size      {} ({})",
        BinaryBytes(report.size),
        report.size
    )?;
    writeln!(out, "version   {}", report.version)?;
    let (present, percent) = (BinaryBytes(report.bytes_present), report.percent_present);
    writeln!(out, "present   {whole}: {present}, {percent}%")?;
    let (chunks, total) = (report.chunks_present, report.chunks_total);
    let each = BinaryBytes(report.chunk_bytes);
    writeln!(out, "chunks    {chunks} of {total}, each {each}")
}
