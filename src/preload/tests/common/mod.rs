//! An origin, a cache of it, and programs that run with the library.

// Not every test file uses all of it.
#![allow(dead_code)]

use cachefs_core::{Cache, Config, OriginOptions};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A directory with `origin` in it, and room for `cache`.
pub struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    /// With one file of so many bytes, wholly cached; its path.
    pub fn with_file(bytes: usize) -> (Self, PathBuf) {
        let scene = Self::new();
        let path = scene.file("d/file", &noise(bytes, 1));
        scene.warm_all();
        (scene, path)
    }

    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        // Other users may come here: some tests run as one.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("origin")).expect("make a directory");
        Self { directory }
    }

    /// Without links.
    pub fn outside(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn origin(&self) -> PathBuf {
        self.outside().join("origin")
    }

    pub fn cache(&self) -> PathBuf {
        self.outside().join("cache")
    }

    /// Makes a file of the origin, with the directories above it.
    pub fn file(&self, path: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let full = self.origin().join(path);
        fs::create_dir_all(full.parent().expect("it is below the origin")).unwrap();
        fs::write(&full, content).expect("write the file");
        full
    }

    /// Copies files into the cache, by their paths below the origin.
    pub fn warm(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) {
        self.warm_with(&config(), paths);
    }

    /// The same with options of the cache.
    pub fn warm_with(&self, config: &Config, paths: impl IntoIterator<Item = impl AsRef<Path>>) {
        self.warm_of(&self.origin(), config, paths);
    }

    /// The same of another origin.
    pub fn warm_of(
        &self,
        root: &Path,
        config: &Config,
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
    ) {
        let cache = Cache::open(&self.cache(), config).unwrap();
        let origin = cache
            .open_directory(root, &OriginOptions::default())
            .unwrap();
        for path in paths {
            let path = path.as_ref();
            let file = origin.open(path.as_os_str().as_encoded_bytes()).unwrap();
            file.fill(0, u64::MAX, |_, _| true).unwrap();
            assert!(file.residency().complete, "{}", path.display());
        }
        drop(origin);
        cache.close().unwrap();
    }

    /// The same of all files of the origin, once they are old enough to be trusted.
    pub fn warm_all(&self) {
        settle();
        let mut paths = Vec::new();
        collect(&self.origin(), Path::new(""), &mut paths);
        self.warm(paths);
    }

    /// The data file of an object, if there is one only.
    pub fn data(&self) -> PathBuf {
        let buckets = fs::read_dir(self.cache().join("objects")).unwrap();
        let files = buckets.flat_map(|bucket| fs::read_dir(bucket.unwrap().path()).unwrap());
        let mut files = files.map(|file| file.unwrap().path());
        let path = files.find(|path| path.extension().is_some_and(|end| end == "data"));
        path.unwrap()
    }

    /// What the probe says with the library, and without.
    pub fn both(&self, words: &[&str]) -> (String, String) {
        let with = say(self.command(probe()).args(words));
        let without = say(Command::new(probe()).args(words));
        (with, without)
    }

    /// A program with the library.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", library())
            .env("CACHEFS_ORIGINS", self.origin())
            .env("CACHEFS_DIR", self.cache())
            .stdin(Stdio::null());
        command
    }
}

fn collect(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(root, &path, paths);
        } else if kind.is_file() {
            paths.push(path);
        }
    }
}

pub fn config() -> Config {
    Config {
        capacity_bytes: 256 << 20,
        ..Config::default()
    }
}

/// Until files that were just written are old enough to be trusted.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

/// The library under test. For tests alone, cargo does not build what they cannot link.
pub fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cachefs-preload"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        succeed(build.current_dir(env!("CARGO_MANIFEST_DIR")));
        let test = std::env::current_exe().unwrap();
        let deps = test.parent().unwrap();
        deps.parent().unwrap().join("libcachefs_preload.so")
    });
    assert!(library.exists(), "{} is missing", library.display());
    library.clone()
}

/// Bytes that differ from seed to seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// What a program writes, which ends well.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {stderr}");
    stdout
}

/// The same as text.
pub fn say(command: &mut Command) -> String {
    String::from_utf8(succeed(command)).unwrap()
}

/// A C program of the tests, compiled once.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe.c");
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}", std::process::id()));
        compile(&[], &source, &target);
        target
    })
}

pub fn compile(flags: &[&str], source: &Path, target: &Path) {
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-Wall", "-pthread"])
        .args(flags)
        .arg("-o")
        .args([target, source]);
    succeed(&mut command);
}

/// Whether a program is not there; says so.
pub fn is_missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    !found
}
