//! `cachefs warm`.

mod common;

use common::{Scene, eventually, noise, run};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn what_was_warmed_is_read_without_the_origin() {
    let scene = Scene::new();
    let content = noise((3 << 20) + 17);
    scene.file("file", &content);
    scene
        .succeed(&["warm", "file"])
        .says(&["1 file cached", "3.00 MiB copied", "0 failed"]);
    let ran = scene.succeed(&["cat", "-v", "file"]);
    assert!(ran.stdout == content);
    ran.says(&["3.00 MiB from the cache", "0 B read from the origin"]);
}

#[test]
fn what_is_there_is_not_copied_again() {
    let scene = Scene::new();
    scene.file("file", &noise(2 << 20));
    scene.succeed(&["warm", "file"]);
    scene
        .succeed(&["warm", "file"])
        .says(&["0 B copied", "2.00 MiB were there"]);
}

#[test]
fn quiet_says_nothing() {
    let scene = Scene::new();
    scene.file("file", b"x");
    assert_eq!(scene.succeed(&["warm", "-q", "file"]).stderr, "");
}

#[test]
fn a_directory_is_warmed_but_for_what_cannot_be() {
    let scene = Scene::new();
    scene.file("d/one", b"1");
    scene.file("d/e/two", b"22");
    scene.file("elsewhere/three", b"333");
    let name = OsStr::from_bytes(b"caf\xe9\n");
    scene.file(Path::new("d").join(name), b"4444");
    std::fs::write(scene.outside().join("secret"), b"s").unwrap();
    let link = |target: &str, name: &str| symlink(target, scene.origin().join(name)).unwrap();
    link("../../secret", "d/out");
    link("/etc/passwd", "d/absolute");
    link("nowhere", "d/dangling");
    link("..", "d/e/circle");
    link("../elsewhere", "d/inside");
    let fifo = scene.origin().join("d/fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();

    let ran = scene.succeed(&["warm", "d"]);
    ran.says(&["skipped", "d/out", "leads out of the origin"]);
    ran.says(&["skipped", "d/absolute", "leads out of the origin"]);
    ran.says(&["skipped", "d/dangling", "leads nowhere"]);
    ran.says(&["skipped", "d/fifo", "a FIFO"]);
    ran.says(&["4 files cached", "4 skipped, 0 failed"]);

    let listed = scene.json(&["ls"]);
    let mut sizes: Vec<u64> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["size"].as_u64().unwrap())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2, 3, 4]);
}

#[test]
fn a_name_need_not_be_utf8() {
    let scene = Scene::new();
    let name = OsStr::from_bytes(b"caf\xe9");
    scene.file(name, b"content");
    scene.succeed(&[OsStr::new("warm"), name]);
    let ran = scene.succeed(&[OsStr::new("cat"), OsStr::new("-v"), name]);
    assert_eq!(ran.text(), "content");
    ran.says(&["7 B from the cache", "0 B read from the origin"]);
    let listed = scene.json(&["ls"]);
    assert_eq!(listed[0]["path"], "caf\u{fffd}");
    let exact: Vec<u8> = b"caf\xe9".to_vec();
    assert_eq!(listed[0]["path_bytes"], serde_json::json!(exact));
}

#[test]
fn what_is_named_must_be_warmed() {
    let scene = Scene::new();
    scene.file("good", b"good");
    symlink("/etc/passwd", scene.origin().join("out")).unwrap();
    let ran = scene.run(&["warm", "nowhere", "out", "/etc/passwd", "good"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["nowhere", "No such file"]);
    ran.says(&["/out", "leads out of the origin"]);
    ran.says(&["/etc/passwd", "not below the origin"]);
    ran.says(&["1 file cached", "0 skipped, 3 failed"]);
    assert!(ran.stderr.lines().all(|line| line.starts_with("cachefs: ")));
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let scene = Scene::new();
    for name in ["d/a", "d/b", "d/c"] {
        scene.file(name, b"x");
    }
    let locked = scene.origin().join("d/b");
    std::fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    // Root would read it.
    let (mut command, home) = scene.tool_of_nobody();
    command.arg("--cache").arg(home.join("cache"));
    command.arg("--origin").arg(scene.origin());
    let ran = run(command.args(["warm", "d"]));
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["d/b: Permission denied"]);
    ran.says(&["2 files cached", "1 failed"]);
}

#[test]
fn the_cache_inside_the_origin_is_left_out() {
    let scene = Scene::new();
    scene.file("file", b"x");
    let cache = scene.origin().join("cache");
    let mut command = scene.tool();
    command.env("CACHEFS_DIR", &cache);
    let ran = run(command.args(["warm", "."]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.says(&["skipped", "it is the cache"]);
    ran.says(&["1 file cached", "1 skipped, 0 failed"]);
}

#[test]
fn a_limit_is_enforced_by_storing_and_not_by_looking() {
    let scene = Scene::new();
    scene.file("a", &noise(3 << 20));
    scene.file("b", &noise(3 << 20));
    scene.succeed(&["warm", "a", "b"]);
    // Looking with a small limit evicts nothing; storing with one does.
    scene.succeed(&["stat", "-o", "capacity_bytes=4M"]);
    scene.succeed(&["ls", "-o", "capacity_bytes=4M"]);
    let json = scene.json(&["stat"]);
    assert_eq!(json["cached_objects"], 2);
    assert_ne!(json["capacity_bytes"], 4 << 20);
    scene.file("c", &noise(512 << 10));
    scene.succeed(&["warm", "-o", "capacity_bytes=4M", "c"]);
    assert_eq!(scene.json(&["stat"])["cached_objects"], 2);
}

#[test]
fn ctrl_c_leaves_what_was_copied() {
    let scene = Scene::new();
    let size = 4 << 30;
    let large = File::create(scene.origin().join("large")).unwrap();
    // Something in every chunk, since holes are not copied.
    for chunk in 0..size >> 20 {
        large.write_all_at(b"x", chunk << 20).unwrap();
    }
    large.set_len(size).unwrap();
    let mut command = scene.tool();
    // Slow, so that little is written before the signal.
    command.args([
        "warm",
        "large",
        "-o",
        "capacity_bytes=1T",
        "-o",
        "fill_depth=1",
    ]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The data file, and four chunks of it: one at least is published.
    eventually("something is copied", || {
        bytes_below(&scene.cache().join("objects")) > 4 << 20
    });
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(130), "{status}");
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(
        stderr.contains("cachefs: interrupted: 0 files cached"),
        "{stderr}"
    );

    let report = &scene.json(&["stat", "large"])[0];
    let present = report["bytes_present"].as_u64().unwrap();
    assert!(present > 0 && present < size, "{report}");
    assert_eq!(scene.json(&["stat"])["state"], "normal");
}

/// Bytes on disk of everything below a directory, 0 if it is not there.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = directory.read_dir() else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
