//! The functions that are replaced: those of the list, and all that programs open files by.

mod common;

use common::{library, say};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

#[macro_use]
#[path = "../symbols.rs"]
mod list;

macro_rules! name_each {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
    };
}

for_each_symbol!(name_each);

/// Programs whose imports are looked at, where they are installed.
const PROGRAMS: &[&str] = &[
    "ar",
    "awk",
    "bash",
    "cat",
    "cmp",
    "cp",
    "dd",
    "diff",
    "fio",
    "find",
    "gcc",
    "git",
    "grep",
    "gzip",
    "head",
    "install",
    "ld",
    "make",
    "mv",
    "nginx",
    "perl",
    "python3",
    "redis-check-rdb",
    "rsync",
    "sed",
    "sha256sum",
    "sort",
    "sqlite3",
    "tail",
    "tar",
    "tee",
    "wc",
    "xz",
    "zstd",
];

/// What opens files, locks them, or tells what an open one is, and is not replaced; why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("opendir", "directories are not cached"),
    ("fdopendir", "directories are not cached"),
    ("fdopen", "the descriptor is there already"),
    ("popen", "starts a program"),
    ("lstat", "a name leads to the origin"),
    ("lstat64", "a name leads to the origin"),
    ("__lxstat", "a name leads to the origin"),
    ("__lxstat64", "a name leads to the origin"),
    ("dlopen", "the dynamic linker opens what it maps itself"),
    ("openlog", "no file"),
    ("fopencookie", "no file"),
    ("open_memstream", "no file"),
    (
        "fstatfs",
        "what the descriptor is on is the cache's file system",
    ),
    (
        "fstatfs64",
        "what the descriptor is on is the cache's file system",
    ),
    (
        "fstatvfs",
        "what the descriptor is on is the cache's file system",
    ),
    (
        "fstatvfs64",
        "what the descriptor is on is the cache's file system",
    ),
    ("statfs", "a name leads to the origin"),
    ("statfs64", "a name leads to the origin"),
    ("statvfs", "a name leads to the origin"),
    ("statvfs64", "a name leads to the origin"),
    ("openpty", "no file"),
    ("shm_open", "no file of an origin"),
    ("mq_open", "no file"),
    ("sem_open", "no file"),
    ("flockfile", "no file"),
    (
        "posix_spawn_file_actions_addopen",
        "the C library opens what a new process is to have",
    ),
    ("catopen", "reads a file by itself, from the origin"),
    ("iconv_open", "no file of an origin"),
    ("acl_get_fd", "asks by fgetxattr"),
];

fn symbols(options: &[&str], file: &PathBuf) -> BTreeSet<String> {
    let lines = say(Command::new("nm").args(options).arg(file));
    let name = |line: &str| {
        let word = line.split_whitespace().last()?;
        Some(word.split('@').next()?.to_owned())
    };
    lines.lines().filter_map(name).collect()
}

/// Whether a name looks like a function of these kinds.
fn is_of_interest(name: &str) -> bool {
    let plain = name.trim_start_matches('_');
    let starts = [
        "open", "creat", "fopen", "freopen", "fstat", "stat", "lstat", "fxstat",
    ];
    let also = ["xstat", "lxstat", "flock", "lockf", "fcntl", "ioctl"];
    let ends = ["open", "open64"];
    let of_libc = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    of_libc(name)
        && (starts
            .iter()
            .chain(&also)
            .any(|start| plain.starts_with(start))
            || ends.iter().any(|end| plain.ends_with(end)))
}

fn libraries_and_programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    directories.push("/usr/sbin".into());
    let found = |name: &&str| {
        let mut places = directories.iter().map(|directory| directory.join(name));
        let place = places
            .find(|place| std::fs::read(place).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")));
        if place.is_none() {
            eprintln!("skipped: {name} is not installed, or is a script");
        }
        place
    };
    PROGRAMS.iter().filter_map(found).collect()
}

#[test]
fn the_library_exports_what_is_listed_and_nothing_else() {
    let exported = symbols(&["-D", "--defined-only"], &library());
    let listed: BTreeSet<String> = LISTED.iter().map(|name| (*name).to_owned()).collect();
    let missing: Vec<_> = listed.difference(&exported).collect();
    assert!(missing.is_empty(), "not exported: {missing:?}");
    let inner =
        |name: &&String| !name.starts_with("cachefs_preload_") && *name != "rust_eh_personality";
    let more: Vec<_> = exported.difference(&listed).filter(inner).collect();
    assert!(more.is_empty(), "exported and not listed: {more:?}");
}

#[test]
fn programs_open_files_by_nothing_else() {
    let libc: BTreeSet<String> = symbols(
        &["-D", "--defined-only"],
        &PathBuf::from(say(Command::new("cc").arg("-print-file-name=libc.so.6")).trim()),
    );
    let mut uncovered = Vec::new();
    for program in libraries_and_programs() {
        for name in symbols(&["-D", "--undefined-only"], &program) {
            let is_known =
                LISTED.contains(&name.as_str()) || LEFT_OUT.iter().any(|(left, _)| *left == name);
            if is_of_interest(&name) && libc.contains(&name) && !is_known {
                uncovered.push(format!("{}: {name}", program.display()));
            }
        }
    }
    assert!(uncovered.is_empty(), "{uncovered:#?}");
}

#[test]
fn a_function_that_is_not_listed_would_be_found() {
    for name in [
        "__open_nocancel2",
        "open128",
        "fopen128",
        "__fxstat128",
        "fstatat128",
    ] {
        assert!(is_of_interest(name), "{name}");
    }
}

/// Each library that is loaded besides makes every start slower: libgcc_s takes twice as long
/// as all else.
#[test]
fn nothing_but_libc_is_loaded_with_the_library() {
    let listed = say(Command::new("readelf").arg("-dW").arg(library()));
    let needed: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .filter(|name| !name.starts_with("libc.so.") && !name.starts_with("ld-linux"))
        .collect();
    assert_eq!(needed, <&[&str]>::default());
}
