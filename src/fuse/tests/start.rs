//! How the daemon is started, and how it ends.

mod common;

use common::{Scene, eventually, mount_type, noise, read_in_pieces, scene, settle, wait_for};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// The process whose command line names a path.
fn daemon_of(path: &Path) -> Option<Pid> {
    let name = path.to_str().expect("the tests' paths are UTF-8");
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).into_owned();
        words
            .split('\0')
            .any(|word| word == name)
            .then(|| Pid::from_raw(pid))?
    })
}

#[test]
fn in_the_background_it_returns_once_the_mount_is_up() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let log = scene.outside().join("log");
    let mut command = scene.daemon(&format!("log_file={}", log.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mount_type(&scene.mnt()).as_deref(), Some("fuse.cachefsd"));
    assert_eq!(fs::read(scene.mnt().join("file")).unwrap(), b"content");
    let daemon = daemon_of(&scene.mnt()).expect("the daemon runs");
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
    eventually("the daemon ends", || {
        test_kill_process(daemon) == Err(Errno::SRCH)
    });
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .contains("is not mounted any more")
    );
}

#[test]
fn what_hinders_a_mount_is_said_on_stderr_and_by_the_status() {
    let Some(scene) = scene() else { return };
    let missing = scene.outside().join("missing");
    let mut no_origin = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
    no_origin.arg(&missing).arg(scene.mnt());
    let mut no_place = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
    no_place.arg(scene.origin()).arg(&missing);
    let mut inside = scene.daemon("");
    inside
        .args(["-o", "cache_dir=mnt/cache"])
        .current_dir(scene.outside());
    let cases = [
        (no_origin, 1, "missing: No such file"),
        (no_place, 1, "missing: No such file"),
        (inside, 1, "lies below the mountpoint"),
        (scene.daemon("chunk_bytes=5"), 2, "chunk_bytes is outside"),
        (scene.daemon("cachedir=/x"), 2, "did you mean \"cache_dir\""),
    ];
    for (mut command, status, text) in cases {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
        assert!(said.contains(text), "{command:?}: {said}");
        assert!(!scene.is_mounted());
    }
}

#[test]
fn a_daemon_that_ends_late_leaves_the_mount_that_has_taken_its_place() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let late = scene.mount("");
    kill_process(late.pid(), Signal::STOP).unwrap();
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
    let output = scene.daemon("").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(late.signal(Signal::CONT).success());
    assert_eq!(fs::read(scene.mnt().join("file")).unwrap(), b"content");
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
}

/// A line of a thread's `status` (proc(5)).
fn status(thread: &Path, field: &str) -> String {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.expect("it has the field").trim().to_owned()
}

#[test]
fn as_another_user_it_has_one_capability_and_still_hands_files_to_the_kernel() {
    let Some(scene) = scene() else { return };
    let content = noise(1 << 20, 1);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount(&format!("user={NOBODY},allow_other"));
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    let tasks = format!("/proc/{}/task", mounted.pid().as_raw_nonzero());
    for thread in fs::read_dir(tasks).unwrap() {
        let thread = thread.unwrap().path();
        let uids = status(&thread, "Uid:");
        assert!(
            uids.split_whitespace().all(|uid| uid == NOBODY.to_string()),
            "{uids}"
        );
        // CAP_SYS_ADMIN is the 21st, from 0 (capability.h).
        for sets in ["CapEff:", "CapPrm:"] {
            assert_eq!(status(&thread, sets), format!("{:016x}", 1 << 21));
        }
        assert_eq!(status(&thread, "CapInh:"), format!("{:016x}", 0));
    }
    if mounted.passes_through() {
        eventually("the next open is the kernel's", || {
            mounted.is_the_kernels("file")
        });
    }
    // What it keeps is its own, and nobody else's.
    let mut left = vec![scene.cache()];
    while let Some(path) = left.pop() {
        let of = path.symlink_metadata().unwrap();
        let mode = of.permissions().mode() & 0o777;
        let private = if of.is_dir() { 0o700 } else { 0o600 };
        assert_eq!((of.uid(), mode), (NOBODY, private), "{path:?}");
        if of.is_dir() {
            left.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    assert!(mounted.unmount().success());
}

#[test]
fn a_user_who_is_not_there_is_an_error() {
    let Some(scene) = scene() else { return };
    let output = scene.daemon("user=nobody-of-that-name").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no such user"), "{said}");
}

#[test]
fn mount_8_can_call_it() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let helper = scene.outside().join("mount.cachefs");
    symlink(env!("CARGO_BIN_EXE_cachefsd"), &helper).unwrap();
    let options = format!(
        "rw,_netdev,noauto,user,exec,nfs_backend={},cache_dir={},nvme_use_io_uring=true,\
         nvme_queue_depth=128,nvme_polling_mode=false",
        scene.origin().display(),
        scene.cache().display()
    );
    let mut command = Command::new(&helper);
    command
        .arg("cachefs")
        .arg(scene.mnt())
        .args(["-o", &options]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(scene.mnt().join("file")).unwrap(), b"content");
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
    // With the origin as the source, and only to look whether it could be.
    let output = Command::new(&helper)
        .arg(scene.origin())
        .arg(scene.mnt())
        .args(["-f", "-n", "-o", "ro"])
        .output()
        .unwrap();
    assert!(output.status.success() && !scene.is_mounted(), "{output:?}");
}

#[test]
fn a_configuration_file_has_all_that_is_needed() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let file = scene.outside().join("mount.toml");
    let text = format!(
        "origin = {:?}\nmountpoint = {:?}\ncache_dir = {:?}\nattr_timeout = 0.5\n\
         capacity_bytes = '1GiB'\n",
        scene.origin(),
        scene.mnt(),
        scene.cache()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
    command.arg("--config").arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(scene.mnt().join("file")).unwrap(), b"content");
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
}

