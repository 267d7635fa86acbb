//! What the mount shows is what the origin has.

mod common;

use common::{eventually, noise, read_in_pieces, scene, settle, succeed, tree};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn names_kinds_and_attributes_are_the_origins() {
    let Some(scene) = scene() else { return };
    scene.file("a/b/c/file", b"content");
    scene.file("empty", b"");
    scene.file(OsStr::from_bytes(b"caf\xe9 \n\x01"), b"bytes");
    scene.file("n".repeat(255), b"long");
    fs::hard_link(scene.origin().join("empty"), scene.origin().join("a/hard")).unwrap();
    symlink("../nowhere", scene.origin().join("a/dangling")).unwrap();
    symlink("c/file", scene.origin().join("a/b/link")).unwrap();
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("socket", FileType::Socket, 0),
    ] {
        let mode = Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(CWD, scene.origin().join(name), kind, mode, device).unwrap();
    }
    let setuid = fs::Permissions::from_mode(0o4711);
    fs::set_permissions(scene.origin().join("empty"), setuid).unwrap();
    let mounted = scene.mount("");
    assert_eq!(tree(&scene.mnt()), tree(&scene.origin()));
    assert_eq!(
        fs::metadata(mounted.path("null")).unwrap().rdev(),
        rustix::fs::makedev(1, 3)
    );
    assert_eq!(fs::read(mounted.path("a/b/link")).unwrap(), b"content");
    assert_eq!(
        fs::read(mounted.path(OsStr::from_bytes(b"caf\xe9 \n\x01"))).unwrap(),
        b"bytes"
    );
    assert!(mounted.unmount().success());
}

#[test]
fn a_name_of_more_than_255_bytes_is_too_long() {
    let Some(scene) = scene() else { return };
    let mounted = scene.mount("");
    let error = fs::metadata(mounted.path("n".repeat(256))).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
}

#[test]
fn a_directory_of_100000_entries_is_listed_once_each() {
    let Some(scene) = scene() else { return };
    let many = scene.origin().join("many");
    fs::create_dir(&many).unwrap();
    for index in 0..100_000 {
        File::create(many.join(format!("{index:x}"))).unwrap();
    }
    let mounted = scene.mount("");
    let listed = fs::read_dir(mounted.path("many")).unwrap();
    let names: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 100_000);
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), 100_000);
    // With attributes, which takes another way through the kernel.
    let find = |root: &Path| {
        let mut command = Command::new("find");
        let found = succeed(
            command
                .arg(".")
                .args(["-printf", "%p %s %m\n"])
                .current_dir(root),
        );
        let mut lines: Vec<_> = found
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    assert!(find(&mounted.path("many")) == find(&many));
}

#[test]
fn a_listing_can_be_resumed_where_it_was() {
    let Some(scene) = scene() else { return };
    for index in 0..500 {
        scene.file(format!("entry {index}"), b"");
    }
    let mounted = scene.mount("");
    let open = || rustix::fs::Dir::new(File::open(mounted.path("")).unwrap()).unwrap();
    let mut listing = open();
    let mut after = Vec::new();
    for _ in 0..100 {
        listing.read().unwrap().unwrap();
    }
    let cookie = listing.read().unwrap().unwrap().offset();
    while let Some(entry) = listing.read() {
        after.push(entry.unwrap().file_name().to_owned());
    }
    let mut again = Vec::new();
    listing.seek(cookie).unwrap();
    while let Some(entry) = listing.read() {
        again.push(entry.unwrap().file_name().to_owned());
    }
    assert_eq!(after, again);
    assert_eq!(after.len(), 502 - 101);
}

#[test]
fn extended_attributes_and_access_lists_are_the_origins() {
    let Some(scene) = scene() else { return };
    let file = scene.file("file", b"x");
    let flags = XattrFlags::empty();
    if let Err(errno) = rustix::fs::setxattr(&file, "user.colour", b"red", flags) {
        eprintln!("skipped: the origin's file system has no extended attributes: {errno}");
        return;
    }
    rustix::fs::setxattr(scene.origin(), "user.root", b"", flags).unwrap();
    let mounted = scene.mount("");
    for name in ["file", ""] {
        let both = [scene.origin().join(name), mounted.path(name)];
        for room in [64, 3, 2, 0] {
            let values = both.each_ref().map(|path| {
                let mut value = vec![0; room];
                let length = rustix::fs::getxattr(path, "user.colour", &mut value);
                (length, value)
            });
            assert_eq!(values[0], values[1], "{name:?} with room for {room}");
            let lists = both.each_ref().map(|path| {
                let mut list = vec![0; room];
                (rustix::fs::listxattr(path, &mut list), list)
            });
            assert_eq!(lists[0], lists[1], "{name:?} with room for {room}");
        }
    }
    let mut value = [0; 3];
    let shown = mounted.path("file");
    assert_eq!(
        rustix::fs::getxattr(&shown, "user.colour", &mut value),
        Ok(3)
    );
    assert_eq!(&value, b"red");
    assert_eq!(
        rustix::fs::getxattr(&shown, "user.taste", &mut value),
        Err(Errno::NODATA)
    );
}

