//! Reads give the origin's bytes, from wherever they come.

use crate::capi::types::*;
use crate::tests::door::{Ask, Door, LIMIT, Place, Settings, WAYS, Way};
use crate::tests::origin::{TestOrigin, content, grow_old};
use crate::tests::random::Random;
use cachefs_core::EngineChoice;
use once_cell::sync::Lazy;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const FILES: u64 = 50;
const RANGES: usize = 1000;

/// Fifty files of 0 bytes to 64 MiB, made once for all tests of this process.
struct Library {
    directory: tempfile::TempDir,
    files: Vec<Vec<u8>>,
}

static LIBRARY: Lazy<Library> = Lazy::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let files: Vec<Vec<u8>> = (0..FILES)
        .map(|file| {
            let size = match file {
                0 => 0,
                1 => 64 * MIB,
                2 => 64 * MIB - 1,
                3 => MIB,
                4 => 1,
                _ => random.any_size(64 * MIB),
            };
            let bytes = content(file, 0, size as usize);
            std::fs::write(directory.path().join(file.to_string()), &bytes).unwrap();
            bytes
        })
        .collect();
    grow_old();
    Library { directory, files }
});

/// A range of a file: any length up to 8 MiB, often across the end.
fn any_range(random: &mut Random, size: u64) -> (u64, usize) {
    let length = random.any_size(8 * MIB);
    let offset = match random.below(8) {
        0 => size.saturating_sub(length / 2),
        1 => size + random.below(3),
        2 => random.below(4),
        _ => random.below(size),
    };
    (offset, length as usize)
}

fn expected(bytes: &[u8], offset: u64, length: usize) -> &[u8] {
    let start = bytes.len().min(offset as usize);
    &bytes[start..bytes.len().min(start + length)]
}

pub(crate) fn random_ranges_equal_the_origin_by_each_way<D: Door>(engine: EngineChoice) {
    check_random_ranges::<D>(engine, RANGES);
}

/// For further modes of the same code: the whole takes its time.
pub(crate) fn some_random_ranges_equal_the_origin<D: Door>(engine: EngineChoice) {
    check_random_ranges::<D>(engine, RANGES / 8);
}

fn check_random_ranges<D: Door>(engine: EngineChoice, count: usize) {
    let mut random = Random::new();
    for way in WAYS {
        // A cache of its own for each way, so that each has misses; one that is
        // too small for everything, so that there are evictions and bypasses.
        let place = Place::new();
        let mut settings = Settings::new(engine);
        settings.capacity_bytes = 300 * MIB;
        let cache = D::open(&place.cache(), &settings).unwrap();
        let origin = cache.directory(LIBRARY.directory.path()).unwrap();
        let open = |index: usize| cache.file(&origin, index.to_string().as_bytes()).unwrap();
        let files: Vec<D::File> = (0..LIBRARY.files.len()).map(open).collect();
        let mut ranges = Vec::new();
        for _ in 0..count {
            let index = random.below(FILES) as usize;
            let (offset, length) = any_range(&mut random, LIBRARY.files[index].len() as u64);
            ranges.push((index, offset, length));
        }
        match way {
            Way::Queue => check_in_batches(&cache, &files, &ranges),
            _ => {
                for (index, offset, length) in ranges {
                    let got = cache.read_by(way, &files[index], length, offset).unwrap();
                    let expected = expected(&LIBRARY.files[index], offset, length);
                    assert!(
                        got == expected,
                        "{way:?}: {length} at {offset} of file {index}"
                    );
                }
            }
        }
        assert_eq!(cache.stats().in_flight, 0);
    }
}

fn check_in_batches<D: Door>(cache: &D, files: &[D::File], ranges: &[(usize, u64, usize)]) {
    for batch in ranges.chunks(32) {
        let asks: Vec<Ask<'_, D::File>> = batch
            .iter()
            .map(|(index, offset, length)| Ask {
                file: &files[*index],
                length: *length,
                offset: *offset,
            })
            .collect();
        for ((bytes, done), (index, offset, length)) in cache.batch(&asks).into_iter().zip(batch) {
            let expected = expected(&LIBRARY.files[*index], *offset, *length);
            assert_eq!(
                done.result,
                expected.len() as i64,
                "{length} at {offset} of file {index}"
            );
            assert!(
                bytes[..expected.len()] == *expected,
                "{length} at {offset} of file {index}"
            );
        }
    }
}

