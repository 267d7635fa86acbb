//! A file that is open has names of its own, by which it may be opened again, and changed.

mod common;

use common::{Scene, noise, probe, say};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const SIZE: usize = 100_000;

fn cached(scene: &Scene) -> Vec<u8> {
    fs::read(scene.data()).unwrap()
}

#[test]
fn who_opens_it_for_writing_writes_to_the_origins_file() {
    for what in [
        "again",
        "again-dev",
        "again-append",
        "again-trunc",
        "again-creat",
        "again-at",
        "again-relative",
        "again-nowhere",
        "again-there",
        "again-fopen",
        "again-truncate",
    ] {
        let (scene, path) = Scene::with_file(SIZE);
        let with = say(scene.command(probe()).arg(what).arg(&path));
        assert!(with.starts_with("where cache\n"), "{what}: {with}");
        assert!(
            cached(&scene) == noise(SIZE, 1),
            "{what}: the cache has changed"
        );
        let changed = fs::read(&path).unwrap();
        fs::write(&path, noise(SIZE, 1)).unwrap();
        let without = say(Command::new(probe()).arg(what).arg(&path));
        assert_eq!(
            with.replace("where cache", "where origin"),
            without,
            "{what}"
        );
        assert!(changed == fs::read(&path).unwrap(), "{what}");
        assert!(changed != noise(SIZE, 1), "{what}");
    }
}

#[test]
fn who_writes_to_it_is_believed_no_longer() {
    for what in ["again", "again-truncate"] {
        let (scene, path) = Scene::with_file(SIZE);
        let trusting = |what: &str| {
            let mut command = scene.command(probe());
            say(command.env("CACHEFS_MODE", "trust").arg(what).arg(&path))
        };
        assert!(trusting("open").contains("where cache"));
        trusting(what);
        let without = say(Command::new(probe()).arg("open").arg(&path));
        assert_eq!(trusting("open"), without, "{what}");
    }
}

#[test]
fn a_new_name_is_of_the_origins_file() {
    for what in ["again-link", "again-link-empty"] {
        let (scene, path) = Scene::with_file(SIZE);
        if what == "again-link-empty" && !rustix::process::geteuid().is_root() {
            eprintln!("skipped: {what} takes root");
            continue;
        }
        let said = say(scene.command(probe()).arg(what).arg(&path));
        assert!(said.starts_with("where cache\n"), "{said}");
        let link = path.with_file_name("file.link").metadata().unwrap();
        assert_eq!(link.ino(), path.metadata().unwrap().ino(), "{what}");
    }
}

#[test]
fn what_it_is_is_changed_at_the_origin() {
    for what in [
        "chmod",
        "chown",
        "fchmodat",
        "fchownat",
        "fchown",
        "utimensat",
        "utimes",
        "setxattr",
        "removexattr",
    ] {
        if what.contains("chown") && !rustix::process::geteuid().is_root() {
            eprintln!("skipped: {what} takes root");
            continue;
        }
        let (scene, path) = Scene::with_file(SIZE);
        let flags = rustix::fs::XattrFlags::empty();
        if let Err(errno) = rustix::fs::setxattr(&path, "user.test", b"value", flags) {
            return eprintln!("skipped: no user attributes here: {errno}");
        }
        scene.warm_all();
        let before = path.metadata().unwrap();
        let what = format!("again-meta-{what}");
        let with = say(scene.command(probe()).arg(&what).arg(&path));
        let changed = path.metadata().unwrap();
        assert_ne!(changed.ctime_nsec(), before.ctime_nsec(), "{what}");
        // As it was, for the one without.
        fs::write(&path, noise(SIZE, 1)).unwrap();
        fs::set_permissions(&path, before.permissions()).unwrap();
        std::os::unix::fs::chown(&path, None, Some(before.gid())).unwrap();
        rustix::fs::setxattr(&path, "user.test", b"value", flags).unwrap();
        let _none = rustix::fs::removexattr(&path, "user.one");
        let without = say(Command::new(probe()).arg(&what).arg(&path));
        assert!(with.starts_with("where cache\n"), "{what}: {with}");
        assert_eq!(
            with.replace("where cache", "where origin"),
            without,
            "{what}"
        );
        assert_eq!(scene.data().metadata().unwrap().mode(), 0o100_600, "{what}");
    }
}

#[test]
fn a_file_that_is_gone_at_the_origin_cannot_be_written_to() {
    let (scene, path) = Scene::with_file(SIZE);
    let mut command = scene.command(probe());
    let ran = command.arg("again-lost").arg(&path).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("open again: Stale file handle"), "{said}");
    assert!(cached(&scene) == noise(SIZE, 1));
}
