//! `cachefs verify`: compares what is cached with its checksums.

use super::stop::{self, Stop};
use super::{stdout, write_json};
use crate::access::{Access, Asked};
use crate::args::Verify;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::show;
use cachefs_control::Refusal;
use cachefs_control::reports::Verified;
use cachefs_core::Errno;
use indicatif::BinaryBytes;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often the main thread looks whether it was asked to stop.
const TICK: Duration = Duration::from_millis(20);

/// Verifies the cache, or what it has of each file.
pub fn run(context: &Context, args: &Verify) -> Outcome {
    let access = match args.files.is_empty() {
        true => context.access()?,
        false => context.access_files(Context::look)?,
    };
    let access = Arc::new(access);
    let stop =
        Stop::on_signals().map_err(|error| Failure::new(format!("wait for signals: {error}")))?;
    let stop = Arc::new(stop);
    let mut report = Verified::default();
    let mut failed = false;
    if args.files.is_empty() {
        let found = verify(&access, &stop, None);
        report.add(&found?.map_err(|refusal| ended(&stop, refusal))?);
    } else {
        let roots = access.roots()?;
        for name in &args.files {
            let path = match roots.find(name) {
                Ok(path) => path,
                Err(message) => {
                    context.console.say(message);
                    failed = true;
                    continue;
                }
            };
            match verify(&access, &stop, Some(&path))? {
                Ok(found) => report.add(&found),
                Err(refusal) if stop.is_asked() => return Err(ended(&stop, refusal)),
                Err(refusal) => {
                    context.console.say(show::text(&refusal.message));
                    failed = true;
                }
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
    let is_damaged = report.objects_dropped + report.chunks_dropped > 0;
    match (failed, is_damaged) {
        (true, _) => Err(Failure::told()),
        (false, true) => Err(Failure::damaged()),
        (false, false) => Ok(()),
    }
}

/// Verifies on a thread of its own, so that a signal ends the wait for a daemon: that
/// ends its work once nobody is there.
fn verify(
    access: &Arc<Access>,
    stop: &Arc<Stop>,
    path: Option<&Path>,
) -> Result<Asked<Verified>, Failure> {
    let (found_in, found) = channel();
    let (access, watched, path) = (
        Arc::clone(access),
        Arc::clone(stop),
        path.map(Path::to_owned),
    );
    let body = move || {
        let outcome = access.verify(path.as_deref(), || !watched.is_asked());
        // Nobody waits any more after a signal.
        let _told = found_in.send(outcome);
    };
    let thread = thread::Builder::new().name("verify".to_owned()).spawn(body);
    thread.map_err(|error| Failure::new(format!("start a thread: {}", describe(&error))))?;
    loop {
        match found.recv_timeout(TICK) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) if !stop.is_overdue() => {}
            Err(RecvTimeoutError::Timeout) => {
                let text = "it did not end in time";
                return Ok(Err(Refusal::new(Errno::CANCELED, text)));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new("a thread has panicked"));
            }
        }
    }
}

/// By a signal, or by what went wrong.
fn ended(stop: &Stop, refusal: Refusal) -> Failure {
    match stop.signal() {
        Some(signal) => Failure::interrupted(stop::status(signal) as u8),
        None => refusal.into(),
    }
}

fn write(out: &mut impl Write, report: &Verified) -> std::io::Result<()> {
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
