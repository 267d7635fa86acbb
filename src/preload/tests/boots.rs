//! After another boot of the host, what was not synced before may be anything.
//!
//! A boot is known by `/proc/sys/kernel/random/boot_id`; here another file is mounted over
//! it, which a test and the programs that it starts see, and nobody else.

mod common;

use cachefs_core::Config;
use common::{Scene, noise, probe, say};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::UnshareFlags;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

const SIZE: usize = 1_500_000;
const MODES: [&str; 3] = ["verify", "wait", "trust"];
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// An origin with a file, and a cache that has it.
struct Before {
    scene: Scene,
    file: PathBuf,
}

impl Before {
    fn new(durable: bool) -> Self {
        let scene = Scene::new();
        let file = scene.file("d/file", &noise(SIZE, 1));
        common::settle();
        let before = Self { scene, file };
        before.warm(durable);
        before
    }

    /// What is durable is synced before it counts as cached, and when the cache is closed.
    fn warm(&self, durable: bool) {
        let config = Config {
            durable: if durable { 0 } else { 1 },
            ..common::config()
        };
        self.scene.warm_with(&config, ["d/file"]);
    }

    /// What a program with the library says of the file, having read it.
    fn open(&self, mode: &str) -> String {
        let mut command = self.scene.command(probe());
        say(command
            .env("CACHEFS_MODE", mode)
            .arg("open")
            .arg(&self.file))
    }

    /// The same of one without.
    fn plain(&self) -> String {
        say(Command::new(probe()).arg("open").arg(&self.file))
    }

    #[track_caller]
    fn is_cached(&self, mode: &str) {
        let said = self.open(mode);
        assert!(said.contains("where cache"), "{mode}: {said}");
        let said = said.replace("where cache", "where origin");
        assert_eq!(said, self.plain(), "{mode}");
    }

    /// A path that may be believed is noted the first time, and believed the second.
    #[track_caller]
    fn is_cached_in_all_modes(&self) {
        for mode in MODES.iter().chain(&MODES) {
            self.is_cached(mode);
        }
    }

    #[track_caller]
    fn is_left_to_origin(&self, mode: &str) {
        assert_eq!(self.open(mode), self.plain(), "{mode}");
    }

    /// The file with the cached bytes.
    fn data(&self) -> File {
        File::options().write(true).open(self.scene.data()).unwrap()
    }
}

/// Runs in another boot, if this may mount.
fn in_another_boot(scene: &Scene, body: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: to mount another boot id takes root");
    }
    let id = scene.outside().join("boot_id");
    fs::write(&id, "6f3c6a52-0d5e-4b1c-9a53-2f0f4f0e8d11\n").unwrap();
    let mount = || {
        // SAFETY: descriptors stay those of all threads; only mounts are the thread's own.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        mount_bind(&id, BOOT_ID)
    };
    // The mounts are this thread's, and go with it.
    thread::scope(|scope| {
        let thread = scope.spawn(|| match mount() {
            Ok(()) => {
                assert_eq!(fs::read(BOOT_ID).unwrap(), fs::read(&id).unwrap());
                body();
            }
            Err(errno) => eprintln!("skipped: another boot id cannot be mounted: {errno}"),
        });
        thread.join().expect("it is as it should be");
    });
}

#[test]
fn what_an_earlier_boot_has_cached_is_left_to_the_origin_until_it_was_looked_at() {
    for durable in [true, false] {
        let before = Before::new(durable);
        before.is_cached_in_all_modes();
        in_another_boot(&before.scene, || {
            MODES.iter().for_each(|mode| before.is_left_to_origin(mode));
            let file = before.data().metadata().unwrap();
            before.warm(durable);
            before.is_cached_in_all_modes();
            // It was whole still.
            assert_eq!(before.data().metadata().unwrap().ino(), file.ino());
        });
    }
}

#[test]
fn bytes_that_were_lost_with_the_host_are_never_shown() {
    type Lose = fn(&File);
    let ways: [(&str, Lose); 4] = [
        ("some are others", |data| {
            data.write_all_at(&[0; 4096], 70_000).unwrap()
        }),
        ("all are zeros", |data| {
            data.set_len(0).unwrap();
            data.set_len(SIZE as u64).unwrap();
        }),
        ("whose it is", |data| {
            rustix::fs::fremovexattr(data, "user.cachefs").unwrap();
        }),
        ("the end is gone", |data| {
            data.set_len(SIZE as u64 / 2).unwrap()
        }),
    ];
    for (what, lose) in ways {
        let before = Before::new(false);
        before.is_cached_in_all_modes();
        in_another_boot(&before.scene, || {
            lose(&before.data());
            // Shown when it fails.
            eprintln!("{what}");
            MODES.iter().for_each(|mode| before.is_left_to_origin(mode));
            before.warm(false);
            before.is_cached_in_all_modes();
        });
    }
}
