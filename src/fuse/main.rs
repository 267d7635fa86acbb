//! The daemon `cachefsd`: mounts a slow directory as a fast one.
//!
//! | file | what it does |
//! |---|---|
//! | `args`, `settings`, `option_names` | the command line and the options |
//! | `background`, `log`, `privileges` | what a daemon does besides |
//! | `run` | its life: mount, serve, end |
//! | `mount`, `device` | the mount, and what is agreed with the kernel |
//! | `server`, `pool`, `member` | the threads, and which request is answered where |
//! | `names`, `listing`, `opened`, `believing`, `reading` | the answers |
//! | `nodes` | what the kernel knows, by number |
//! | `tree`, `attributes` | the origin's names, and what is behind them |
//! | `passthrough`, `filling` | complete files for the kernel, and how they become so |
//! | `notices`, `forgetting` | what the kernel is told without having asked |
//! | `control`, `reloading` | what those are answered who speak to the control socket |
//! | `wire`, `reply` | the protocol |

mod args;
mod attributes;
mod background;
mod believing;
mod control;
mod device;
mod failure;
mod filling;
mod forgetting;
mod listing;
mod log;
mod member;
mod mount;
mod names;
mod nodes;
mod notices;
mod opened;
mod option_names;
mod passthrough;
mod pool;
mod privileges;
mod reading;
mod reloading;
mod reply;
mod run;
mod server;
mod settings;
mod tree;
mod wakeups;
mod wire;

use failure::Failure;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use wakeups::Wakeups;

fn main() -> ExitCode {
    match begin() {
        Ok(status) => status,
        Err(failure) => {
            // Nobody is left to be told when it cannot be written.
            let _untold = writeln!(std::io::stderr(), "cachefsd: {}", failure.message());
            ExitCode::from(failure.status())
        }
    }
}

fn begin() -> Result<ExitCode, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let Some(asked) = args::parse(&words)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if asked.fake {
        return Ok(ExitCode::SUCCESS);
    }
    if asked.background && !background::is_child() {
        return background::start(&words);
    }
    let mut settings = asked.settings;
    // Before root is given up, and that before there is a second thread.
    let wakeups = settings.keep_awake.then(Wakeups::open);
    privileges::drop_to_user(&mut settings)?;
    let (dispatch, level) = log::start(&settings)?;
    settings.wakeups = wakeups.and_then(|opened| {
        let failed = |errno: &rustix::io::Errno| {
            let why = failure::describe(&(*errno).into());
            tracing::info!("{}: {why}; processors sleep as they like", wakeups::DEVICE);
        };
        opened.inspect_err(failed).ok()
    });
    settings.config.log = Some(dispatch);
    if asked.background {
        background::begin()?;
        let shown = settings.clone();
        run::run(settings, level, move || background::ready(&shown))?;
    } else {
        run::run(settings, level, || {})?;
    }
    Ok(ExitCode::SUCCESS)
}
