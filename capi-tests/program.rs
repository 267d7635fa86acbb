//! Compiles and runs programs.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How a program ended.
pub struct Outcome {
    /// Its status; of a program that was killed for its time, that of the kill.
    pub status: ExitStatus,
    /// It did not end within its time.
    pub timed_out: bool,
    /// What it wrote, standard output and standard error as they came.
    pub output: String,
}

impl Outcome {
    /// The end in words: `exit 3`, `signal 11`, `still running after 60 s`.
    pub fn told(&self, limit: Duration) -> String {
        match (self.timed_out, self.status.code(), self.status.signal()) {
            (true, _, _) => format!("still running after {} s: killed", limit.as_secs()),
            (_, Some(code), _) => format!("exit {code}"),
            (_, _, Some(signal)) => format!("signal {signal}"),
            (_, None, None) => self.status.to_string(),
        }
    }

    /// The output of a program that must not have failed.
    ///
    /// # Panics
    ///
    /// If it has, with what it wrote.
    pub fn expect(self, what: &str) -> String {
        let ended_well = self.status.success() && !self.timed_out;
        assert!(ended_well, "{what}: {}\n{}", self.status, self.output);
        self.output
    }
}

/// Runs a program with its output in `log`, and kills it and all that it
/// started when it takes longer than `limit`.
pub fn run(command: &mut Command, log: &Path, limit: Duration) -> io::Result<Outcome> {
    let file = File::create(log)?;
    // A file rather than a pipe: what a forked child holds open keeps nobody
    // waiting for the end of it.
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()?;
    let (status, timed_out) = wait(child, limit)?;
    let output = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    Ok(Outcome {
        status,
        timed_out,
        output,
    })
}

fn wait(mut child: Child, limit: Duration) -> io::Result<(ExitStatus, bool)> {
    let group = Pid::from_child(&child);
    let end = Instant::now() + limit;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => thread::sleep(POLL),
        }
    };
    // Children that it left behind go with it, also after a good end.
    let _ = kill_process_group(group, Signal::KILL);
    match ended {
        Some(status) => Ok((status, false)),
        None => Ok((child.wait()?, true)),
    }
}

/// Runs a tool to its end and returns all it wrote.
///
/// # Panics
///
/// If it cannot be started.
pub fn tool(command: &mut Command) -> Outcome {
    let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    run(command, log.path(), Duration::from_secs(600))
        .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()))
}

/// The C compiler: `CC`, else `cc`.
pub fn cc() -> Command {
    Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

/// The C++ compiler: `CXX`, else `c++`.
pub fn cxx() -> Command {
    Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

/// What pkg-config says of the library installed in `libdir`, word by word.
///
/// # Panics
///
/// If pkg-config fails.
pub fn pkg_config(libdir: &Path, sysroot: Option<&Path>, questions: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_PATH", libdir.join("pkgconfig"))
        .args(questions)
        .arg("cachefs");
    if let Some(sysroot) = sysroot {
        command.env("PKG_CONFIG_SYSROOT_DIR", sysroot);
    }
    tool(&mut command)
        .expect("pkg-config")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}
