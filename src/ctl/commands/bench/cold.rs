//! First reads: of a slow origin, of one on the same disk, and with readahead.

use super::cost::{Clock, Cost};
use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Side, Target};
use super::rows::Bed;
use super::scratch::{self, DATA};
use super::slow::SlowOrigin;
use super::subject::open_cache;
use super::trouble::Trouble;
use cachefs_core::{Config, File, OriginOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a read.
const BLOCK: usize = 128 << 10;
/// Bytes that the origin is asked for at once, without the cache.
const REQUEST: usize = 1 << 20;
/// Bytes a second of the slow origin.
const RATE: u64 = 200_000_000;
/// What each request of the distant origin takes.
const LATENCY: Duration = Duration::from_millis(10);
/// Bytes that are read of it, at most: without readahead it takes long.
const DISTANT_BYTES_MAX: u64 = 128 << 20;
/// How long what passed the cache by may take to be there.
const LATER: Duration = Duration::from_secs(120);

/// One pass over a new cache: what it took, and bytes of the origin for each of the file.
struct Pass {
    cost: Cost,
    origin_share: f64,
}

/// A cold file of an origin with a rate, against reading that origin.
pub fn limited(bed: &Bed) -> Result<Measured, Trouble> {
    let size = bed.size;
    let cached = || {
        pass(bed, &bed.config, || {
            SlowOrigin::new(size, Duration::ZERO, RATE)
        })
    };
    let direct = || {
        bed.scratch.go_on()?;
        let origin = SlowOrigin::new(size, Duration::ZERO, RATE);
        let mut buffer = vec![0; REQUEST];
        let clock = Clock::of_process();
        let mut offset = 0;
        while offset < size {
            offset += origin.give(&mut buffer, offset) as u64;
            bed.scratch.go_on()?;
        }
        let cost = clock.cost(size / BLOCK as u64, size);
        let origin_share = 1.0;
        Ok(Pass { cost, origin_share })
    };
    let pairs = interleave(bed.pairs, cached, direct)?;
    let shares = pairs.iter().map(|pair| pair.0.origin_share);
    let checks = vec![
        Check::new("throughput", throughput(&pairs), Target::AtLeast(0.97)),
        Check::new(
            "origin bytes per byte",
            Spread::of(shares),
            Target::AtMost(1.0),
        ),
    ];
    Ok(measured(checks, &pairs, ["libcachefs", "origin"]))
}

/// A sequential reader of a distant origin, with readahead and without: in chunks of a
/// read, since a larger chunk reads ahead by itself; and in those of a new cache.
pub fn ahead(bed: &Bed) -> Result<Measured, Trouble> {
    let size = bed.size.min(DISTANT_BYTES_MAX);
    let run = |readahead: u64, chunk_bytes: u64| {
        let config = Config {
            readahead,
            chunk_bytes,
            ..bed.config.clone()
        };
        pass(bed, &config, || SlowOrigin::new(size, LATENCY, 0))
    };
    let small = BLOCK as u64;
    let pairs = interleave(bed.pairs, || run(0, small), || run(1, small))?;
    let usual = bed.config.chunk_bytes;
    let in_usual = interleave(bed.pairs, || run(0, usual), || run(1, usual))?;
    let checks = vec![
        Check::new("throughput", throughput(&pairs), Target::AtLeast(20.0)),
        Check::shown("in chunks of a new cache", throughput(&in_usual)),
    ];
    Ok(measured(checks, &pairs, ["readahead", "without"]))
}

fn throughput(pairs: &[(Pass, Pass)]) -> Spread {
    Spread::of_ratios(pairs, |pass| pass.cost.throughput())
}

fn measured(checks: Vec<Check>, pairs: &[(Pass, Pass)], names: [&'static str; 2]) -> Measured {
    let own = pairs.iter().map(|pair| &pair.0.cost);
    let other = pairs.iter().map(|pair| &pair.1.cost);
    Measured {
        checks,
        sides: vec![
            Side::new(names[0], "read", own, None),
            Side::new(names[1], "read", other, None),
        ],
        notes: Vec::new(),
    }
}

/// Reads a file of an origin in order, through a new cache.
fn pass(bed: &Bed, config: &Config, origin: impl FnOnce() -> SlowOrigin) -> Result<Pass, Trouble> {
    bed.scratch.go_on()?;
    let directory = bed.scratch.path().join("cache");
    let code = Arc::new(origin());
    let cache = open_cache(&directory, config, bed.size)?;
    let shared: Arc<dyn cachefs_core::CustomOrigin> = Arc::clone(&code) as _;
    let origin = cache.open_origin(b"slow", shared, &OriginOptions::default())?;
    let file = origin.open(DATA.as_bytes())?;
    let size = file.info().token.size;
    let clock = Clock::of_process();
    read_through(bed, &file, size)?;
    let cost = clock.cost(size / BLOCK as u64, size);
    let origin_share = code.given() as f64 / size as f64;
    drop((file, origin, cache));
    bed.scratch.remove(&directory)?;
    Ok(Pass { cost, origin_share })
}

fn read_through(bed: &Bed, file: &File, size: u64) -> Result<(), Trouble> {
    let mut buffer = vec![0; BLOCK];
    let mut offset = 0;
    while offset < size {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Err(Trouble::Failed(format!("the file ends at {offset}")));
        }
        offset += count;
        if offset.is_multiple_of(64 << 20) {
            bed.scratch.go_on()?;
        }
    }
    Ok(())
}

/// A cold file of an origin on the disk of the cache, against reading it there.
pub fn same_disk(bed: &Bed) -> Result<Measured, Trouble> {
    let root = bed.scratch.origin("near", bed.size)?;
    let mut shares = Vec::new();
    let cached = || {
        let (cost, passed_by, later) = same_disk_once(bed, &root)?;
        shares.push((passed_by, later));
        Ok::<Cost, Trouble>(cost)
    };
    let direct = || read_directly(bed, &root);
    let pairs = interleave(bed.pairs, cached, direct)?;
    bed.scratch.remove(&root)?;
    let passed_by = Spread::of(shares.iter().map(|share| share.0));
    let later = Spread::of(shares.iter().map(|share| share.1));
    let throughput = Spread::of_ratios(&pairs, Cost::throughput);
    Ok(Measured {
        checks: vec![
            Check::new("throughput", throughput, Target::AtLeast(0.7)),
            Check::shown("share that passed by", passed_by),
            Check::new("share there afterwards", later, Target::AtLeast(1.0)),
        ],
        sides: vec![
            Side::new("libcachefs", "read", pairs.iter().map(|pair| &pair.0), None),
            Side::new("pread", "read", pairs.iter().map(|pair| &pair.1), None),
        ],
        notes: Vec::new(),
    })
}

/// What it took; the shares of the file that passed the cache by, and that are there
/// some time afterwards.
fn same_disk_once(bed: &Bed, root: &Path) -> Result<(Cost, f64, f64), Trouble> {
    let directory = bed.scratch.path().join("cache");
    let cache = open_cache(&directory, &bed.config, bed.size)?;
    let origin = cache.open_directory(root, &OriginOptions::default())?;
    scratch::make_cold(&root.join(DATA))?;
    bed.scratch.go_on()?;
    let file = origin.open(DATA.as_bytes())?;
    let clock = Clock::of_process();
    read_through(bed, &file, bed.size)?;
    let cost = clock.cost(bed.size / BLOCK as u64, bed.size);
    let share = |bytes: u64| bytes as f64 / bed.size as f64;
    let passed_by = share(cache.stats().bytes_passed_by);
    let begun = Instant::now();
    while !file.residency().complete && begun.elapsed() < LATER {
        bed.scratch.go_on()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let later = share(file.residency().bytes_present);
    drop((file, origin, cache));
    bed.scratch.remove(&directory)?;
    Ok((cost, passed_by, later))
}

fn read_directly(bed: &Bed, root: &Path) -> Result<Cost, Trouble> {
    let source = root.join(DATA);
    scratch::make_cold(&source)?;
    bed.scratch.go_on()?;
    let file = std::fs::File::open(&source).map_err(Trouble::io("open the file"))?;
    let mut buffer = vec![0; BLOCK];
    let clock = Clock::of_process();
    let mut offset = 0;
    while offset < bed.size {
        let count = file.read_at(&mut buffer, offset);
        offset += count.map_err(Trouble::io("pread"))? as u64;
    }
    Ok(clock.cost(bed.size / BLOCK as u64, bed.size))
}
