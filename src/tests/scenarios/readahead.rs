//! Readahead: runs of reads find their chunks there, all else gets what it asks for.

use crate::tests::core_door::CoreDoor;
use crate::tests::door::{Door, LIMIT, Place, Settings, WAYS, Way};
use crate::tests::origin::{TestOrigin, content};
use crate::tests::random::Random;
use cachefs_core::{EngineChoice, Errno};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
/// Chunks of the file.
const CHUNKS: u64 = 64;
const SIZE: u64 = CHUNKS * CHUNK;
/// What has not been begun by then will not be before the next read.
const QUIET: Duration = Duration::from_secs(1);

/// A cache with one file, of a slow origin that counts.
struct Stage<D: Door> {
    code: Arc<TestOrigin>,
    // Before its cache, and that before its place.
    file: D::File,
    origin: D::Origin,
    cache: D,
    _place: Place,
}

fn settings(engine: EngineChoice) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings.close_timeout_ms = 300;
    settings
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl<D: Door> Stage<D> {
    fn new(settings: &Settings) -> Self {
        Self::of(settings, TestOrigin::new(SIZE))
    }

    fn of(settings: &Settings, code: TestOrigin) -> Self {
        let place = Place::new();
        let code = Arc::new(code);
        let cache = D::open(&place.cache(), settings).unwrap();
        let origin = cache.custom("counted", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        Self {
            code,
            file,
            origin,
            cache,
            _place: place,
        }
    }

    fn read(&self, way: Way, offset: u64, length: u64) {
        let read = self.cache.read_by(way, &self.file, length as usize, offset);
        let expected = content(1, offset, length as usize);
        assert!(read == Ok(expected), "{way:?}: {length} at {offset}");
    }

    fn chunk(&self, way: Way, chunk: u64) {
        self.read(way, chunk * CHUNK, CHUNK);
    }

    fn reads(&self) -> u64 {
        self.code.reads.load(Ordering::SeqCst)
    }

    fn present(&self) -> u64 {
        self.cache.residency(&self.file).chunks_present
    }

    /// Waits until so many chunks are there, whoever has asked for them.
    fn until_present(&self, chunks: u64) {
        until("chunks come by themselves", || self.present() >= chunks);
    }

    /// Waits until all that is ahead of so many chunks, which were read, has come. False:
    /// nothing is, since the device is so slow that all buffers are taken.
    fn until_ahead(&self, read: u64) -> bool {
        let (begun, mut is_any) = (Instant::now(), false);
        until("chunks come by themselves", || {
            let (stats, present) = (self.cache.stats(), self.present());
            let ahead = stats.readahead_bytes / CHUNK;
            is_any = ahead > 0;
            // A chunk that its reader had to wait for may count as ahead for a while.
            let is_quiet = begun.elapsed() > QUIET && present == stats.origin_reads;
            is_quiet || is_any && present == read + ahead
        });
        is_any
    }

    /// Waits until what was read by readers is stored.
    fn settle(&self) {
        until("chunks are stored", || self.present() == self.reads());
    }

    /// Reads these, each of one chunk of its own: from the fourth on, each is
    /// there before it is read.
    fn follow(&self, way: Way, reads: &[(u64, u64)]) {
        let mut refused = 0;
        for (done, (offset, length)) in reads.iter().enumerate() {
            let is_ahead = done > 3 && self.until_ahead(done as u64);
            refused += usize::from(done > 3 && !is_ahead);
            let before = self.cache.stats();
            self.read(way, *offset, *length);
            if is_ahead {
                let after = self.cache.stats();
                assert_eq!(after.hits, before.hits + 1, "{way:?}: read {done}");
            }
        }
        assert!(refused <= reads.len() / 8, "{way:?}: {refused} times");
        let stats = self.cache.stats();
        assert!(stats.bytes_prefetched > 0, "{way:?}");
        assert_eq!(stats.bytes_prefetched_unused, 0, "{way:?}");
    }
}

pub(crate) fn a_run_of_reads_finds_its_chunks_there<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::new(&settings(engine));
        let reads: Vec<_> = (0..CHUNKS).map(|n| (n * CHUNK, CHUNK)).collect();
        stage.follow(way, &reads);
        assert_eq!(stage.reads(), CHUNKS, "{way:?}: each chunk is read once");
        assert_eq!(stage.cache.stats().readahead_bytes, 0, "{way:?}");
    }
}

pub(crate) fn a_backward_run_finds_its_chunks_there<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::new(&settings(engine));
        let reads: Vec<_> = (0..CHUNKS).rev().map(|n| (n * CHUNK, CHUNK)).collect();
        stage.follow(way, &reads);
        assert_eq!(stage.reads(), CHUNKS, "{way:?}: each chunk is read once");
    }
}

pub(crate) fn a_strided_run_finds_its_chunks_there<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let stage = Stage::<D>::new(&settings(engine));
        let reads: Vec<_> = (0..CHUNKS / 4).map(|n| (4 * n * CHUNK + 5, 100)).collect();
        stage.follow(way, &reads);
        let touched = CHUNKS / 4;
        assert_eq!(stage.reads(), touched, "{way:?}: no other chunk is read");
    }
}

