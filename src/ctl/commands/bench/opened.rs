//! Opens of cached files whose version is still believed, against those of local files.

use super::cost::{Clock, Cost};
use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Side, Target};
use super::rows::{Bed, note_calls};
use super::subject::open_cache;
use super::system_calls;
use super::trouble::Trouble;
use cachefs_core::{Origin, OriginOptions};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Files that are opened in turn.
const FILES: u64 = 32;
/// Bytes of each.
const FILE_BYTES: u64 = 64 << 10;
/// Opens of one measurement: a fraction of a second.
const OPENS: u64 = 128_000;
/// A target of the project: no more than two times what a local file takes.
const TIME_MAX: f64 = 2.0;

/// Runs the row.
pub fn hits(bed: &Bed) -> Result<Measured, Trouble> {
    let names: Vec<String> = (0..FILES).map(|number| format!("file-{number}")).collect();
    let root = bed.scratch.path().join("opened");
    make_files(&root, &names).map_err(Trouble::io("make files"))?;
    let directory = bed.scratch.path().join("cache");
    bed.scratch.remove(&directory)?;
    let cache = open_cache(&directory, &bed.config, FILES * FILE_BYTES)?;
    let mut options = OriginOptions::default();
    options.set("validation", "ttl")?;
    let origin = cache.open_directory(&root, &options)?;
    for name in &names {
        origin
            .open(name.as_bytes())?
            .fill(0, FILE_BYTES, |_, _| true)?;
    }
    let local = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .map_err(|errno| Trouble::Failed(format!("open the directory: {errno}")))?;
    let run = |ours: bool| {
        bed.scratch.go_on()?;
        let clock = Clock::of_process();
        for name in names.iter().cycle().take(OPENS as usize) {
            if ours {
                open_ours(&origin, name)?;
            } else {
                open_local(&local, name)?;
            }
        }
        Ok(clock.cost(OPENS, 0))
    };
    // The first of each brings everything into memory.
    run(true)?;
    run(false)?;
    let pairs = interleave(bed.pairs, || run(true), || run(false))?;
    let mut notes = Vec::new();
    let ours = note_calls(&mut notes, system_calls::count(|| run(true)), OPENS)?;
    let local = note_calls(&mut notes, system_calls::count(|| run(false)), OPENS)?;
    let time = Spread::of_ratios(&pairs, Cost::time_per_operation);
    let own = pairs.iter().map(|(own, _)| own);
    let other = pairs.iter().map(|(_, other)| other);
    Ok(Measured {
        checks: vec![
            Check::new("time per operation", time, Target::AtMost(TIME_MAX)),
            Check::shown(
                "CPU per operation",
                Spread::of_ratios(&pairs, Cost::cpu_per_operation),
            ),
        ],
        sides: vec![
            Side::new("libcachefs", "open", own, ours),
            Side::new("open, fstat, close", "open", other, local),
        ],
        notes,
    })
}

fn make_files(root: &Path, names: &[String]) -> std::io::Result<()> {
    std::fs::create_dir(root)?;
    for name in names {
        std::fs::write(root.join(name), vec![1; FILE_BYTES as usize])?;
    }
    Ok(())
}

/// Opens a file, looks what it is, and closes it.
fn open_ours(origin: &Origin, name: &str) -> Result<(), Trouble> {
    let file = origin.open(name.as_bytes())?;
    check_size(file.info().token.size)
}

/// The same without the library.
fn open_local(directory: &OwnedFd, name: &str) -> Result<(), Trouble> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty());
    let stat = file.and_then(rustix::fs::fstat);
    let stat = stat.map_err(|errno| Trouble::Failed(format!("open {name}: {errno}")))?;
    check_size(stat.st_size as u64)
}

fn check_size(size: u64) -> Result<(), Trouble> {
    match size {
        FILE_BYTES => Ok(()),
        other => Err(Trouble::Failed(format!("a file has {other} bytes"))),
    }
}
