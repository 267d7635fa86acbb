//! What the control socket of a mount does.

mod common;

use cachefs_control::reports::{
    Filled, Hello, Invalidated, OfFile, OpenFiles, Reloaded, Verified, Whole,
};
use cachefs_control::{Client, Command, Failure, Heard, Name, XATTR};
use common::{Mounted, Scene, eventually, noise, read_in_pieces, scene, settle};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

/// Time-outs that no test outlasts.
const FOR_EVER: &str = "attr_timeout=3600,entry_timeout=3600,negative_timeout=3600";

/// The path that the mountpoint tells.
fn socket(scene: &Scene) -> PathBuf {
    let mut told = vec![0; 4096];
    let length = rustix::fs::getxattr(scene.mnt(), XATTR, &mut told[..]).unwrap();
    OsStr::from_bytes(&told[..length]).into()
}

fn client(scene: &Scene) -> Client {
    Client::connect(&socket(scene)).unwrap()
}

fn name(path: &str) -> Name {
    Name::from(path)
}

/// Invalidates a path; what the kernel knew of it.
fn invalidate(scene: &Scene, path: &str, below: bool) -> u64 {
    let path = name(path);
    let command = Command::Invalidate { path, below };
    client(scene).ask::<Invalidated>(command).unwrap().nodes
}

fn stat(scene: &Scene) -> Whole {
    client(scene).ask(Command::Stat { origins: true }).unwrap()
}

fn stat_file(scene: &Scene, path: &str) -> OfFile {
    let path = name(path);
    client(scene).ask(Command::StatFile { path }).unwrap()
}

fn errno(failure: Failure) -> i32 {
    match failure {
        Failure::Refused(refusal) => refusal.errno,
        Failure::Lost(error) => panic!("{error}"),
    }
}

/// The kernel's version.
fn linux() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|number| number.parse().ok());
    let major = numbers.next().expect("a major number");
    (major, numbers.next().expect("a minor number"))
}

#[test]
fn a_mountpoint_tells_its_socket_and_the_socket_who_is_there() {
    let Some(scene) = scene() else { return };
    let mounted = scene.mount("");
    let path = socket(&scene);
    assert!(path.starts_with(scene.cache().join("control")), "{path:?}");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let hello: Hello = client(&scene).ask(Command::Hello).unwrap();
    assert_eq!(hello.program, "cachefsd");
    assert_eq!(hello.pid as i32, mounted.pid().as_raw_nonzero().get());
    assert_eq!(hello.origin.path(), scene.origin());
    assert_eq!(hello.mountpoint.unwrap().path(), scene.mnt());
    // It is for those who ask for it by name.
    let mut list = vec![0; 4096];
    let length = rustix::fs::listxattr(scene.mnt(), &mut list[..]).unwrap();
    let listed = String::from_utf8_lossy(&list[..length]).into_owned();
    assert!(!listed.contains("cachefs"), "{listed}");
    assert!(mounted.unmount().success());
    assert!(!path.exists());
}

#[test]
fn the_socket_of_a_daemon_that_was_killed_is_taken_over() {
    let Some(scene) = scene() else { return };
    let mounted = scene.mount("");
    let before = socket(&scene);
    mounted.signal(Signal::KILL);
    assert!(before.exists());
    let flags = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(scene.mnt(), flags).unwrap();
    let _mounted = scene.mount("");
    assert_eq!(socket(&scene), before);
    client(&scene).ask::<Hello>(Command::Hello).unwrap();
}

#[test]
fn what_has_changed_is_seen_at_once_after_an_invalidation() {
    let Some(scene) = scene() else { return };
    scene.file("d/file", &noise(100_000, 1));
    settle();
    let mounted = scene.mount(FOR_EVER);
    let path = mounted.path("d/file");
    let open = File::open(&path).unwrap();
    assert!(fs::read(&path).unwrap() == noise(100_000, 1));
    let changed = noise(90_000, 2);
    scene.file("d/file", &changed);
    // The kernel believes what it was told, and has the pages.
    assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
    let mut bytes = vec![0; 5000];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == noise(100_000, 1)[..5000]);
    assert_eq!(invalidate(&scene, "d/file", false), 1);
    assert_eq!(fs::metadata(&path).unwrap().len(), 90_000);
    // Also for who has it open.
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == changed[..5000]);
    assert_eq!(open.metadata().unwrap().len(), 90_000);
    assert!(fs::read(&path).unwrap() == changed);
}

