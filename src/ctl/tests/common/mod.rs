//! A cache, an origin, and the tool run on them.

// Each test file is a program of its own, which has this as a module and uses a part of it:
// what one leaves aside is no dead code.
#![allow(dead_code)]

use rustix::process::geteuid;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Long enough for anything that works, on a busy machine as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// A directory with `origin` in it, and room for `cache`.
pub struct Scene {
    directory: tempfile::TempDir,
}

/// What a run of the tool wrote, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; None if a signal ended it.
    pub status: Option<i32>,
    /// Exact bytes of stdout.
    pub stdout: Vec<u8>,
    /// stderr as text.
    pub stderr: String,
}

impl Scene {
    /// An empty origin, and no cache yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        // Other users may come here: some tests run as one.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
            .expect("open it to others");
        std::fs::create_dir(directory.path().join("origin")).expect("make the origin");
        Self { directory }
    }

    /// The root of the origin.
    pub fn origin(&self) -> PathBuf {
        self.directory.path().join("origin")
    }

    /// The cache directory.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// What holds both.
    pub fn outside(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a file of the origin, with the directories above it.
    pub fn file(&self, path: impl AsRef<Path>, content: &[u8]) {
        let full = self.origin().join(path);
        std::fs::create_dir_all(full.parent().expect("it is below the origin"))
            .expect("make the directories");
        std::fs::write(full, content).expect("write the file");
    }

    /// The tool, told of this cache and this origin, and of nothing else.
    pub fn tool(&self) -> Command {
        let mut command = bare_tool(env!("CARGO_BIN_EXE_cachefs"));
        command
            .env("CACHEFS_DIR", self.cache())
            .env("CACHEFS_ORIGIN", self.origin())
            .current_dir(self.origin());
        command
    }

    /// The tool, told of nothing, run by somebody who is not root, and a
    /// directory that is his.
    pub fn tool_of_nobody(&self) -> (Command, PathBuf) {
        // A copy, since he may not go where the build is.
        let program = self.outside().join("tool");
        std::fs::copy(env!("CARGO_BIN_EXE_cachefs"), &program).expect("copy the tool");
        let home = self.outside().join("home");
        std::fs::create_dir(&home).expect("make a directory");
        let mut command = bare_tool(program);
        command.current_dir("/");
        if geteuid().is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("give it away");
            command.uid(NOBODY).gid(NOBODY);
        }
        (command, home)
    }

    /// Runs the tool.
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        run(self.tool().args(words))
    }

    /// Runs the tool, which must succeed.
    pub fn succeed<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran
    }

    /// What the tool writes with `--json`.
    pub fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let ran = self.succeed(&words);
        serde_json::from_slice(&ran.stdout).expect("it is JSON")
    }
}

/// The tool without anything in its environment that it would heed.
pub fn bare_tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in [
        "CACHEFS_DIR",
        "CACHEFS_ORIGIN",
        "CACHEFS_OPTIONS",
        "CACHEFS_LOG",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    // A program that was just copied is busy while another thread's child,
    // between fork and exec, still has it open for writing.
    let output: Output = loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
            output => break output.expect("start the tool"),
        }
    };
    Ran {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
    }
}

impl Ran {
    /// stdout as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("it is UTF-8")
    }

    /// Checks that stderr has a line with all of these.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(
            self.stderr.lines().any(has_all),
            "no line with {parts:?} in {self:?}"
        );
    }
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that differ from place to place.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}
