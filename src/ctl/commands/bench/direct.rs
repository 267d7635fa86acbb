//! Reads past the page cache, against fio's io_uring engine on the same file.

use super::cost::{Clock, Cost};
use super::fio::{self, Job};
use super::pairs::{Spread, interleave};
use super::reader::{Reader, Way};
use super::report::{Check, Measured, Side, Target};
use super::rows::{Bed, note_calls};
use super::scratch::Noise;
use super::system_calls;
use super::trouble::Trouble;
use cachefs_core::Config;
use std::process::Command;

/// Bytes of one measurement of random reads: a second or two.
const RANDOM_BYTES: u64 = 400 << 20;
/// The same of sequential ones.
const SEQUENTIAL_BYTES: u64 = 2 << 30;
/// A file is read so many times at most, so that small files take little time.
const PASSES_MAX: u64 = 8;
/// From this share on, the bytes came from the device.
const DEVICE_SHARE_MIN: f64 = 0.9;

/// The reads of a row, on a file of `size` bytes.
pub fn job(random: bool, block: u64, depth: u32, size: u64) -> Job {
    let span = size / block * block;
    let bytes = if random {
        RANDOM_BYTES
    } else {
        SEQUENTIAL_BYTES
    };
    Job {
        random,
        block,
        depth,
        span,
        reads: bytes.min(span.saturating_mul(PASSES_MAX)) / block,
    }
}

/// Runs a row.
///
/// The device is kept busiest by replacing each read at once, the processor least by
/// replacing many together: `together` is what was found to be best.
pub fn run(
    bed: &Bed,
    random: bool,
    block: u64,
    (depth, together): (u32, usize),
) -> Result<Measured, Trouble> {
    let job = job(random, block, depth, bed.read_size());
    let subject = bed.subject(&direct_config(&bed.config)?)?;
    if !subject.takes_direct_reads()? {
        let text = "the file system does not take O_DIRECT: name another directory (--dir)";
        return Err(Trouble::CannotRun(text.to_owned()));
    }
    let path = subject.path()?;
    let mut reader = Reader::new(&subject, block, depth)?;
    let offsets = offsets(&job);

    let mut ours = || -> Result<Cost, Trouble> {
        bed.scratch.go_on()?;
        let clock = Clock::of_process();
        reader.read(Way::Stream(together), &offsets)?;
        Ok(clock.cost(job.reads, job.reads * block))
    };
    let fio = || -> Result<Cost, Trouble> {
        let mut command = Command::new("fio");
        let child = bed.scratch.run(command.args(job.arguments(&path)))?;
        fio::parse(&child.output, child.cost.device_bytes).map_err(Trouble::Failed)
    };
    subject.make_cold()?;
    // Also finds out whether there is a fio, before anything takes time.
    fio()?;
    ours()?;
    let pairs = interleave(bed.pairs, &mut ours, fio)?;
    check_shares(&pairs)?;
    let mut notes = Vec::new();
    let own_calls = note_calls(&mut notes, system_calls::count(&mut ours), job.reads)?;
    let fio_calls = note_calls(&mut notes, system_calls::count(fio), job.reads)?;
    let ratio = |figure: fn(&Cost) -> f64| Spread::of_ratios(&pairs, figure);
    Ok(Measured {
        checks: vec![
            Check::new("throughput", ratio(Cost::throughput), Target::AtLeast(0.97)),
            Check::new(
                "CPU per operation",
                ratio(Cost::cpu_per_operation),
                Target::AtMost(1.15),
            ),
        ],
        sides: vec![
            Side::new(
                "libcachefs",
                "read",
                pairs.iter().map(|pair| &pair.0),
                own_calls,
            ),
            Side::new("fio", "read", pairs.iter().map(|pair| &pair.1), fio_calls),
        ],
        notes,
    })
}

fn direct_config(config: &Config) -> Result<Config, Trouble> {
    let mut config = config.clone();
    config.set("direct_io", "true").map_err(|error| {
        let text = format!("this release does not read past the page cache: {error}");
        Trouble::CannotRun(text)
    })?;
    Ok(config)
}

fn offsets(job: &Job) -> Vec<u64> {
    let blocks = job.span / job.block;
    let mut noise = Noise::default();
    let number = |index| if job.random { noise.next() } else { index };
    (0..job.reads)
        .map(number)
        .map(|number| number % blocks * job.block)
        .collect()
}

/// Whoever read from memory has been measured at something else.
fn check_shares(pairs: &[(Cost, Cost)]) -> Result<(), Trouble> {
    let own = Spread::of(pairs.iter().map(|pair| pair.0.device_share())).median;
    let fio = Spread::of(pairs.iter().map(|pair| pair.1.device_share())).median;
    for (name, share) in [("libcachefs", own), ("fio", fio)] {
        if share < DEVICE_SHARE_MIN {
            let percent = share * 100.0;
            let text = format!(
                "only {percent:.0}% of what {name} read came from the device, the rest from \
                 memory: that is no O_DIRECT"
            );
            return Err(Trouble::CannotRun(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_a_few_times_large_ones_for_a_second() {
        let small = job(true, 4096, 32, 1 << 20);
        assert_eq!((small.span, small.reads), (1 << 20, 8 * 256));
        let large = job(false, 1 << 20, 8, 1 << 30);
        assert_eq!((large.span, large.reads), (1 << 30, 2048));
    }

    #[test]
    fn offsets_stay_inside_the_file() {
        let random = job(true, 4096, 32, (1 << 20) + 4095);
        let offsets = offsets(&random);
        assert_eq!(offsets.len() as u64, random.reads);
        assert!(
            offsets
                .iter()
                .all(|offset| offset % 4096 == 0 && offset + 4096 <= 1 << 20)
        );
        let sequential = super::offsets(&job(false, 1 << 17, 16, 1 << 18));
        assert_eq!(sequential[..3], [0, 1 << 17, 0]);
    }
}
