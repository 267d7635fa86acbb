//! Cached bytes, mapped as far as they are there.

use cachefs_core::{Cache, Config, File, Kept, Origin, OriginOptions};
use std::path::Path;
use std::time::Duration;

const CHUNK: u64 = 1 << 20;
/// Three chunks and a part of one.
const SIZE: u64 = 3 * CHUNK + 5;

fn content(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|at| (at / 977) as u8 ^ seed).collect()
}

fn write(root: &Path, seed: u8) {
    std::fs::write(root.join("a"), content(seed)).unwrap();
    // Until its time is old enough to be trusted.
    std::thread::sleep(Duration::from_millis(60));
}

/// A cache without readahead, and the file `a` of its origin.
fn scene(config: &Config) -> (tempfile::TempDir, Cache, Origin, File) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("origin");
    std::fs::create_dir(&root).unwrap();
    write(&root, 0);
    let mut config = config.clone();
    config.set("readahead", "false").unwrap();
    let cache = Cache::open(&directory.path().join("cache"), &config).unwrap();
    let origin = cache
        .open_directory(&root, &OriginOptions::default())
        .unwrap();
    let file = origin.open(b"a").unwrap();
    (directory, cache, origin, file)
}

/// Has a chunk be present that is not.
fn bring(file: &File, chunk: u64) {
    let before = file.residency().chunks_present;
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, chunk * CHUNK).unwrap(), 1);
    // It is written beside.
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while file.residency().chunks_present == before {
        assert!(
            std::time::Instant::now() < limit,
            "chunk {chunk} is not kept"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_there_is_seen_and_nothing_else() {
    let (_directory, cache, _origin, file) = scene(&Config::default());
    assert!(file.map_present().is_none());
    bring(&file, 1);
    let present = file.map_present().unwrap();
    let (whole, chunk) = (content(0), CHUNK as usize);
    let before = cache.stats().hits;
    assert_eq!(present.bytes(CHUNK, chunk), Some(&whole[chunk..2 * chunk]));
    assert_eq!(
        present.bytes(2 * CHUNK - 3, 3),
        Some(&whole[2 * chunk - 3..2 * chunk])
    );
    assert_eq!(cache.stats().hits, before + 2);
    for (offset, length) in [(0, 1), (CHUNK - 1, 2), (2 * CHUNK - 1, 2), (SIZE - 1, 1)] {
        assert_eq!(present.bytes(offset, length), None, "{length} at {offset}");
    }
    // What comes later is seen by the same map, to the end of the file and no further.
    bring(&file, 3);
    assert_eq!(present.bytes(SIZE - 5, 100), Some(&whole[3 * chunk..]));
    for offset in [SIZE, SIZE + 1, u64::MAX] {
        assert_eq!(present.bytes(offset, 1), None);
    }
    assert_eq!(
        present.bytes(SIZE - 1, usize::MAX),
        Some(&whole[3 * chunk + 4..])
    );
}

#[test]
fn a_file_that_has_changed_is_not_seen_as_it_was() {
    let (directory, _cache, origin, file) = scene(&Config::default());
    bring(&file, 0);
    let present = file.map_present().unwrap();
    assert!(present.bytes(0, 1).is_some() && present.is_current());
    write(&directory.path().join("origin"), 1);
    // As long as nobody says so, the version that was opened is served.
    assert_eq!(present.bytes(0, 1), Some(&content(0)[..1]));
    origin.invalidate(b"a").unwrap();
    assert_eq!(present.bytes(0, 1), None);
    let mut byte = [0];
    file.read_at(&mut byte, 0).unwrap();
    assert_eq!(byte[..], content(1)[..1]);
    assert!(!present.is_current() && present.bytes(0, 1).is_none());
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while file.residency().chunks_present == 0 {
        assert!(
            std::time::Instant::now() < limit,
            "the new version is not kept"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let present = file.map_present().unwrap();
    assert_eq!(present.bytes(0, 1), Some(&content(1)[..1]));
}

#[test]
fn a_cache_that_is_closed_shows_nothing() {
    let (_directory, cache, _origin, file) = scene(&Config::default());
    bring(&file, 0);
    let present = file.map_present().unwrap();
    cache.close().unwrap();
    assert_eq!(present.bytes(0, 1), None);
}

#[test]
fn what_is_read_past_the_page_cache_is_not_mapped() {
    let mut config = Config::default();
    config.set("direct_io", "true").unwrap();
    let (_directory, _cache, origin, file) = scene(&config);
    bring(&file, 0);
    match origin.explain(b"a").unwrap().kept {
        Kept::Object(object) if object.is_direct => assert!(file.map_present().is_none()),
        _ => eprintln!("skipped: the file system of the temporary directory has no O_DIRECT"),
    }
}
