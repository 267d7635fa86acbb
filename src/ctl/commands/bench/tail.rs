//! The slowest hits, while a file is copied into the cache and while nothing is.

use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Target};
use super::rows::Bed;
use super::scratch::{self, DATA, Noise};
use super::subject::Subject;
use super::trouble::Trouble;
use cachefs_core::OriginOptions;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a hit.
const BLOCK: u64 = 4096;
/// Bytes of the file whose hits are measured: it stays in memory beside the copy.
const HOT_BYTES: u64 = 64 << 20;
/// Hits of one measurement, at most, and at least.
const HITS_MAX: usize = 200_000;
const HITS_MIN: usize = 1_000;
/// How long one measurement takes at least: several slices of the scheduler.
const WHILE: Duration = Duration::from_millis(500);

/// The row.
pub fn run(bed: &Bed) -> Result<Measured, Trouble> {
    let hot = bed.scratch.origin("hot", HOT_BYTES.min(bed.size))?;
    let cold = bed.scratch.origin("filled", bed.size)?;
    let size = HOT_BYTES.min(bed.size);
    let subject = Subject::new(&bed.scratch, &bed.config, &hot, (size, 2 * bed.size))?;
    let filling = || while_filling(bed, &subject, &cold);
    let idle = || {
        bed.scratch.go_on()?;
        hits(&subject, || false)
    };
    idle()?;
    let pairs = interleave(bed.pairs, filling, idle)?;
    let mut notes = Vec::new();
    for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let own = Spread::of(pairs.iter().map(|pair| quantile(&pair.0, at))).median;
        let other = Spread::of(pairs.iter().map(|pair| quantile(&pair.1, at))).median;
        notes.push(format!(
            "{name}: {own:.0} ns while filling, {other:.0} ns idle"
        ));
    }
    let p99 = Spread::of_ratios(&pairs, |hits| quantile(hits, 0.99));
    Ok(Measured {
        checks: vec![Check::new("p99 of 4 KiB hits", p99, Target::AtMost(2.0))],
        notes,
        ..Measured::default()
    })
}

/// Hits while a cold file is copied, again and again if need be.
fn while_filling(
    bed: &Bed,
    subject: &Subject<'_>,
    root: &std::path::Path,
) -> Result<Vec<u64>, Trouble> {
    let origin = subject
        .cache
        .open_directory(root, &OriginOptions::default())?;
    scratch::make_cold(&root.join(DATA))?;
    bed.scratch.go_on()?;
    let file = origin.open(DATA.as_bytes())?;
    let is_over = AtomicBool::new(false);
    let measured = std::thread::scope(|scope| {
        let fill = scope.spawn(|| {
            let filled = file.fill(0, u64::MAX, |_, _| !is_over.load(Ordering::Relaxed));
            is_over.store(true, Ordering::Relaxed);
            filled
        });
        let measured = hits(subject, || fill.is_finished());
        is_over.store(true, Ordering::Relaxed);
        // It was cancelled, most likely.
        drop(fill.join());
        measured
    });
    // A new object next time.
    drop((file, origin));
    let data = root.join(DATA);
    let touched = std::fs::File::options()
        .write(true)
        .open(data)
        .and_then(|file| file.set_modified(std::time::SystemTime::now()));
    touched.map_err(Trouble::io("change the file"))?;
    std::thread::sleep(Duration::from_millis(50));
    measured
}

/// What hits take, in ns, until there are enough or `is_over`.
fn hits(subject: &Subject<'_>, is_over: impl Fn() -> bool) -> Result<Vec<u64>, Trouble> {
    let mut noise = Noise::default();
    let mut buffer = vec![0; BLOCK as usize];
    let mut took = Vec::with_capacity(HITS_MAX);
    let begun = Instant::now();
    while took.len() < HITS_MAX && !is_over() {
        let offset = noise.next() % (subject.size / BLOCK) * BLOCK;
        let before = Instant::now();
        let count = subject.file.read_at(&mut buffer, offset)?;
        took.push(before.elapsed().as_nanos() as u64);
        if count != BLOCK {
            return Err(Trouble::Failed(format!("a hit gave {count} bytes")));
        }
        if took.len() >= HITS_MIN && begun.elapsed() > 4 * WHILE {
            break;
        }
    }
    if took.len() < HITS_MIN {
        let text = "the copy was over too soon: take a larger --size";
        return Err(Trouble::Failed(text.to_owned()));
    }
    took.sort_unstable();
    Ok(took)
}

fn quantile(sorted: &[u64], at: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * at) as usize] as f64
}
