//! Objects that are read and written past the page cache.

use super::failing::find;
use crate::tests::door::{Door, LIMIT, Place, QueueDoor, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content};
use cachefs_core::EngineChoice;
use rustix::fs::Advice;
use std::sync::Arc;

const CHUNK: usize = 64 << 10;
/// Around what devices, pages and chunks are multiples of.
const SIZES: [usize; 11] = [
    1,
    511,
    512,
    513,
    4095,
    4096,
    4097,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    3 * CHUNK + 4097,
];
/// How far memory is from a page boundary.
const SHIFTS: [usize; 3] = [0, 1, 512];
const GUARD: u8 = 0xAA;
/// Bytes before and behind what is asked for that are looked at: more than a block.
const GUARD_BYTES: usize = 4608;

fn open<D: Door>(place: &Place, engine: EngineChoice, direct: bool) -> D {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK as u64;
    settings.direct = direct;
    D::open(&place.cache(), &settings).unwrap()
}

/// Memory that begins at a page boundary.
struct Pages {
    memory: Vec<u8>,
    start: usize,
}

impl Pages {
    fn new(length: usize) -> Self {
        let memory = vec![GUARD; length + 2 * GUARD_BYTES + 2 * 4096];
        let first = memory[GUARD_BYTES..].as_ptr().align_offset(4096);
        let start = GUARD_BYTES + first;
        Self { memory, start }
    }

    /// What is asked for, with what must not be touched around it.
    fn parts(&mut self, shift: usize, length: usize) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let first = self.start + shift - GUARD_BYTES;
        let part = &mut self.memory[first..][..length + 2 * GUARD_BYTES];
        part.fill(GUARD);
        let (before, rest) = part.split_at_mut(GUARD_BYTES);
        let (asked, behind) = rest.split_at_mut(length);
        (before, asked, behind)
    }
}

fn interesting(size: usize) -> Vec<usize> {
    let around = [0, 1, 512, 513, 4095, 4096, size / 2, CHUNK - 1, CHUNK];
    let end = [
        size - 1,
        size,
        size + 1,
        size - size % 512,
        size - size % 4096,
    ];
    let mut all: Vec<usize> = around.into_iter().chain(end).collect();
    all.retain(|at| *at <= size + 1);
    all.sort_unstable();
    all.dedup();
    all
}

pub(crate) fn reads_of_any_alignment_equal_the_file<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache: D = open(&place, engine, true);
    let mut queue = cache.queue(1);
    let mut pages = Pages::new(5 * CHUNK);
    for size in SIZES {
        let origin = cache.custom(&size.to_string(), Arc::new(TestOrigin::new(size as u64)));
        let file = cache.file(&origin, b"file").unwrap();
        cache.fill(&file, &mut |_, _| true).unwrap();
        let (points, bytes) = (interesting(size), content(1, 0, size));
        for shift in SHIFTS {
            for offset in &points {
                for length in &points {
                    let (before, asked, behind) = pages.parts(shift, *length);
                    let what = format!("{length} at {offset} of {size} to page + {shift}");
                    // Each way takes its turn.
                    let count = if (offset ^ length ^ shift) & 1 == 0 {
                        cache.read(&file, asked, *offset as u64).unwrap() as usize
                    } else {
                        queue.read(&file, asked, *offset as u64, 1).unwrap();
                        let done = queue.wait(1, 1, Some(LIMIT));
                        done[0].result as usize
                    };
                    let expected = (*length).min(size.saturating_sub(*offset));
                    assert_eq!(count, expected, "{what}");
                    let wanted = bytes.get(*offset..offset + count).unwrap_or_default();
                    assert!(asked[..count] == *wanted, "{what}");
                    let untouched = |bytes: &[u8]| *bytes == [GUARD; GUARD_BYTES];
                    assert!(untouched(before) && untouched(behind), "{what}: too much");
                }
            }
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.bypasses), (0, 0), "all were hits");
}

pub(crate) fn what_was_written_is_there_without_the_page_cache<D: Door>(engine: EngineChoice) {
    for size in SIZES {
        let place = Place::new();
        let cache: D = open(&place, engine, true);
        let origin = cache.custom("code", Arc::new(TestOrigin::new(size as u64)));
        let file = cache.file(&origin, b"file").unwrap();
        cache.fill(&file, &mut |_, _| true).unwrap();
        let data = std::fs::File::open(find(&place.cache(), ".data")).unwrap();
        data.sync_all().unwrap();
        rustix::fs::fadvise(&data, 0, None, Advice::DontNeed).unwrap();
        for way in WAYS {
            let got = cache.read_by(way, &file, size + 5, 0).unwrap();
            assert!(got == content(1, 0, size), "{way:?} of {size}");
        }
        let on_disk = std::fs::read(find(&place.cache(), ".data")).unwrap();
        assert!(on_disk == content(1, 0, size), "{size}, by others");
    }
}

pub(crate) fn an_object_is_used_in_its_own_mode<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let size = 4 * CHUNK + 1234;
    let code = Arc::new(TestOrigin::new(size as u64));
    // Two caches on one directory stand for two processes. The first one to open a
    // file makes its object; both fill it, and each reads what the other filled.
    let caches: [D; 2] = [true, false].map(|direct| open(&place, engine, direct));
    for first in 0..2 {
        let name = ["direct", "buffered"][first];
        let order = [&caches[first], &caches[1 - first]];
        let origins = order.map(|cache| cache.custom("code", Arc::clone(&code)));
        let files =
            [0, 1].map(|index| order[index].file(&origins[index], name.as_bytes()).unwrap());
        let read = |index: usize, offset: usize, length: usize| {
            for way in WAYS {
                let file = &files[index];
                let got = order[index].read_by(way, file, length, offset as u64);
                let expected = content(1, offset as u64, length);
                assert!(got.unwrap() == expected, "{name} by {index}, {way:?}");
            }
            while order[index].stats().chunks_stored < order[index].stats().origin_reads {
                std::thread::yield_now();
            }
        };
        read(0, 10, CHUNK);
        read(1, 3 * CHUNK, CHUNK + 1234);
        order[0].fill(&files[0], &mut |_, _| true).unwrap();
        for index in [0, 1] {
            assert!(order[index].residency(&files[index]).complete);
            read(index, 0, size);
            read(index, 513, size - 513);
        }
    }
    let origin_bytes: u64 = caches
        .iter()
        .map(|cache| cache.stats().bytes_from_origin)
        .sum();
    assert_eq!(
        origin_bytes,
        2 * size as u64,
        "what one filled, the other had"
    );
}

pub(crate) fn a_hit_does_not_wait_for_buffers_that_an_origin_has<D: Door>(engine: EngineChoice) {
    const MIB: u64 = 1 << 20;
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(128 * MIB));
    let origin = cache.custom("hung", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    cache.read_by(WAYS[0], &file, 1, 0).unwrap();
    while cache.stats().chunks_stored < 1 {
        std::thread::yield_now();
    }
    code.set_hang(true);
    // More than the pool of a library thread has buffers.
    let chunks = 1..100;
    let pending: Vec<_> = chunks
        .map(|chunk| cache.read_async(&file, 1, chunk * MIB).unwrap())
        .collect();
    for way in WAYS {
        let got = cache.read_by(way, &file, 1000, 1).unwrap();
        assert_eq!(got, content(1, 1, 1000), "{way:?}");
    }
    code.set_hang(false);
    for one in pending {
        let (_, done) = one.done.recv_timeout(LIMIT).unwrap();
        assert_eq!(done.result, 1);
    }
}
