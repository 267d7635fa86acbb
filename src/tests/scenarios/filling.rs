//! Copy-fills.

use crate::tests::door::{Door, Place, QueueDoor, Settings, Way};
use crate::tests::origin::{TestOrigin, content, write_file};
use cachefs_core::{EngineChoice, Residency};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIB: u64 = 1 << 20;

pub(crate) fn a_filled_file_is_complete_and_has_a_descriptor<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let size = 3 * MIB + 5;
    let bytes = content(1, 0, size as usize);
    write_file(&place.origin().join("file"), &bytes);
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    let empty = Residency {
        complete: false,
        bytes_present: 0,
        chunks_present: 0,
        chunks_total: 4,
        chunk_bytes: MIB,
    };
    assert_eq!(cache.residency(&file), empty);
    assert_eq!(cache.descriptor(&file).err(), Some(libc::ENODATA));
    // By a queue, and then again by the blocking call, which finds it done.
    let mut queue = cache.queue(1);
    queue.fill(&file, 9).unwrap();
    let done = queue.wait(1, 1, None)[0];
    assert_eq!((done.tag, done.result), (9, size as i64));
    assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(size));
    let complete = Residency {
        complete: true,
        bytes_present: size,
        chunks_present: 4,
        ..empty
    };
    assert_eq!(cache.residency(&file), complete);
    let descriptor = cache.descriptor(&file).unwrap();
    drop(file);
    let mut exported = Vec::new();
    std::fs::File::from(descriptor)
        .read_to_end(&mut exported)
        .unwrap();
    assert!(exported == bytes, "the descriptor outlives the file");
    assert_eq!(cache.stats().bytes_from_origin, size);
}

pub(crate) fn a_file_of_the_future_is_not_waited_for<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    let hour = Duration::from_secs(3600);
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + hour;
    code.version.store(then.as_nanos() as i64, Ordering::SeqCst);
    let origin = cache.custom("skewed", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let begin = Instant::now();
    let filled = cache.fill(&file, &mut |_, _| begin.elapsed() < Duration::from_secs(10));
    assert_eq!(
        filled,
        Err(libc::EAGAIN),
        "it cannot be trusted for an hour"
    );
    // It is read all the same.
    let bytes = cache.read_by(Way::Blocking, &file, 10, 0).unwrap();
    assert_eq!(bytes, content(then.as_nanos() as u64, 0, 10));
}

pub(crate) fn a_fill_can_be_cancelled<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let mut code = TestOrigin::new(256 * MIB);
    code.delay = Duration::from_millis(20);
    let origin = cache.custom("slow", Arc::new(code));
    let file = cache.file(&origin, b"file").unwrap();
    assert_eq!(
        cache.fill(&file, &mut |done, _| done == 0),
        Err(libc::ECANCELED)
    );
    let present = cache.residency(&file).chunks_present;
    assert!(
        present > 0 && present < 256,
        "what was copied stays: {present}"
    );
    assert_eq!(cache.stats().in_flight, 0);
}

pub(crate) fn a_fill_without_room_says_so<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = 2 * MIB;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(8 * MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    assert_eq!(cache.fill(&file, &mut |_, _| true), Err(libc::ENOSPC));
    assert!(cache.stats().cached_bytes <= 2 * MIB);
}

pub(crate) fn progress_goes_from_nothing_to_all<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let mut code = TestOrigin::new(32 * MIB);
    code.delay = Duration::from_millis(30);
    let origin = cache.custom("slow", Arc::new(code));
    let file = cache.file(&origin, b"file").unwrap();
    let mut seen = Vec::new();
    let result = cache.fill(&file, &mut |done, total| {
        assert_eq!(total, 32 * MIB);
        seen.push(done);
        true
    });
    assert_eq!(result, Ok(32 * MIB));
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&(32 * MIB)));
}
