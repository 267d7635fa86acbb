//! How many system calls a run makes: of all threads, and of children.

use crate::failure::describe;
use cachefs_core::Errno;
use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use std::io;

/// Where tracefs may be mounted (the kernel's documentation of ftrace).
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Runs something and counts; or says why it cannot be counted, and does not
/// run it. Each call is slower while it is counted: such a run is not timed.
pub fn count<T>(run: impl FnOnce() -> T) -> Result<(T, u64), String> {
    count_of(std::process::id(), run)
}

/// The same of another process, meanwhile.
pub fn count_of<T>(process: u32, run: impl FnOnce() -> T) -> Result<(T, u64), String> {
    let mut counters = counters(process).map_err(|error| {
        let reason = describe(&error);
        format!(
            "system calls cannot be counted: {reason}; it takes root, or CAP_PERFMON, and tracefs"
        )
    })?;
    let result = run();
    let mut calls = 0;
    for counter in &mut counters {
        let count = counter.read().map_err(|error| describe(&error))?;
        calls += count;
    }
    Ok((result, calls))
}

/// One for each thread, which those that it starts inherit.
fn counters(process: u32) -> io::Result<Vec<Counter>> {
    let event = tracepoint()?;
    let mut counters = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let name = thread?.file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok());
        let mut builder = Builder::new(event);
        builder
            .observe_pid(thread.ok_or(io::ErrorKind::InvalidData)?)
            .any_cpu()
            .inherit(true)
            // Tracepoints are hit in the kernel.
            .include_kernel();
        match builder.build() {
            // It has ended since.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            counter => counters.push(counter?),
        }
    }
    for counter in &mut counters {
        counter.enable()?;
    }
    Ok(counters)
}

fn tracepoint() -> io::Result<Tracepoint> {
    let read = |tracefs: &str| {
        let path = format!("{tracefs}/events/raw_syscalls/sys_enter/id");
        std::fs::read_to_string(path)
    };
    let text = read(TRACEFS[0]).or_else(|_| read(TRACEFS[1]))?;
    let id = text.trim().parse();
    Ok(Tracepoint::with_id(
        id.map_err(|_| io::ErrorKind::InvalidData)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getppid;

    #[test]
    fn every_call_is_counted_once() {
        let thousand = || {
            for _ in 0..1000 {
                let _parent = getppid();
            }
        };
        match count(thousand) {
            // Enabling and reading the counters takes a call each, and other
            // tests may run on the threads beside.
            Ok(((), calls)) => assert!(calls >= 1000, "{calls}"),
            Err(reason) => assert!(reason.contains("CAP_PERFMON"), "{reason}"),
        }
    }
}
