//! The pass that compares what is cached with its checksums while the cache serves.

use super::door::Place;
use super::scenarios::reboots::{all, damage, open as open_file};
use super::sharing::{SIZE, Scene, agrees, config, is_complete, open, read, wait_until};
use cachefs_core::Config;
use std::time::{Duration, Instant};

const CHUNKS: u64 = 4;

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
