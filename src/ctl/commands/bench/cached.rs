//! Reads from the page cache, against pread(2) on the same file.

use super::cost::{Clock, Cost};
use super::pairs::{Spread, interleave};
use super::reader::{Reader, Way};
use super::report::{Check, Measured, Side, Target};
use super::rows::{Bed, note_calls};
use super::scratch::Noise;
use super::subject::Subject;
use super::system_calls;
use super::trouble::Trouble;
use cachefs_core::Config;

/// Bytes of a read.
const BLOCK: u64 = 4096;
/// Reads of a batch.
const BATCH: u32 = 32;
/// Reads of one measurement, at most: a fraction of a second.
const READS_MAX: u64 = 128_000;
/// A file is read so many times at most, so that small files take little time.
const PASSES_MAX: u64 = 8;
/// Passes over the file before it is measured, at most.
const WARM_UPS_MAX: u32 = 100;
/// Room for the last chunk of a file.
const ROOM_UNIT: u64 = 64 << 20;
/// From this share on, the page cache was too small for the file.
const DEVICE_SHARE_MAX: f64 = 0.001;

/// Batches on a queue, with the file in the memory tier.
pub fn batches(bed: &Bed) -> Result<Measured, Trouble> {
    let target = Some(Target::AtMost(0.75));
    against_pread(bed, &with_memory(bed), Way::Batches, target)
}

/// Leases, with the file in the memory tier.
pub fn leases(bed: &Bed) -> Result<Measured, Trouble> {
    let target = Some(Target::AtMost(0.15));
    against_pread(bed, &with_memory(bed), Way::Leases, target)
}

/// Options of a cache that has the file in the memory tier.
fn with_memory(bed: &Bed) -> Config {
    let mut config = bed.config.clone();
    if config.memory_bytes == 0 {
        config.memory_bytes = bed.read_size().next_multiple_of(ROOM_UNIT);
    }
    config
}

/// Batches on a queue, each of them by the ring.
pub fn batches_by_ring(bed: &Bed) -> Result<Measured, Trouble> {
    against_pread(bed, &bed.config, Way::Batches, None)
}

/// Blocking calls.
pub fn blocking(bed: &Bed) -> Result<Measured, Trouble> {
    let target = Some(Target::AtMost(1.15));
    against_pread(bed, &bed.config, Way::Blocking, target)
}

/// System calls of batches on a queue.
pub fn calls(bed: &Bed) -> Result<Measured, Trouble> {
    let subject = bed.subject(&bed.config)?;
    let mut reader = Reader::new(&subject, BLOCK, BATCH)?;
    let offsets = offsets(subject.size);
    // The first batch makes the ring and registers file and memory.
    reader.read(Way::Pread, &offsets)?;
    reader.read(Way::Batches, &offsets)?;
    let mut notes = Vec::new();
    let calls = match system_calls::count(|| reader.read(Way::Batches, &offsets)) {
        Ok((read, calls)) => read.map(|()| calls)?,
        Err(reason) => {
            notes.push(format!(
                "{reason}; these are those that the engine counts itself"
            ));
            let before = subject.cache.engine_stats().enters;
            reader.read(Way::Batches, &offsets)?;
            subject.cache.engine_stats().enters - before
        }
    };
    let per_read = Spread::single(calls as f64 / offsets.len() as f64);
    Ok(Measured {
        checks: vec![Check::new(
            "system calls per read",
            per_read,
            Target::AtMost(0.05),
        )],
        notes,
        ..Measured::default()
    })
}

fn against_pread(
    bed: &Bed,
    config: &Config,
    way: Way,
    target: Option<Target>,
) -> Result<Measured, Trouble> {
    let subject = bed.subject(config)?;
    let mut reader = Reader::new(&subject, BLOCK, BATCH)?;
    let offsets = offsets(subject.size);
    let reads = offsets.len() as u64;
    let mut run = |way: Way| {
        bed.scratch.go_on()?;
        let clock = Clock::of_process();
        reader.read(way, &offsets)?;
        Ok(clock.cost(reads, reads * BLOCK))
    };
    // Brings all of it into the page cache, and makes the ring.
    run(Way::Pread)?;
    let locked = warm_up(&subject, || run(way).map(drop))?;
    let run = std::cell::RefCell::new(run);
    let run = |way| run.borrow_mut()(way);
    let pairs = interleave(bed.pairs, || run(way), || run(Way::Pread))?;
    let mut notes = Vec::new();
    let own_calls = note_calls(&mut notes, system_calls::count(|| run(way)), reads)?;
    let pread = system_calls::count(|| run(Way::Pread));
    let pread_calls = note_calls(&mut notes, pread, reads)?;
    let cold = |pair: &(Cost, Cost)| pair.0.device_share() + pair.1.device_share();
    if pairs.iter().any(|pair| cold(pair) > DEVICE_SHARE_MAX) {
        let text = "some reads were not served from memory: there is not enough for the file";
        notes.push(text.to_owned());
    }
    if config.memory_bytes > 0 && locked < subject.size {
        let size = subject.size;
        notes.push(format!(
            "only {locked} of {size} bytes are in locked memory"
        ));
    }
    let ratio = |figure: fn(&Cost) -> f64| Spread::of_ratios(&pairs, figure);
    let time = ratio(Cost::time_per_operation);
    Ok(Measured {
        checks: vec![
            match target {
                Some(target) => Check::new("time per operation", time, target),
                None => Check::shown("time per operation", time),
            },
            // On a busy machine the time says less than this.
            Check::shown("CPU per operation", ratio(Cost::cpu_per_operation)),
        ],
        sides: vec![
            Side::new(
                "libcachefs",
                "read",
                pairs.iter().map(|pair| &pair.0),
                own_calls,
            ),
            Side::new(
                "pread",
                "read",
                pairs.iter().map(|pair| &pair.1),
                pread_calls,
            ),
        ],
        notes,
    })
}

/// Reads until no more of the file comes into locked memory; the bytes that did.
fn warm_up(
    subject: &Subject<'_>,
    mut run: impl FnMut() -> Result<(), Trouble>,
) -> Result<u64, Trouble> {
    let mut locked = 0;
    for _ in 0..WARM_UPS_MAX {
        run()?;
        let before = std::mem::replace(&mut locked, subject.cache.stats().memory_bytes);
        if locked == before {
            break;
        }
    }
    Ok(locked)
}

fn offsets(size: u64) -> Vec<u64> {
    let blocks = size / BLOCK;
    let reads = READS_MAX.min(blocks.saturating_mul(PASSES_MAX));
    let mut noise = Noise::default();
    (0..reads).map(|_| noise.next() % blocks * BLOCK).collect()
}
