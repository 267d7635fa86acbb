//! The memory tier: what is read often is served from it, right, and within its limit.

use crate::tests::door::{Ask, Door, LIMIT, Place, QueueDoor, Settings, WAYS};
use crate::tests::origin::{content, write_file};
use crate::tests::random::Random;
use crate::tests::scenarios::waiting::readable;
use cachefs_core::EngineChoice;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
pub(crate) const CHUNK: u64 = 64 << 10;
const BLOCK: u64 = 4096;
/// Its last chunk is short, and does not end with a page.
pub(crate) const SIZE: u64 = 10 * CHUNK + 5001;

pub(crate) fn settings(engine: EngineChoice, memory_bytes: u64) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings.memory_bytes = memory_bytes;
    settings
}

/// A cache with a file of `SIZE` bytes in it, from a directory.
pub(crate) fn filled<D: Door>(place: &Place, settings: &Settings) -> (D, D::Origin, D::File) {
    write_file(&place.origin().join("file"), &content(1, 0, SIZE as usize));
    let cache = D::open(&place.cache(), settings).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(SIZE));
    (cache, origin, file)
}

/// Reads every block of the file in turn, and compares it.
fn read_all<D: Door>(cache: &D, file: &D::File, seed: u64) {
    let offsets: Vec<u64> = (0..SIZE).step_by(BLOCK as usize).collect();
    for part in offsets.chunks(64) {
        let asks = part.iter().map(|offset| Ask {
            file,
            length: BLOCK as usize,
            offset: *offset,
        });
        let asks: Vec<_> = asks.collect();
        for (ask, (bytes, done)) in asks.iter().zip(cache.batch(&asks)) {
            let length = BLOCK.min(SIZE - ask.offset) as usize;
            assert_eq!(done.result, length as i64);
            assert!(bytes[..length] == content(seed, ask.offset, length));
        }
    }
}

/// Reads the file until `bytes` of it are in memory. False: this process may not lock
/// as much (RLIMIT_MEMLOCK), and all that can be had is that reads are right.
pub(crate) fn bring_in<D: Door>(cache: &D, file: &D::File, bytes: u64) -> bool {
    if !may_lock(bytes as usize) {
        (0..40).for_each(|_| read_all(cache, file, 1));
        return false;
    }
    let begun = Instant::now();
    while cache.stats().memory_bytes < bytes {
        assert!(begun.elapsed() < LIMIT, "{:?}", cache.stats());
        read_all(cache, file, 1);
    }
    // What is counted may still be on its way.
    let mut from_memory = 0;
    while bytes == SIZE && from_memory < SIZE {
        assert!(begun.elapsed() < LIMIT, "{:?}", cache.stats());
        let before = cache.stats().bytes_from_memory;
        read_all(cache, file, 1);
        from_memory = cache.stats().bytes_from_memory - before;
    }
    true
}

fn may_lock(bytes: usize) -> bool {
    let memory = vec![0u8; bytes];
    // SAFETY: the calls change nothing of the memory but whether it may be swapped out.
    unsafe {
        let locked = libc::mlock(memory.as_ptr().cast(), bytes);
        locked == 0 && libc::munlock(memory.as_ptr().cast(), bytes) == 0
    }
}

pub(crate) fn what_is_read_often_comes_from_memory_by_each_way<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, MIB));
    assert_eq!(cache.stats().memory_bytes, 0);
    if !bring_in(&cache, &file, SIZE) {
        eprintln!("skipped: this process may not lock {SIZE} bytes");
        return;
    }
    let mut random = Random::new();
    for way in WAYS {
        for _ in 0..50 {
            let offset = random.below(SIZE);
            // Within a chunk: what lies in two is read from the file.
            let within = (CHUNK - offset % CHUNK).min(SIZE - offset);
            let length = 1 + random.below(within);
            let before = cache.stats();
            let read = cache.read_by(way, &file, length as usize, offset).unwrap();
            assert!(
                read == content(1, offset, length as usize),
                "{way:?} {offset} {length}"
            );
            let after = cache.stats();
            assert_eq!(
                after.bytes_from_memory - before.bytes_from_memory,
                length,
                "{way:?} {offset} {length}"
            );
            assert_eq!(after.hits - before.hits, 1);
            assert_eq!(after.in_flight, 0);
        }
        let (offset, length) = (3 * CHUNK - 100, 200);
        let across = cache.read_by(way, &file, length, offset).unwrap();
        assert!(across == content(1, offset, length), "{way:?}");
        let tail = cache
            .read_by(way, &file, CHUNK as usize, SIZE - 10)
            .unwrap();
        assert!(tail == content(1, SIZE - 10, 10), "{way:?}");
    }
    drop(file);
    assert_eq!(cache.stats().memory_bytes, 0, "a closed file leaves it");
}

pub(crate) fn memory_stays_within_its_limit<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let limit = 3 * CHUNK;
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, limit));
    bring_in(&cache, &file, 2 * CHUNK);
    for _ in 0..40 {
        read_all(&cache, &file, 1);
        let bytes = cache.stats().memory_bytes;
        assert!(bytes <= limit, "{bytes}");
    }
}

pub(crate) fn a_changed_file_is_not_served_from_memory<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, origin, file) = filled::<D>(&place, &settings(engine, MIB));
    bring_in(&cache, &file, SIZE);
    write_file(&place.origin().join("file"), &content(2, 0, SIZE as usize));
    let anew = cache.file(&origin, b"file").unwrap();
    assert_eq!(cache.fill(&anew, &mut |_, _| true), Ok(SIZE));
    for _ in 0..3 {
        read_all(&cache, &anew, 2);
    }
}

pub(crate) fn a_descriptor_tells_of_what_was_over_at_once<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, MIB));
    bring_in(&cache, &file, SIZE);
    let mut buffer = vec![0xAA; BLOCK as usize];
    let mut queue = cache.queue(8);
    let descriptor = queue.descriptor();
    // From memory, and past the end of the file, where there is nothing to read.
    for offset in [0, SIZE] {
        queue.read(&file, &mut buffer, offset, offset).unwrap();
        queue.submit();
        // It may be readable for nothing, but not forget to be for something.
        let mut done = 0;
        while done == 0 {
            assert!(readable(descriptor, LIMIT), "offset {offset}");
            done = queue.wait(0, 8, Some(Duration::ZERO)).len();
        }
    }
}
