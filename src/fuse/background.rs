//! Into the background: the daemon proper is a child that has begun a session of its
//! own, and its parent ends once the mount is up, or could not be made.

use crate::failure::{Failure, describe};
use crate::settings::Settings;
use cachefs_control::background;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Tells the child that it is one.
const VARIABLE: &str = "CACHEFSD_CHILD";

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
    command.env(VARIABLE, "1");
    let Some(status) = background::start(&mut command).map_err(failed)? else {
        return Ok(ExitCode::SUCCESS);
    };
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
    let log = settings.log_file.as_deref();
    if let Err(error) = background::tell_ready().and_then(|()| background::let_go(log)) {
        tracing::warn!("go into the background: {}", describe(&error));
    }
}