pub(crate) fn many_readers_share_one_fetch<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let size = 64 * MIB;
    let code = Arc::new(TestOrigin::new(size));
    let origin = cache.custom("counted", Arc::clone(&code));
    let expected = content(1, 0, size as usize);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let file = cache.file(&origin, b"cold").unwrap();
                // In pieces of several chunks: all of it in 64 buffers would be
                // 4 GiB of fresh memory, which takes longer than the reads.
                let mut bytes = vec![0; 8 * MIB as usize];
                for (piece, offset) in expected.chunks(bytes.len()).zip((0..).step_by(bytes.len()))
                {
                    let length = bytes.len() as u64;
                    assert_eq!(cache.read(&file, &mut bytes, offset), Ok(length));
                    assert!(bytes == piece);
                }
            });
        }
    });
    assert_eq!(
        code.bytes_read.load(Ordering::SeqCst),
        size,
        "each byte is read once"
    );
    assert_eq!(cache.stats().bytes_from_origin, size);
}

pub(crate) fn a_second_pass_does_no_origin_io<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(5 * MIB + 17));
    let expected = content(1, 0, 5 * (MIB as usize) + 17);
    for pass in 0..3 {
        // The third is by a cache that was opened anew.
        let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
        let origin = cache.custom("counted", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        for way in WAYS {
            let got = cache.read_by(way, &file, expected.len(), 0).unwrap();
            assert!(got == expected, "pass {pass}, {way:?}");
            // What was read is stored a moment after it was answered.
            while cache.stats().chunks_stored < cache.stats().origin_reads {
                std::thread::yield_now();
            }
        }
        assert_eq!(code.reads.load(Ordering::SeqCst), 6, "pass {pass}");
        assert_eq!(cache.stats().hits, if pass == 0 { 2 } else { 3 });
    }
}

pub(crate) fn a_read_ends_at_the_end_of_the_file<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let size = MIB + 3;
    let origin = cache.custom("code", Arc::new(TestOrigin::new(size)));
    let file = cache.file(&origin, b"file").unwrap();
    // Twice: from the origin, and from the cache.
    for _ in 0..2 {
        for way in WAYS {
            let read = |length, offset| cache.read_by(way, &file, length, offset).unwrap();
            assert_eq!(read(10, size - 4), content(1, size - 4, 4));
            assert_eq!(read(10, size), b"");
            assert_eq!(read(10, u64::MAX - 3), b"");
            assert_eq!(read(0, 0), b"");
            assert_eq!(
                read(4, MIB - 2),
                content(1, MIB - 2, 4),
                "across two chunks"
            );
        }
    }
}

pub(crate) fn each_completion_says_where_its_bytes_came_from<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(3 * MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    let mut queue = cache.queue(4);
    let mut read = |offset: u64, length: u64| {
        use crate::tests::door::QueueDoor;
        let mut buffer = vec![0; length as usize];
        queue.read(&file, &mut buffer, offset, 7).unwrap();
        let done = queue.wait(1, 1, None)[0];
        while cache.stats().chunks_stored < cache.stats().origin_reads {
            std::thread::yield_now();
        }
        assert_eq!((done.tag, done.result), (7, length as i64));
        (done.source, done.miss_reason, done.bytes_from_cache)
    };
    assert_eq!(
        read(0, 10),
        (CACHEFS_SOURCE_MISS, CACHEFS_MISS_NEVER_CACHED, 0)
    );
    assert_eq!(read(5, 10), (CACHEFS_SOURCE_HIT, CACHEFS_MISS_NONE, 10));
    let mixed = (CACHEFS_SOURCE_MIXED, CACHEFS_MISS_NEVER_CACHED, 6);
    assert_eq!(read(MIB - 6, 10), mixed);
    assert_eq!(read(0, 0), (CACHEFS_SOURCE_NONE, CACHEFS_MISS_NONE, 0));
}

/// What is written down of them is in a page for each.
pub(crate) fn misses_all_over_a_large_file_are_stored<D: Door>(engine: EngineChoice) {
    const CHUNK: u64 = 64 << 10;
    const MISSES: u64 = 48;
    const APART: u64 = 128 * MIB;
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let code = Arc::new(TestOrigin::new(MISSES * APART));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let asks = (0..MISSES).map(|number| Ask {
        file: &file,
        length: CHUNK as usize,
        offset: number * APART,
    });
    let asks: Vec<_> = asks.collect();
    for (ask, (bytes, _)) in asks.iter().zip(cache.batch(&asks)) {
        assert!(
            bytes == content(1, ask.offset, ask.length),
            "{}",
            ask.offset
        );
    }
    let end = Instant::now() + LIMIT;
    while cache.residency(&file).chunks_present < MISSES {
        assert!(Instant::now() < end, "they are stored");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(code.reads.load(Ordering::SeqCst), MISSES);
}