#[test]
fn signals_end_it_cleanly() {
    let Some(scene) = scene() else { return };
    for signal in [Signal::TERM, Signal::INT] {
        let mounted = scene.mount("");
        assert!(mounted.signal(signal).success());
        assert!(!scene.is_mounted());
    }
}

#[test]
fn a_signal_ends_it_also_while_it_is_used() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let mounted = scene.mount("");
    let _used = File::open(mounted.path("file")).unwrap();
    kill_process(mounted.pid(), Signal::TERM).unwrap();
    eventually("the mount is gone at once", || !scene.is_mounted());
    assert!(mounted.signal(Signal::TERM).success());
}

#[test]
fn after_a_kill_it_is_mounted_again_and_the_cache_is_warm() {
    let Some(scene) = scene() else { return };
    let content = noise(3 << 20, 7);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("");
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    if mounted.passes_through() {
        // What was read is stored behind the reader's back.
        eventually("it is stored", || mounted.is_the_kernels("file"));
    }
    mounted.signal(Signal::KILL);
    let error = fs::read_dir(scene.mnt()).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTCONN));
    // It says what is to be done.
    let output = scene.daemon("").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("umount -l"), "{said}");
    rustix::mount::unmount(scene.mnt(), UnmountFlags::DETACH).unwrap();
    let mounted = scene.mount("");
    if mounted.passes_through() {
        // The kernel is only given what is complete.
        assert!(mounted.is_the_kernels("file"));
    }
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    assert!(mounted.unmount().success());
}

#[test]
fn the_service_manager_is_told() {
    let Some(scene) = scene() else { return };
    let path = scene.outside().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut command = scene.daemon("");
    command
        .arg("-f")
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii(), b"READY=1");
    assert!(scene.is_mounted());
    rustix::mount::unmount(scene.mnt(), UnmountFlags::empty()).unwrap();
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii(), b"STOPPING=1");
    assert!(wait_for(&mut child).success());
}

/// Reads a file as somebody else.
fn read_as_nobody(scene: &Scene, name: &str) -> bool {
    let mut command = Command::new("cat");
    command.arg(scene.mnt().join(name)).uid(NOBODY).gid(NOBODY);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn others_may_come_only_when_asked_for_and_read_what_the_origin_lets_them() {
    let Some(scene) = scene() else { return };
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        let file = scene.file(name, b"content");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mounted = scene.mount("");
    assert!(!read_as_nobody(&scene, "open"));
    assert!(mounted.unmount().success());
    let mounted = scene.mount("allow_other");
    assert!(read_as_nobody(&scene, "open"));
    // What is in the cache is no more open than before.
    assert_eq!(fs::read(mounted.path("closed")).unwrap(), b"content");
    assert!(!read_as_nobody(&scene, "closed"));
    assert!(mounted.unmount().success());
    let mut left = vec![scene.cache()];
    while let Some(path) = left.pop() {
        let of = path.symlink_metadata().unwrap();
        let wanted = if of.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            of.permissions().mode() & 0o777,
            wanted,
            "{}",
            path.display()
        );
        if of.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
}

#[test]
fn access_lists_of_the_origin_are_obeyed() {
    let Some(scene) = scene() else { return };
    let file = scene.file("file", b"content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    // POSIX_ACL_XATTR_VERSION, then tag, permissions and id of each entry (acl(5)).
    let entry = |tag: u16, permissions: u16, id: u32| {
        let mut bytes = [tag.to_le_bytes(), permissions.to_le_bytes()].concat();
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes
    };
    let nobody = u32::MAX;
    let list = [
        2u32.to_le_bytes().to_vec(),
        entry(0x01, 6, nobody),
        entry(0x02, 4, NOBODY),
        entry(0x04, 0, nobody),
        entry(0x10, 4, nobody),
        entry(0x20, 0, nobody),
    ];
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(&file, "system.posix_acl_access", &list.concat(), flags);
    if let Err(errno) = set {
        eprintln!("skipped: the origin's file system has no access lists: {errno}");
        return;
    }
    let mounted = scene.mount("allow_other");
    assert!(read_as_nobody(&scene, "file"));
    assert!(mounted.unmount().success());
}
