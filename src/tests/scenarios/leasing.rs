//! Leases: bytes of the file, that stay whatever becomes of it, and within a limit.

use super::failing::find;
use super::memory::{CHUNK, SIZE, bring_in, filled, settings};
use crate::tests::door::{Door, LIMIT, LeaseDoor, Place, Settings};
use crate::tests::origin::{TestOrigin, content, write_file};
use crate::tests::random::Random;
use cachefs_core::EngineChoice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
const TO_END: u64 = u64::MAX;

#[track_caller]
fn check(lease: &impl LeaseDoor, version: u64, offset: u64, length: u64) {
    let bytes = lease.bytes();
    assert_eq!(bytes.len() as u64, length, "at {offset}");
    assert!(
        bytes == content(version, offset, length as usize),
        "{length} at {offset}"
    );
}

pub(crate) fn leased_ranges_equal_the_origin<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for memory_bytes in [0, 3 * CHUNK, MIB] {
        let place = Place::new();
        let (cache, _origin, file) = filled::<D>(&place, &settings(engine, memory_bytes));
        if memory_bytes > 0 {
            bring_in(&cache, &file, memory_bytes.min(SIZE) / 2);
        }
        let mut held = Vec::new();
        for _ in 0..300 {
            let offset = random.below(SIZE + 100);
            let length = random.any_size(3 * CHUNK);
            let lease = cache.lease(&file, length, offset).unwrap();
            let expected = length.min(SIZE.saturating_sub(offset));
            check(&lease, 1, offset, expected);
            held.push((lease, offset, expected));
            if held.len() > 16 {
                // What was leased is still there.
                let any = random.below(held.len() as u64) as usize;
                let (lease, offset, length) = held.swap_remove(any);
                check(&lease, 1, offset, length);
            }
        }
        assert!(cache.stats().leased_bytes > 0);
        drop(held);
        assert_eq!(cache.stats().leased_bytes, 0);
        assert_eq!(cache.stats().misses, 0, "all was there");
    }
}

pub(crate) fn what_is_missing_is_fetched_for_a_lease<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &settings(engine, MIB)).unwrap();
    let code = Arc::new(TestOrigin::new(SIZE));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let (offset, length) = (2 * CHUNK - 100, 200);
    check(
        &cache.lease(&file, length, offset).unwrap(),
        1,
        offset,
        length,
    );
    assert_eq!(code.bytes_read.load(Ordering::SeqCst), 2 * CHUNK);
    while cache.stats().chunks_stored < 2 {
        std::thread::yield_now();
    }
    check(
        &cache.lease(&file, length, offset).unwrap(),
        1,
        offset,
        length,
    );
    // From where a part is missing on.
    check(&cache.lease(&file, TO_END, 0).unwrap(), 1, 0, SIZE);
    assert_eq!(code.bytes_read.load(Ordering::SeqCst), SIZE);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (1, 2), "{stats:?}");
}

pub(crate) fn a_lease_ends_at_the_end_of_the_file<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, 0));
    check(
        &cache.lease(&file, 100, SIZE - 10).unwrap(),
        1,
        SIZE - 10,
        10,
    );
    check(&cache.lease(&file, TO_END, 7).unwrap(), 1, 7, SIZE - 7);
    for (offset, length) in [(SIZE, 1), (SIZE + 1, TO_END), (TO_END, 1), (5, 0)] {
        let lease = cache.lease(&file, length, offset).unwrap();
        assert!(lease.bytes().is_empty(), "{length} at {offset}");
        assert_eq!(cache.stats().leased_bytes, 0, "nothing is held");
    }
}

