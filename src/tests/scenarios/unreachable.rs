//! Origins that cannot be reached: retries, an open circuit, and stale files.

use super::validation::{CHUNK, SIZE, Stage, chunk_of, errno, options, settings};
use crate::tests::door::{Door, LIMIT, WAYS, Way};
use crate::tests::origin::content;
use crate::tests::random::Random;
use cachefs_core::{EngineChoice, Errno, OriginOptions};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// CACHEFS_SOURCE_STALE.
const STALE: u32 = 5;

fn retrying(times: &str) -> OriginOptions {
    options(&[
        ("retries", times),
        ("retry_first_ms", "1"),
        ("retry_max_ms", "2"),
    ])
}

/// Left alone after two failures, for ever but for the test's patience.
fn breaking(probe_ms: &str) -> OriginOptions {
    options(&[("breaker_failures", "2"), ("breaker_probe_ms", probe_ms)])
}

fn stale(limit_ms: &str) -> OriginOptions {
    options(&[("stale_ms", limit_ms)])
}

impl<D: Door> Stage<D> {
    /// Every question and every read fails with this; 0: none does.
    fn fail(&self, errno: i32) {
        self.code.stat_errno.store(errno.into(), Ordering::SeqCst);
        self.code.errno.store(errno.into(), Ordering::SeqCst);
    }

    fn reads(&self) -> u64 {
        self.code.reads.load(Ordering::SeqCst)
    }

    /// A file whose first chunk is cached, closed again.
    fn with_first_chunk(options: &OriginOptions, engine: EngineChoice) -> Self {
        let stage = Self::new(settings(engine), options);
        let file = stage.open();
        assert!(stage.read(Way::Blocking, &file, 0) == Ok(chunk_of(1, 0)));
        // The reader is answered before it is stored.
        while stage.cache.residency(&file).chunks_present == 0 {
            std::thread::yield_now();
        }
        drop(file);
        stage
    }
}

pub(crate) fn what_fails_for_a_moment_is_tried_again<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::new(settings(engine), &retrying("3"));
        let file = stage.open();
        stage
            .code
            .errno_once
            .store(libc::EIO.into(), Ordering::SeqCst);
        assert!(stage.read(way, &file, 1) == Ok(chunk_of(1, 1)), "{way:?}");
        assert_eq!(stage.reads(), 2, "{way:?}");
        assert_eq!(stage.cache.stats().origin_retries, 1, "{way:?}");
        assert_eq!(stage.cache.stats().errors, 0, "{way:?}");
    }
}

pub(crate) fn what_keeps_failing_fails_after_its_retries<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::new(settings(engine), &retrying("3"));
        let file = stage.open();
        stage
            .code
            .errno
            .store(libc::EHOSTUNREACH.into(), Ordering::SeqCst);
        let failed = errno(stage.read(way, &file, 1));
        assert_eq!(failed, Some(libc::EHOSTUNREACH), "{way:?}");
        assert_eq!(stage.reads(), 4, "{way:?}: once, and three times more");
        assert_eq!(stage.cache.stats().chunks_stored, 0);
        // Opens are tried again as well.
        stage.fail(libc::ETIMEDOUT);
        let asked = stage.stats();
        let opened = stage.cache.file(&stage.origin, b"other").err();
        assert_eq!(opened, Some(libc::ETIMEDOUT));
        assert_eq!(stage.stats(), asked + 4);
        assert_eq!(stage.cache.stats().origin_retries, 6);
    }
}

pub(crate) fn what_tells_of_the_file_is_not_tried_again<D: Door>(engine: EngineChoice) {
    let stage = Stage::<D>::new(settings(engine), &retrying("3"));
    for known in [libc::EACCES, libc::ELOOP, libc::EPERM] {
        stage.fail(0);
        let file = stage.open();
        stage.fail(known);
        let (asked, reads) = (stage.stats(), stage.reads());
        assert_eq!(errno(stage.read(Way::Blocking, &file, 1)), Some(known));
        assert_eq!(stage.cache.file(&stage.origin, b"other").err(), Some(known));
        assert_eq!((stage.stats(), stage.reads()), (asked + 1, reads + 1));
    }
    assert_eq!(stage.cache.stats().origin_retries, 0);
}

