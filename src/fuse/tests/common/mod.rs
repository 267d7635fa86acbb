//! An origin, a cache and a mount of them, which goes when the test does.

// Each test file is a program of its own, which has this as a module and uses a part of it:
// what one leaves aside is no dead code.
#![allow(dead_code)]

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Long enough for anything that works, on a busy machine as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with `origin` and `mnt` in it, and room for `cache`.
pub struct Scene {
    directory: tempfile::TempDir,
}

/// Why nothing can be mounted here.
pub fn refusal() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("to mount takes root");
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse");
    }
    None
}

/// A scene, or the reason why there is none, told.
pub fn scene() -> Option<Scene> {
    if let Some(why) = refusal() {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Scene::new())
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        // Other users may come here: some tests run as one.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), mode).expect("open it to others");
        for name in ["origin", "mnt"] {
            fs::create_dir(directory.path().join(name)).expect("make a directory");
        }
        Self { directory }
    }

    pub fn origin(&self) -> PathBuf {
        self.directory.path().join("origin")
    }

    pub fn mnt(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// What holds all of them.
    pub fn outside(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a file of the origin, with the directories above it.
    pub fn file(&self, path: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let full = self.origin().join(path);
        fs::create_dir_all(full.parent().expect("it is below the origin"))
            .expect("make the directories");
        fs::write(&full, content).expect("write the file");
        full
    }

    /// Mounts with the daemon in the foreground.
    pub fn mount(&self, options: &str) -> Mounted<'_> {
        let mut command = self.daemon(options);
        command.arg("-f").stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the daemon");
        let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let said = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&said);
        let listener = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lock().expect("nobody panics with it").push(line);
            }
        });
        let mut mounted = Mounted {
            scene: self,
            child: Some(child),
            said,
            listener: Some(listener),
        };
        mounted.wait_until_up();
        mounted
    }

    /// The daemon with this origin and this cache.
    pub fn daemon(&self, options: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
        let mut list = OsString::from("cache_dir=");
        list.push(self.cache());
        if !options.is_empty() {
            list.push(",");
            list.push(options);
        }
        command
            .arg(self.origin())
            .arg(self.mnt())
            .arg("-o")
            .arg(list);
        command.env_remove("CACHEFS_LOG");
        command
    }

    /// Whether something is mounted.
    pub fn is_mounted(&self) -> bool {
        mount_type(&self.mnt()).is_some()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Whatever a test has left, also when it failed.
        while self.is_mounted() {
            let flags = UnmountFlags::DETACH;
            if rustix::mount::unmount(self.mnt(), flags).is_err() {
                break;
            }
        }
    }
}

/// The type of what is mounted on a path.
pub fn mount_type(path: &Path) -> Option<String> {
    let text = fs::read("/proc/self/mountinfo").expect("read the mounts");
    let text = String::from_utf8_lossy(&text).into_owned();
    let path = path.to_str().expect("the tests' paths are UTF-8");
    text.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(4) == Some(path)).then(|| {
            let rest: Vec<&str> = fields.skip_while(|field| *field != "-").collect();
            rest[1].to_owned()
        })
    })
}

/// A mount and its daemon.
pub struct Mounted<'a> {
    scene: &'a Scene,
    child: Option<Child>,
    said: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

