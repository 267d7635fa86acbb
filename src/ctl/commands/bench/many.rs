//! Caches with very many objects: looked up, opened, and what each costs in memory.
//!
//! The objects are made by the library, each by the first open of a file of an origin
//! that is code: so they have metadata and a data file as all others, and no bytes but
//! the ones that are read for a hit. The cache of all rows is made once.

use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Target};
use super::rows::Bed;
use super::scratch::{Noise, make_cold};
use super::trouble::Trouble;
use cachefs_core::{
    Cache, Config, CustomOrigin, Errno, Origin, OriginOptions, OriginRead, VersionToken,
};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes of each file.
const FILE_BYTES: u64 = 4096;
/// Objects of the small cache, and of those that are looked up in each.
const FEW: u64 = 1_000;
/// Room for each object: metadata and data are a block each, and there is more for
/// directories.
const ROOM_BYTES: u64 = 64 << 10;
/// Threads that make objects.
const MAKERS: u64 = 4;
/// Opens of a cache that are measured, at most: each begins without its files in memory.
const OPENS_MAX: u16 = 3;

/// Files that are all alike, and never change.
struct Alike;

impl CustomOrigin for Alike {
    fn stat(&self, _: &CStr) -> Result<VersionToken, Errno> {
        Ok(VersionToken {
            size: FILE_BYTES,
            mtime_ns: 1,
            ctime_ns: 1,
            inode: 0,
            tag_length: 1,
            tag: [7; cachefs_core::TAG_BYTES_MAX],
        })
    }

    fn read(&self, mut read: OriginRead) {
        read.buffer().fill(7);
        read.complete(Ok(FILE_BYTES as usize));
    }

    fn checks_version(&self) -> bool {
        true
    }

    fn threads(&self) -> u32 {
        0
    }
}

fn name(number: u64) -> Vec<u8> {
    format!("file {number}").into_bytes()
}

fn open(bed: &Bed, directory: &Path, objects: u64) -> Result<(Cache, Origin), Trouble> {
    let config = Config {
        capacity_bytes: objects.saturating_mul(ROOM_BYTES).max(64 << 20),
        objects_max: objects + objects / 16 + 64,
        // However full the disk is.
        space_run_percent: 3,
        space_cull_percent: 2,
        ..bed.config.clone()
    };
    let cache = Cache::open(directory, &config)?;
    let origin = cache.open_origin(b"alike", Arc::new(Alike), &OriginOptions::default())?;
    Ok((cache, origin))
}

/// A cache directory with so many objects. What an earlier row has made is used again.
fn directory(bed: &Bed, objects: u64) -> Result<PathBuf, Trouble> {
    let directory = bed.scratch.path().join(format!("objects-{objects}"));
    if directory.is_dir() {
        return Ok(directory);
    }
    let (cache, origin) = open(bed, &directory, objects)?;
    let next = AtomicU64::new(0);
    let make = || -> Result<(), Trouble> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= objects {
                return Ok(());
            }
            bed.scratch.go_on()?;
            origin.open(&name(number))?;
        }
    };
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS).map(|_| scope.spawn(make)).collect();
        let made = makers.into_iter().map(|maker| maker.join());
        made.map(|made| made.unwrap_or_else(|_| Err(Trouble::Failed("a thread died".into()))))
            .collect::<Result<Vec<()>, Trouble>>()
    })?;
    for number in sample(objects) {
        read(&origin, number)?;
    }
    let held = cache.stats().cached_objects;
    if held < objects {
        let text = format!("the cache has {held} objects, not {objects}");
        return Err(Trouble::Failed(text));
    }
    Ok(directory)
}

/// The numbers of as many as the small cache has, over all of them.
fn sample(objects: u64) -> impl Iterator<Item = u64> {
    let step = (objects / FEW).max(1);
    (0..objects.min(FEW)).map(move |index| index * step)
}

fn read(origin: &Origin, number: u64) -> Result<(), Trouble> {
    let mut buffer = [0; FILE_BYTES as usize];
    let read = origin.open(&name(number))?.read_at(&mut buffer, 0)?;
    if read != FILE_BYTES || buffer.iter().any(|byte| *byte != 7) {
        return Err(Trouble::Failed("the cache gave wrong bytes".to_owned()));
    }
    Ok(())
}

