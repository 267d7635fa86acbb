//! Compiles every `capi-tests/c/*.c` against the staged library and runs it on
//! both engines; with `CACHEFS_VALGRIND=1`, under valgrind on psync instead.
//!
//! A program passes with exit status 0, is skipped with 77 (the reason is the
//! last line it wrote), and has failed with any other, or when it takes too
//! long. It runs in a directory of its own, given in `T_DIR`; `T_ENGINE` names
//! the engine, `T_HUNG_FS` the file system of `t_hung.h`, and `T_VALGRIND` is set under valgrind.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capi_tests::program::Outcome;
use capi_tests::{paths, program};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Every program ends within a few seconds; this is for a machine under load.
const LIMIT: Duration = Duration::from_secs(60);

/// valgrind runs one thread at a time, and each some 30 times slower.
const LIMIT_VALGRIND: Duration = Duration::from_secs(300);

const SKIPPED: i32 = 77;

/// valgrind found something; no test exits with this itself.
const VALGRIND_ERROR: i32 = 9;

const FLAGS: [&str; 7] = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-g",
    "-pthread",
];

/// How a program is run.
#[derive(Clone, Copy)]
enum Way {
    Uring,
    Psync,
    Valgrind,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Uring => "uring",
            Way::Psync => "psync",
            Way::Valgrind => "valgrind",
        }
    }

    fn engine(self) -> &'static str {
        match self {
            Way::Uring => "uring",
            Way::Psync | Way::Valgrind => "psync",
        }
    }

    fn limit(self) -> Duration {
        match self {
            Way::Uring | Way::Psync => LIMIT,
            Way::Valgrind => LIMIT_VALGRIND,
        }
    }

    fn command(self, binary: &Path) -> Command {
        match self {
            Way::Uring | Way::Psync => Command::new(binary),
            Way::Valgrind => {
                let mut command = Command::new("valgrind");
                command.args(["--quiet", "--leak-check=full", "--fair-sched=yes"]);
                command.args(["--num-callers=30", "--read-inline-info=no"]);
                command.arg("--errors-for-leak-kinds=definite,possible");
                command.arg("--show-leak-kinds=definite,possible");
                command.arg(format!("--error-exitcode={VALGRIND_ERROR}"));
                let suppressions = paths::repository().join("capi-tests/valgrind.supp");
                command.arg(format!("--suppressions={}", suppressions.display()));
                command.env("T_VALGRIND", "1");
                command.arg(binary);
                command
            }
        }
    }
}

/// One C test, compiled when it is first run.
struct Program {
    source: PathBuf,
    binary: PathBuf,
    compiled: OnceLock<Result<(), String>>,
}

fn main() {
    let arguments = Arguments::from_args();
    let stage = paths::stage();
    let ways = match env::var_os("CACHEFS_VALGRIND") {
        Some(_) => &[Way::Valgrind][..],
        None => &[Way::Uring, Way::Psync][..],
    };
    let mut trials = self_tests();
    for source in paths::files(&paths::repository().join("capi-tests/c"), "c") {
        let name = source
            .file_stem()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        let binary = work_directory().join("bin").join(&name);
        let program = Arc::new(Program {
            source,
            binary,
            compiled: OnceLock::new(),
        });
        for &way in ways {
            let (program, stage) = (Arc::clone(&program), stage.clone());
            let run = move || program.run(way, &stage);
            trials.push(Trial::ignorable_test(
                format!("{}::{name}", way.name()),
                run,
            ));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Programs and their directories lie in the target directory, because `/tmp`
/// is often a tmpfs, which is not what a cache is made for.
fn work_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("run_c")
}

impl Program {
    fn run(&self, way: Way, stage: &Path) -> Result<Completion, Failed> {
        self.compiled
            .get_or_init(|| compile(&self.source, &self.binary, stage))
            .clone()?;
        let mut command = way.command(&self.binary);
        verdict(&run(&mut command, way)?, way.limit())
    }
}

fn compile(source: &Path, binary: &Path, stage: &Path) -> Result<(), String> {
    let libdir = stage.join("lib");
    let directory = binary.parent().ok_or("a binary lies in a directory")?;
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let mut command = program::cc();
    command.args(FLAGS).arg("-o").arg(binary).arg(source);
    command.args(program::pkg_config(&libdir, None, &["--cflags", "--libs"]));
    command.arg(format!("-Wl,-rpath,{}", libdir.display()));
    let outcome = program::tool(&mut command);
    match outcome.status.success() {
        true => Ok(()),
        false => Err(format!("it does not compile\n{}", outcome.output)),
    }
}

fn run(command: &mut Command, way: Way) -> Result<Outcome, Failed> {
    let directory = tempfile::tempdir_in(work_directory())?;
    command.current_dir(directory.path());
    command
        .env("T_DIR", directory.path())
        .env("T_HUNG_FS", env!("CARGO_BIN_EXE_hung-fs"))
        .env("T_ENGINE", way.engine());
    let outcome = program::run(command, &directory.path().join("output"), way.limit());
    // What a test mounted and could not unmount, because it was killed, must not
    // keep its directory here for ever.
    unmount_below(directory.path());
    Ok(outcome?)
}

fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(directory)) {
        let outcome = program::tool(Command::new("umount").args(["-l", point]));
        assert!(
            outcome.status.success(),
            "umount {point}: {}",
            outcome.output
        );
    }
}

fn verdict(outcome: &Outcome, limit: Duration) -> Result<Completion, Failed> {
    match outcome.status.code() {
        Some(0) if !outcome.timed_out => Ok(Completion::Completed),
        Some(SKIPPED) => match outcome.output.trim().lines().last() {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => Err("it was skipped without a reason".into()),
        },
        _ => Err(format!("{}\n{}", outcome.told(limit), outcome.output).into()),
    }
}

/// The runner itself is seen to tell good from bad before it is believed.
fn self_tests() -> Vec<Trial> {
    let shell = |script: &'static str, limit: Duration, expected: &'static str| {
        let name = format!("runner::{expected}").replace(' ', "_");
        Trial::test(name, move || {
            let directory = tempfile::tempdir()?;
            let mut command = Command::new("sh");
            let log = directory.path().join("output");
            let outcome = program::run(command.args(["-c", script]), &log, limit)?;
            let got = match verdict(&outcome, limit) {
                Ok(Completion::Completed) => "pass".to_owned(),
                Ok(Completion::Ignored { reason }) => {
                    format!("skip {}", reason.unwrap_or_default())
                }
                Err(failed) => failed.message().unwrap_or_default().trim().to_owned(),
            };
            match got == expected {
                true => Ok(()),
                false => Err(format!("`{script}` gave: {got}").into()),
            }
        })
    };
    let second = Duration::from_secs(1);
    vec![
        shell("exit 0", LIMIT, "pass"),
        shell("echo first; echo why; exit 77", LIMIT, "skip why"),
        shell("exit 77", LIMIT, "it was skipped without a reason"),
        shell("exit 1", LIMIT, "exit 1"),
        shell("exit 9", LIMIT, "exit 9"),
        shell("kill -SEGV $$", LIMIT, "signal 11"),
        shell(
            "sleep 1000 & sleep 1000",
            second,
            "still running after 1 s: killed",
        ),
    ]
}
