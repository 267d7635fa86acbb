//! Limits hold, at the limit.

use crate::capi::types::{CACHEFS_MISS_NEVER_CACHED, CACHEFS_MISS_NO_ROOM};
use crate::tests::door::{Ask, Door, LIMIT, Place, QueueDoor, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content, grow_old, write_content, write_file};
use crate::tests::sharing::{disk_usage, no_evictor};
use crate::tests::volume::Volume;
use cachefs_core::EngineChoice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MIB: u64 = 1 << 20;

pub(crate) fn the_cache_stays_within_its_capacity<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 8 * MIB;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let code = Arc::new(TestOrigin::new(MIB + 1));
    let origin = cache.custom("code", code);
    for number in 0..40 {
        let file = cache.file(&origin, format!("{number}").as_bytes()).unwrap();
        let bytes = cache
            .read_by(WAYS[number % 3], &file, 2 * MIB as usize, 0)
            .unwrap();
        assert!(bytes == content(1, 0, MIB as usize + 1));
        let stats = cache.stats();
        assert!(
            stats.cached_bytes <= 8 * MIB,
            "{} after {number}",
            stats.cached_bytes
        );
        // A block of the last chunk is 4 KiB where one byte is counted.
        let disk = disk_usage(&place.cache());
        assert!(disk <= 8 * MIB + 64 * 4096, "{disk} after {number}");
    }
    assert!(cache.stats().evictions >= 30, "{}", cache.stats().evictions);
}

pub(crate) fn the_least_recently_opened_file_is_evicted<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 4 * MIB;
    let code = Arc::new(TestOrigin::new(MIB));
    let fill = |cache: &D, origin: &D::Origin, name: &[u8]| {
        let file = cache.file(origin, name).unwrap();
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(MIB));
        // The order is that of times that the file system keeps, in ticks.
        grow_old();
    };
    {
        let cache = D::open(&place.cache(), &settings).unwrap();
        let origin = cache.custom("code", Arc::clone(&code));
        for name in [b"a", b"b", b"c"] {
            fill(&cache, &origin, name);
        }
        fill(&cache, &origin, b"a");
    }
    // The order is known after a restart as well.
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("code", Arc::clone(&code));
    fill(&cache, &origin, b"d");
    let present = |name: &[u8]| {
        cache
            .residency(&cache.file(&origin, name).unwrap())
            .complete
    };
    assert!(present(b"a") && present(b"c") && present(b"d"));
    assert!(!present(b"b"));
}

pub(crate) fn a_file_larger_than_the_cache_is_still_read<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 2 * MIB;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let code = Arc::new(TestOrigin::new(8 * MIB));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    for way in WAYS {
        let bytes = cache.read_by(way, &file, 8 * MIB as usize, 0).unwrap();
        assert!(bytes == content(1, 0, 8 * MIB as usize), "{way:?}");
    }
    assert!(cache.stats().bypasses > 0);
    // A bypass reads what is asked for, not whole chunks.
    let before = code.bytes_read.load(Ordering::SeqCst);
    cache.read_by(WAYS[0], &file, 10, 7 * MIB).unwrap();
    assert_eq!(code.bytes_read.load(Ordering::SeqCst) - before, 10);
}

pub(crate) fn a_full_queue_takes_no_more<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    cache.fill(&file, &mut |_, _| true).unwrap();
    let depth = 4;
    // Before the queue, so that it outlives the queue also when the test fails.
    let mut buffers = vec![[0; 16]; depth as usize + 1];
    let mut queue = cache.queue(depth);
    let (last, first) = buffers.split_last_mut().unwrap();
    for (index, buffer) in first.iter_mut().enumerate() {
        assert_eq!(queue.space(), depth as usize - index);
        queue
            .read(&file, buffer, index as u64, index as u64)
            .unwrap();
    }
    assert_eq!(queue.space(), 0);
    assert_eq!(queue.read(&file, last, 0, 9), Err(libc::EAGAIN));
    assert_eq!(queue.fill(&file, 9), Err(libc::EAGAIN));
    // Completions that were not fetched hold their place.
    let done = queue.wait(1, 1, Some(LIMIT));
    assert_eq!((done.len(), queue.space()), (1, 1));
    queue.read(&file, last, 0, 9).unwrap();
    assert_eq!(queue.wait(4, 8, Some(LIMIT)).len(), 4);
    assert_eq!(queue.space(), depth as usize);
}

pub(crate) fn callback_requests_are_limited<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.async_limit = 2;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    code.set_hang(true);
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let pending: Vec<_> = (0..2)
        .map(|_| cache.read_async(&file, 1, 0).unwrap())
        .collect();
    assert_eq!(cache.read_async(&file, 1, 0).err(), Some(libc::EAGAIN));
    code.set_hang(false);
    for pending in pending {
        assert_eq!(pending.done.recv_timeout(LIMIT).unwrap().1.result, 1);
    }
    let again = cache.read_async(&file, 1, 0).unwrap();
    assert_eq!(again.done.recv_timeout(LIMIT).unwrap().1.result, 1);
}