#[test]
fn a_file_that_was_handed_to_the_kernel_is_seen_anew_after_an_invalidation() {
    let Some(scene) = scene() else { return };
    let content = noise(1 << 20, 1);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount(FOR_EVER);
    if !mounted.passes_through() {
        return;
    }
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    eventually("the next open is the kernel's", || {
        mounted.is_the_kernels("file")
    });
    let open = File::open(mounted.path("file")).unwrap();
    let changed = noise(2 << 20, 2);
    scene.file("new", &changed);
    fs::rename(scene.origin().join("new"), scene.origin().join("file")).unwrap();
    assert_eq!(fs::metadata(mounted.path("file")).unwrap().len(), 1 << 20);
    invalidate(&scene, "file", false);
    assert_eq!(fs::metadata(mounted.path("file")).unwrap().len(), 2 << 20);
    assert!(fs::read(mounted.path("file")).unwrap() == changed);
    // Who has the old version open goes on with it.
    let mut all = vec![0; 1 << 20];
    open.read_exact_at(&mut all, 0).unwrap();
    assert!(all == content);
}

#[test]
fn names_that_come_and_go_are_seen_at_once_after_an_invalidation() {
    let Some(scene) = scene() else { return };
    scene.file("d/gone", b"here");
    scene.file("e/f/gone", b"here");
    let mounted = scene.mount(FOR_EVER);
    let is_there = |path: &str| mounted.path(path).exists();
    assert!(is_there("d/gone") && is_there("e/f/gone"));
    assert!(!is_there("d/new") && !is_there("e/f/new") && !is_there("top"));
    for path in ["d/new", "e/f/new", "top"] {
        scene.file(path, b"new");
    }
    fs::remove_file(scene.origin().join("d/gone")).unwrap();
    fs::remove_file(scene.origin().join("e/f/gone")).unwrap();
    let has_changed = |path: &str| is_there(path) == path.ends_with("new");
    assert!(!has_changed("d/gone") && !has_changed("d/new"));
    // One by one,
    invalidate(&scene, "d/gone", false);
    assert!(has_changed("d/gone") && !has_changed("d/new"));
    invalidate(&scene, "d/new", false);
    assert!(has_changed("d/new") && !has_changed("e/f/new"));
    // below a directory,
    invalidate(&scene, "e", true);
    assert!(has_changed("e/f/gone") && has_changed("e/f/new"));
    // and all.
    assert!(!is_there("top"));
    invalidate(&scene, "", true);
    if linux() < (6, 16) {
        eprintln!("skipped: names in the root that were not there, before Linux 6.16");
        return;
    }
    assert!(is_there("top"));
}

#[test]
fn counters_and_open_files_are_told() {
    let Some(scene) = scene() else { return };
    scene.file("a/file", &noise(100_000, 1));
    settle();
    let mounted = scene.mount("");
    let open = File::open(mounted.path("a/file")).unwrap();
    let mut bytes = vec![0; 100_000];
    open.read_exact_at(&mut bytes, 0).unwrap();
    let whole = stat(&scene);
    assert_eq!(whole.cache.state, "normal");
    let server = whole.server.unwrap();
    assert!(server.counters["misses"] >= 1, "{:?}", server.counters);
    let mount = server.mount.unwrap();
    assert_eq!((mount.files_open, mount.files_handed_over), (1, 0));
    assert!(mount.nodes == 3 && mount.reads >= 1, "{mount:?}");
    let open_files: OpenFiles = client(&scene).ask(Command::Open { most: 10 }).unwrap();
    let file = &open_files.files[0];
    assert_eq!((&file.path, file.opens), (&name("a/file"), 1));
    assert!(file.bytes_read >= 100_000, "{file:?}");
    let none: OpenFiles = client(&scene).ask(Command::Open { most: 0 }).unwrap();
    assert!(none.files.is_empty());
}

