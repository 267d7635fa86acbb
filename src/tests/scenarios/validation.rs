//! Files that are opened without asking the origin, and what makes it asked again.

use crate::tests::door::{Door, LIMIT, LeaseDoor, Place, Settings, WAYS, Way};
use crate::tests::origin::{TestOrigin, content, write_file};
use crate::tests::random::Random;
use cachefs_core::{EngineChoice, OriginOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const CHUNK: u64 = 64 << 10;
pub(super) const SIZE: u64 = 4 * CHUNK;

pub(super) fn settings(engine: EngineChoice) -> Settings {
    Settings {
        chunk_bytes: CHUNK,
        readahead: false,
        ..Settings::new(engine)
    }
}

pub(super) fn options(pairs: &[(&str, &str)]) -> OriginOptions {
    let mut options = OriginOptions::default();
    for (key, value) in pairs {
        options.set(key, value).unwrap();
    }
    options
}

fn never() -> OriginOptions {
    options(&[("validation", "never")])
}

/// A cache and an origin of code, whose file is trusted at once.
pub(super) struct Stage<D: Door> {
    pub(super) cache: D,
    pub(super) code: Arc<TestOrigin>,
    pub(super) origin: D::Origin,
    _place: Place,
}

impl<D: Door> Stage<D> {
    pub(super) fn new(settings: Settings, options: &OriginOptions) -> Self {
        let place = Place::new();
        let cache = D::open(&place.cache(), &settings).unwrap();
        let code = Arc::new(TestOrigin::new(SIZE));
        let origin = cache.custom_with("believed", Arc::clone(&code), options);
        Self {
            cache,
            code,
            origin,
            _place: place,
        }
    }

    pub(super) fn open(&self) -> D::File {
        self.cache.file(&self.origin, b"file").unwrap()
    }

    pub(super) fn stats(&self) -> u64 {
        self.code.stats.load(Ordering::SeqCst)
    }

    pub(super) fn change(&self, version: i64) {
        self.code.version.store(version, Ordering::SeqCst);
    }

    pub(super) fn read(&self, way: Way, file: &D::File, chunk: u64) -> Result<Vec<u8>, i32> {
        let range = (CHUNK as usize, chunk * CHUNK);
        self.cache.read_by(way, file, range.0, range.1)
    }
}

pub(super) fn chunk_of(version: u64, chunk: u64) -> Vec<u8> {
    content(version, chunk * CHUNK, CHUNK as usize)
}

pub(super) fn errno(result: Result<Vec<u8>, i32>) -> Option<i32> {
    result.err()
}

pub(crate) fn a_believed_file_is_opened_without_asking<D: Door>(engine: EngineChoice) {
    let hour = [("validation", "ttl"), ("validate_ttl_ms", "3600000")];
    for options in [never(), options(&hour)] {
        let stage = Stage::<D>::new(settings(engine), &options);
        let file = stage.open();
        stage.cache.fill(&file, &mut |_, _| true).unwrap();
        drop(file);
        let (asked, reads) = (stage.stats(), stage.code.reads.load(Ordering::SeqCst));
        for way in WAYS {
            let file = stage.open();
            for chunk in 0..4 {
                assert!(
                    stage.read(way, &file, chunk) == Ok(chunk_of(1, chunk)),
                    "{way:?}"
                );
            }
        }
        assert_eq!(stage.stats(), asked, "nobody was asked");
        assert_eq!(stage.code.reads.load(Ordering::SeqCst), reads);
        assert_eq!(stage.cache.stats().opens_unasked, WAYS.len() as u64);
    }
}

pub(crate) fn a_file_is_asked_for_again_after_its_time<D: Door>(engine: EngineChoice) {
    let soon = [("validation", "ttl"), ("validate_ttl_ms", "1")];
    let stage = Stage::<D>::new(settings(engine), &options(&soon));
    stage.open();
    for version in 2..5 {
        std::thread::sleep(Duration::from_millis(2));
        stage.change(version);
        let asked = stage.stats();
        let file = stage.open();
        assert_eq!(stage.stats(), asked + 1);
        let bytes = stage.read(Way::Blocking, &file, 0);
        assert!(bytes == Ok(chunk_of(version as u64, 0)));
    }
    assert_eq!(stage.cache.stats().opens_unasked, 0);
}

pub(crate) fn what_is_missing_of_a_believed_file_is_of_the_version_that_is_there<D: Door>(
    engine: EngineChoice,
) {
    for way in WAYS {
        let stage = Stage::<D>::new(settings(engine), &never());
        assert!(stage.read(way, &stage.open(), 1) == Ok(chunk_of(1, 1)));
        stage.change(2);
        let file = stage.open();
        assert!(
            stage.read(way, &file, 1) == Ok(chunk_of(1, 1)),
            "{way:?}: as believed"
        );
        assert!(
            stage.read(way, &file, 2) == Ok(chunk_of(2, 2)),
            "{way:?}: as it is"
        );
        assert!(
            stage.read(way, &file, 1) == Ok(chunk_of(2, 1)),
            "{way:?}: moved on"
        );
        let whole = stage.cache.read_by(way, &stage.open(), SIZE as usize, 0);
        assert!(
            whole == Ok(content(2, 0, SIZE as usize)),
            "{way:?}: so are others"
        );
    }
}

pub(crate) fn what_is_missing_of_a_believed_file_that_was_replaced_is_of_the_new_one<D: Door>(
    engine: EngineChoice,
) {
    for way in WAYS {
        let place = Place::new();
        let path = place.origin().join("file");
        let cache = D::open(&place.cache(), &settings(engine)).unwrap();
        let origin = cache.directory_with(&place.origin(), &never()).unwrap();
        write_file(&path, &content(1, 0, SIZE as usize));
        let read = |file: &D::File, chunk| cache.read_by(way, file, CHUNK as usize, chunk * CHUNK);
        assert!(read(&cache.file(&origin, b"file").unwrap(), 1) == Ok(chunk_of(1, 1)));
        let other = place.origin().join("other");
        write_file(&other, &content(2, 0, SIZE as usize));
        std::fs::rename(&other, &path).unwrap();
        let files: Vec<D::File> = (0..4)
            .map(|_| cache.file(&origin, b"file").unwrap())
            .collect();
        assert!(
            read(&files[0], 1) == Ok(chunk_of(1, 1)),
            "{way:?}: as believed"
        );
        for file in &files {
            assert!(read(file, 2) == Ok(chunk_of(2, 2)), "{way:?}: as it is");
            assert!(read(file, 1) == Ok(chunk_of(2, 1)), "{way:?}: moved on");
            assert_eq!(cache.fill(file, &mut |_, _| true), Ok(SIZE));
        }
        let whole = cache.read_by(way, &files[0], SIZE as usize, 0);
        assert!(whole == Ok(content(2, 0, SIZE as usize)), "{way:?}");
        let stats = cache.stats();
        assert!(
            stats.cached_bytes < 3 * SIZE,
            "no byte is counted twice: {stats:?}"
        );
    }
}

pub(crate) fn what_is_missing_of_a_believed_file_that_has_gone_is_a_stale_handle<D: Door>(
    engine: EngineChoice,
) {
    for way in WAYS {
        let place = Place::new();
        let path = place.origin().join("file");
        let cache = D::open(&place.cache(), &settings(engine)).unwrap();
        let origin = cache.directory_with(&place.origin(), &never()).unwrap();
        write_file(&path, &content(1, 0, SIZE as usize));
        let read = |file: &D::File, chunk| cache.read_by(way, file, CHUNK as usize, chunk * CHUNK);
        assert!(read(&cache.file(&origin, b"file").unwrap(), 1) == Ok(chunk_of(1, 1)));
        std::fs::remove_file(&path).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        assert!(read(&file, 1) == Ok(chunk_of(1, 1)), "{way:?}: as believed");
        assert_eq!(errno(read(&file, 2)), Some(libc::ESTALE), "{way:?}");
        let again = cache.file(&origin, b"file").map(drop);
        assert_eq!(again, Err(libc::ENOENT), "{way:?}: known by now");
    }
}

pub(crate) fn an_invalidated_file_is_asked_for_at_its_next_read<D: Door>(engine: EngineChoice) {
    for options in [OriginOptions::default(), never()] {
        let stage = Stage::<D>::new(settings(engine), &options);
        let file = stage.open();
        for (number, way) in WAYS.into_iter().enumerate() {
            let version = 1 + number as u64;
            stage.cache.fill(&file, &mut |_, _| true).unwrap();
            stage.change(version as i64 + 1);
            assert!(
                stage.read(way, &file, 0) == Ok(chunk_of(version, 0)),
                "{way:?}"
            );
            stage.cache.invalidate(&stage.origin, b"file", false);
            assert!(
                stage.read(way, &file, 0) == Ok(chunk_of(version + 1, 0)),
                "{way:?}"
            );
        }
        stage.cache.fill(&file, &mut |_, _| true).unwrap();
        stage.change(9);
        stage.cache.invalidate(&stage.origin, b"file", false);
        let lease = stage.cache.lease(&file, CHUNK, 0).unwrap();
        // Behind the end that is known, too.
        for way in WAYS {
            stage.code.size.store(SIZE, Ordering::SeqCst);
            stage.cache.invalidate(&stage.origin, b"file", false);
            assert_eq!(stage.read(way, &file, 4), Ok(Vec::new()));
            stage.code.size.store(5 * CHUNK, Ordering::SeqCst);
            stage.cache.invalidate(&stage.origin, b"file", false);
            assert!(stage.read(way, &file, 4) == Ok(chunk_of(9, 4)), "{way:?}");
        }
        assert!(*lease.bytes() == chunk_of(9, 0));
    }
}

pub(crate) fn what_was_invalidated_and_is_the_same_comes_from_the_cache<D: Door>(
    engine: EngineChoice,
) {
    let stage = Stage::<D>::new(settings(engine), &never());
    let file = stage.open();
    stage.cache.fill(&file, &mut |_, _| true).unwrap();
    for way in WAYS {
        let (asked, reads) = (stage.stats(), stage.code.reads.load(Ordering::SeqCst));
        stage.cache.invalidate(&stage.origin, b"file", false);
        for _ in 0..3 {
            assert!(stage.read(way, &file, 0) == Ok(chunk_of(1, 0)), "{way:?}");
        }
        assert_eq!(stage.stats(), asked + 1, "{way:?}: asked once");
        assert_eq!(
            stage.code.reads.load(Ordering::SeqCst),
            reads,
            "{way:?}: not read"
        );
    }
}

pub(crate) fn an_invalidation_reaches_every_cache_of_the_directory<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    let caches = [(); 2].map(|()| D::open(&place.cache(), &settings(engine)).unwrap());
    let origins = caches.each_ref().map(|cache| {
        let options = options(&[("validation", "never"), ("negative_ttl_ms", "3600000")]);
        cache.custom_with("shared", Arc::clone(&code), &options)
    });
    let open = |index: usize| caches[index].file(&origins[index], b"file").unwrap();
    let read = |index: usize, file: &D::File| {
        let bytes = caches[index].read_by(Way::Blocking, file, CHUNK as usize, 0);
        bytes.unwrap()
    };
    let held = open(1);
    assert!(read(1, &held) == chunk_of(1, 0));
    assert_eq!(
        caches[1].file(&origins[1], b"missing").err(),
        Some(libc::ENOENT)
    );
    code.version.store(2, Ordering::SeqCst);
    assert!(read(1, &open(1)) == chunk_of(1, 0), "as believed");
    caches[0].invalidate(&origins[0], b"file", false);
    assert!(read(1, &open(1)) == chunk_of(2, 0), "a new handle");
    assert!(read(1, &held) == chunk_of(2, 0), "one that was open");
    let asked = code.stats.load(Ordering::SeqCst);
    caches[0].invalidate(&origins[0], b"missing", false);
    assert_eq!(
        caches[1].file(&origins[1], b"missing").err(),
        Some(libc::ENOENT)
    );
    assert_eq!(code.stats.load(Ordering::SeqCst), asked + 1);
}

