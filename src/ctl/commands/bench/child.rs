//! Another program, run to its end.

use super::cost::{Clock, Cost};
use super::scratch::Scratch;
use super::trouble::Trouble;
use crate::show;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How often it is looked whether the user wants the end.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What it wrote and took.
pub struct Child {
    /// Its stdout.
    pub output: String,
    /// What it took as a whole, from its start to its end; the caller knows how
    /// many operations that were.
    pub cost: Cost,
}

impl Child {
    /// Runs a program in the scratch directory.
    pub fn run(command: &mut Command, scratch: &Scratch) -> Result<Self, Trouble> {
        scratch.go_on()?;
        let program = show::path(command.get_program());
        // Files, since a pipe would have to be emptied meanwhile.
        let name = |stream| scratch.path().join(format!("child.{stream}"));
        let (out, err) = (name("out"), name("err"));
        let redirect = |path| File::create(path).map_err(Trouble::io("make a file"));
        command
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(redirect(&out)?)
            .stderr(redirect(&err)?);
        let clock = Clock::of_children();
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let text = format!("{program} is not installed: apt-get install {program}");
                Trouble::CannotRun(text)
            }
            _ => Trouble::io(format_args!("start {program}"))(error),
        })?;
        let waited = wait(&child, scratch);
        let elapsed = begun.elapsed();
        if waited.is_err() || scratch.is_stopped() {
            // It may have ended by itself.
            drop(child.kill());
        }
        let status = child.wait().map_err(Trouble::io("wait for a program"))?;
        waited.map_err(Trouble::io("wait for a program"))?;
        scratch.go_on()?;
        let read = |path| std::fs::read(path).map_err(Trouble::io("read a program's output"));
        if !status.success() {
            // Some programs, as fio, say what is wrong where their result would be.
            let said = [read(&err)?, read(&out)?];
            let said = said.iter().map(|said| String::from_utf8_lossy(said));
            let last = said.filter_map(|said| said.lines().next_back().map(str::to_owned));
            let words = show::text(&last.collect::<Vec<_>>().join("; "));
            return Err(Trouble::Failed(format!("{program}: {status}: {words}")));
        }
        Ok(Self {
            output: String::from_utf8_lossy(&read(&out)?).into_owned(),
            cost: clock.cost_within(elapsed, 1, 0),
        })
    }
}

/// Waits until it has ended, or the user wants the end.
fn wait(child: &std::process::Child, scratch: &Scratch) -> io::Result<()> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    while !scratch.is_stopped() {
        let mut polled = [PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut polled, Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
