//! One file for each command.

mod agent;
pub mod bench;
mod cat;
mod doctor;
mod invalidate;
mod keep;
mod ls;
mod options;
mod reload;
pub mod run;
mod stat;
mod stop;
mod top;
mod verify;
mod warm;
mod why;

use crate::args::Command;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde::Serialize;
use std::io::{BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

/// Does what the command line asks for.
pub fn run(context: &Context, command: &Command) -> Outcome {
    match command {
        Command::Warm(args) => warm::run(context, args),
        Command::Run(args) => run::run(context, args),
        Command::Agent(args) => agent::run(context, args),
        Command::Cat(args) => cat::run(context, args),
        Command::Stat(args) => stat::run(context, args),
        Command::Why(args) => why::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Ls(args) => ls::run(context, args),
        Command::Pin(args) => keep::pin(context, args),
        Command::Unpin(args) => keep::unpin(context, args),
        Command::Evict(args) => keep::evict(context, args),
        Command::Invalidate(args) => invalidate::run(context, args),
        Command::Top(args) => top::run(context, args),
        Command::Reload(_) => reload::run(context),
        Command::Bench(bench) => bench::run(context, bench),
        Command::Doctor(_) => doctor::run(context),
        Command::Options(_) => options::run(),
    }
}

/// Stdout in large pieces. Its end has to be flushed, so that a full disk is noticed.
fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, std::io::stdout().lock())
}

/// Writes one JSON value to stdout.
fn write_json(value: &impl Serialize) -> Outcome {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Writes a report on each file; one that there is none on is told, and the rest goes on.
fn write_each<T: Serialize>(
    context: &Context,
    (files, json): (&[PathBuf], bool),
    report: impl Fn(&Path) -> Result<T, String>,
    write: impl Fn(&mut BufWriter<StdoutLock<'static>>, &T) -> std::io::Result<()>,
) -> Outcome {
    let mut reports = Vec::new();
    let mut failed = false;
    for name in files {
        match report(name) {
            Ok(report) => reports.push(report),
            Err(message) => {
                context.console.say(message);
                failed = true;
            }
        }
    }
    if json {
        write_json(&reports)?;
    } else {
        let mut out = stdout();
        for report in &reports {
            write(&mut out, report)?;
        }
        out.flush()?;
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}