pub(crate) fn two_readers_of_one_file_are_told_apart<D: Door>(engine: EngineChoice) {
    let mut code = TestOrigin::new(SIZE);
    // Enough for what both have ahead.
    code.blocking_threads = 8;
    let stage = Stage::<D>::of(&settings(engine), code);
    let half = CHUNKS / 2;
    let mut refused = 0;
    for n in 0..half {
        let is_ahead = n > 3 && stage.until_ahead(2 * n);
        refused += usize::from(n > 3 && !is_ahead);
        let before = stage.cache.stats().hits;
        stage.chunk(Way::Blocking, n);
        stage.chunk(Way::Queue, half + n);
        if is_ahead {
            assert_eq!(stage.cache.stats().hits, before + 2, "chunk {n}");
        }
    }
    assert!(refused <= 4, "{refused} times");
    assert_eq!(stage.reads(), CHUNKS, "each chunk is read once");
}

pub(crate) fn a_run_through_what_is_cached_goes_on_ahead_of_it<D: Door>(engine: EngineChoice) {
    for way in [Way::Blocking, Way::Queue] {
        let stage = Stage::<D>::new(&settings(engine));
        for chunk in 10..30 {
            stage.chunk(way, chunk);
        }
        stage.until_present(21);
        // A miss, so that hits are looked at, and then hits only.
        stage.chunk(way, 9);
        for chunk in 10..30 {
            stage.chunk(way, chunk);
        }
        stage.chunk(way, 30);
        stage.until_present(23);
    }
}

pub(crate) fn a_look_at_the_head_of_a_file_gets_no_more_than_its_chunks<D: Door>(
    engine: EngineChoice,
) {
    for way in WAYS {
        for (length, count) in [(4096, 2), (4096, 32), (16 << 10, 8), (64 << 10, 2)] {
            let stage = Stage::<D>::new(&settings(engine));
            for n in 0..count {
                stage.read(way, n * length, length);
            }
            stage.settle();
            let chunks = (count * length).div_ceil(CHUNK);
            assert_eq!(stage.reads(), chunks, "{way:?}: {count} of {length}");
            assert_eq!(stage.cache.stats().bytes_prefetched, 0, "{way:?}");
            assert_eq!(stage.cache.stats().readahead_bytes, 0, "{way:?}");
        }
    }
}

pub(crate) fn random_reads_get_no_more_than_their_chunks<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for way in WAYS {
        let size = 16_000 * CHUNK;
        let stage = Stage::<D>::of(&settings(engine), TestOrigin::new(size));
        for _ in 0..100 {
            let chunk = random.below(size / CHUNK);
            stage.read(way, chunk * CHUNK + random.below(CHUNK - 10), 10);
        }
        stage.settle();
        assert_eq!(stage.cache.stats().bytes_prefetched, 0, "{way:?}");
        assert_eq!(stage.cache.stats().readahead_bytes, 0, "{way:?}");
    }
}

pub(crate) fn readahead_can_be_switched_off<D: Door>(engine: EngineChoice) {
    let mut settings = settings(engine);
    settings.readahead = false;
    let stage = Stage::<D>::new(&settings);
    for chunk in 0..CHUNKS / 2 {
        stage.chunk(Way::Blocking, chunk);
    }
    stage.settle();
    assert_eq!(stage.reads(), CHUNKS / 2);
    assert_eq!(stage.cache.stats().bytes_prefetched, 0);
}

pub(crate) fn what_is_ahead_stays_within_its_limit<D: Door>(engine: EngineChoice) {
    let mut settings = settings(engine);
    settings.readahead_bytes = 5 * CHUNK;
    let mut code = TestOrigin::new(SIZE);
    // Readers wait, so that their windows want to grow.
    code.delay = Duration::from_millis(1);
    let stage = Stage::<D>::of(&settings, code);
    let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    let files = names.map(|name| stage.cache.file(&stage.origin, name).unwrap());
    for chunk in 0..CHUNKS / 2 {
        for file in &files {
            let way = WAYS[chunk as usize % WAYS.len()];
            let read = stage
                .cache
                .read_by(way, file, CHUNK as usize, chunk * CHUNK);
            assert!(read == Ok(content(1, chunk * CHUNK, CHUNK as usize)));
            let ahead = stage.cache.stats().readahead_bytes;
            assert!(ahead <= 5 * CHUNK, "{ahead}");
        }
    }
    assert!(stage.cache.stats().bytes_prefetched > 0);
    drop(files);
    assert_eq!(stage.cache.stats().readahead_bytes, 0);
}

/// A run whose next chunks hang at the origin: 13, 14.
fn hung_ahead<D: Door>(settings: &Settings) -> Stage<D> {
    let stage = Stage::<D>::new(settings);
    for chunk in [12, 10, 11] {
        stage.chunk(Way::Blocking, chunk);
    }
    stage.settle();
    stage.code.set_hang(true);
    stage.chunk(Way::Blocking, 12);
    until("something is read ahead", || stage.reads() == 5);
    stage
}