#[test]
fn every_write_is_answered_with_a_read_only_file_system() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"x");
    scene.file("d/file", b"x");
    let mounted = scene.mount("");
    // The kernel refuses by itself on a read-only mount; so that the daemon is asked,
    // the mount is made writable, which only its flags are.
    for remount in [false, true] {
        if remount {
            let words = ["-i", "-o", "remount,rw"];
            succeed(Command::new("mount").args(words).arg(mounted.path("")));
        }
        let file = mounted.path("file");
        let fresh = mounted.path("fresh");
        let of = |result: std::io::Result<()>| Errno::from_io_error(&result.unwrap_err());
        let outcomes = [
            ("create", of(File::create(&fresh).map(drop))),
            (
                "open to write",
                of(OpenOptions::new().write(true).open(&file).map(drop)),
            ),
            ("open to truncate", of(File::create(&file).map(drop))),
            ("mkdir", of(fs::create_dir(&fresh))),
            ("unlink", of(fs::remove_file(&file))),
            ("rmdir", of(fs::remove_dir(mounted.path("d")))),
            ("rename", of(fs::rename(&file, &fresh))),
            ("symlink", of(symlink("x", &fresh))),
            ("link", of(fs::hard_link(&file, &fresh))),
            (
                "chmod",
                of(fs::set_permissions(
                    &file,
                    fs::Permissions::from_mode(0o600),
                )),
            ),
            ("chown", of(std::os::unix::fs::chown(&file, Some(1), None))),
            (
                "setxattr",
                rustix::fs::setxattr(&file, "user.a", b"b", XattrFlags::empty()).err(),
            ),
            (
                "removexattr",
                rustix::fs::removexattr(&file, "user.a").err(),
            ),
            (
                "mknod",
                rustix::fs::mknodat(CWD, &fresh, FileType::Fifo, Mode::RUSR, 0).err(),
            ),
        ];
        for (what, outcome) in outcomes {
            assert_eq!(outcome, Some(Errno::ROFS), "{what}, remounted: {remount}");
        }
    }
    assert_eq!(fs::read(scene.origin().join("file")).unwrap(), b"x");
}

#[test]
fn holes_are_found_and_read_as_zeros() {
    let Some(scene) = scene() else { return };
    let file = File::create(scene.origin().join("sparse")).unwrap();
    file.write_all_at(&noise(4096, 1), 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    settle();
    let mounted = scene.mount("");
    let shown = File::open(mounted.path("sparse")).unwrap();
    for (from, to) in [
        (rustix::fs::SeekFrom::Data(0), 1 << 20),
        (rustix::fs::SeekFrom::Hole(1 << 20), (1 << 20) + 4096),
    ] {
        assert_eq!(
            rustix::fs::seek(&shown, from),
            rustix::fs::seek(&file, from)
        );
        assert_eq!(rustix::fs::seek(&shown, from), Ok(to));
    }
    let all = fs::read(scene.origin().join("sparse")).unwrap();
    assert!(read_in_pieces(&mounted.path("sparse"), 100_000) == all);
}

#[test]
fn an_open_file_is_read_on_after_its_name_is_gone() {
    let Some(scene) = scene() else { return };
    let content = noise(3 << 20, 2);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("");
    let open = File::open(mounted.path("file")).unwrap();
    fs::remove_file(scene.origin().join("file")).unwrap();
    let mut bytes = vec![0; content.len()];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == content);
    assert_eq!(open.metadata().unwrap().len(), content.len() as u64);
    eventually("the name is gone", || {
        fs::metadata(mounted.path("file")).is_err()
    });
}

#[test]
fn what_changed_at_the_origin_is_seen_after_the_timeout() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"before");
    scene.file("other", b"x");
    let mounted = scene.mount("attr_timeout=0.05,entry_timeout=0.05");
    assert_eq!(fs::read(mounted.path("file")).unwrap(), b"before");
    scene.file("file", b"afterwards");
    eventually("the new content", || {
        fs::read(mounted.path("file")).unwrap() == b"afterwards"
    });
    fs::rename(scene.origin().join("other"), scene.origin().join("file")).unwrap();
    eventually("the other file", || {
        fs::read(mounted.path("file")).unwrap() == b"x"
    });
    fs::remove_file(scene.origin().join("file")).unwrap();
    eventually("that it is gone", || {
        fs::metadata(mounted.path("file")).is_err()
    });
    scene.file("new", b"n");
    eventually("the new file", || fs::read(mounted.path("new")).is_ok());
}

#[test]
fn a_file_that_grows_is_followed_by_who_has_it_open() {
    let Some(scene) = scene() else { return };
    scene.file("log", b"one\n");
    let mounted = scene.mount("attr_timeout=0.05,entry_timeout=0.05");
    let open = File::open(mounted.path("log")).unwrap();
    let mut bytes = [0; 64];
    assert_eq!(open.read_at(&mut bytes, 0).unwrap(), 4);
    let mut log = OpenOptions::new()
        .append(true)
        .open(scene.origin().join("log"))
        .unwrap();
    std::io::Write::write_all(&mut log, b"two\n").unwrap();
    eventually("the second line", || {
        open.read_at(&mut bytes, 4).unwrap() == 4
    });
    assert_eq!(&bytes[..4], b"two\n");
}

#[test]
fn directories_that_moved_at_the_origin_are_found_again() {
    let Some(scene) = scene() else { return };
    scene.file("a/b/file", b"x");
    let mounted = scene.mount("attr_timeout=60,entry_timeout=60");
    assert_eq!(fs::read(mounted.path("a/b/file")).unwrap(), b"x");
    fs::rename(scene.origin().join("a"), scene.origin().join("c")).unwrap();
    fs::create_dir_all(scene.origin().join("a/b")).unwrap();
    scene.file("a/b/file", b"y");
    assert_eq!(fs::read(mounted.path("c/b/file")).unwrap(), b"x");
    // The kernel still believes the names; what is opened is never another file.
    let content = fs::read(mounted.path("a/b/file")).unwrap();
    assert!([&b"x"[..], b"y"].contains(&&content[..]));
}
