//! `make install` gives a tree from which programs build with pkg-config alone,
//! shared and static.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use capi_tests::{map, paths, program};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use tempfile::TempDir;

const PREFIX: &str = "/opt/cachefs";
const LIBDIR: &str = "/opt/cachefs/lib64";

/// A tree that `make install` made below a temporary directory.
struct Installed {
    dest: TempDir,
}

impl Installed {
    fn new() -> Installed {
        let dest = tempfile::tempdir().expect("a temporary directory can be made");
        let mut make = Command::new("make");
        make.arg("-C").arg(paths::repository()).arg("install");
        make.arg(format!("PREFIX={PREFIX}"))
            .arg(format!("LIBDIR={LIBDIR}"));
        make.arg(format!("DESTDIR={}", dest.path().display()));
        program::tool(&mut make).expect("make install");
        Installed { dest }
    }

    fn path(&self, installed: &str) -> PathBuf {
        self.dest.path().join(installed.trim_start_matches('/'))
    }

    fn pkg_config(&self, questions: &[&str]) -> Vec<String> {
        program::pkg_config(&self.path(LIBDIR), Some(self.dest.path()), questions)
    }

    /// Compiles `sources` with what pkg-config says, plus `more`.
    fn compile(&self, sources: &[PathBuf], flags: &[String]) -> PathBuf {
        let binary = self.dest.path().join("program");
        let mut command = program::cc();
        command.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]);
        command.arg("-o").arg(&binary).args(sources).args(flags);
        program::tool(&mut command).expect("compiling");
        binary
    }

    /// The words of `pkg-config --static`, for a program that takes the library
    /// itself in, and everything else as it comes.
    fn static_flags(&self) -> Vec<String> {
        let flags = self.pkg_config(&["--static", "--cflags", "--libs"]);
        let name = |flag: String| match flag.as_str() {
            "-lcachefs" => "-l:libcachefs.a".to_owned(),
            _ => flag,
        };
        flags.into_iter().map(name).collect()
    }

    /// Runs the program of the README: it prints a file, read through a cache.
    fn run_hello(&self, binary: &Path, library_path: &Path) {
        let (origin, cache) = (
            self.dest.path().join("origin"),
            self.dest.path().join("cache"),
        );
        fs::create_dir_all(&origin).expect("it can be made");
        fs::write(origin.join("greeting"), "hello from the origin\n").expect("it can be written");
        let mut command = Command::new(binary);
        command.env("LD_LIBRARY_PATH", library_path);
        command.arg(&cache).arg(&origin).arg("greeting");
        let log = self.dest.path().join("log");
        let outcome = program::run(&mut command, &log, Duration::from_secs(60));
        let output = outcome.expect("it can be started").expect("hello");
        assert!(output.contains("hello from the origin"), "{output}");
    }
}

fn hello() -> PathBuf {
    paths::repository().join("examples-c/hello.c")
}

#[test]
fn a_program_builds_with_the_shared_library() {
    let installed = Installed::new();
    let binary = installed.compile(&[hello()], &installed.pkg_config(&["--cflags", "--libs"]));
    installed.run_hello(&binary, &installed.path(LIBDIR));
}

#[test]
fn a_program_builds_with_the_static_library() {
    let installed = Installed::new();
    let binary = installed.compile(&[hello()], &installed.static_flags());
    // Nowhere to find a shared library: the program must not need one.
    installed.run_hello(&binary, Path::new("/nonexistent"));
}

