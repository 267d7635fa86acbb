//! `cachefs run`: becomes a program that opens files from the cache.

mod program;

use crate::access;
use crate::args::Run;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::show;
use program::Refusal;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARY: &str = "libcachefs_preload.so";
/// Where it is, for who has it elsewhere than beside this tool.
const VARIABLE: &str = "CACHEFS_PRELOAD";
/// Of an agent that is started for a program.
const AGENT_IDLE_SECONDS: &str = "60";

/// Becomes the program. Returns only if that cannot be.
pub fn run(context: &Context, args: &Run) -> Outcome {
    let (name, words) = args.words.split_first().expect("clap asks for one");
    let mut command = Command::new(name);
    command.args(words);
    let found = program::find(name).map_err(|error| cannot_run(name, &error))?;
    match program::look(&found) {
        Err(refusal) => warn(context, name, &refusal),
        Ok(hint) => {
            if let Some(hint) = hint {
                context
                    .console
                    .say(format!("{}: {hint}", show::path(Path::new(name))));
            }
            prepare(context, args, &mut command)?;
        }
    }
    Err(cannot_run(name, &command.exec()))
}

fn cannot_run(name: &OsStr, error: &std::io::Error) -> Failure {
    // As shells tell it.
    let status = match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    let text = format!("run {}: {}", show::path(Path::new(name)), describe(error));
    Failure::with_status(text, status)
}

fn warn(context: &Context, name: &OsStr, refusal: &Refusal) {
    let name = show::path(Path::new(name));
    let text = format!(
        "{name} {refusal}, so it runs without the cache: a mount by cachefsd serves it as well"
    );
    context.console.say(text);
}

/// Has the program find library, cache and origin.
fn prepare(context: &Context, args: &Run, command: &mut Command) -> Outcome {
    let Some(given) = context.origin_root() else {
        let text = "which origin? Name its root with --origin DIR or CACHEFS_ORIGIN";
        return Err(Failure::usage(text));
    };
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::new(format!("{}: {}", show::path(path), describe(error)))
    };
    let real = given
        .canonicalize()
        .map_err(|error| failed(given, &error))?;
    let library = library()?;
    if !args.no_agent {
        start_agent(context, &real)?;
    }
    let cache = context.cache_directory();
    let cache = std::path::absolute(cache).map_err(|error| failed(cache, &error))?;
    let mut origins = real.clone().into_os_string();
    // By this name programs may know it as well.
    let named = std::path::absolute(given).map_err(|error| failed(given, &error))?;
    if named != real {
        origins.push(":");
        origins.push(named);
    }
    if real.as_os_str().as_bytes().contains(&b':') {
        let text = format!("{}: a colon in the path of an origin", show::path(&real));
        return Err(Failure::usage(text));
    }
    let mut preload = library.into_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    command
        .env("LD_PRELOAD", preload)
        .env("CACHEFS_ORIGINS", origins)
        .env("CACHEFS_DIR", cache)
        .env("CACHEFS_MODE", &args.mode);
    if args.report {
        command.env("CACHEFS_REPORT", "1");
    }
    Ok(())
}

/// The library, beside this tool or where it is installed with it.
pub fn library() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let tool = std::env::current_exe().and_then(|tool| tool.canonicalize());
    let tool =
        tool.map_err(|error| Failure::new(format!("find this tool: {}", describe(&error))))?;
    let beside = tool.parent().unwrap_or(Path::new("/"));
    let triplet = format!("../lib/{}-linux-gnu", std::env::consts::ARCH);
    let places = ["", "../lib", "../lib64", &triplet].map(|place| beside.join(place).join(LIBRARY));
    let found = places.iter().find(|place| place.is_file());
    let real = found.and_then(|place| place.canonicalize().ok());
    real.ok_or_else(|| {
        let text = format!(
            "{LIBRARY} is not beside {}: name it with {VARIABLE}",
            show::path(&tool)
        );
        Failure::new(text)
    })
}

/// Whoever has the cache open for this origin copies what is missed; otherwise an agent is
/// started. It learns of this process by being asked, and stays as long as that is there:
/// what the program becomes keeps the number.
fn start_agent(context: &Context, origin: &Path) -> Outcome {
    let is_there = || !access::daemons(context.cache_directory(), Some(origin)).is_empty();
    if is_there() {
        return Ok(());
    }
    let failed =
        |error: std::io::Error| Failure::new(format!("start the agent: {}", describe(&error)));
    let mut agent = Command::new(std::env::current_exe().map_err(failed)?);
    agent.args(["agent", "--background", "--idle", AGENT_IDLE_SECONDS]);
    agent.arg("--cache").arg(context.cache_directory());
    agent.arg("--origin").arg(origin);
    for option in context.words_of_options() {
        agent.args([OsStr::new("-o"), OsStr::new(option)]);
    }
    agent
        .env_remove(crate::options::VARIABLE)
        .env_remove("LD_PRELOAD");
    let status = agent.stdin(Stdio::null()).stdout(Stdio::null()).status();
    if !status.map_err(failed)?.success() || !is_there() {
        let text = "no agent: what is not cached stays at the origin (--no-agent leaves it out)";
        context.console.say(text);
    }
    Ok(())
}

/// A directory list that is searched for programs.
fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into())
}
