//! What the engine does when there is nothing to do: nothing.

use super::pairs::Spread;
use super::reader::{Reader, Way};
use super::report::{Check, Measured, Target};
use super::rows::Bed;
use super::scratch::Scratch;
use super::trouble::Trouble;
use crate::failure::describe;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// What the last read has left to do is done after so long.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is looked whether the user wants the end.
const TICK: Duration = Duration::from_millis(100);

/// Runs the row: a cache, a queue and one read; then nothing but the watching.
pub fn run(bed: &Bed, seconds: u16) -> Result<Measured, Trouble> {
    let subject = bed.subject(&bed.config)?;
    let mut reader = Reader::new(&subject, 4096, 1)?;
    // Twice, since the first makes the ring, and the second registers the file.
    reader.read(Way::Pread, &[0])?;
    reader.read(Way::Batches, &[0, 0])?;
    let period = Duration::from_secs(seconds.into());
    // Another thread watches, so that the one that has the queue sleeps as well.
    let watched = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(period, &bed.scratch));
        watcher.join().expect("the watcher does not panic")
    });
    let (before, after) = watched.map_err(Trouble::io("read /proc/self/task"))?;
    bed.scratch.go_on()?;
    let moved = Moved::between(&before, &after);
    let single = |count: u64| Spread::single(count as f64);
    Ok(Measured {
        checks: vec![
            Check::new("wake-ups", single(moved.switches), Target::AtMost(0.0)),
            Check::new(
                "us of CPU",
                single(moved.cpu_ns / 1000),
                Target::AtMost(0.0),
            ),
        ],
        notes: moved.threads,
        ..Measured::default()
    })
}

/// What one thread has done since it began.
#[derive(Clone, Debug, PartialEq)]
struct Thread {
    name: String,
    /// Times that it stopped running, of itself or not.
    switches: u64,
    cpu_ns: u64,
}

type Threads = HashMap<String, Thread>;

/// What the threads have done in between.
#[derive(Debug, Default, PartialEq)]
struct Moved {
    switches: u64,
    cpu_ns: u64,
    /// A line for each that has done something.
    threads: Vec<String>,
}

impl Moved {
    fn between(before: &Threads, after: &Threads) -> Self {
        let mut moved = Self::default();
        for (id, thread) in after {
            let (switches, cpu_ns) = match before.get(id) {
                Some(before) => (
                    thread.switches - before.switches,
                    thread.cpu_ns - before.cpu_ns,
                ),
                None => (thread.switches, thread.cpu_ns),
            };
            if switches > 0 || cpu_ns > 0 {
                moved.switches += switches;
                moved.cpu_ns += cpu_ns;
                let name = &thread.name;
                moved.threads.push(format!(
                    "{name}: woken {switches} times, {cpu_ns} ns of CPU"
                ));
            }
        }
        // It must have been woken to end.
        for (_, thread) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
            moved.switches += 1;
            moved.threads.push(format!("{}: has ended", thread.name));
        }
        moved
    }
}

/// All threads but this one, now and after `period`.
fn watch(period: Duration, scratch: &Scratch) -> io::Result<(Threads, Threads)> {
    wait(SETTLE, scratch);
    let before = threads()?;
    wait(period, scratch);
    Ok((before, threads()?))
}

fn wait(period: Duration, scratch: &Scratch) {
    let begun = Instant::now();
    while begun.elapsed() < period && !scratch.is_stopped() {
        std::thread::sleep(TICK.min(period.saturating_sub(begun.elapsed())));
    }
}

/// All threads of this process but the calling one.
fn threads() -> io::Result<Threads> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut threads = Threads::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if id == own {
            continue;
        }
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name));
        match (read("status"), read("schedstat")) {
            (Ok(status), Ok(schedstat)) => {
                let thread = parse(&status, &schedstat);
                let strange = || io::Error::other(format!("not understood: {status}{schedstat}"));
                threads.insert(id, thread.ok_or_else(strange)?);
            }
            // It has ended since.
            (Err(error), _) | (_, Err(error)) if entry.path().exists() => {
                let text = describe(&error);
                return Err(io::Error::other(text));
            }
            _ => {}
        }
    }
    Ok(threads)
}

/// proc_pid_status(5), and schedstat: the first number is nanoseconds on a processor.
fn parse(status: &str, schedstat: &str) -> Option<Thread> {
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line[name.len()..].trim())
    };
    let voluntary: u64 = field("voluntary_ctxt_switches:")?.parse().ok()?;
    let involuntary: u64 = field("nonvoluntary_ctxt_switches:")?.parse().ok()?;
    Some(Thread {
        name: field("Name:")?.to_owned(),
        switches: voluntary + involuntary,
        cpu_ns: schedstat.split(' ').next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tcachefs-io-0\nUmask:\t0022\n\
        voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";

    fn thread(switches: u64, cpu_ns: u64) -> Thread {
        Thread {
            name: "cachefs-io-0".to_owned(),
            switches,
            cpu_ns,
        }
    }

    fn threads_of(list: &[(&str, Thread)]) -> Threads {
        let own = |(id, thread): &(&str, Thread)| ((*id).to_owned(), thread.clone());
        list.iter().map(own).collect()
    }

    #[test]
    fn a_thread_is_read_from_proc() {
        assert_eq!(parse(STATUS, "1500 20 9\n"), Some(thread(9, 1500)));
        assert_eq!(parse("Name:\tx\n", "1500 20 9\n"), None);
    }

    #[test]
    fn threads_that_sleep_do_not_count() {
        let before = threads_of(&[("1", thread(9, 1500)), ("2", thread(1, 10))]);
        assert_eq!(Moved::between(&before, &before), Moved::default());
    }

    #[test]
    fn threads_that_wake_begin_or_end_count() {
        let before = threads_of(&[("1", thread(9, 1500)), ("2", thread(1, 10))]);
        let after = threads_of(&[("1", thread(11, 1600)), ("3", thread(4, 40))]);
        let moved = Moved::between(&before, &after);
        assert_eq!((moved.switches, moved.cpu_ns), (2 + 4 + 1, 100 + 40));
        assert_eq!(moved.threads.len(), 3);
    }

    #[test]
    fn a_busy_thread_of_this_process_is_seen() {
        std::thread::scope(|scope| {
            let (ready, is_ready) = std::sync::mpsc::channel();
            let (end, is_end) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                ready.send(rustix::thread::gettid()).expect("it is awaited");
                let _ended = is_end.recv();
            });
            let id = is_ready.recv().expect("it is sent");
            let seen = threads().expect("there is a /proc");
            assert!(seen.contains_key(&id.as_raw_nonzero().to_string()));
            drop(end);
        });
    }
}
