//! The mode that does not ask the origin each time.

mod common;

use common::{Scene, noise, probe, say};
use std::fs;
use std::process::Command;

const SIZE: usize = 100_000;

fn open(scene: &Scene, mode: &str, how: &str, path: &std::path::Path) -> String {
    say(scene
        .command(probe())
        .env("CACHEFS_MODE", mode)
        .arg(how)
        .arg(path))
}

/// Another version, of which the library is not told.
fn change(path: &std::path::Path) {
    fs::write(path, noise(SIZE, 2)).unwrap();
}

#[test]
fn within_its_time_the_origin_is_not_asked() {
    for how in ["open", "openat64", "fopen"] {
        let (scene, path) = Scene::with_file(SIZE);
        let first = open(&scene, "trust", how, &path);
        assert!(first.contains("where cache"), "{first}");
        change(&path);
        assert_eq!(open(&scene, "trust", how, &path), first, "{how}");
        assert!(open(&scene, "verify", how, &path).contains("where origin"));
    }
}

#[test]
fn a_report_tells_of_opens_without_the_origin_and_of_their_bytes() {
    let (scene, path) = Scene::with_file(10_000);
    let mut command = scene.command("cat");
    let command = command.env("CACHEFS_MODE", "trust");
    let command = command
        .env("CACHEFS_REPORT", "1")
        .args([&path, &path, &path]);
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    for line in [
        ": opened in the cache: 3\n",
        ":   without asking the origin: 2\n",
        ": bytes of the files opened in the cache: 30000\n",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn after_its_time_the_origin_is_asked() {
    let (scene, path) = Scene::with_file(SIZE);
    assert!(open(&scene, "trust:1", "open", &path).contains("where cache"));
    change(&path);
    std::thread::sleep(std::time::Duration::from_millis(10));
    let with = open(&scene, "trust:1", "open", &path);
    let without = say(Command::new(probe()).arg("open").arg(&path));
    assert_eq!(with, without);
}

#[test]
fn what_a_program_with_the_library_changes_is_asked_for_anew() {
    let changes = [
        "head -c 5 /dev/zero > d/file",
        "truncate -s 5 d/file",
        "cp d/other d/file",
        "mv d/other d/file",
        "rm d/file; mv d/other d/file",
        "ln -f d/other d/file",
        "dd if=/dev/zero of=d/file bs=5 count=1 status=none",
        "sed -i s/a/b/ d/file",
    ];
    for change in changes {
        let (scene, path) = Scene::with_file(SIZE);
        scene.file("d/other", b"short");
        assert!(open(&scene, "trust", "open", &path).contains("where cache"));
        // With the file's absolute name, and with a relative one.
        let script = change.replace("d/", &format!("{}/d/", scene.origin().display()));
        let mut shell = scene.command("sh");
        say(shell.arg("-c").arg(&script).current_dir("/"));
        let with = open(&scene, "trust", "open", &path);
        let without = say(Command::new(probe()).arg("open").arg(&path));
        assert_eq!(with, without, "{script}");

        let (scene, path) = Scene::with_file(SIZE);
        scene.file("d/other", b"short");
        assert!(open(&scene, "trust", "open", &path).contains("where cache"));
        let mut shell = scene.command("sh");
        say(shell.arg("-c").arg(change).current_dir(scene.origin()));
        let with = open(&scene, "trust", "open", &path);
        let without = say(Command::new(probe()).arg("open").arg(&path));
        assert_eq!(with, without, "{change}");
    }
}

#[test]
fn what_is_invalidated_for_the_cache_is_asked_for_anew() {
    let (scene, path) = Scene::with_file(SIZE);
    assert!(open(&scene, "trust", "open", &path).contains("where cache"));
    change(&path);
    let cache = cachefs_core::Cache::open(&scene.cache(), &common::config()).unwrap();
    let options = cachefs_core::OriginOptions::default();
    let origin = cache.open_directory(&scene.origin(), &options).unwrap();
    origin.invalidate(b"d/file").unwrap();
    assert!(open(&scene, "trust", "open", &path).contains("where origin"));
    drop(origin);
    cache.close().unwrap();
}

#[test]
fn what_was_evicted_is_opened_at_the_origin() {
    let (scene, path) = Scene::with_file(SIZE);
    assert!(open(&scene, "trust", "open", &path).contains("where cache"));
    for bucket in fs::read_dir(scene.cache().join("objects")).unwrap() {
        for file in fs::read_dir(bucket.unwrap().path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    let with = open(&scene, "trust", "open", &path);
    let without = say(Command::new(probe()).arg("open").arg(&path));
    assert_eq!(with, without);
}
