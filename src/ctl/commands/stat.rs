//! `cachefs stat`: the cache as a whole, or how much of files is in it.

use super::{stdout, write_each, write_json};
use crate::access::Access;
use crate::args::Stat;
use crate::context::Context;
use crate::failure::Outcome;
use crate::show;
use cachefs_control::reports::{OfFile, OfServer, Whole, exact};
use indicatif::BinaryBytes;
use serde::Serialize;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One file in JSON.
#[derive(Serialize)]
struct FileReport {
    /// As it was given.
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
    #[serde(flatten)]
    of: OfFile,
}

/// Shows the cache, or each file.
pub fn run(context: &Context, args: &Stat) -> Outcome {
    if args.files.is_empty() {
        return run_cache(context, args.json);
    }
    let access = context.access_files(Context::look)?;
    access.roots()?;
    let report = |name: &Path| file_report(&access, name);
    write_each(context, (&args.files, args.json), report, write_file)
}

fn run_cache(context: &Context, json: bool) -> Outcome {
    let whole = context.access()?.stat(true)?;
    if json {
        return write_json(&whole);
    }
    let mut out = stdout();
    write_cache(&mut out, &whole)?;
    Ok(out.flush()?)
}

fn write_cache(out: &mut impl Write, whole: &Whole) -> std::io::Result<()> {
    let report = &whole.cache;
    writeln!(out, "cache     {}", show::text(&report.directory))?;
    match &report.state_reason {
        None => writeln!(out, "state     {}", report.state)?,
        Some(why) => writeln!(out, "state     {}: {}", report.state, show::text(why))?,
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
    writeln!(out, "capacity  {limit} (-o capacity_bytes)")?;
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
    match &whole.server {
        Some(server) => write_server(out, server),
        None => Ok(()),
    }
}

fn write_server(out: &mut impl Write, server: &OfServer) -> std::io::Result<()> {
    let (hello, counter) = (&server.hello, |name| {
        server.counters.get(name).copied().unwrap_or_default()
    });
    let (program, pid) = (show::text(&hello.program), hello.pid);
    writeln!(
        out,
        "daemon    {program}, process {pid}, since {} s",
        server.seconds
    )?;
    if let Some(mountpoint) = &hello.mountpoint {
        let (origin, mountpoint) = (show::name(&hello.origin.0), show::name(&mountpoint.0));
        writeln!(out, "mount     {origin} on {mountpoint}")?;
    }
    if let Some(mount) = &server.mount {
        let open = show::count(mount.files_open, "file");
        writeln!(
            out,
            "open      {open}, {} of them read by the kernel alone; {} known",
            mount.files_handed_over,
            show::count(mount.nodes, "name")
        )?;
        if let Some(why) = &mount.no_passthrough {
            writeln!(out, "kernel    reads nothing alone: {}", show::text(why))?;
        }
    }
    let (hits, misses) = (counter("hits"), counter("misses") + counter("bypasses"));
    let from_cache = BinaryBytes(counter("bytes_from_cache"));
    let from_origin = BinaryBytes(counter("bytes_from_origin"));
    writeln!(
        out,
        "reads     {hits} from the cache ({from_cache}), {misses} from the origin ({from_origin})"
    )?;
    let health = &server.origin_health;
    let why = health.last_error.as_deref().unwrap_or("nothing has failed");
    writeln!(
        out,
        "health    circuit {}, {} in a row, last: {}",
        show::text(&health.circuit),
        show::count(health.failures, "failure"),
        show::text(why)
    )
}

fn file_report(access: &Access, name: &Path) -> Result<FileReport, String> {
    let path = access.roots().expect("they are there").find(name)?;
    let of = access.stat_file(&path);
    let name = name.as_os_str().as_bytes();
    Ok(FileReport {
        file: String::from_utf8_lossy(name).into_owned(),
        file_bytes: exact(name),
        of: of.map_err(|refusal| show::text(&refusal.message))?,
    })
}

fn write_file(out: &mut impl Write, file: &FileReport) -> std::io::Result<()> {
    let report = &file.of;
    let whole = match (report.complete, report.bytes_present) {
        (true, _) => "complete",
        (false, 0) => "not cached",
        (false, _) => "in part",
    };
    writeln!(out, "file      {}", show::text(&file.file))?;
    writeln!(
        out,
        "size      {} ({})",
        BinaryBytes(report.size),
        report.size
    )?;
    writeln!(out, "version   {}", show::text(&report.version))?;
    let (present, percent) = (BinaryBytes(report.bytes_present), report.percent_present);
    writeln!(out, "present   {whole}: {present}, {percent}%")?;
    let (chunks, total) = (report.chunks_present, report.chunks_total);
    let each = BinaryBytes(report.chunk_bytes);
    writeln!(out, "chunks    {chunks} of {total}, each {each}")
}