pub(crate) fn a_reader_joins_what_is_on_its_way<D: Door>(engine: EngineChoice) {
    let stage = hung_ahead::<D>(&settings(engine));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| stage.chunk(Way::Blocking, 13));
        until("the reader waits", || {
            stage.cache.stats().prefetch_stalls == 1
        });
        stage.code.set_hang(false);
        reader.join().unwrap();
    });
    until("all is read", || stage.present() == stage.reads());
    let stats = stage.cache.stats();
    assert_eq!(stats.bytes_from_origin, stage.reads() * CHUNK);
    assert_eq!((stats.errors, stats.in_flight), (0, 0));
}

pub(crate) fn an_error_ahead_is_nobodys_error<D: Door>(engine: EngineChoice) {
    let stage = hung_ahead::<D>(&settings(engine));
    stage.code.errno.store(libc::EIO.into(), Ordering::SeqCst);
    stage.code.set_hang(false);
    until("nothing is ahead", || {
        stage.cache.stats().readahead_bytes == 0
    });
    assert_eq!(stage.cache.stats().bytes_prefetched, 0);
    stage.code.errno.store(0, Ordering::SeqCst);
    for way in WAYS {
        stage.chunk(way, 13);
        stage.chunk(way, 14);
    }
    assert_eq!(stage.cache.stats().errors, 0);

    // And not the one of a reader that waits for it either.
    let stage = hung_ahead::<D>(&settings(engine));
    std::thread::scope(|scope| {
        let readers = [13, 14].map(|chunk| {
            let stage = &stage;
            scope.spawn(move || stage.chunk(Way::Blocking, chunk))
        });
        until("they wait", || stage.cache.stats().prefetch_stalls == 2);
        stage
            .code
            .errno_once
            .store(libc::EIO.into(), Ordering::SeqCst);
        stage.code.set_hang(false);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(stage.cache.stats().errors, 0);
}

pub(crate) fn a_closed_file_gives_up_what_is_ahead<D: Door>(engine: EngineChoice) {
    let Stage {
        code,
        file,
        origin,
        cache,
        _place,
    } = hung_ahead::<D>(&settings(engine));
    drop(file);
    assert_eq!(cache.stats().readahead_bytes, 0);
    code.set_hang(false);
    let file = cache.file(&origin, b"file").unwrap();
    let read = cache.read_by(Way::Blocking, &file, CHUNK as usize, 13 * CHUNK);
    assert!(read == Ok(content(1, 13 * CHUNK, CHUNK as usize)));

    // What had come and was not read is told.
    let stage = Stage::<D>::new(&settings(engine));
    for chunk in 10..13 {
        stage.chunk(Way::Blocking, chunk);
    }
    stage.until_present(5);
    let Stage { file, cache, .. } = stage;
    drop(file);
    let stats = cache.stats();
    assert_eq!(stats.bytes_prefetched_unused, stats.bytes_prefetched);
    assert_eq!(stats.readahead_bytes, 0);
}

pub(crate) fn closing_ends_what_hangs_ahead<D: Door>(engine: EngineChoice) {
    let stage = hung_ahead::<D>(&settings(engine));
    let begun = Instant::now();
    stage.cache.close();
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    stage.code.set_hang(false);
}

pub(crate) fn reads_ahead_leave_a_thread_to_readers<D: Door>(engine: EngineChoice) {
    let mut code = TestOrigin::new(SIZE);
    code.blocking_threads = 2;
    let stage = Stage::<D>::of(&settings(engine), code);
    for chunk in [12, 10, 11] {
        stage.chunk(Way::Blocking, chunk);
    }
    stage.settle();
    stage.code.set_hang(true);
    stage.chunk(Way::Blocking, 12);
    until("something is read ahead", || stage.reads() == 4);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| stage.chunk(Way::Blocking, 40));
        // The other thread takes it.
        until("the origin is asked", || stage.reads() == 5);
        stage.code.set_hang(false);
        reader.join().unwrap();
    });
}

#[test]
fn a_fill_ends_that_waited_for_what_is_ahead_and_can_store_nothing_then() {
    let stage = hung_ahead::<CoreDoor<false>>(&settings(EngineChoice::Auto));
    std::thread::scope(|scope| {
        let (done, ended) = std::sync::mpsc::channel();
        let file = &stage.file;
        scope.spawn(move || {
            let filled = file.fill(13 * CHUNK, CHUNK, |_, _| true);
            done.send(filled.map_err(|error| error.errno())).unwrap();
        });
        until("the fill waits", || stage.cache.stats().in_flight == 1);
        stage.file.evict().unwrap();
        stage.code.errno.store(libc::EIO.into(), Ordering::SeqCst);
        stage.code.set_hang(false);
        let filled = ended.recv_timeout(LIMIT);
        stage.cache.close();
        assert_eq!(filled, Ok(Err(Errno::IO)));
    });
}
