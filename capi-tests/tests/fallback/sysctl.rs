//! A sysctl that is restored whatever becomes of this process: also when it is
//! killed, and when others do the same at the same time.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, io, thread};

use libtest_mimic::{Failed, Trial};
use rustix::fs::FlockOperation;

const IO_URING_DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Keeps the sysctl as it is while this is open, or waits until it may be changed.
/// The sysctl itself is the file that is locked: it is one for the whole system.
pub fn lock(operation: FlockOperation) -> Result<File, Failed> {
    lock_file(Path::new(IO_URING_DISABLED), operation)
}

fn lock_file(path: &Path, operation: FlockOperation) -> Result<File, Failed> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    rustix::fs::flock(&file, operation)?;
    Ok(file)
}

/// Waits for the end of its input, which comes with the end of who holds the other
/// end of the pipe, and puts the old value back. Signals of the terminal do not
/// reach it, since it is in a process group of its own. Its output is the lock,
/// which so lasts until the old value is back.
const RESTORE: &str = "cat > /dev/null; printf '%s\\n' \"$1\" > \"$2\"";

/// A value in force until this is dropped.
pub struct Held {
    guard: Child,
    path: PathBuf,
    before: String,
}

/// kernel.io_uring_disabled = 2: nobody gets a ring.
pub fn io_uring_disabled() -> Result<Held, Failed> {
    Held::set(Path::new(IO_URING_DISABLED), "2")
}

impl Held {
    fn set(path: &Path, value: &str) -> Result<Self, Failed> {
        let lock = lock_file(path, FlockOperation::LockExclusive)?;
        let before = fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?
            .trim()
            .to_owned();
        // First who restores, then what is to be restored.
        let guard = Command::new("sh")
            .args(["-c", RESTORE, "restore", &before])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(lock)
            .process_group(0)
            .spawn()?;
        let held = Self {
            guard,
            path: path.to_owned(),
            before,
        };
        match fs::write(path, value) {
            Ok(()) => Ok(held),
            Err(error) => Err(format!("set {}: {error}", path.display()).into()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let restored = self.guard.wait().is_ok_and(|status| status.success());
        let now = fs::read_to_string(&self.path).unwrap_or_default();
        let right = restored && now.trim() == self.before;
        assert!(
            right,
            "{} is {now}, and was {}",
            self.path.display(),
            self.before
        );
    }
}

/// Names the file of a program that only holds a value until it is killed.
const HOLD: &str = "FALLBACK_HOLD";

/// Is that program, if it was started as such.
pub fn hold_if_asked() {
    let Some(file) = env::var_os(HOLD) else {
        return;
    };
    let _held = Held::set(Path::new(&file), "after").expect("the file can be written");
    loop {
        thread::park();
    }
}

fn holder(file: &Path) -> io::Result<Child> {
    Command::new(env::current_exe()?).env(HOLD, file).spawn()
}

/// On files that stand for sysctls.
pub fn self_tests() -> Vec<Trial> {
    vec![
        Trial::test("harness::a_sysctl_is_changed_by_one_at_a_time", || {
            let file = tempfile::NamedTempFile::new()?;
            fs::write(&file, "before\n")?;
            let held = Held::set(file.path(), "first")?;
            let busy = lock_file(file.path(), FlockOperation::NonBlockingLockShared);
            assert!(busy.is_err());
            drop(held);
            let free = lock_file(file.path(), FlockOperation::NonBlockingLockShared)?;
            let busy = lock_file(file.path(), FlockOperation::NonBlockingLockExclusive);
            assert!(busy.is_err());
            drop(free);
            // Also of a sysctl, which is no ordinary file.
            let _shared = lock(FlockOperation::LockShared)?;
            let busy = lock(FlockOperation::NonBlockingLockExclusive);
            assert!(busy.is_err());
            Ok(())
        }),
        Trial::test("harness::a_sysctl_is_restored", || {
            let file = tempfile::NamedTempFile::new()?;
            fs::write(&file, "before\n")?;
            let held = Held::set(file.path(), "after")?;
            assert_eq!(fs::read_to_string(&file)?, "after");
            drop(held);
            assert_eq!(fs::read_to_string(&file)?, "before\n");
            Ok(())
        }),
        Trial::test(
            "harness::a_sysctl_is_restored_when_its_holder_is_killed",
            || {
                let directory = tempfile::tempdir()?;
                let file = directory.path().join("sysctl");
                fs::write(&file, "before\n")?;
                let mut holder = holder(&file)?;
                while fs::read_to_string(&file)? != "after" {
                    thread::yield_now();
                }
                holder.kill()?;
                holder.wait()?;
                // What restores it is no child of ours: it is seen by its work.
                while fs::read_to_string(&file)? != "before\n" {
                    thread::yield_now();
                }
                Ok(())
            },
        ),
    ]
}
