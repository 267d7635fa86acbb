//! What fills and origins are limited to, and what readers notice of it: nothing. The
//! rules are in docs/qos.md.

use super::door::{LIMIT, Place};
use super::origin::{TestOrigin, content};
use cachefs_core::{Cache, Config, Errno, File, Origin, OriginOptions};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 32;
const SIZE: u64 = CHUNKS * CHUNK;

struct Stage {
    code: Arc<TestOrigin>,
    file: File,
    _origin: Origin,
    cache: Cache,
    _place: Place,
}

fn config() -> Config {
    Config {
        chunk_bytes: CHUNK,
        readahead: 1,
        close_timeout_ms: 500,
        ..Config::default()
    }
}

impl Stage {
    fn new(config: &Config, options: &OriginOptions) -> Self {
        let place = Place::new();
        let cache = Cache::open(&place.cache(), config).unwrap();
        let code = Arc::new(TestOrigin::new(SIZE));
        let shared: Arc<dyn cachefs_core::CustomOrigin> = Arc::clone(&code) as _;
        let origin = cache.open_origin(b"code", shared, options).unwrap();
        Self {
            code,
            file: origin.open(b"file").unwrap(),
            _origin: origin,
            cache,
            _place: place,
        }
    }

    /// Reads some chunks, in pieces of a quarter.
    fn read(&self, chunks: std::ops::Range<u64>) {
        let mut buffer = vec![0; (CHUNK / 4) as usize];
        for piece in 4 * chunks.start..4 * chunks.end {
            let offset = piece * CHUNK / 4;
            let count = self.file.read_at(&mut buffer, offset).unwrap();
            assert_eq!(count, CHUNK / 4);
            assert!(buffer == content(1, offset, buffer.len()), "at {offset}");
        }
    }

    fn fill(&self) -> Result<u64, cachefs_core::Error> {
        self.file.fill(0, u64::MAX, |_, _| true)
    }

    fn present(&self) -> u64 {
        self.file.residency().chunks_present
    }

