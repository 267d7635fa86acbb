//! The tool `cachefs`: looks after a cache directory from the command line.
//!
//! | file | what it does |
//! |---|---|
//! | `args` | the command line, and its help |
//! | `options` | cache options from text, and the table of them |
//! | `context` | what the command line says about cache and origin, opened |
//! | `access` | the way to a cache: through its daemon, or its directory |
//! | `place` | names on the command line to paths below the origin |
//! | `commands/` | one file for each command |
//! | `console`, `log` | everything that is written to stderr |
//! | `show` | names and numbers for people and for JSON |
//! | `failure` | why a command ends, and its exit status |

mod access;
mod args;
mod commands;
mod console;
mod context;
mod failure;
mod log;
mod options;
mod place;
mod show;

use args::Args;
use clap::Parser;
use console::Console;
use context::Context;
use failure::{Failure, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    let console = Console::default();
    match run(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                console.say(message);
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run(console: &Console) -> Outcome {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            return Err(Failure::usage(text.trim_end()));
        }
        // Help and version are what was asked for.
        Err(text) => return Ok(text.print()?),
    };
    let context = Context::new(&args, console.clone())?;
    commands::run(&context, &args.command)
}
