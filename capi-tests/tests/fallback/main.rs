//! Runs the scenarios (`src/tests`) and the tests of the engines where the system
//! refuses something that the library would like to have. Each refusal is a real
//! one: a system call filter, a sysctl, a resource limit, a capability less.
//!
//! One trial a refusal and door. They run one after another: a sysctl is for the
//! whole system, and cargo runs no other test binary meanwhile.

mod environment;
mod refusal;
mod sysctl;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use capi_tests::{paths, program};
use environment::{ENVIRONMENTS, Environment, Scenarios};
use libtest_mimic::{Arguments, Failed, Trial};
use refusal::Refusal;

/// All scenarios of one door take some seconds; this is for a machine under load.
const LIMIT: Duration = Duration::from_secs(300);

fn main() {
    sysctl::hold_if_asked();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listed = arguments.list;
    let binaries = move || match listed {
        true => Binaries::default(),
        false => Binaries::build(),
    };
    let binaries: &'static Binaries = Box::leak(Box::new(binaries()));
    let mut trials = self_tests(binaries);
    for environment in &ENVIRONMENTS {
        for door in environment.doors {
            let name = format!("{}::{door}", environment.name);
            let run = move || environment.run(&binaries.scenarios, &format!("{door}::"));
            trials.push(Trial::test(name, run));
        }
        if environment.engines {
            let run = move || environment.run(&binaries.core, "io::");
            trials.push(Trial::test(format!("{}::engines", environment.name), run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The unit tests of the library and of its core, as programs.
#[derive(Default)]
struct Binaries {
    scenarios: PathBuf,
    core: PathBuf,
}

impl Binaries {
    /// With the arguments of `make check`, so that there they are built already.
    fn build() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(paths::repository());
        command.args(["test", "--workspace", "--exclude", "capi-tests", "--lib"]);
        command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
        let messages = program::tool(&mut command).expect("build the scenario tests");
        Self {
            scenarios: executable(&messages, "cachefs"),
            core: executable(&messages, "cachefs_core"),
        }
    }
}

/// Where cargo says that it put the tests of a library.
fn executable(messages: &str, target: &str) -> PathBuf {
    let name = format!("\"name\":\"{target}\",");
    let key = "\"executable\":\"";
    let of_target = messages.lines().filter(|line| line.contains(&name));
    let path = of_target.into_iter().find_map(|line| {
        let (_, rest) = line.split_once(key)?;
        rest.split_once('"').map(|(path, _)| path)
    });
    let path = PathBuf::from(path.unwrap_or_else(|| panic!("cargo builds {target}:\n{messages}")));
    assert!(path.is_file(), "{} is no file", path.display());
    path
}

impl Environment {
    /// Runs the tests whose names contain `filter`, where things are refused.
    fn run(&self, binary: &Path, filter: &str) -> Result<(), Failed> {
        let mut command = Command::new(binary);
        command.arg(filter).arg("--nocapture");
        command.arg(format!("--test-threads={}", self.threads));
        if let Scenarios::Without(skipped) = self.scenarios {
            command.args(skipped.iter().flat_map(|(name, _)| ["--skip", *name]));
        }
        command
            .env("CACHEFS_EXPECT_ENGINE", self.engine)
            .env("CACHEFS_EXPECT_REASON", self.reason)
            .env("CACHEFS_EXPECT_LOG", self.log);
        let _refused = self.refusal.apply(&mut command)?;
        tests_pass(&mut command, LIMIT)
    }
}

/// Runs unit tests; they pass if there are some and none has failed.
fn tests_pass(command: &mut Command, limit: Duration) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    // Their own place for files, so that nothing is left of those that are killed.
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary)?;
    command.env("TMPDIR", &temporary);
    let outcome = program::run(command, &directory.path().join("output"), limit)?;
    let ran = |line: &str| line.contains(" passed;") && !line.contains(" 0 passed;");
    match outcome.status.success() && !outcome.timed_out && outcome.output.lines().any(ran) {
        true => Ok(()),
        false => Err(format!("{}\n{}", outcome.told(limit), outcome.output).into()),
    }
}

/// The harness is seen to tell good from bad before it is believed.
fn self_tests(binaries: &'static Binaries) -> Vec<Trial> {
    let mut trials = sysctl::self_tests();
    let one_test = "tests::core_auto::the_engine_is_what_the_system_grants";
    let run = move |refusal: &Refusal, engine: &str| {
        let mut command = Command::new(&binaries.scenarios);
        command.arg(one_test).env("CACHEFS_EXPECT_ENGINE", engine);
        let _refused = refusal.apply(&mut command)?;
        tests_pass(&mut command, LIMIT)
    };
    let everything = Refusal::Calls(&refusal::IO_URING, libc::EPERM);
    trials.push(Trial::test(
        "harness::another_engine_than_expected_is_a_failure",
        move || {
            let failed = run(&everything, "uring").is_err();
            failed.then_some(()).ok_or_else(|| "it passed".into())
        },
    ));
    trials.push(Trial::test(
        "harness::no_test_at_all_is_a_failure",
        move || {
            let mut command = Command::new(&binaries.scenarios);
            let failed = tests_pass(command.arg("no_test_has_this_name"), LIMIT).is_err();
            failed.then_some(()).ok_or_else(|| "it passed".into())
        },
    ));
    trials.push(Trial::test(
        "harness::only_the_named_registrations_are_refused",
        refusal::only_the_named_registrations_are_refused,
    ));
    trials
}