impl Mounted<'_> {
    fn wait_until_up(&mut self) {
        let limit = Instant::now() + PATIENCE;
        while !self.has_said("is mounted on") {
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("ask for the daemon") {
                panic!("the daemon has ended with {status}: {:?}", self.log());
            }
            assert!(Instant::now() < limit, "no mount: {:?}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A path on the mount.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.scene.mnt().join(path)
    }

    /// What the daemon has written.
    pub fn log(&self) -> Vec<String> {
        self.said.lock().expect("nobody panics with it").clone()
    }

    pub fn has_said(&self, text: &str) -> bool {
        self.log().iter().any(|line| line.contains(text))
    }

    /// Whether complete files go to the kernel; else why is told.
    pub fn passes_through(&self) -> bool {
        let passes = self.has_said("are handed to the kernel");
        if !passes {
            eprintln!("skipped: {:?}", self.log());
        }
        passes
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// System calls of the daemon that read or write.
    pub fn calls(&self) -> u64 {
        let io = format!("/proc/{}/io", self.pid().as_raw_nonzero());
        let io = fs::read_to_string(io).expect("read its counters");
        let numbers = io.lines().filter(|line| line.starts_with("sysc"));
        let numbers = numbers.map(|line| line.split(' ').nth(1).expect("a number"));
        numbers
            .map(|number| number.parse::<u64>().expect("a number"))
            .sum()
    }

    /// The same once nothing is under way any more: releases come late, and the daemon
    /// looks after its threads.
    pub fn calls_at_rest(&self) -> u64 {
        let mut before = self.calls();
        eventually("the daemon rests", || {
            thread::sleep(Duration::from_millis(30));
            let now = self.calls();
            std::mem::replace(&mut before, now) == now
        });
        before
    }

    /// Whether reads of a new open are served without the daemon, past the page cache.
    pub fn is_the_kernels(&self, name: &str) -> bool {
        let file = open_direct(&self.path(name));
        let mut memory = vec![0; 64 << 10];
        let at = memory.as_ptr().align_offset(4096);
        let before = self.calls_at_rest();
        for index in 0..8 {
            file.read_at(&mut memory[at..at + 4096], index * 4096)
                .expect("read");
        }
        self.calls() == before
    }

    /// A number of `/proc/PID/status`, in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = fs::read_to_string(status).expect("read its status");
        let line = status.lines().find(|line| line.starts_with(field));
        let words = line.expect("it has the field").split_whitespace();
        words
            .rev()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }

    /// Takes the mount away, and waits for the daemon.
    pub fn unmount(mut self) -> ExitStatus {
        rustix::mount::unmount(self.scene.mnt(), UnmountFlags::empty()).expect("unmount");
        self.wait()
    }

    /// Sends a signal, and waits for the daemon.
    pub fn signal(mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).expect("signal the daemon");
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let status = wait_for(&mut child);
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener does not panic");
        }
        if !status.success() {
            eprintln!("the daemon ended with {status}: {:#?}", self.log());
        }
        status
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It fails where the test did the same.
            let _gone = rustix::mount::unmount(self.scene.mnt(), UnmountFlags::DETACH);
            let _gone = kill_process(Pid::from_child(&child), Signal::TERM);
            wait_for(&mut child);
            if thread::panicking() {
                eprintln!("the daemon has said: {:#?}", self.log());
            }
        }
    }
}

/// Waits for a process, which is killed if it takes too long.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("wait for it") {
            return status;
        }
        if Instant::now() > limit {
            child.kill().expect("kill it");
            child.wait().expect("wait for it");
            panic!("a process did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that differ from place to place.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Waits until a file's time is old enough to be trusted.
pub fn settle() {
    thread::sleep(Duration::from_millis(60));
}

/// What there is of a tree: kind, mode, owner, links, number, size, time, target.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let of = full.symlink_metadata().expect("stat");
        let target = if of.is_symlink() {
            fs::read_link(&full)
                .expect("read a link")
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        let text = format!(
            "{:o} {}:{} {} {} {} {}.{} {target:?}",
            of.mode(),
            of.uid(),
            of.gid(),
            of.nlink(),
            of.ino(),
            of.size(),
            of.mtime(),
            of.mtime_nsec(),
        );
        if of.is_dir() {
            for entry in fs::read_dir(&full).expect("list") {
                left.push(path.join(entry.expect("an entry").file_name()));
            }
        }
        all.insert(path, text);
    }
    all
}

/// Runs a program, which must succeed; what it wrote.
#[track_caller]
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{command:?}: {status}: {stderr}");
    stdout
}

/// Reads a whole file in pieces of so many bytes.
pub fn read_in_pieces(path: &Path, piece: usize) -> Vec<u8> {
    use std::io::Read;
    let mut file = File::open(path).expect("open");
    let mut all = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match file.read(&mut buffer).expect("read") {
            0 => return all,
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Opens a file to be read past the page cache.
pub fn open_direct(path: &Path) -> File {
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECT);
    options.open(path).expect("open past the page cache")
}
