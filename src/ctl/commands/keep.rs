//! `cachefs pin`, `unpin` and `evict`: what is cached of files is kept, or goes.

use crate::access::{Access, Asked};
use crate::args::Files;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use std::path::Path;

/// Keeps what is cached of files from being evicted.
pub fn pin(context: &Context, args: &Files) -> Outcome {
    each(context, args, |access, path| access.pin(path, true))
}

/// The reverse.
pub fn unpin(context: &Context, args: &Files) -> Outcome {
    each(context, args, |access, path| access.pin(path, false))
}

/// Removes what is cached of files.
pub fn evict(context: &Context, args: &Files) -> Outcome {
    each(context, args, Access::evict)
}

fn each(context: &Context, args: &Files, act: impl Fn(&Access, &Path) -> Asked<()>) -> Outcome {
    let access = context.access_files(Context::look)?;
    let roots = access.roots()?;
    let mut failed = false;
    for name in &args.files {
        let acted = roots.find(name).and_then(|path| {
            let acted = act(&access, &path);
            acted.map_err(|refusal| {
                let name = show::path(name);
                format!("{name}: {}", show::text(&refusal.message))
            })
        });
        if let Err(message) = acted {
            context.console.say(message);
            failed = true;
        }
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}