pub(crate) fn a_miss_says_that_there_was_no_room<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 4 * MIB;
    settings.chunk_bytes = MIB;
    settings.readahead = false;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(6 * MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    let read = |chunk: u64| {
        let asks = [Ask {
            file: &file,
            length: 10,
            offset: chunk * MIB,
        }];
        cache.batch(&asks).pop().unwrap().1.miss_reason
    };
    let reasons: Vec<u32> = (0..6).map(read).collect();
    assert_eq!(reasons[0], CACHEFS_MISS_NEVER_CACHED);
    assert_eq!(reasons[5], CACHEFS_MISS_NO_ROOM, "{reasons:?}");
}

/// A cache that is full of files that nobody uses, and an origin whose files are copied into
/// it, or fetched.
fn full<D: Door>(place: &Place, settings: &Settings, copies: bool) -> (D, D::Origin) {
    let cache = D::open(&place.cache(), settings).unwrap();
    for number in 0..4 {
        write_file(
            &place.origin().join(format!("{number}")),
            &content(1, 0, MIB as usize),
        );
    }
    let origin = if copies {
        cache.directory(&place.origin()).unwrap()
    } else {
        cache.custom("code", Arc::new(TestOrigin::new(MIB)))
    };
    for number in 0..3 {
        let file = cache.file(&origin, format!("{number}").as_bytes()).unwrap();
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(MIB));
    }
    (cache, origin)
}

pub(crate) fn a_fill_waits_for_room_that_is_being_made<D: Door>(engine: EngineChoice) {
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 7 * MIB / 2;
    for copies in [false, true] {
        for opened_before in [false, true] {
            let place = Place::new();
            let (cache, origin) = full::<D>(&place, &settings, copies);
            let open = || cache.file(&origin, b"3").unwrap();
            let before = opened_before.then(open);
            let elsewhere = no_evictor(&place.cache());
            let file = before.unwrap_or_else(open);
            let mut queue = cache.queue(1);
            queue.fill(&file, 1).unwrap();
            let early = queue.wait(1, 1, Some(Duration::from_millis(400)));
            assert!(early.is_empty(), "{copies} {opened_before}: {early:?}");
            drop(elsewhere);
            let done = queue.wait(1, 1, Some(LIMIT))[0];
            assert_eq!(done.result, MIB as i64, "{copies} {opened_before}");
            assert!(cache.residency(&file).complete);
        }
    }
}

pub(crate) fn a_fill_waits_for_room_and_not_for_ever<D: Door>(engine: EngineChoice) {
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 7 * MIB / 2;
    for copies in [false, true] {
        let place = Place::new();
        let (cache, origin) = full::<D>(&place, &settings, copies);
        let file = cache.file(&origin, b"3").unwrap();
        let elsewhere = no_evictor(&place.cache());
        let filled = cache.fill(&file, &mut |_, _| true);
        assert_eq!(filled, Err(libc::ENOSPC), "{copies}");
        drop(elsewhere);
        // It was not the device's fault.
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(MIB), "{copies}");
    }
}

pub(crate) fn files_of_16_tib_are_cached_and_no_larger_ones<D: Door>(engine: EngineChoice) {
    const LARGEST: u64 = 16 << 40;
    let place = Place::new();
    // ext4 has no file of this size.
    let Some(volume) = Volume::mount(place.root(), &["mkfs.xfs", "-q"], 512) else {
        return;
    };
    let directory = volume.path.join("cache");
    let code = Arc::new(TestOrigin::new(LARGEST));
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = MIB;
    let pieces = [0, MIB - 50, LARGEST / 2 - 7, LARGEST - 100];
    let read = |again: bool| {
        let cache = D::open(&directory, &settings).unwrap();
        let origin = cache.custom("code", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        for (number, offset) in pieces.into_iter().enumerate() {
            let mut expected = vec![0; 100];
            write_content(1, offset, &mut expected);
            let bytes = cache.read_by(WAYS[number % 3], &file, 100, offset);
            assert!(bytes.unwrap() == expected, "at {offset}");
        }
        let rest = cache.read_by(WAYS[0], &file, 100, LARGEST - 1).unwrap();
        assert_eq!(rest.len(), 1);
        // Of the first, the second, one in the middle with its successor, and the last.
        while cache.residency(&file).chunks_present < 5 {
            std::thread::yield_now();
        }
        assert_eq!(cache.residency(&file).chunks_total, LARGEST / MIB);
        let from_origin = cache.stats().bytes_from_origin;
        assert_eq!(from_origin > 0, !again, "{from_origin}");
    };
    read(false);
    read(true);
    code.size.store(LARGEST + 1, Ordering::SeqCst);
    code.version.store(2, Ordering::SeqCst);
    let cache = D::open(&directory, &settings).unwrap();
    let origin = cache.custom("code", code);
    let file = cache.file(&origin, b"file").unwrap();
    let mut expected = vec![0; 100];
    write_content(2, LARGEST - 99, &mut expected);
    let bytes = cache.read_by(WAYS[1], &file, 200, LARGEST - 99);
    assert!(bytes.unwrap() == expected, "it is read all the same");
    assert_eq!(cache.residency(&file).chunks_present, 0);
    assert_eq!(cache.fill(&file, &mut |_, _| true), Err(libc::EFBIG));
}