    fn until_present(&self, chunks: u64) {
        let begun = Instant::now();
        while self.present() < chunks {
            assert!(begun.elapsed() < LIMIT, "{} are there", self.present());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_fill_takes_as_long_as_its_origins_rate_says() {
    let options = OriginOptions {
        bytes_per_second: 4 * SIZE,
        ..OriginOptions::default()
    };
    let stage = Stage::new(&config(), &options);
    let begun = Instant::now();
    assert_eq!(stage.fill().unwrap(), SIZE);
    // Less what a bucket saves, and the last one, which is paid afterwards.
    assert!(
        begun.elapsed() >= Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    let stats = stage.cache.stats();
    assert!(stats.throttled > 0 && stats.throttled_ns > 0, "{stats:?}");
}

#[test]
fn operations_of_an_origin_are_limited_too() {
    let options = OriginOptions {
        operations_per_second: 4 * CHUNKS,
        ..OriginOptions::default()
    };
    let stage = Stage::new(&config(), &options);
    let begun = Instant::now();
    assert_eq!(stage.fill().unwrap(), SIZE);
    assert!(
        begun.elapsed() >= Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn readers_of_an_origin_take_in_advance_and_wait_only_beyond() {
    let options = OriginOptions {
        bytes_per_second: SIZE,
        ..OriginOptions::default()
    };
    let stage = Stage::new(&config(), &options);
    // A second's worth, but for the last chunk.
    stage.read(0..CHUNKS - 1);
    assert_eq!(stage.cache.stats().throttled, 0);
    let other = stage._origin.open(b"other").unwrap();
    let begun = Instant::now();
    let mut buffer = vec![0; SIZE as usize];
    assert_eq!(other.read_at(&mut buffer, 0).unwrap(), SIZE);
    assert!(buffer == content(1, 0, SIZE as usize));
    assert!(stage.cache.stats().throttled > 0, "{:?}", begun.elapsed());
}

#[test]
fn readers_never_wait_for_what_fills_may_write() {
    let config = Config {
        // A chunk each 64 s.
        fill_bytes_per_second: 1024,
        ..config()
    };
    let stage = Stage::new(&config, &OriginOptions::default());
    let begun = Instant::now();
    stage.read(0..CHUNKS);
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let stats = stage.cache.stats();
    assert!(stats.bytes_passed_by >= SIZE - 4 * CHUNK, "{stats:?}");
    assert_eq!((stats.errors, stats.throttled), (0, 0));
    assert_eq!(
        stats.bytes_from_origin - stats.bytes_passed_by,
        stage.present() * CHUNK
    );
}

#[test]
fn what_had_passed_by_is_filled_when_nobody_reads() {
    let config = Config {
        fill_bytes_per_second: SIZE / 2,
        ..config()
    };
    let stage = Stage::new(&config, &OriginOptions::default());
    stage.read(0..CHUNKS);
    stage.until_present(CHUNKS);
    let stats = stage.cache.stats();
    assert!(
        stats.bytes_filled_later > 0 && stats.bytes_passed_by > 0,
        "{stats:?}"
    );
    assert_eq!(stats.bytes_prefetched, 0);
    let reads = stage.code.reads.load(Ordering::SeqCst);
    stage.read(0..CHUNKS);
    assert_eq!(
        stage.code.reads.load(Ordering::SeqCst),
        reads,
        "all are hits"
    );
}

#[test]
fn a_fill_that_waits_for_its_turn_can_be_cancelled_and_closed() {
    let options = OriginOptions {
        // A chunk each 64 s.
        bytes_per_second: 1024,
        ..OriginOptions::default()
    };
    let place = Place::new();
    let path = place.origin().join("file");
    super::origin::write_file(&path, &content(1, 0, SIZE as usize));
    let cache = Cache::open(&place.cache(), &config()).unwrap();
    let directory = cache.open_directory(&place.origin(), &options).unwrap();
    let file = directory.open(b"file").unwrap();
    let begun = Instant::now();
    let filled = file.fill(0, u64::MAX, |_, _| cache.stats().throttled == 0);
    assert_eq!(filled.unwrap_err().errno(), Errno::CANCELED);
    assert_eq!(cache.stats().in_flight, 0);
    let (sender, done) = std::sync::mpsc::channel();
    let tell = move |completion: cachefs_core::Completion| sender.send(completion).unwrap();
    file.fill_async(0, u64::MAX, |_| {}, tell).unwrap();
    while cache.stats().throttled < 2 {
        assert!(begun.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(1));
    }
    cache.close().unwrap();
    let completion = done.recv_timeout(LIMIT).unwrap();
    assert_eq!(completion.result, Err(Errno::CANCELED));
    assert!(begun.elapsed() < LIMIT);
}

#[test]
fn the_rest_of_a_file_follows_once_a_share_of_it_was_read() {
    let config = Config {
        fill_after_percent: 50,
        ..config()
    };
    let stage = Stage::new(&config, &OriginOptions::default());
    stage.read(0..CHUNKS / 2 - 1);
    stage.until_present(CHUNKS / 2 - 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.present(), CHUNKS / 2 - 1, "it is less than the share");
    stage.read(CHUNKS / 2 - 1..CHUNKS / 2);
    stage.until_present(CHUNKS);
    let stats = stage.cache.stats();
    assert_eq!(stats.bytes_filled_later, SIZE / 2);
    assert_eq!(stage.code.reads.load(Ordering::SeqCst), CHUNKS, "once each");
}

#[test]
fn the_rest_of_a_large_file_is_left_to_fills() {
    let config = Config {
        fill_after_percent: 10,
        direct_copy_bytes: SIZE,
        ..config()
    };
    let stage = Stage::new(&config, &OriginOptions::default());
    stage.read(0..CHUNKS / 2);
    stage.until_present(CHUNKS / 2);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.present(), CHUNKS / 2);
}

/// Two origins want more than there are buffers for: each gets by its weight.
#[test]
fn origins_that_want_the_same_share_it_by_their_weights() {
    let config = Config {
        pool_bytes: 512 << 10,
        threads: 1,
        ..config()
    };
    let place = Place::new();
    let cache = Cache::open(&place.cache(), &config).unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let open = |name: &'static str, weight| {
        let code = Arc::new(Counting(TestOrigin::new(SIZE), name, Arc::clone(&order)));
        code.0.set_hang(true);
        let options = OriginOptions {
            weight,
            ..OriginOptions::default()
        };
        let shared: Arc<dyn cachefs_core::CustomOrigin> = Arc::clone(&code) as _;
        let origin = cache
            .open_origin(name.as_bytes(), shared, &options)
            .unwrap();
        (code, origin.open(b"file").unwrap(), origin)
    };
    let sides = [open("heavy", 300), open("light", 100)];
    let (sender, done) = std::sync::mpsc::channel();
    let mut buffers = Vec::new();
    for chunk in 0..CHUNKS {
        for (_, file, _) in &sides {
            let mut buffer = vec![0u8; 8];
            // SAFETY: the buffers live until every completion was received.
            let lent = unsafe { cachefs_core::Lent::new(buffer.as_mut_ptr(), buffer.len()) };
            let sender = sender.clone();
            let tell = move |one: cachefs_core::Completion| sender.send(one.result).unwrap();
            file.read_async(lent, chunk * CHUNK, |_| {}, tell).unwrap();
            buffers.push(buffer);
        }
    }
    sides.iter().for_each(|(code, ..)| code.0.set_hang(false));
    for _ in 0..2 * CHUNKS {
        assert_eq!(done.recv_timeout(LIMIT).unwrap(), Ok(8));
    }
    let order = order.lock().unwrap();
    // Behind those that were begun before others waited, while both wait.
    let middle = &order[8..40];
    let heavy = middle.iter().filter(|name| **name == "heavy").count();
    assert!((20..=28).contains(&heavy), "{heavy} of 32: {order:?}");
    drop(buffers);
}

/// Says whose turn it was.
struct Counting(
    TestOrigin,
    &'static str,
    Arc<std::sync::Mutex<Vec<&'static str>>>,
);

impl cachefs_core::CustomOrigin for Counting {
    fn stat(&self, path: &std::ffi::CStr) -> Result<cachefs_core::VersionToken, Errno> {
        self.0.stat(path)
    }

    fn read(&self, read: cachefs_core::OriginRead) {
        self.2.lock().unwrap().push(self.1);
        self.0.read(read);
    }

    fn threads(&self) -> u32 {
        8
    }
}
