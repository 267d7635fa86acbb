//! Files that their user has opened himself, and reads that never wait for the origin.

use cachefs_core::{Cache, Config, OriginOptions};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A directory for a cache and for an origin with one file, old enough to be kept.
fn scene(content: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("origin")).unwrap();
    fs::write(directory.path().join("origin/file"), content).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    directory
}

fn open(scene: &Path) -> (Cache, cachefs_core::Origin) {
    let cache = Cache::open(&scene.join("cache"), &Config::default()).unwrap();
    let origin = cache.open_directory(&scene.join("origin"), &OriginOptions::default());
    let origin = origin.unwrap();
    (cache, origin)
}

#[test]
fn a_file_that_was_given_stays_itself_whatever_has_its_path() {
    let scene = scene(b"given");
    let (_cache, origin) = open(scene.path());
    let path = scene.path().join("origin/file");
    let given = Arc::new(File::open(&path).unwrap().into());
    let file = origin.open_descriptor(given, b"file").unwrap();
    fs::write(scene.path().join("origin/other"), b"other").unwrap();
    fs::rename(scene.path().join("origin/other"), &path).unwrap();
    // The origin is asked again: for the file, not for its path.
    origin.invalidate(b"file").unwrap();
    let mut bytes = [0; 5];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 5);
    assert_eq!(&bytes, b"given");
}

#[test]
fn what_is_given_is_a_regular_file() {
    let scene = scene(b"x");
    let (_cache, origin) = open(scene.path());
    let directory = Arc::new(File::open(scene.path().join("origin")).unwrap().into());
    let error = origin.open_descriptor(directory, b"").map(|_| ());
    assert_eq!(error.unwrap_err().errno(), cachefs_core::Errno::ISDIR);
}

#[test]
fn bytes_that_are_not_in_the_cache_are_left_to_others() {
    let scene = scene(b"bytes");
    let (_cache, origin) = open(scene.path());
    let file = origin.open(b"file").unwrap();
    let mut bytes = [0; 5];
    assert_eq!(file.read_present(&mut bytes, 0), None);
    file.fill(0, u64::MAX, |_, _| true).unwrap();
    assert_eq!(file.read_present(&mut bytes, 0), Some(5));
    assert_eq!(&bytes, b"bytes");
    assert_eq!(file.read_present(&mut bytes, 3), Some(2));
    assert_eq!(file.read_present(&mut bytes, 5), Some(0));
}