pub(crate) fn a_retry_that_waits_can_be_cancelled_and_has_its_time<D: Door>(engine: EngineChoice) {
    let hours = [
        ("retries", "64"),
        ("retry_first_ms", "3600000"),
        ("retry_max_ms", "3600000"),
    ];
    let stage = Stage::<D>::new(settings(engine), &options(&hours));
    let file = stage.open();
    stage.code.errno.store(libc::EIO.into(), Ordering::SeqCst);
    let pending = stage.cache.read_async(&file, CHUNK as usize, 0).unwrap();
    while stage.cache.stats().origin_retries == 0 {
        std::thread::yield_now();
    }
    stage.cache.cancel(pending.id);
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.result, -i64::from(libc::ECANCELED));
    // Closing does not wait for it either.
    let pending = stage.cache.read_async(&file, CHUNK as usize, 0).unwrap();
    while stage.cache.stats().origin_retries == 1 {
        std::thread::yield_now();
    }
    stage.cache.close();
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.result, -i64::from(libc::ECANCELED));
}

pub(crate) fn an_origin_that_is_down_is_left_alone_and_found_again<D: Door>(engine: EngineChoice) {
    let stage = Stage::<D>::with_first_chunk(&breaking("3600000"), engine);
    let file = stage.open();
    stage.fail(libc::EHOSTUNREACH);
    for _ in 0..2 {
        let failed = errno(stage.read(Way::Blocking, &file, 1));
        assert_eq!(failed, Some(libc::EHOSTUNREACH));
    }
    let (asked, reads) = (stage.stats(), stage.reads());
    for way in WAYS {
        let failed = errno(stage.read(way, &file, 1));
        assert_eq!(failed, Some(libc::EHOSTUNREACH), "{way:?}: at once");
        assert!(
            stage.read(way, &file, 0) == Ok(chunk_of(1, 0)),
            "{way:?}: cached"
        );
    }
    let opened = stage.cache.file(&stage.origin, b"other").err();
    assert_eq!(opened, Some(libc::EHOSTUNREACH));
    assert_eq!(
        (stage.stats(), stage.reads()),
        (asked, reads),
        "nobody was asked"
    );

    let stage = Stage::<D>::with_first_chunk(&breaking("1"), engine);
    let file = stage.open();
    stage.fail(libc::EIO);
    for _ in 0..3 {
        assert_eq!(errno(stage.read(Way::Blocking, &file, 1)), Some(libc::EIO));
    }
    stage.fail(0);
    std::thread::sleep(Duration::from_millis(2));
    // Of several pieces, one asks whether it is back, and the others wait for that.
    let whole = stage.cache.read_by(Way::Callback, &file, SIZE as usize, 0);
    assert!(whole == Ok(content(1, 0, SIZE as usize)));
}

pub(crate) fn a_file_of_an_origin_that_is_down_is_served_stale_within_its_limit<D: Door>(
    engine: EngineChoice,
) {
    let stage = Stage::<D>::with_first_chunk(&stale("3600000"), engine);
    stage.fail(libc::ETIMEDOUT);
    let file = stage.open();
    for way in WAYS {
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(1, 0)), "{way:?}");
    }
    let pending = stage.cache.read_async(&file, CHUNK as usize, 0).unwrap();
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.source, STALE);
    let stats = stage.cache.stats();
    assert_eq!(
        (stats.stale_opens, stats.stale_reads),
        (1, WAYS.len() as u64 + 1)
    );
    // Nobody knows what it is.
    let unknown = stage.cache.file(&stage.origin, b"other").err();
    assert_eq!(unknown, Some(libc::ETIMEDOUT), "and not: no such file");

    let stage = Stage::<D>::with_first_chunk(&stale("1"), engine);
    std::thread::sleep(Duration::from_millis(2));
    stage.fail(libc::ETIMEDOUT);
    let late = stage.cache.file(&stage.origin, b"file").err();
    assert_eq!(late, Some(libc::ETIMEDOUT));

    // The limit ends for a handle that is open, too.
    let stage = Stage::<D>::with_first_chunk(&stale("300"), engine);
    stage.fail(libc::ETIMEDOUT);
    // On a slow machine it is over already.
    if let Ok(file) = stage.cache.file(&stage.origin, b"file") {
        std::thread::sleep(Duration::from_millis(301));
        let late = errno(stage.read(Way::Blocking, &file, 0));
        assert_eq!(late, Some(libc::ETIMEDOUT));
    }
}

