//! `cachefs verify`: compares what is cached with its checksums.

use super::stop::{self, Stop};
use super::{stdout, write_json};
use crate::args::Verify;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use cachefs_core::Verification;
use indicatif::BinaryBytes;
use serde::Serialize;
use std::io::Write;

/// What was found, in JSON.
#[derive(Default, Serialize)]
struct Report {
    objects: u64,
    /// Whose metadata were damaged.
    objects_dropped: u64,
    chunks_verified: u64,
    /// That had no checksum before.
    chunks_summed: u64,
    chunks_dropped: u64,
    /// Of which nothing is known.
    busy: u64,
    bytes: u64,
}

impl Report {
    fn add(&mut self, found: &Verification) {
        self.objects += found.objects;
        self.objects_dropped += found.objects_dropped;
        self.chunks_verified += found.chunks_verified;
        self.chunks_summed += found.chunks_summed;
        self.chunks_dropped += found.chunks_dropped;
        self.busy += found.busy;
        self.bytes += found.bytes;
    }

    fn is_damaged(&self) -> bool {
        self.objects_dropped + self.chunks_dropped > 0
    }
}

/// Verifies the cache, or what it has of each file.
pub fn run(context: &Context, args: &Verify) -> Outcome {
    let cache = context.look()?;
    let stop =
        Stop::on_signals().map_err(|error| Failure::new(format!("wait for signals: {error}")))?;
    let mut report = Report::default();
    let mut failed = false;
    if args.files.is_empty() {
        match cache.verify(|_| !stop.is_asked()) {
            Ok(found) => report.add(&found),
            Err(error) => return Err(ended(&stop, error)),
        }
    } else {
        let place = context.place(&cache)?;
        for name in &args.files {
            let file = place.find(name).and_then(|path| {
                let file = place.open(&path);
                file.map_err(|error| show::text(error.message()))
            });
            let found = match file {
                Ok(file) => file.verify(|_| !stop.is_asked()),
                Err(message) => {
                    context.console.say(message);
                    failed = true;
                    continue;
                }
            };
            match found {
                Ok(found) => report.add(&found),
                Err(error) => return Err(ended(&stop, error)),
            }
        }
    }
    if args.json {
        write_json(&report)?;
    } else {
        let mut out = stdout();
        write(&mut out, &report)?;
        out.flush()?;
    }
    match (failed, report.is_damaged()) {
        (true, _) => Err(Failure::told()),
        (false, true) => Err(Failure::damaged()),
        (false, false) => Ok(()),
    }
}

/// By a signal, or by what went wrong.
fn ended(stop: &Stop, error: cachefs_core::Error) -> Failure {
    match stop.signal() {
        Some(signal) => Failure::interrupted(stop::status(signal) as u8),
        None => error.into(),
    }
}

fn write(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let objects = show::count(report.objects, "object");
    writeln!(out, "read      {} of {objects}", BinaryBytes(report.bytes))?;
    let verified = show::count(report.chunks_verified, "chunk");
    writeln!(out, "right     {verified}")?;
    if report.chunks_summed > 0 {
        let summed = show::count(report.chunks_summed, "chunk");
        writeln!(out, "new       {summed} without a checksum until now")?;
    }
    if report.chunks_dropped > 0 {
        let dropped = show::count(report.chunks_dropped, "chunk");
        writeln!(out, "dropped   {dropped}, to be fetched again")?;
    }
    if report.objects_dropped > 0 {
        let dropped = show::count(report.objects_dropped, "object");
        writeln!(out, "dropped   {dropped} with damaged metadata")?;
    }
    if report.busy > 0 {
        writeln!(out, "busy      {} in the hands of others", report.busy)?;
    }
    Ok(())
}
