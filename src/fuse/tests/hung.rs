//! An origin that does not answer, in a part of it: another mount whose daemon is stopped.

mod common;

use common::{Scene, eventually, scene, settle, wait_for};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mount below the origin that can be stopped. It goes when this does, also when it is
/// stopped.
struct Far {
    mountpoint: PathBuf,
    daemon: Child,
}

impl Far {
    fn new(scene: &Scene) -> Self {
        let mountpoint = scene.origin().join("far");
        let shown = scene.outside().join("shown");
        fs::create_dir(&mountpoint).unwrap();
        fs::create_dir(&shown).unwrap();
        for index in 0..20 {
            fs::write(shown.join(format!("file{index}")), b"far").unwrap();
        }
        let cache = format!("cache_dir={}", scene.outside().join("far-cache").display());
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
        // The kernel is to ask each time.
        let options = format!("{cache},attr_timeout=0,entry_timeout=0,passthrough=false");
        daemon
            .arg(&shown)
            .arg(&mountpoint)
            .args(["-f", "-o", &options]);
        let daemon = daemon.stderr(Stdio::null()).spawn().unwrap();
        eventually("the far mount", || mountpoint.join("file0").exists());
        Self { mountpoint, daemon }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).unwrap();
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        // It fails where the test did the same.
        let _gone = rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH);
        let _gone = kill_process(Pid::from_child(&self.daemon), Signal::KILL);
        wait_for(&mut self.daemon);
    }
}

fn stat(path: &Path) -> Child {
    let mut command = Command::new("stat");
    command
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_part_of_the_origin_that_hangs_leaves_the_rest_served() {
    let Some(scene) = scene() else { return };
    scene.file("near", b"near");
    let far = Far::new(&scene);
    let mounted = scene.mount("max_threads=2,attr_timeout=0,entry_timeout=0");
    assert_eq!(fs::read(mounted.path("far/file0")).unwrap(), b"far");
    far.signal(Signal::STOP);
    // Many times as many as there are threads.
    let mut waiting: Vec<Child> = (0..20)
        .map(|index| stat(&mounted.path(format!("far/file{index}"))))
        .collect();
    for _ in 0..50 {
        let mut near = stat(&mounted.path("near"));
        assert!(wait_for(&mut near).success());
    }
    for child in &mut waiting {
        assert!(child.try_wait().unwrap().is_none(), "it should hang");
    }
    // Who waits can be killed.
    waiting[0].kill().unwrap();
    wait_for(&mut waiting[0]);
    far.signal(Signal::CONT);
    for child in &mut waiting[1..] {
        assert!(wait_for(child).success());
    }
    assert_eq!(fs::read(mounted.path("far/file1")).unwrap(), b"far");
    // Those in place of stuck ones end again.
    eventually("there are two threads", || {
        fs::read(mounted.path("near")).unwrap();
        threads(&mounted.pid()) == 2
    });
    drop(far);
}

#[test]
fn a_file_whose_origin_is_gone_is_served_only_where_that_was_asked_for() {
    for (options, is_served) in [("stale_ms=3600000", true), ("validation=always", false)] {
        let Some(scene) = scene() else { return };
        let far = Far::new(&scene);
        let believe = "attr_timeout=3600,entry_timeout=3600";
        let mounted = scene.mount(&format!("{believe},{options}"));
        let path = mounted.path("far/file0");
        settle();
        assert_eq!(fs::read(&path).unwrap(), b"far");
        // Until it is in the cache, and not only in the kernel's pages.
        let socket = cachefs_control::sockets(&scene.cache()).unwrap().remove(0);
        eventually("it is cached", || {
            let path = cachefs_control::Name::from("far/file0");
            let mut client = cachefs_control::Client::connect(&socket).unwrap();
            let of: cachefs_control::reports::OfFile = client
                .ask(cachefs_control::Command::StatFile { path })
                .unwrap();
            of.complete
        });
        // Its mount says ENOTCONN from now on.
        far.signal(Signal::KILL);
        eventually("the far mount is dead", || {
            fs::read(far.mountpoint.join("file1")).is_err()
        });
        let found = fs::read(&path);
        assert_eq!(found.is_ok(), is_served, "{options}: {found:?}");
    }
}

/// Threads of a daemon that answer the kernel.
fn threads(daemon: &Pid) -> usize {
    let tasks = format!("/proc/{}/task", daemon.as_raw_nonzero());
    let names = fs::read_dir(tasks).unwrap().filter_map(|task| {
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        let number = name.trim().strip_prefix("cachefsd-")?.to_owned();
        number.parse::<u32>().ok()
    });
    names.count()
}