pub(crate) fn a_stale_file_is_fresh_once_the_origin_answers<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::with_first_chunk(&stale("3600000"), engine);
        stage.fail(libc::EIO);
        let file = stage.open();
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(1, 0)), "{way:?}");
        stage.change(2);
        stage.fail(0);
        // Somebody finds out.
        drop(stage.cache.file(&stage.origin, b"other").unwrap());
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(2, 0)), "{way:?}");
        let reads = stage.cache.stats().stale_reads;
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(2, 0)), "{way:?}");
        assert_eq!(stage.cache.stats().stale_reads, reads, "{way:?}");
    }
}

pub(crate) fn what_is_missing_of_a_stale_file_is_an_error_and_not_an_end<D: Door>(
    engine: EngineChoice,
) {
    for way in WAYS {
        let stage = Stage::<D>::with_first_chunk(&stale("3600000"), engine);
        stage.fail(libc::ENOTCONN);
        let file = stage.open();
        assert_eq!(
            errno(stage.read(way, &file, 1)),
            Some(libc::ENOTCONN),
            "{way:?}"
        );
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(1, 0)), "{way:?}");
        stage.fail(0);
        assert!(stage.read(way, &file, 1) == Ok(chunk_of(1, 1)), "{way:?}");
    }
}

pub(crate) fn what_was_invalidated_is_not_served_stale<D: Door>(engine: EngineChoice) {
    let stage = Stage::<D>::with_first_chunk(&stale("3600000"), engine);
    stage.fail(libc::EIO);
    let file = stage.open();
    stage.cache.invalidate(&stage.origin, b"file", false);
    assert_eq!(errno(stage.read(Way::Blocking, &file, 0)), Some(libc::EIO));
    assert_eq!(
        stage.cache.file(&stage.origin, b"file").err(),
        Some(libc::EIO)
    );
}

pub(crate) fn an_origin_that_fails_at_random_gives_right_bytes_or_an_error<D: Door>(
    engine: EngineChoice,
) {
    let mut random = Random::new();
    let all = [
        ("validation", "ttl"),
        ("validate_ttl_ms", "1"),
        ("retries", "2"),
        ("retry_first_ms", "1"),
        ("retry_max_ms", "1"),
        ("breaker_failures", "3"),
        ("breaker_probe_ms", "1"),
        ("stale_ms", "3600000"),
    ];
    let stage = Stage::<D>::new(settings(engine), &options(&all));
    let failures = [Errno::IO, Errno::TIMEDOUT, Errno::STALE, Errno::HOSTDOWN];
    let (mut served, mut refused) = (0, 0);
    for _ in 0..400 {
        match random.below(8) {
            0 => stage.fail(failures[random.below(4) as usize].raw_os_error()),
            1 => {
                stage.fail(0);
                // Until it is asked again.
                std::thread::sleep(Duration::from_millis(2));
            }
            2 => {
                let errno = failures[random.below(4) as usize].raw_os_error();
                stage.code.errno_once.store(errno.into(), Ordering::SeqCst);
            }
            _ => {
                let way = WAYS[random.below(3) as usize];
                let offset = random.below(SIZE);
                let length = 1 + random.below(SIZE - offset) as usize;
                // What is cached is served stale, so some must be new.
                let name = random.below(60).to_string();
                let opened = stage.cache.file(&stage.origin, name.as_bytes());
                let read = opened.and_then(|file| stage.cache.read_by(way, &file, length, offset));
                match read {
                    Ok(bytes) => {
                        assert!(bytes == content(1, offset, length), "{way:?}");
                        served += 1;
                    }
                    Err(errno) => {
                        let expected = failures.map(|failure| failure.raw_os_error());
                        assert!(expected.contains(&errno), "{way:?}: {errno}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(
        served > 0 && refused > 0,
        "{served} served, {refused} refused: try both"
    );
}
