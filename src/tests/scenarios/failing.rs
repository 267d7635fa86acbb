//! What fails, fails clearly, once, and harms nothing else.

use crate::tests::door::{Door, LIMIT, Place, QueueDoor, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content};
use cachefs_core::EngineChoice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

pub(crate) fn an_origin_error_is_the_readers_and_is_not_cached<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    for way in WAYS {
        code.errno.store(libc::EIO.into(), Ordering::SeqCst);
        assert_eq!(cache.read_by(way, &file, 10, 0), Err(libc::EIO), "{way:?}");
    }
    code.errno.store(0, Ordering::SeqCst);
    assert_eq!(cache.stats().errors, 3);
    assert_eq!(cache.read_by(WAYS[0], &file, 10, 0), Ok(content(1, 0, 10)));
    assert_eq!(cache.file(&origin, b"missing").err(), Some(libc::ENOENT));
}

pub(crate) fn a_short_origin_read_is_an_error_and_never_zeros<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    code.short.store(true, Ordering::SeqCst);
    for way in WAYS {
        assert_eq!(
            cache.read_by(way, &file, MIB as usize, 0),
            Err(libc::EIO),
            "{way:?}"
        );
    }
    assert_eq!(cache.residency(&file).chunks_present, 0);
}

pub(crate) fn an_origin_that_hangs_times_out_and_recovers<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.origin_timeout_ms = 100;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    code.set_hang(true);
    for way in WAYS {
        assert_eq!(
            cache.read_by(way, &file, 10, 0),
            Err(libc::ETIMEDOUT),
            "{way:?}"
        );
    }
    code.set_hang(false);
    let end = Instant::now() + LIMIT;
    loop {
        // The hung reads have to return before there are threads for new ones.
        match cache.read_by(WAYS[0], &file, 10, 0) {
            Ok(bytes) => return assert_eq!(bytes, content(1, 0, 10)),
            Err(errno) => assert_eq!(errno, libc::ETIMEDOUT),
        }
        assert!(
            Instant::now() < end,
            "the origin works again, the cache does not"
        );
    }
}

pub(crate) fn closing_completes_what_hangs<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let mut settings = Settings::new(engine);
    settings.close_timeout_ms = 300;
    let code = Arc::new(TestOrigin::new(4 * MIB));
    code.set_hang(true);
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("hung", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let mut buffer = vec![0; 10];
    let mut queue = cache.queue(2);
    queue.read(&file, &mut buffer, 0, 1).unwrap();
    queue.fill(&file, 2).unwrap();
    let pending = cache.read_async(&file, 10, 0).unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| cache.read_by(WAYS[0], &file, 10, 0));
        while cache.stats().in_flight < 4 {
            std::thread::yield_now();
        }
        let begin = Instant::now();
        cache.close();
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(blocked.join().unwrap(), Err(libc::ECANCELED));
    });
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.result, -i64::from(libc::ECANCELED));
    assert!(
        pending
            .done
            .recv_timeout(Duration::from_millis(10))
            .is_err(),
        "once"
    );
    let mut done = queue.wait(2, 2, Some(LIMIT));
    done.sort_by_key(|done| done.tag);
    let results: Vec<(u64, i64)> = done.iter().map(|done| (done.tag, done.result)).collect();
    let canceled = -i64::from(libc::ECANCELED);
    assert_eq!(results, [(1, canceled), (2, canceled)]);
    assert_eq!(cache.read_by(WAYS[0], &file, 10, 0), Err(libc::ESHUTDOWN));
    code.set_hang(false);
}

pub(crate) fn a_cancelled_read_completes_once<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    code.set_hang(true);
    let origin = cache.custom("hung", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let pending = cache.read_async(&file, 10, 0).unwrap();
    cache.cancel(pending.id);
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(
        (done.tag, done.result),
        (pending.id, -i64::from(libc::ECANCELED))
    );
    let mut buffers = [[0; 10]; 3];
    let mut queue = cache.queue(4);
    for (buffer, tag) in buffers.iter_mut().zip([5, 6, 5]) {
        queue.read(&file, buffer, 0, tag).unwrap();
    }
    assert_eq!(queue.cancel(5), 2);
    for done in queue.wait(2, 4, Some(LIMIT)) {
        assert_eq!((done.tag, done.result), (5, -i64::from(libc::ECANCELED)));
    }
    // The fetch goes on for the third, and for whoever comes later.
    code.set_hang(false);
    let done = queue.wait(1, 4, Some(LIMIT))[0];
    assert_eq!((done.tag, done.result), (6, 10));
    assert_eq!(buffers[1], content(1, 0, 10)[..]);
    assert_eq!(
        buffers[0], [0; 10],
        "a cancelled request's buffer is not touched"
    );
}

/// The only file below `directory` whose name ends so.
pub(super) fn find(directory: &Path, end: &str) -> PathBuf {
    let mut found = Vec::new();
    for bucket in std::fs::read_dir(directory.join("objects")).unwrap() {
        for entry in std::fs::read_dir(bucket.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub(crate) fn bytes_that_cannot_be_read_back_come_from_the_origin<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let place = Place::new();
        let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
        let origin = cache.custom("code", Arc::new(TestOrigin::new(2 * MIB)));
        let file = cache.file(&origin, b"file").unwrap();
        cache.fill(&file, &mut |_, _| true).unwrap();
        // Somebody cuts the data file under an open cache.
        let data = find(&place.cache(), ".data");
        std::fs::File::options()
            .write(true)
            .open(data)
            .unwrap()
            .set_len(MIB)
            .unwrap();
        let bytes = cache.read_by(way, &file, 2 * MIB as usize, 0).unwrap();
        assert!(bytes == content(1, 0, 2 * MIB as usize), "{way:?}");
        // The next open begins with a new object.
        let again = cache.file(&origin, b"file").unwrap();
        assert_eq!(cache.fill(&again, &mut |_, _| true), Ok(2 * MIB), "{way:?}");
        let bytes = cache.read_by(way, &again, 2 * MIB as usize, 0).unwrap();
        assert!(bytes == content(1, 0, 2 * MIB as usize), "{way:?}");
    }
}

pub(crate) fn remains_of_a_killed_process_are_removed<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let settings = Settings::new(engine);
    {
        let cache = D::open(&place.cache(), &settings).unwrap();
        let origin = cache.custom("code", Arc::new(TestOrigin::new(MIB)));
        let file = cache.file(&origin, b"file").unwrap();
        cache.fill(&file, &mut |_, _| true).unwrap();
    }
    let bucket = find(&place.cache(), ".data").parent().unwrap().to_owned();
    let remains = ["00.new", "11.0000000000000001.data", "22.meta"].map(|name| bucket.join(name));
    for path in &remains {
        std::fs::write(path, b"remains").unwrap();
    }
    // Without its table, the cache looks at each file, beside the work.
    std::fs::remove_file(place.cache().join("slots")).unwrap();
    let cache = D::open(&place.cache(), &settings).unwrap();
    let limit = Instant::now() + LIMIT;
    while !cache.is_normal() {
        assert!(Instant::now() < limit, "it is never done");
        std::thread::sleep(Duration::from_millis(1));
    }
    for path in &remains {
        assert!(!path.exists(), "{}", path.display());
    }
    assert_eq!(cache.stats().cached_objects, 1, "the object itself stays");
}
