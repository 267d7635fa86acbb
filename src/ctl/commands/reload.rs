//! `cachefs reload`: has daemons read their configuration anew.

use crate::access::{Access, NO_DAEMON};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use std::io::Write;

/// Tells each daemon, and says what came of it.
pub fn run(context: &Context) -> Outcome {
    let daemons = context.daemons()?;
    if daemons.is_empty() {
        return Err(Failure::new(NO_DAEMON));
    }
    let mut out = super::stdout();
    for daemon in &daemons {
        let reloaded = Access::of_daemon(daemon)?.reload()?;
        let who = match &daemon.hello.mountpoint {
            Some(mountpoint) => show::name(&mountpoint.0),
            None => format!("process {}", daemon.hello.pid),
        };
        if reloaded.changed.is_empty() && reloaded.needs_remount.is_empty() {
            writeln!(out, "{who}: nothing has changed")?;
        }
        for option in &reloaded.changed {
            writeln!(out, "{who}: {} from now on", show::text(option))?;
        }
        for option in &reloaded.needs_remount {
            let option = show::text(option);
            writeln!(out, "{who}: {option} has changed, and takes a new mount")?;
        }
    }
    Ok(out.flush()?)
}