pub(crate) fn an_invalidation_from_above_reaches_what_is_below<D: Door>(engine: EngineChoice) {
    let stage = Stage::<D>::new(settings(engine), &never());
    let file = stage.open();
    stage.cache.fill(&file, &mut |_, _| true).unwrap();
    for (version, path) in [(2, "".as_bytes()), (3, b"file")] {
        stage.change(version);
        stage.cache.invalidate(&stage.origin, path, true);
        let bytes = stage.read(Way::Blocking, &file, 0);
        assert!(bytes == Ok(chunk_of(version as u64, 0)));
    }
}

pub(crate) fn requests_on_one_file_ask_once<D: Door>(engine: EngineChoice) {
    let stage = Stage::<D>::new(settings(engine), &never());
    drop(stage.open());
    let file = stage.open();
    let asked = stage.stats();
    stage.code.stat_hangs.store(true, Ordering::SeqCst);
    stage.code.set_hang(true);
    let reads: Vec<_> = (0..4)
        .map(|chunk| {
            stage
                .cache
                .read_async(&file, CHUNK as usize, chunk * CHUNK)
                .unwrap()
        })
        .collect();
    while stage.stats() == asked {
        std::thread::yield_now();
    }
    stage.code.stat_hangs.store(false, Ordering::SeqCst);
    stage.code.set_hang(false);
    for (chunk, read) in reads.into_iter().enumerate() {
        let (bytes, done) = read.done.recv_timeout(LIMIT).unwrap();
        assert_eq!(done.result, CHUNK as i64);
        assert!(bytes == chunk_of(1, chunk as u64));
    }
    // One for all of them, and one after the read of each chunk.
    assert_eq!(stage.stats(), asked + 1 + 4);
}

