//! Rows of `bench mount`: a mount against the same reads of a local file.

use super::cost::{Clock, Cost};
use super::direct;
use super::fio::{self, Job};
use super::mounted::{Direct, Mounted, PARTS, Present};
use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Side, Target};
use super::rows::Bed;
use super::scratch::{DATA, make_cold};
use super::system_calls;
use super::trouble::Trouble;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Files of the rows about small ones.
const FILES: u64 = 2_000;
/// Bytes of each.
const FILE_BYTES: usize = 4096;
/// How often all of them are taken in one measurement.
const ROUNDS: u64 = 5;
/// Reads of the rows that count.
const COUNTED: u64 = 5_000;
/// What the daemon's watch over its threads may add to the calls of a read: a look every
/// 10 ms.
const WATCH: f64 = 0.05;

/// What is read ahead would make the file complete.
const PARTLY: &str = "readahead=false";

/// Seconds that a slow origin needs for the file.
const SLOW: u64 = 5;
/// An origin with a rate lends a reader a second's worth: until it is paid back.
const PAID_BACK: Duration = Duration::from_millis(1200);
/// Bytes of a read of it.
const FIRST_BLOCK: u64 = 128 << 10;

/// In which state memory is when a measurement begins.
#[derive(Clone, Copy, PartialEq)]
pub enum Memory {
    /// The page cache has the file.
    Warm,
    /// It has nothing of it.
    Cold,
    /// It is passed by.
    Direct,
}

/// Reads by fio of a complete file, which the kernel serves.
pub fn complete(
    bed: &Bed,
    memory: Memory,
    (random, block, depth): (bool, u64, u32),
) -> Result<Measured, Trouble> {
    let mounted = Mounted::new(bed, "passthrough=true", Present::Whole)?;
    let mut notes = Vec::new();
    if let Some(why) = mounted.no_passthrough()? {
        notes.push(format!("the daemon serves all reads itself: {why}"));
    }
    let mut job = direct::job(random, block, depth, bed.read_size());
    if memory == Memory::Cold {
        // What was read once is not cold any more.
        job.reads = job
            .reads
            .min(job.span / block / if random { 16 } else { 1 });
    }
    let least = match memory {
        Memory::Cold => 0.9,
        Memory::Warm | Memory::Direct => 0.95,
    };
    let pairs = compare(bed, &mounted, (job, memory))?;
    Ok(measured(&pairs, least, notes))
}

/// The same of a file that is not complete, which the daemon serves.
pub fn partly(bed: &Bed, depth: u32, least: f64) -> Result<Measured, Trouble> {
    let mounted = Mounted::new(bed, PARTLY, Present::Most)?;
    let size = bed.read_size();
    let mut job = direct::job(true, 4096, depth, size / PARTS * (PARTS - 1));
    // Else it would be copied as a whole meanwhile.
    job.reads = job.reads.min(size / 8 / job.block);
    let pairs = compare(bed, &mounted, (job, Memory::Direct))?;
    if mounted.is_complete()? {
        let text = "the file became complete meanwhile: take a larger --size";
        return Err(Trouble::Failed(text.to_owned()));
    }
    Ok(measured(&pairs, least, Vec::new()))
}

/// The first read of a file through a mount, in order, against reading its origin: another
/// mount, whose cache has no room for the file and whose own origin is read at a rate.
pub fn first_read(bed: &Bed) -> Result<Measured, Trouble> {
    let rate = bed.read_size() / SLOW;
    let slow = format!("passthrough=false,capacity_bytes=16MiB,bytes_per_second={rate}");
    let far = Mounted::of(bed, (&bed.origin, "far"), &slow, Present::Nothing)?;
    let mounted = Mounted::of(bed, (far.path(), "mnt"), "", Present::Nothing)?;
    let job = Job {
        reads: bed.read_size() / FIRST_BLOCK,
        ..direct::job(false, FIRST_BLOCK, 1, bed.read_size())
    };
    let read = |path: &Path| -> Result<Cost, Trouble> {
        far.empty()?;
        mounted.empty()?;
        std::thread::sleep(PAID_BACK);
        let mut command = Command::new("fio");
        let child = bed
            .scratch
            .run(command.args(job.buffered_arguments(path)))?;
        fio::parse(&child.output, child.cost.device_bytes).map_err(Trouble::Failed)
    };
    let (ours, theirs) = (|| read(&mounted.file()), || read(&far.file()));
    theirs()?;
    let pairs = interleave(bed.pairs, ours, theirs)?;
    let mut measured = measured(&pairs, 0.9, Vec::new());
    measured.sides[1].name = "origin";
    Ok(measured)
}

fn compare(
    bed: &Bed,
    mounted: &Mounted<'_>,
    (job, memory): (Job, Memory),
) -> Result<Vec<(Cost, Cost)>, Trouble> {
    let (native, copy) = (bed.origin.join(DATA), mounted.copy()?);
    let run = |path: &Path, behind: &Path| -> Result<Cost, Trouble> {
        bed.scratch.go_on()?;
        // The daemon has no reads past the page cache.
        if memory != Memory::Warm {
            make_cold(behind)?;
            make_cold(path)?;
        }
        let mut command = Command::new("fio");
        command.args(match memory {
            Memory::Direct => job.arguments(path),
            Memory::Warm | Memory::Cold => job.buffered_arguments(path),
        });
        let child = bed.scratch.run(&mut command)?;
        fio::parse(&child.output, child.cost.device_bytes).map_err(Trouble::Failed)
    };
    let ours = || run(&mounted.file(), &copy);
    let theirs = || run(&native, &native);
    // The pages of a file that was written may be smaller than those of one that was read.
    make_cold(&copy)?;
    make_cold(&native)?;
    // Finds out whether there is a fio, and warms what is to be warm.
    theirs()?;
    ours()?;
    interleave(bed.pairs, ours, theirs)
}

