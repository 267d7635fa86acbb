//! Into the background: the daemon proper is a child that has begun a session of its
//! own, and its parent ends once the mount is up, or could not be made.

use crate::failure::{Failure, describe};
use crate::settings::Settings;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// Tells the child that it is one.
const VARIABLE: &str = "CACHEFSD_CHILD";
/// What the child says when the mount is up.
const READY: &[u8] = b"ready";

/// Whether this process is the child.
pub fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Starts the child, and ends as its start does: it says itself what went wrong.
pub fn start(words: &[OsString]) -> Result<ExitCode, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("start the daemon: {}", describe(&error)));
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    if let Some((name, rest)) = words.split_first() {
        command.arg0(name).args(rest);
    }
    command
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut said = [0; READY.len()];
    let output = child.stdout.as_mut().expect("it is a pipe");
    if output.read_exact(&mut said).is_ok() && said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(failed)?;
    match status.code() {
        Some(code) if code != 0 => Ok(ExitCode::from(code as u8)),
        _ => Err(Failure::new(format!(
            "the daemon ended before the mount was up: {status}"
        ))),
    }
}

/// The child leaves its parent's session.
pub fn begin() -> Result<(), Failure> {
    let failed = |errno: rustix::io::Errno| {
        Failure::new(format!("leave the session: {}", describe(&errno.into())))
    };
    // EPERM: it has one of its own already.
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(failed(errno)),
    }
    rustix::process::chdir("/").map_err(failed)
}

/// The mount is up: the parent is told, and the terminal is let go of.
pub fn ready(settings: &Settings) {
    let mut stdout = std::io::stdout();
    let told = stdout.write_all(READY).and_then(|()| stdout.flush());
    if let Err(error) = told
        .map_err(|error| describe(&error))
        .and_then(|()| let_go(settings))
    {
        tracing::warn!("go into the background: {error}");
    }
}

fn let_go(settings: &Settings) -> Result<(), String> {
    let nothing = open("/dev/null".as_ref(), OFlags::RDWR)?;
    let log = match &settings.log_file {
        Some(path) => open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?,
        None => open("/dev/null".as_ref(), OFlags::RDWR)?,
    };
    rustix::stdio::dup2_stdout(&nothing)
        .and_then(|()| rustix::stdio::dup2_stderr(&log))
        .map_err(|errno| describe(&errno.into()))
}

fn open(path: &std::path::Path, flags: OFlags) -> Result<std::os::fd::OwnedFd, String> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::open(path, flags | OFlags::CLOEXEC, mode)
        .map_err(|errno| format!("{}: {}", path.display(), describe(&errno.into())))
}
