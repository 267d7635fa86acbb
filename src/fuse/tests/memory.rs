//! What the daemon holds on to, over many files.

mod common;

use common::{Mounted, eventually, scene};
use std::fs::{self, File};
use std::path::Path;

const FILES: u64 = 100_000;
/// KiB of its own memory that a file may take which the kernel knows: see docs/mount.md.
/// What of the shared cache directory is mapped is not counted: the kernel takes it back.
const KIB_PER_FILE: f64 = 0.5;
/// Open descriptors that a mount has which nobody uses: its own, the cache's, and the
/// directories and files that are held for what mostly follows.
const DESCRIPTORS_MAX: usize = 256 + 128 + 200;

fn plant(root: &Path) {
    for directory in 0..100 {
        let path = root.join(format!("directory {directory}"));
        fs::create_dir(&path).unwrap();
        for index in 0..FILES / 100 {
            File::create(path.join(format!("a file of the origin {index}"))).unwrap();
        }
    }
}

fn descriptors(mounted: &Mounted<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", mounted.pid().as_raw_nonzero()))
        .unwrap()
        .count()
}

#[test]
fn memory_and_descriptors_stay_bounded_over_100000_files() {
    let Some(scene) = scene() else { return };
    plant(&scene.origin());
    let mounted = scene.mount("");
    let before = mounted.memory_kib("RssAnon:");
    let mut seen = 0;
    for directory in 0..100 {
        for entry in fs::read_dir(mounted.path(format!("directory {directory}"))).unwrap() {
            let path = entry.unwrap().path();
            // Every third one is opened as well.
            if seen % 3 == 0 {
                drop(File::open(&path).unwrap());
            }
            path.metadata().unwrap();
            seen += 1;
        }
    }
    assert_eq!(seen, FILES);
    let grown = mounted.memory_kib("RssAnon:") - before;
    eprintln!("{before} KiB, and {grown} KiB for {FILES} files");
    assert!((grown as f64) < FILES as f64 * KIB_PER_FILE, "{grown} KiB");
    // The last releases may be late.
    eventually("files are closed", || {
        descriptors(&mounted) <= DESCRIPTORS_MAX
    });
    assert!(mounted.unmount().success());
}
