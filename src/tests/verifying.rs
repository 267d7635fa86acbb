//! What is cached is compared with its checksums: by the pass beside serving, and where
//! others have something of it in their hands.

use super::door::Place;
use super::locks::lock;
use super::origin::grow_old;
use super::scenarios::reboots::{all, damage, open as open_file};
use super::sharing::{CAPACITY, SIZE, Scene, agrees, config, is_complete, open, read, wait_until};
use cachefs_core::{Cache, Config, OriginOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CHUNKS: u64 = 4;
/// The lock of the durable bits in a metadata file: see docs/format.md.
const DURABLE_BITS: Range<i64> = 1..2;

fn verifying(bytes_per_second: u64) -> Config {
    Config {
        verify_bytes_per_second: bytes_per_second,
        ..config()
    }
}

/// Leaves a cache with one file in it.
fn leave(place: &Place) {
    let scene = open(place, &config());
    read(&scene.cache, &scene.origin, "file");
}

/// Waits for the first pass.
fn is_passed(scene: &Scene) {
    wait_until("a pass is over", || scene.cache.stats().verify_passes == 1);
}

#[test]
fn a_pass_looks_at_each_chunk_once_and_then_rests() {
    let place = Place::new();
    leave(&place);
    let scene = open(&place, &verifying(1 << 30));
    is_passed(&scene);
    std::thread::sleep(Duration::from_millis(50));
    let stats = scene.cache.stats();
    assert_eq!((stats.chunks_verified, stats.chunks_dropped), (CHUNKS, 0));
    assert_eq!(stats.verify_passes, 1);
    assert!(is_complete(&scene.origin, "file"));
}

#[test]
fn a_chunk_that_a_pass_finds_damaged_is_dropped_and_fetched_again() {
    let place = Place::new();
    leave(&place);
    damage(&open_file(&all(&place.cache(), ".data")[0]), SIZE / 2);
    let scene = open(&place, &verifying(1 << 30));
    is_passed(&scene);
    let stats = scene.cache.stats();
    assert_eq!(
        (stats.chunks_verified, stats.chunks_dropped),
        (CHUNKS - 1, 1)
    );
    let file = scene.origin.open(b"file").unwrap();
    assert_eq!(file.residency().chunks_present, CHUNKS - 1);
    read(&scene.cache, &scene.origin, "file");
    let stats = scene.cache.stats();
    assert_eq!(stats.bytes_from_origin, SIZE / CHUNKS, "no more than that");
    assert!(is_complete(&scene.origin, "file"));
    agrees(&scene.cache, &place.cache());
}

#[test]
fn a_pass_removes_an_object_whose_metadata_are_damaged_and_no_other() {
    let place = Place::new();
    let scene = open(&place, &config());
    for name in ["one", "two"] {
        read(&scene.cache, &scene.origin, name);
    }
    drop(scene);
    damage(&open_file(&all(&place.cache(), ".meta")[0]), 20);
    let scene = open(&place, &verifying(1 << 30));
    is_passed(&scene);
    assert_eq!(scene.cache.stats().chunks_verified, CHUNKS);
    let files = [".meta", ".data"].map(|end| all(&place.cache(), end).len());
    assert_eq!(files, [1, 1]);
    assert_eq!(scene.cache.stats().cached_objects, 1);
    agrees(&scene.cache, &place.cache());
}

#[test]
fn a_pass_reads_no_faster_than_it_may() {
    let place = Place::new();
    leave(&place);
    let begun = Instant::now();
    let scene = open(&place, &verifying(2 * SIZE));
    is_passed(&scene);
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(500), "{taken:?}");
}

#[test]
fn what_a_pass_looks_at_can_be_evicted_while_it_rests() {
    let place = Place::new();
    leave(&place);
    // After one chunk it has a day to wait.
    let scene = open(&place, &verifying(1));
    wait_until("it has begun", || scene.cache.stats().chunks_verified == 1);
    let other = open(&place, &config());
    for number in 0..30 {
        read(&other.cache, &other.origin, &number.to_string());
    }
    assert!(!is_complete(&other.origin, "file"));
}

#[test]
fn damaged_metadata_cost_no_other_object_of_their_bucket() {
    let place = Place::new();
    let config = Config {
        capacity_bytes: 16 * CAPACITY,
        ..config()
    };
    let scene = open(&place, &config);
    // One of 256 buckets has two of them long before there is no more room.
    let is_same = |two: &[PathBuf]| two[0].parent() == two[1].parent();
    let mut objects = Vec::new();
    for number in 0..200 {
        read(&scene.cache, &scene.origin, &number.to_string());
        objects = all(&place.cache(), ".meta");
        objects.sort_unstable();
        if objects.windows(2).any(is_same) {
            break;
        }
    }
    drop(scene);
    let two = objects.windows(2).find(|two| is_same(two)).unwrap();
    damage(&open_file(&two[0]), 20);
    let scene = open(&place, &config);
    let found = scene.cache.verify(|_| true).unwrap();
    assert_eq!(found.objects_dropped, 1);
    let left = objects.len() as u64 - 1;
    assert_eq!(
        (found.objects, found.chunks_verified),
        (left, left * CHUNKS)
    );
    assert_eq!(all(&place.cache(), ".data").len() as u64, left);
    assert_eq!(scene.cache.stats().cached_objects, left);
}

