//! A copy of a cold file into the cache, against cp(1) to the same file system.

use super::cost::{Clock, Cost};
use super::pairs::{Spread, interleave};
use super::report::{Check, Measured, Side, Target};
use super::rows::{Bed, note_calls};
use super::scratch::{self, DATA};
use super::subject::{fill, open_cache};
use super::system_calls;
use super::trouble::Trouble;
use cachefs_core::OriginOptions;
use std::path::Path;
use std::process::Command;

/// What counts as one operation: a mebibyte of the copy.
const OPERATION: &str = "MiB";
/// Its bytes.
const OPERATION_BYTES: u64 = 1 << 20;
/// From this share on, the source was cold.
const DEVICE_SHARE_MIN: f64 = 0.9;

/// Runs the row.
pub fn run(bed: &Bed) -> Result<Measured, Trouble> {
    let root = bed.scratch.origin("copied", bed.size)?;
    let ours = || fill_once(bed, &root);
    let cp = || cp_once(bed, &root);
    let pairs = interleave(bed.pairs, ours, cp)?;
    let mut notes = Vec::new();
    let own_calls = note_calls(&mut notes, system_calls::count(ours), operations(bed))?;
    let cp_calls = note_calls(&mut notes, system_calls::count(cp), operations(bed))?;
    bed.scratch.remove(&root)?;
    let ratio = |figure: fn(&Cost) -> f64| Spread::of_ratios(&pairs, figure);
    let warm = |share: f64| share < DEVICE_SHARE_MIN;
    if pairs
        .iter()
        .any(|pair| warm(pair.0.device_share()) != warm(pair.1.device_share()))
    {
        let text = "one side read from the device, the other from memory or not at all \
            (a reflink): not comparable";
        notes.push(text.to_owned());
    }
    Ok(Measured {
        checks: vec![
            Check::new("throughput", ratio(Cost::throughput), Target::AtLeast(1.0)),
            Check::new(
                "CPU per operation",
                ratio(Cost::cpu_per_operation),
                Target::AtMost(0.6),
            ),
        ],
        sides: vec![
            Side::new(
                "libcachefs",
                OPERATION,
                pairs.iter().map(|pair| &pair.0),
                own_calls,
            ),
            Side::new("cp", OPERATION, pairs.iter().map(|pair| &pair.1), cp_calls),
        ],
        notes,
    })
}

fn operations(bed: &Bed) -> u64 {
    bed.size / OPERATION_BYTES
}

/// A new cache, opened and closed outside of the time.
fn fill_once(bed: &Bed, root: &Path) -> Result<Cost, Trouble> {
    let directory = bed.scratch.path().join("cache");
    let cache = open_cache(&directory, &bed.config, bed.size)?;
    let origin = cache.open_directory(root, &OriginOptions::default())?;
    scratch::make_cold(&root.join(DATA))?;
    bed.scratch.go_on()?;
    let clock = Clock::of_process();
    let file = origin.open(DATA.as_bytes())?;
    fill(&file, bed.size, &bed.scratch)?;
    let cost = clock.cost(operations(bed), bed.size);
    drop((file, origin, cache));
    bed.scratch.remove(&directory)?;
    Ok(cost)
}

fn cp_once(bed: &Bed, root: &Path) -> Result<Cost, Trouble> {
    let copy = bed.scratch.path().join("copy");
    let source = root.join(DATA);
    scratch::make_cold(&source)?;
    let mut command = Command::new("cp");
    command.args(["--sparse=never", "--reflink=never"]);
    let child = bed.scratch.run(command.arg(&source).arg(&copy))?;
    std::fs::remove_file(&copy).map_err(Trouble::io("remove the copy"))?;
    Ok(Cost {
        operations: operations(bed),
        bytes: bed.size,
        ..child.cost
    })
}