pub(crate) fn an_origin_that_hangs_when_it_is_asked_times_out_and_recovers<D: Door>(
    engine: EngineChoice,
) {
    let mut settings = settings(engine);
    settings.origin_timeout_ms = 200;
    let stage = Stage::<D>::new(settings, &never());
    drop(stage.open());
    let file = stage.open();
    stage.code.stat_hangs.store(true, Ordering::SeqCst);
    stage.code.set_hang(true);
    for way in WAYS {
        assert_eq!(
            errno(stage.read(way, &file, 0)),
            Some(libc::ETIMEDOUT),
            "{way:?}"
        );
    }
    let pending = stage.cache.read_async(&file, CHUNK as usize, 0).unwrap();
    stage.cache.cancel(pending.id);
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    let expected = [-i64::from(libc::ECANCELED), -i64::from(libc::ETIMEDOUT)];
    assert!(expected.contains(&done.result), "{done:?}");
    stage.code.set_hang(false);
    stage.code.stat_hangs.store(false, Ordering::SeqCst);
    for way in WAYS {
        assert!(stage.read(way, &file, 0) == Ok(chunk_of(1, 0)), "{way:?}");
    }
}

pub(crate) fn closing_ends_what_is_being_asked_for<D: Door>(engine: EngineChoice) {
    let mut settings = settings(engine);
    settings.close_timeout_ms = 300;
    let stage = Stage::<D>::new(settings, &never());
    drop(stage.open());
    let file = stage.open();
    stage.code.stat_hangs.store(true, Ordering::SeqCst);
    stage.code.set_hang(true);
    let asked = stage.stats();
    let pending = stage.cache.read_async(&file, CHUNK as usize, 0).unwrap();
    while stage.stats() == asked {
        std::thread::yield_now();
    }
    stage.cache.close();
    let (_, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.result, -i64::from(libc::ECANCELED));
    stage.code.set_hang(false);
}

