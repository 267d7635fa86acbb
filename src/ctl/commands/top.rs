//! `cachefs top`: what a daemon is doing, again and again.

use super::stdout;
use super::stop::{self, Stop};
use crate::access::{Access, NO_DAEMON};
use crate::args::Top;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use cachefs_control::reports::{OfServer, OpenFile, Whole, percent};
use indicatif::BinaryBytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Moves to the upper left, and clears what is there.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// How often it looks whether it was asked to stop.
const TICK: Duration = Duration::from_millis(20);

/// What one look shows.
#[derive(Serialize)]
struct Look {
    /// Seconds since the look before.
    seconds: f64,
    #[serde(flatten)]
    whole: Whole,
    /// Counters a second, since the look before.
    per_second: BTreeMap<String, f64>,
    files: Vec<OpenFile>,
}

/// Looks until it has looked so often, or a signal comes.
pub fn run(context: &Context, args: &Top) -> Outcome {
    let access = context.access()?;
    if access.daemon().is_none() {
        return Err(Failure::new(NO_DAEMON));
    }
    let stop =
        Stop::on_signals().map_err(|error| Failure::new(format!("wait for signals: {error}")))?;
    let interval = Duration::from_secs_f64(args.interval);
    let mut before: Option<(Instant, Whole)> = None;
    let mut left = args.count;
    let clears = !args.json && std::io::stdout().is_terminal();
    loop {
        let look = look(&access, args.lines, before.as_ref())?;
        let mut out = stdout();
        if args.json {
            serde_json::to_writer(&mut out, &look)?;
            writeln!(out)?;
        } else {
            if clears {
                write!(out, "{CLEAR}")?;
            }
            write(&mut out, &look)?;
        }
        out.flush()?;
        drop(out);
        before = Some((Instant::now(), look.whole));
        left = left.map(|left| left - 1);
        if left == Some(0) {
            return Ok(());
        }
        let until = Instant::now() + interval;
        while let Some(rest) = until.checked_duration_since(Instant::now()) {
            if let Some(signal) = stop.signal() {
                // That is how one ends it.
                std::process::exit(stop::status(signal));
            }
            thread::sleep(rest.min(TICK));
        }
    }
}

fn look(access: &Access, lines: usize, before: Option<&(Instant, Whole)>) -> Result<Look, Failure> {
    let whole = access.stat(false)?;
    let files = access.open_files(lines)?.files;
    let seconds = before.map_or(0.0, |(at, _)| at.elapsed().as_secs_f64());
    let per_second = match (before, &whole.server) {
        (Some((_, before)), Some(server)) => rates(before.server.as_ref(), server, seconds),
        _ => BTreeMap::new(),
    };
    Ok(Look {
        seconds,
        whole,
        per_second,
        files,
    })
}

/// How fast counters have grown. Those that are levels may fall, and have no rate then.
fn rates(before: Option<&OfServer>, now: &OfServer, seconds: f64) -> BTreeMap<String, f64> {
    let Some(before) = before.filter(|_| seconds > 0.0) else {
        return BTreeMap::new();
    };
    let grown = now.counters.iter().filter_map(|(name, value)| {
        let by = value.checked_sub(*before.counters.get(name)?)?;
        Some((name.clone(), by as f64 / seconds))
    });
    grown.collect()
}

fn write(out: &mut impl Write, look: &Look) -> std::io::Result<()> {
    let server = look.whole.server.as_ref().expect("a daemon has answered");
    let rate = |name: &str| look.per_second.get(name).copied().unwrap_or_default();
    let bytes = |name: &str| BinaryBytes(rate(name) as u64);
    let cache = &look.whole.cache;
    let of = BinaryBytes(cache.capacity_bytes);
    writeln!(
        out,
        "cache   {} of {of} in {}, {}",
        BinaryBytes(cache.cached_bytes),
        show::count(cache.cached_objects, "object"),
        show::text(&cache.state)
    )?;
    writeln!(
        out,
        "reads   {:.0}/s from the cache ({}/s), {:.0}/s from the origin ({}/s)",
        rate("hits"),
        bytes("bytes_from_cache"),
        rate("misses") + rate("bypasses"),
        bytes("bytes_from_origin")
    )?;
    writeln!(
        out,
        "stored  {:.0} chunks/s, {:.0} evictions/s, {:.0} errors/s",
        rate("chunks_stored"),
        rate("evictions"),
        rate("errors")
    )?;
    if let Some(mount) = &server.mount {
        let open = show::count(mount.files_open, "file");
        writeln!(
            out,
            "mount   {open} open, {} read by the kernel alone; {} known",
            mount.files_handed_over,
            show::count(mount.nodes, "name")
        )?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "{:>6}  {:>6}  {:>11}  {:>6}  FILE",
        "OPENS", "CACHED", "READ", "BY"
    )?;
    for file in &look.files {
        let (cached, by) = match file.is_handed_over {
            true => (100, "kernel"),
            false => (percent(file.bytes_present, file.size), "daemon"),
        };
        let read = BinaryBytes(file.bytes_read).to_string();
        let (opens, name) = (file.opens, show::name(&file.path.0));
        writeln!(out, "{opens:>6}  {cached:>5}%  {read:>11}  {by:>6}  {name}")?;
    }
    Ok(())
}
