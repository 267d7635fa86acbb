//! `cachefs invalidate`: what is known of paths counts no more.

use crate::access::{Access, Asked};
use crate::args::Invalidate;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use std::path::Path;

/// Tells every daemon of the cache that has the origin, and with that every other user of
/// the directory; without a daemon, the directory.
pub fn run(context: &Context, args: &Invalidate) -> Outcome {
    let first = context.access_files(Context::look)?;
    let mut all = vec![first];
    for daemon in context.daemons()?.iter().skip(1) {
        all.push(Access::of_daemon(daemon)?);
    }
    let mut failed = false;
    for name in &args.paths {
        for access in &all {
            if let Err(message) = invalidate(access, name) {
                context.console.say(message);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}

fn invalidate(access: &Access, name: &Path) -> Result<(), String> {
    let roots = access
        .roots()
        .map_err(|failure| failure.message().unwrap_or_default().to_owned())?;
    let path = roots.find(name)?;
    let below = is_directory(&roots.full(&path));
    let done: Asked<_> = access.invalidate(&path, below);
    done.map(drop)
        .map_err(|refusal| format!("{}: {}", show::path(name), show::text(&refusal.message)))
}

/// What is not there any more may have been one.
fn is_directory(full: &Path) -> bool {
    full.symlink_metadata().map_or(true, |of| of.is_dir())
}