pub(crate) fn believed_files_that_were_closed_make_room<D: Door>(engine: EngineChoice) {
    let mut settings = settings(engine);
    settings.capacity_bytes = 4 << 20;
    let stage = Stage::<D>::new(settings, &never());
    for number in 0..64 {
        let path = format!("file {number}");
        // Twice, so that the second time it is believed.
        for _ in 0..2 {
            let file = stage.cache.file(&stage.origin, path.as_bytes()).unwrap();
            let filled = stage.cache.fill(&file, &mut |_, _| true);
            assert_eq!(filled, Ok(SIZE), "{path}");
        }
    }
    assert!(stage.cache.stats().evictions > 0);
    assert!(stage.cache.stats().cached_bytes <= 4 << 20);
}

pub(crate) fn what_another_process_evicted_is_a_miss<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    let mut settings = settings(engine);
    settings.capacity_bytes = 4 << 20;
    // What waits to be synced is kept open.
    settings.durable = false;
    let open = || D::open(&place.cache(), &settings).unwrap();
    let cache = open();
    let origin = cache.custom_with("mine", Arc::clone(&code), &never());
    let read = || {
        let file = cache.file(&origin, b"file").unwrap();
        cache.read_by(Way::Blocking, &file, SIZE as usize, 0)
    };
    assert!(read() == Ok(content(1, 0, SIZE as usize)));
    let data = only_data_file(&place.cache().join("objects"));
    let other = open();
    let theirs = other.custom("theirs", Arc::clone(&code));
    let deadline = std::time::Instant::now() + LIMIT;
    // What was closed a moment ago is kept open, and let go of soon.
    while is_open(&data) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    for number in 0.. {
        if !data.exists() {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
        let file = other.file(&theirs, format!("{number}").as_bytes()).unwrap();
        assert_eq!(other.fill(&file, &mut |_, _| true), Ok(SIZE));
    }
    // There may be no room to keep it, since the others are still in use.
    let missed = || cache.stats().misses + cache.stats().bypasses;
    let before = missed();
    assert!(read() == Ok(content(1, 0, SIZE as usize)));
    assert_eq!(missed(), before + 1);
}