pub(crate) fn what_is_in_memory_is_leased_there<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, MIB));
    if !bring_in(&cache, &file, SIZE) {
        eprintln!("skipped: this process may not lock {SIZE} bytes");
        return;
    }
    let before = cache.stats();
    let leases = [0, 1].map(|_| cache.lease(&file, PAGE, 3 * CHUNK).unwrap());
    let [one, other] = leases.each_ref().map(|lease| lease.bytes().as_ptr());
    assert_eq!(one, other, "nothing is copied");
    let after = cache.stats();
    assert_eq!(after.bytes_from_memory - before.bytes_from_memory, 2 * PAGE);
    assert_eq!(after.hits - before.hits, 2);
    assert_eq!(after.leased_bytes, 2 * PAGE);
    // They hold on to it without the file.
    drop(file);
    assert_eq!(cache.stats().memory_bytes, SIZE);
    drop(leases);
    assert_eq!(cache.stats().leased_bytes, 0);
    // The thread that brought in the last chunk may have the file for a moment.
    let begun = Instant::now();
    while cache.stats().memory_bytes > 0 {
        assert!(begun.elapsed() < LIMIT, "{:?}", cache.stats());
        std::thread::yield_now();
    }
}

pub(crate) fn a_lease_outlives_file_cache_and_directory<D: Door>(engine: EngineChoice) {
    for memory_bytes in [0, MIB] {
        let place = Place::new();
        let (cache, origin, file) = filled::<D>(&place, &settings(engine, memory_bytes));
        if memory_bytes > 0 {
            bring_in(&cache, &file, SIZE);
        }
        let one = cache.lease(&file, PAGE, CHUNK).unwrap();
        let all = cache.lease(&file, TO_END, 0).unwrap();
        drop((file, origin));
        check(&one, 1, CHUNK, PAGE);
        cache.close();
        check(&one, 1, CHUNK, PAGE);
        check(&all, 1, 0, SIZE);
        drop(cache);
        std::fs::remove_dir_all(place.cache()).unwrap();
        check(&one, 1, CHUNK, PAGE);
        check(&all, 1, 0, SIZE);
    }
}

pub(crate) fn a_closed_cache_gives_no_lease<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, 0));
    cache.close();
    assert_eq!(cache.lease(&file, 1, 0).err(), Some(libc::ESHUTDOWN));
}

pub(crate) fn a_lease_stays_when_its_file_is_replaced<D: Door>(engine: EngineChoice) {
    for memory_bytes in [0, MIB] {
        let place = Place::new();
        let path = place.origin().join("file");
        let (cache, origin, file) = filled::<D>(&place, &settings(engine, memory_bytes));
        if memory_bytes > 0 {
            bring_in(&cache, &file, SIZE);
        }
        let lease = |file: &D::File| {
            [(0, TO_END), (CHUNK, PAGE)].map(|(at, length)| {
                let lease = cache.lease(file, length, at).unwrap();
                (lease, at, length.min(SIZE - at))
            })
        };
        let mut held = vec![lease(&file)];
        drop(file);
        for version in 2..5 {
            write_file(&path, &content(version, 0, SIZE as usize));
            let file = cache.file(&origin, b"file").unwrap();
            assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(SIZE));
            held.push(lease(&file));
        }
        for (leases, version) in held.iter().zip(1..) {
            for (lease, at, length) in leases {
                check(lease, version, *at, *length);
            }
        }
        assert_eq!(cache.stats().cached_objects, 1, "the others were replaced");
    }
}

pub(crate) fn no_lease_mixes_versions<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for _ in 0..20 {
        let place = Place::new();
        let cache = D::open(&place.cache(), &settings(engine, 0)).unwrap();
        let size = 16 * CHUNK;
        let mut code = TestOrigin::new(size);
        code.uniform = true;
        code.changes_every = 2 + random.below(60);
        let origin = cache.custom("changing", Arc::new(code));
        let file = cache.file(&origin, b"file").unwrap();
        for _ in 0..3 {
            match cache.lease(&file, size, 0) {
                Ok(lease) => {
                    let bytes = lease.bytes();
                    assert_eq!(bytes.len(), size as usize);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "two versions");
                }
                Err(errno) => assert_eq!(errno, libc::ESTALE),
            }
        }
    }
}