#[test]
fn a_file_is_warmed_pinned_and_evicted_while_it_is_mounted() {
    let Some(scene) = scene() else { return };
    let content = noise(5 << 20, 1);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("");
    let mut client = client(&scene);
    let path = name("file");
    let mut last = (0, 0);
    let hear = |heard| {
        if let Heard::Progress(done, total) = heard {
            last = (done, total);
        }
    };
    let command = Command::Warm { path: path.clone() };
    let filled: Filled = client.ask_and_hear(command, hear).unwrap();
    assert_eq!((filled.bytes, filled.present_before), (5 << 20, 0));
    assert!(last.0 <= last.1 && last.1 <= 5 << 20, "{last:?}");
    assert!(stat_file(&scene, "file").complete);
    if mounted.passes_through() {
        assert!(mounted.is_the_kernels("file"));
    }
    client
        .ask::<()>(Command::Pin { path: path.clone() })
        .unwrap();
    let evict = Command::Evict { path: path.clone() };
    let refused = client.ask::<()>(evict.clone()).unwrap_err();
    assert_eq!(errno(refused), Errno::BUSY.raw_os_error());
    client.ask::<()>(Command::Unpin { path }).unwrap();
    let open = File::open(mounted.path("file")).unwrap();
    client.ask::<()>(evict).unwrap();
    assert_eq!(stat_file(&scene, "file").bytes_present, 0);
    let mut all = vec![0; 5 << 20];
    open.read_exact_at(&mut all, 0).unwrap();
    assert!(all == content && fs::read(mounted.path("file")).unwrap() == content);
    let found: Verified = client.ask(Command::Verify { path: None }).unwrap();
    assert_eq!(found.chunks_dropped, 0);
}

#[test]
fn a_file_is_copied_when_a_program_asks_for_it_by_either_path() {
    let Some(scene) = scene() else { return };
    for file in ["a", "b"] {
        scene.file(file, &noise(3 << 20, 1));
    }
    settle();
    let mounted = scene.mount("");
    let mut client = client(&scene);
    for path in [scene.origin().join("a"), mounted.path("b")] {
        client.fill(path.as_os_str().as_bytes()).unwrap();
    }
    for file in ["a", "b"] {
        eventually("it is in the cache", || stat_file(&scene, file).complete);
    }
}

#[test]
fn the_configuration_is_read_anew() {
    let Some(scene) = scene() else { return };
    scene.file("file", b"content");
    let file = scene.outside().join("mount.toml");
    fs::write(&file, "attr_timeout = 3600\nmax_threads = 2\n").unwrap();
    let mounted = scene.mount(&format!("config={}", file.display()));
    let reload = || client(&scene).ask::<Reloaded>(Command::Reload);
    let length = || fs::metadata(mounted.path("file")).unwrap().len();
    let same = reload().unwrap();
    assert!(
        same.changed.is_empty() && same.needs_remount.is_empty(),
        "{same:?}"
    );
    fs::write(&file, "attr_timeout = 0\nmax_threads = 3\nretries = 2\n").unwrap();
    let reloaded = reload().unwrap();
    assert_eq!(reloaded.changed, ["attr_timeout=0"]);
    assert_eq!(reloaded.needs_remount, ["max_threads", "retries"]);
    // It is in force: a change is seen at once.
    assert_eq!(length(), 7);
    scene.file("file", b"content!");
    assert_eq!(length(), 8);
    // A signal does the same.
    fs::write(&file, "attr_timeout = 0\nentry_timeout = 5\n").unwrap();
    kill_process(mounted.pid(), Signal::HUP).unwrap();
    eventually("it says so", || {
        mounted.has_said("entry_timeout=5 from now on")
    });
    assert!(reload().unwrap().changed.is_empty());
    fs::write(&file, "attr_timeot = 0\n").unwrap();
    let refused = reload().unwrap_err();
    assert!(refused.to_string().contains("attr_timeout"), "{refused}");
    assert!(stat(&scene).server.is_some());
}

#[test]
fn two_mounts_of_one_cache_have_a_socket_each() {
    let Some(scene) = scene() else { return };
    let mounted: Mounted<'_> = scene.mount("");
    let second = scene.outside().join("second");
    fs::create_dir(&second).unwrap();
    let mut other = std::process::Command::new(env!("CARGO_BIN_EXE_cachefsd"));
    let cache = format!("cache_dir={}", scene.cache().display());
    other.arg(scene.origin()).arg(&second).args(["-o", &cache]);
    assert!(other.output().unwrap().status.success());
    let found = cachefs_control::sockets(&scene.cache()).unwrap();
    assert_eq!(found.len(), 2);
    rustix::mount::unmount(&second, rustix::mount::UnmountFlags::empty()).unwrap();
    eventually("its socket goes", || {
        cachefs_control::sockets(&scene.cache()).unwrap().len() == 1
    });
    assert!(mounted.unmount().success());
}