#[test]
fn damaged_metadata_of_an_object_that_is_in_use_are_told_and_stay() {
    let place = Place::new();
    let user = open(&place, &config());
    let held = read(&user.cache, &user.origin, "file");
    damage(&open_file(&all(&place.cache(), ".meta")[0]), 20);
    let other = open(&place, &config());
    let found = other.cache.verify(|_| true).unwrap();
    assert_eq!((found.objects_dropped, found.busy), (0, 1));
    assert!(held.residency().complete);
    let files = [".meta", ".data"].map(|end| all(&place.cache(), end).len());
    assert_eq!(files, [1, 1]);
}

#[test]
fn a_damaged_chunk_whose_bits_somebody_changes_is_told_and_stays() {
    let place = Place::new();
    leave(&place);
    damage(&open_file(&all(&place.cache(), ".data")[0]), 0);
    let metadata = open_file(&all(&place.cache(), ".meta")[0]);
    wait_until("nobody changes them", || lock(&metadata, DURABLE_BITS));
    let scene = open(&place, &config());
    let found = scene.cache.verify(|_| true).unwrap();
    assert_eq!((found.chunks_dropped, found.busy), (0, 1));
    drop(metadata);
    let found = scene.cache.verify(|_| true).unwrap();
    assert_eq!((found.chunks_dropped, found.busy), (1, 0));
}

#[test]
fn a_chunk_that_cannot_be_read_is_dropped_and_counted_as_the_devices() {
    let place = Place::new();
    leave(&place);
    let data = open_file(&all(&place.cache(), ".data")[0]);
    let scene = open(&place, &config());
    let found = scene.cache.verify(|_| {
        data.set_len(SIZE / CHUNKS).unwrap();
        true
    });
    let found = found.unwrap();
    assert_eq!(
        (found.chunks_verified, found.chunks_dropped),
        (1, CHUNKS - 1)
    );
    assert_eq!(scene.cache.stats().device_read_errors, CHUNKS - 1);
}

#[test]
fn holes_are_not_read() {
    let place = Place::new();
    leave_sparse(&place, SIZE);
    let cache = Cache::open(&place.cache(), &config()).unwrap();
    let found = cache.verify(|_| true).unwrap();
    assert_eq!((found.objects, found.bytes), (1, SIZE / CHUNKS));
}

/// Leaves the file "sparse" of so many bytes, of which few are no hole.
fn leave_sparse(place: &Place, size: u64) {
    let file = std::fs::File::create(place.origin().join("sparse")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"data", size / 2).unwrap();
    file.sync_all().unwrap();
    grow_old();
    let cache = Cache::open(&place.cache(), &config()).unwrap();
    let origin = cache.open_directory(&place.origin(), &OriginOptions::default());
    let file = origin.unwrap().open(b"sparse").unwrap();
    file.fill(0, u64::MAX, |_, _| true).unwrap();
    assert!(file.residency().complete);
}

/// Whoever opens that finds nothing of it, and reads what the origin has.
fn is_made_anew(place: &Place, size: u64) {
    let cache = Cache::open(&place.cache(), &config()).unwrap();
    let origin = cache.open_directory(&place.origin(), &OriginOptions::default());
    let file = origin.unwrap().open(b"sparse").unwrap();
    assert_eq!(file.residency().chunks_present, 0);
    let mut bytes = [0; 4];
    assert_eq!(file.read_at(&mut bytes, size / 2).unwrap(), 4);
    assert_eq!(&bytes, b"data");
    assert_eq!(cache.stats().device_read_errors, 0);
}

#[test]
fn an_object_whose_metadata_were_cut_off_or_grew_is_made_anew() {
    // Its checksums begin on the first page and do not end there.
    let size = 2000 * SIZE / CHUNKS;
    for length in [4096, 1 << 20] {
        let place = Place::new();
        leave_sparse(&place, size);
        let metadata = open_file(&all(&place.cache(), ".meta")[0]);
        assert!(metadata.metadata().unwrap().len() > 4096);
        metadata.set_len(length).unwrap();
        is_made_anew(&place, size);
    }
}

#[test]
fn an_object_whose_data_were_cut_off_or_grew_is_made_anew() {
    for length in [0, SIZE - 1, SIZE + 1] {
        let place = Place::new();
        leave_sparse(&place, SIZE);
        let data = open_file(&all(&place.cache(), ".data")[0]);
        data.set_len(length).unwrap();
        is_made_anew(&place, SIZE);
    }
}