/// Whether this process has a descriptor of a file.
fn is_open(path: &Path) -> bool {
    let path = path.canonicalize().unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.any(|link| link == path)
}

fn only_data_file(objects: &Path) -> PathBuf {
    let mut found = Vec::new();
    for bucket in std::fs::read_dir(objects).unwrap() {
        let files = std::fs::read_dir(bucket.unwrap().path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "data")));
    }
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub(crate) fn what_an_origin_does_not_have_is_not_asked_for_again<D: Door>(engine: EngineChoice) {
    let hour = options(&[("negative_ttl_ms", "3600000")]);
    let stage = Stage::<D>::new(settings(engine), &hour);
    let missing = || stage.cache.file(&stage.origin, b"missing").err();
    for hits in 0..3 {
        assert_eq!(missing(), Some(libc::ENOENT));
        assert_eq!(
            (stage.stats(), stage.cache.stats().negative_hits),
            (1, hits)
        );
    }
    stage.cache.invalidate(&stage.origin, b"missing", false);
    assert_eq!(missing(), Some(libc::ENOENT));
    assert_eq!(stage.stats(), 2);
    // What cannot be told is not remembered.
    for errno in [libc::ETIMEDOUT, libc::EIO, libc::ESTALE, libc::ENOTCONN] {
        stage.code.stat_errno.store(errno.into(), Ordering::SeqCst);
        for _ in 0..2 {
            let asked = stage.stats();
            assert_eq!(stage.cache.file(&stage.origin, b"file").err(), Some(errno));
            assert_eq!(stage.stats(), asked + 1);
        }
    }
}

pub(crate) fn files_that_change_and_are_invalidated_are_never_served_old<D: Door>(
    engine: EngineChoice,
) {
    let mut random = Random::new();
    let place = Place::new();
    let path = place.origin().join("file");
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.directory_with(&place.origin(), &never()).unwrap();
    let mut version = 1;
    write_file(&path, &content(version, 0, SIZE as usize));
    let mut files: Vec<D::File> = Vec::new();
    for _ in 0..120 {
        match random.below(6) {
            0 => {
                version += 1;
                let (bytes, other) = (
                    content(version, 0, SIZE as usize),
                    path.with_extension("new"),
                );
                // In place, or as another file under the same name.
                if random.below(2) == 0 {
                    write_file(&path, &bytes);
                } else {
                    write_file(&other, &bytes);
                    std::fs::rename(&other, &path).unwrap();
                }
                cache.invalidate(&origin, b"file", random.below(2) == 0);
            }
            1 => files.truncate(random.below(3) as usize),
            2 => files.push(cache.file(&origin, b"file").unwrap()),
            _ => {
                let file = match files.get(random.below(4) as usize) {
                    Some(file) => file,
                    None => &cache.file(&origin, b"file").unwrap(),
                };
                let way = WAYS[random.below(3) as usize];
                let offset = random.below(SIZE);
                let length = 1 + random.below(SIZE) as usize;
                let bytes = cache.read_by(way, file, length, offset).unwrap();
                let wanted = length.min((SIZE - offset) as usize);
                assert!(
                    bytes == content(version, offset, wanted),
                    "{way:?}: version {version}"
                );
            }
        }
    }
}
