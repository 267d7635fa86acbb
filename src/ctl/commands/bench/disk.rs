//! What a cache takes on its disk at most while everything happens at once.

use super::pairs::Spread;
use super::report::{Check, Measured, Target};
use super::rows::Bed;
use super::scratch::Noise;
use super::trouble::Trouble;
use cachefs_core::{Cache, Config, Origin, OriginOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Limit of the cache.
const CAPACITY_BYTES: u64 = 256 << 20;
/// What docs/eviction.md allows beyond it: metadata of objects that are being made, and
/// blocks that the file system itself needs.
const SLACK_BYTES: u64 = 4 << 20;
/// Sizes of the files, one after the other; together many times the limit.
const SIZES: [u64; 4] = [4 << 10, 300 << 10, 3 << 20, 24 << 20];
const FILES: u64 = 160;
/// Caches on the directory, which stand for processes, and threads of each.
const CACHES: usize = 2;
const THREADS: usize = 4;
const SAMPLE_MS: u64 = 100;

fn size(number: u64) -> u64 {
    SIZES[(number % SIZES.len() as u64) as usize] + number * 512
}

/// Bytes that a directory takes.
fn usage(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => usage(&entry.path())?,
            Ok(metadata) => metadata.blocks() * 512,
            // Evicted since.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

/// The files that are cached, without bytes of their own.
fn make_origin(root: &Path) -> std::io::Result<()> {
    std::fs::create_dir(root)?;
    for number in 0..FILES {
        let file = std::fs::File::create(root.join(number.to_string()))?;
        file.set_len(size(number))?;
    }
    Ok(())
}

/// Reads, and fills, until it is told to end.
fn work(origin: &Origin, mut noise: Noise, end: &AtomicBool) -> Result<(), Trouble> {
    let mut buffer = vec![0; 1 << 20];
    while !end.load(Ordering::Relaxed) {
        let number = noise.next() % FILES;
        let file = origin.open(number.to_string().as_bytes())?;
        if noise.next().is_multiple_of(2) {
            // There may be no room for all of it.
            drop(file.fill(0, u64::MAX, |_, _| !end.load(Ordering::Relaxed)));
        } else {
            for _ in 0..8 {
                file.read_at(&mut buffer, noise.next() % size(number))?;
            }
        }
    }
    Ok(())
}

/// The most that the disk had of it, as a share of what it may have.
pub fn run(bed: &Bed) -> Result<Measured, Trouble> {
    let root = bed.scratch.path().join("mixed-origin");
    let directory = bed.scratch.path().join("mixed");
    make_origin(&root).map_err(Trouble::io("make files"))?;
    let config = Config {
        capacity_bytes: CAPACITY_BYTES,
        chunk_bytes: 256 << 10,
        ..bed.config.clone()
    };
    let mut caches = Vec::new();
    for _ in 0..CACHES {
        let cache = Cache::open(&directory, &config)?;
        let origin = cache.open_directory(&root, &OriginOptions::default())?;
        caches.push((cache, origin));
    }
    let end = AtomicBool::new(false);
    let (mut most, mut samples) = (0, 0);
    let worked = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (place, (_, origin)) in caches.iter().enumerate() {
            for thread in 0..THREADS {
                let mut noise = Noise::default();
                for _ in 0..place * THREADS + thread {
                    noise.next();
                }
                let end = &end;
                threads.push(scope.spawn(move || work(origin, noise, end)));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(bed.mixed_seconds);
        while Instant::now() < deadline && !bed.scratch.is_stopped() {
            std::thread::sleep(Duration::from_millis(SAMPLE_MS));
            most = most.max(usage(&directory.join("objects")).unwrap_or(0));
            samples += 1;
        }
        end.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err(Trouble::Failed("a thread died".into()))))
            .collect::<Result<Vec<()>, Trouble>>()
    });
    worked?;
    bed.scratch.go_on()?;
    let stats: Vec<_> = caches.iter().map(|(cache, _)| cache.stats()).collect();
    let evictions: u64 = stats.iter().map(|stats| stats.evictions).sum();
    let stored: u64 = stats.iter().map(|stats| stats.chunks_stored).sum();
    let bypasses: u64 = stats.iter().map(|stats| stats.bypasses).sum();
    let allowed = (CAPACITY_BYTES + SLACK_BYTES) as f64;
    Ok(Measured {
        checks: vec![
            Check::new(
                "most that was used of what may be",
                Spread::single(most as f64 / allowed),
                Target::AtMost(1.0),
            ),
            Check::shown(
                "MiB at most",
                Spread::single(most as f64 / f64::from(1 << 20)),
            ),
        ],
        notes: vec![format!(
            "{samples} samples; {stored} chunks stored, {evictions} objects evicted, \
             {bypasses} reads passed by"
        )],
        ..Measured::default()
    })
}