fn measured(pairs: &[(Cost, Cost)], least: f64, notes: Vec<String>) -> Measured {
    let ratio = Spread::of_ratios(pairs, Cost::throughput);
    let side =
        |name, of: fn(&(Cost, Cost)) -> &Cost| Side::new(name, "read", pairs.iter().map(of), None);
    Measured {
        checks: vec![Check::new("throughput", ratio, Target::AtLeast(least))],
        sides: vec![
            side("mount", |pair| &pair.0),
            side("native", |pair| &pair.1),
        ],
        notes,
    }
}

/// Small files opened, read and closed.
pub fn small(bed: &Bed) -> Result<Measured, Trouble> {
    files(bed, "file", 0.08, |path| {
        let mut bytes = [0; FILE_BYTES];
        File::open(path)?.read_exact(&mut bytes)
    })
}

/// Names looked at.
pub fn stat(bed: &Bed) -> Result<Measured, Trouble> {
    files(bed, "name", 0.5, |path| path.symlink_metadata().map(drop))
}

fn files(
    bed: &Bed,
    operation: &'static str,
    least: f64,
    act: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<Measured, Trouble> {
    let directory = bed.origin.join("small");
    let make = || {
        fs::create_dir_all(&directory)?;
        for index in 0..FILES {
            fs::write(directory.join(index.to_string()), [7; FILE_BYTES])?;
        }
        Ok(())
    };
    make().map_err(Trouble::io("make small files"))?;
    let mounted = Mounted::new(bed, PARTLY, Present::Most)?;
    let run = |root: &Path| -> Result<Cost, Trouble> {
        bed.scratch.go_on()?;
        let paths: Vec<_> = (0..FILES)
            .map(|index| root.join("small").join(index.to_string()))
            .collect();
        let clock = Clock::of_process();
        for path in (0..ROUNDS).flat_map(|_| &paths) {
            act(path).map_err(Trouble::io("use a small file"))?;
        }
        Ok(clock.cost(FILES * ROUNDS, FILES * ROUNDS * FILE_BYTES as u64))
    };
    let (ours, theirs) = (|| run(mounted.path()), || run(&bed.origin));
    ours()?;
    theirs()?;
    let pairs = interleave(bed.pairs, ours, theirs)?;
    let mut measured = measured(&pairs, least, Vec::new());
    for side in &mut measured.sides {
        side.operation = operation;
    }
    Ok(measured)
}

/// What the daemon takes of the processors while the kernel serves reads.
pub fn daemon_time(bed: &Bed) -> Result<Measured, Trouble> {
    let mounted = Mounted::new(bed, "passthrough=true", Present::Whole)?;
    if let Some(why) = mounted.no_passthrough()? {
        return Err(Trouble::CannotRun(format!("no passthrough: {why}")));
    }
    let mut file = Direct::open(&mounted.file(), 4096)?;
    file.read(0)?;
    settle(&mounted)?;
    let mut figures = Vec::new();
    for _ in 0..bed.pairs {
        let before = mounted.processor_time()?;
        for index in 0..COUNTED {
            file.read(place(index, bed.read_size()))?;
        }
        let took = mounted.processor_time()? - before;
        figures.push(took.as_nanos() as f64 / COUNTED as f64);
    }
    let check = Check::new("ns per read", Spread::of(figures), Target::AtMost(0.0));
    Ok(Measured {
        checks: vec![check],
        ..Measured::default()
    })
}

/// System calls of the daemon for reads that it serves itself.
pub fn calls(bed: &Bed, present: Present) -> Result<Measured, Trouble> {
    let options = format!("passthrough=false,{PARTLY}");
    let mounted = Mounted::new(bed, &options, present)?;
    let size = bed.read_size() / PARTS * (PARTS - 1);
    let mut file = Direct::open(&mounted.file(), 4096)?;
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for _ in 0..bed.pairs {
        let before = mounted.reads_and_writes()?;
        let mut read = || (0..COUNTED).try_for_each(|index| file.read(place(index, size)));
        let calls = match system_calls::count_of(mounted.pid(), &mut read) {
            Ok((done, calls)) => done.map(|()| calls)?,
            Err(reason) => {
                read()?;
                notes = vec![format!("only reads and writes were counted: {reason}")];
                mounted.reads_and_writes()? - before
            }
        };
        figures.push(calls as f64 / COUNTED as f64);
    }
    let most = Target::AtMost(2.0 + WATCH);
    Ok(Measured {
        checks: vec![Check::new("calls per read", Spread::of(figures), most)],
        notes,
        ..Measured::default()
    })
}

/// Places in no order, each of a block.
fn place(index: u64, size: u64) -> u64 {
    index.wrapping_mul(0x9e37_79b9) % (size / 4096) * 4096
}

/// Waits until the daemon has nothing to do any more.
fn settle(mounted: &Mounted<'_>) -> Result<(), Trouble> {
    let limit = Instant::now() + Duration::from_secs(10);
    let mut before = mounted.processor_time()?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = mounted.processor_time()?;
        if now == before || Instant::now() > limit {
            return Ok(());
        }
        before = now;
    }
}