/// Opens of a thousand files that are cached, each time the same ones, of a cache with
/// many objects and of one that has no others.
pub fn lookup(bed: &Bed) -> Result<Measured, Trouble> {
    let objects = bed.objects;
    let caches = [objects, FEW].map(|count| {
        let directory = directory(bed, count)?;
        open(bed, &directory, count)
    });
    let [many, few] = caches;
    let (many, few) = (many?, few?);
    let mut noise = Noise::default();
    let mut run = |(_, origin): &(Cache, Origin), objects: u64| -> Result<f64, Trouble> {
        bed.scratch.go_on()?;
        let mut numbers: Vec<u64> = sample(objects).collect();
        for index in (1..numbers.len()).rev() {
            numbers.swap(index, (noise.next() % (index as u64 + 1)) as usize);
        }
        let names: Vec<Vec<u8>> = numbers.into_iter().map(name).collect();
        let begun = Instant::now();
        for name in &names {
            origin.open(name)?;
        }
        Ok(begun.elapsed().as_nanos() as f64 / names.len() as f64)
    };
    run(&many, objects)?;
    run(&few, FEW)?;
    let run = std::cell::RefCell::new(run);
    let pairs = interleave(
        bed.pairs,
        || run.borrow_mut()(&many, objects),
        || run.borrow_mut()(&few, FEW),
    )?;
    let time = Spread::of_ratios(&pairs, |time| *time);
    let own = Spread::of(pairs.iter().map(|pair| pair.0 / 1000.0));
    Ok(Measured {
        checks: vec![
            Check::new("time of an open", time, Target::AtMost(1.2)),
            Check::shown("microseconds, with many", own),
        ],
        notes: vec![format!("{objects} objects against {FEW}")],
        ..Measured::default()
    })
}

/// The first hit of a cache that is opened with many objects.
pub fn first_hit(bed: &Bed) -> Result<Measured, Trouble> {
    let objects = bed.objects;
    let directory = directory(bed, objects)?;
    let mut seconds = Vec::new();
    for number in sample(objects).take(usize::from(bed.pairs.min(OPENS_MAX))) {
        bed.scratch.go_on()?;
        make_cold(&directory.join("slots"))?;
        let begun = Instant::now();
        let (cache, origin) = open(bed, &directory, objects)?;
        read(&origin, number)?;
        seconds.push(begun.elapsed().as_secs_f64());
        let stats = cache.stats();
        if stats.hits == 0 || stats.cached_objects < objects {
            let text = format!("not a hit of all objects: {stats:?}");
            return Err(Trouble::Failed(text));
        }
    }
    Ok(Measured {
        checks: vec![Check::new(
            "seconds to the first hit",
            Spread::of(seconds),
            Target::AtMost(1.0),
        )],
        notes: vec![format!(
            "{objects} objects; the table is not in memory, directories and inodes may be"
        )],
        ..Measured::default()
    })
}

/// Memory that is this process's alone.
fn private_bytes() -> Result<f64, Trouble> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")
        .map_err(Trouble::io("read /proc/self/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    let kib = kib.ok_or_else(|| Trouble::CannotRun("smaps_rollup has no Anonymous".to_owned()))?;
    Ok(kib * 1024.0)
}

/// What an open cache takes of a process's own memory, for each of its objects.
pub fn memory(bed: &Bed) -> Result<Measured, Trouble> {
    let objects = bed.objects;
    let directory = directory(bed, objects)?;
    let before = private_bytes()?;
    let (_cache, origin) = open(bed, &directory, objects)?;
    for number in sample(objects) {
        read(&origin, number)?;
    }
    let own = (private_bytes()? - before).max(0.0) / objects as f64;
    Ok(Measured {
        checks: vec![Check::new(
            "private bytes for each object",
            Spread::single(own),
            Target::AtMost(64.0),
        )],
        notes: vec![format!(
            "{objects} objects; anonymous memory, buffers included: the table is a file that \
             all processes share"
        )],
        ..Measured::default()
    })
}