/// Every static library of rustc's brings Rust's standard library along; with
/// its symbols global, two of them cannot be in one program.
#[test]
fn another_static_rust_library_does_not_clash() {
    let installed = Installed::new();
    let other = installed.dest.path().join("other.rs");
    let text = "#[unsafe(no_mangle)] pub extern \"C\" fn other(n: u32) -> u32 {
        std::panic::catch_unwind(|| { assert!(n > 1); n }).unwrap_or(n + 1)
    }";
    fs::write(&other, text).expect("it can be written");
    let library = installed.dest.path().join("libother.a");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition=2024", "--crate-type=staticlib", "-o"])
        .arg(&library)
        .arg(&other);
    program::tool(&mut rustc).expect("rustc");
    let caller = installed.dest.path().join("caller.c");
    let text = "#include <cachefs.h>
        extern unsigned other(unsigned);
        int main(void) { return cachefs_version() == CACHEFS_VERSION && other(1) == 2 ? 0 : 1; }";
    fs::write(&caller, text).expect("it can be written");
    let mut flags = vec![
        "-Wl,--whole-archive".to_owned(),
        library.display().to_string(),
        "-Wl,--no-whole-archive".to_owned(),
    ];
    flags.extend(installed.static_flags());
    let binary = installed.compile(&[caller], &flags);
    program::tool(&mut Command::new(binary)).expect("caller");
}

#[test]
fn static_library_defines_the_symbols_of_the_api_alone() {
    let archive = fs::read(paths::stage().join("lib/libcachefs.a")).expect("it is installed");
    let members = ArchiveFile::parse(&*archive).expect("it is an archive");
    let mut symbols = Vec::new();
    for member in members.members() {
        let data = member
            .expect("it is well formed")
            .data(&*archive)
            .expect("it is there");
        let object = object::File::parse(data).expect("it is an object");
        let global = object
            .symbols()
            .filter(|symbol| symbol.is_global() && symbol.is_definition());
        symbols.extend(global.map(|symbol| symbol.name().expect("it has one").to_owned()));
    }
    symbols.sort();
    assert_eq!(symbols, map::symbols().into_keys().collect::<Vec<_>>());
}

#[test]
fn every_file_is_where_it_was_asked_to_be() {
    let installed = Installed::new();
    let mut find = Command::new("find");
    find.arg(installed.path(PREFIX))
        .args(["!", "-type", "d", "-printf", "%P\n"]);
    let all = program::tool(&mut find).expect("find");
    let mut all: Vec<_> = all.lines().collect();
    all.sort_unstable();
    let version = env!("CARGO_PKG_VERSION");
    let (abi, _) = version.split_once('.').expect("it has three numbers");
    let by_version = format!("lib64/libcachefs.so.{version}");
    let by_abi = format!("lib64/libcachefs.so.{abi}");
    assert_eq!(
        all,
        [
            "bin/cachefs",
            "include/cachefs.h",
            "lib/systemd/system/cachefsd@.service",
            "lib64/libcachefs.a",
            "lib64/libcachefs.so",
            &by_abi,
            &by_version,
            "lib64/libcachefs_preload.so",
            "lib64/pkgconfig/cachefs.pc",
            "sbin/cachefsd",
            "sbin/mount.cachefs",
        ]
    );
}

#[test]
fn pkg_config_tells_version_and_places() {
    let installed = Installed::new();
    assert_eq!(
        installed.pkg_config(&["--modversion"]),
        [env!("CARGO_PKG_VERSION")]
    );
    let libdir = Path::new(LIBDIR);
    assert_eq!(
        program::pkg_config(&installed.path(LIBDIR), None, &["--variable=libdir"]),
        [libdir.display().to_string()]
    );
    let include = format!("-I{}", installed.path("/opt/cachefs/include").display());
    assert_eq!(installed.pkg_config(&["--cflags"]), [include]);
}

#[test]
fn private_libraries_are_those_that_rustc_names() {
    let template = paths::read("pkgconfig/cachefs.pc.in");
    let private = template
        .lines()
        .find_map(|line| line.strip_prefix("Libs.private: "));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::repository());
    cargo.args([
        "rustc",
        "--quiet",
        "--package=libcachefs",
        "--lib",
        "--crate-type=staticlib",
    ]);
    cargo.args(["--", "--print=native-static-libs"]);
    let output = program::tool(&mut cargo).expect("cargo rustc");
    let named = output
        .lines()
        .find_map(|line| line.strip_prefix("note: native-static-libs: "));
    assert_eq!(
        private.expect("the template has them"),
        named.expect("rustc names them")
    );
}