/// Says that it is over, also when an assertion fails: whoever waits for that is waited
/// for himself.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn leases_stay_while_others_are_evicted<D: Door>(engine: EngineChoice) {
    const FILES: u64 = 12;
    let place = Place::new();
    // Room for a third of the files, and in memory for half of one.
    let mut settings = settings(engine, MIB / 2);
    settings.capacity_bytes = 4 * MIB;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(MIB)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lessee = |index| {
            let (cache, origin, done) = (&cache, &origin, &done);
            move || {
                let mut random = Random::of(index);
                let mut held = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let name = random.below(FILES).to_string();
                    let file = cache.file(origin, name.as_bytes()).unwrap();
                    let (offset, length) = (random.below(MIB), random.any_size(2 * CHUNK));
                    let lease = cache.lease(&file, length, offset).unwrap();
                    held.push((lease, offset, length.min(MIB - offset)));
                    if held.len() > 8 {
                        let any = random.below(held.len() as u64) as usize;
                        let (lease, offset, length) = held.swap_remove(any);
                        check(&lease, 1, offset, length);
                    }
                }
            }
        };
        let lessees = [0, 1].map(|index| scope.spawn(lessee(index)));
        let end = End(&done);
        for round in 0..4 * FILES {
            let name = (round % FILES).to_string();
            let file = cache.file(&origin, name.as_bytes()).unwrap();
            // Without room, if all of it is leased.
            match cache.fill(&file, &mut |_, _| true) {
                Ok(bytes) => assert_eq!(bytes, MIB),
                Err(errno) => assert_eq!(errno, libc::ENOSPC),
            }
            // Metadata of the objects that the three threads are making comes on top, and
            // what the file system takes for a file that was written in many pieces.
            let held = cache.stats().cached_bytes;
            assert!(held <= 4 * MIB + (3 + FILES) * PAGE, "{held}");
        }
        drop(end);
        lessees
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    assert!(cache.stats().evictions > 0);
    assert_eq!(cache.stats().leased_bytes, 0);
}

pub(crate) fn leases_are_limited<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings: Settings = settings(engine, 0);
    settings.lease_bytes = 4 * PAGE;
    let (cache, _origin, file) = filled::<D>(&place, &settings);
    // A byte takes a page, and two take two if they lie in two.
    let one = cache.lease(&file, 1, 0).unwrap();
    let two = cache.lease(&file, 2, 2 * PAGE - 1).unwrap();
    assert_eq!(cache.stats().leased_bytes, 3 * PAGE);
    assert_eq!(cache.lease(&file, PAGE, 1).err(), Some(libc::EAGAIN));
    let last = cache.lease(&file, PAGE, 0).unwrap();
    assert_eq!(cache.stats().leased_bytes, 4 * PAGE, "the limit itself");
    assert_eq!(cache.lease(&file, 1, 0).err(), Some(libc::EAGAIN));
    check(&cache.lease(&file, 1, SIZE).unwrap(), 1, SIZE, 0);
    drop((one, two, last));
    check(
        &cache.lease(&file, 4 * PAGE, PAGE).unwrap(),
        1,
        PAGE,
        4 * PAGE,
    );
    let more = cache.lease(&file, 4 * PAGE, PAGE + 1);
    assert_eq!(more.err(), Some(libc::E2BIG));
    assert_eq!(cache.stats().leased_bytes, 0, "what failed holds nothing");
}

pub(crate) fn leased_bytes_that_cannot_be_read_back_come_from_the_origin<D: Door>(
    engine: EngineChoice,
) {
    let place = Place::new();
    let (cache, _origin, file) = filled::<D>(&place, &settings(engine, 0));
    // Somebody cuts the data file under an open cache.
    let mut options = std::fs::File::options();
    let data = options.write(true).open(find(&place.cache(), ".data"));
    data.unwrap().set_len(CHUNK).unwrap();
    check(&cache.lease(&file, TO_END, 0).unwrap(), 1, 0, SIZE);
    assert!(cache.stats().misses + cache.stats().bypasses > 0);
}
