//! This program once more, as a process that a test starts and kills.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Killed also when the test fails.
pub(crate) struct Child(std::process::Child);

impl Child {
    /// Runs one test, which is told by its environment that it is not the first.
    pub(crate) fn start(test: &str, environment: &[(&str, &OsStr)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]);
        command.envs(environment.iter().copied());
        command.stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits until it has made a file.
    pub(crate) fn wait_for(&mut self, path: &Path, limit: Duration) {
        let end = Instant::now() + limit;
        while !path.exists() {
            assert!(Instant::now() < end, "the process does not begin");
            self.assert_alive();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn assert_alive(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it ended by itself");
    }

    /// Waits until it has ended, which it does by itself and without a failure.
    pub(crate) fn ends_well(mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the process does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(self.0.wait().unwrap().success(), "it failed");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}
