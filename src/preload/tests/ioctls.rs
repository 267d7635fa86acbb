//! What ioctl(2) does to an open file, it does to the origin's.

mod common;
#[path = "../../tests/volume.rs"]
#[allow(dead_code, reason = "others mount images that are there")]
mod volume;

use common::{Scene, noise, probe, say};
use std::path::Path;
use std::process::Command;
use volume::Volume;

/// Two chunks.
const SIZE: usize = 1_500_000;

/// An origin with a file, cached.
fn in_cache(scene: &Scene, path: &Path) -> bool {
    let said = say(scene.command(probe()).arg("open").arg(path));
    said.contains("where cache")
}

/// Without attributes of this kind, there is nothing to ask for.
fn has_flags(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    let found = rustix::fs::ioctl_getflags(&file);
    found
        .inspect_err(|errno| eprintln!("skipped: no attributes here: {errno}"))
        .is_ok()
}

#[test]
fn what_is_asked_is_answered_of_the_origins_file() {
    let (scene, path) = Scene::with_file(SIZE);
    if !has_flags(&path) {
        return;
    }
    let (with, without) = scene.both(&["ioctl-ask", path.to_str().unwrap()]);
    assert!(with.contains("where cache"), "{with}");
    assert_eq!(with.replace("where cache", "where origin"), without);
}

#[test]
fn attributes_are_changed_at_the_origin() {
    for what in ["ioctl-flags", "ioctl-more"] {
        let (scene, path) = Scene::with_file(SIZE);
        if !has_flags(&path) {
            return;
        }
        assert!(in_cache(&scene, &path));
        // It changes the ctime, so that the next open is of another version.
        let (with, without) = scene.both(&[what, path.to_str().unwrap()]);
        let times = |said: &str| {
            let kept = said.lines().filter(|line| !line.starts_with("stat"));
            kept.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(
            with.starts_with("flags 40\noffset 3\nwhere origin\n"),
            "{with}"
        );
        assert_eq!(times(&with), times(&without), "{what}");
    }
}

#[test]
fn other_requests_and_other_files_are_left_alone() {
    let (scene, path) = Scene::with_file(SIZE);
    let (with, without) = scene.both(&["ioctl-others", path.to_str().unwrap()]);
    assert!(with.contains("where cache"), "{with}");
    assert_eq!(with.replace("where cache", "where origin"), without);
}

/// An origin on a file system whose files can have blocks in common, and a cache elsewhere.
fn sharing() -> Option<(Scene, Volume)> {
    let scene = Scene::new();
    let words = ["mkfs.xfs", "-q", "-m", "reflink=1"];
    let volume = Volume::mount(&scene.outside(), &words, 320)?;
    for name in ["one", "two"] {
        std::fs::write(volume.path.join(name), noise(1 << 20, 1)).unwrap();
    }
    common::settle();
    scene.warm_of(&volume.path, &common::config(), ["one", "two"]);
    Some((scene, volume))
}

fn both_of(scene: &Scene, volume: &Volume, words: &[&Path]) -> (String, String) {
    let mut with = scene.command(probe());
    with.env("CACHEFS_ORIGINS", &volume.path);
    (
        say(with.args(words)),
        say(Command::new(probe()).args(words)),
    )
}

#[test]
fn a_clone_has_the_blocks_of_the_origins_file() {
    let Some((scene, volume)) = sharing() else {
        return;
    };
    let path = volume.path.join("one");
    for what in ["ioctl-clone", "ioctl-clone-range"] {
        let (with, without) = both_of(&scene, &volume, &[what.as_ref(), &path]);
        assert!(with.starts_with("clone done, from 1\n"), "{with}");
        assert!(with.contains("shared 1"), "{with}");
        // To be read from, it stays in the cache.
        assert!(with.contains("where cache"), "{with}");
        assert_eq!(
            with.replace("where cache", "where origin"),
            without,
            "{what}"
        );
    }
}

#[test]
fn a_clone_of_what_is_gone_at_the_origin_fails_as_on_two_file_systems() {
    let Some((scene, volume)) = sharing() else {
        return;
    };
    let path = volume.path.join("one");
    let mut with = scene.command(probe());
    with.env("CACHEFS_ORIGINS", &volume.path);
    with.arg("ioctl-clone-lost").arg(&path);
    let said = say(&mut with);
    assert!(said.contains("clone Invalid cross-device link"), "{said}");
}

#[test]
fn files_of_the_origin_come_to_share_blocks() {
    let Some((scene, volume)) = sharing() else {
        return;
    };
    let (one, two) = (volume.path.join("one"), volume.path.join("two"));
    let words = ["ioctl-share".as_ref(), one.as_path(), &two];
    let mut with = scene.command(probe());
    with.env("CACHEFS_ORIGINS", &volume.path);
    let said = say(with.args(words));
    let wanted = "status 0, bytes 1048576\nwhere cache\nat ";
    assert!(said.starts_with(wanted), "{said}");
    assert!(said.contains("shared 1\nwhere origin"), "{said}");
}
