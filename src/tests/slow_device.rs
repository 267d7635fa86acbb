//! A cache device that stores more slowly than an origin of this host gives: its readers pass
//! the cache by for a while, and what they read is stored when nobody reads. On a simulated
//! host, whose first writes to the cache hang until they are given up.

use super::door::{LIMIT, Place};
use super::origin::{content, grow_old, write_file};
use super::random::Random;
use cachefs_core::Simulation;
use cachefs_core::{Cache, Config, Faults, File, Lent, Origin, OriginOptions, Rates};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 24;
const SIZE: u64 = CHUNKS * CHUNK;
/// Of its one library thread.
const BUFFERS: u64 = 8;

struct Stage {
    host: Simulation,
    origin: Origin,
    cache: Cache,
    place: Place,
    /// Says its seed when the test fails.
    _random: Random,
}

fn writes_that_hang() -> Faults {
    Faults {
        hung: Rates {
            write: 1000,
            ..Rates::default()
        },
        ..Faults::none()
    }
}

impl Stage {
    /// An origin with files of these names, and a device that was found to be slow just now.
    fn new(names: &[&str]) -> Self {
        let mut random = Random::new();
        let place = Place::new();
        let host = Simulation::new(random.next());
        let config = Config {
            chunk_bytes: CHUNK,
            pool_bytes: BUFFERS * CHUNK,
            threads: 1,
            readahead: 1,
            device_timeout_ms: 500,
            close_timeout_ms: 300,
            objects_max: super::door::OBJECTS_MAX.into(),
            fill_latency_percent: super::door::LATENCY_PERCENT.into(),
            ..Config::default()
        };
        let cache = Cache::open_simulated(&place.cache(), &config, &host).unwrap();
        for name in names.iter().chain(&["first"]) {
            write_file(&place.origin().join(name), &content(1, 0, SIZE as usize));
        }
        grow_old();
        let origin = cache.open_directory(&place.origin(), &OriginOptions::default());
        let stage = Self {
            host,
            origin: origin.unwrap(),
            cache,
            place,
            _random: random,
        };
        stage.become_slow();
        stage
    }

    fn disk(&self, faults: Faults) {
        self.host.set_faults_below(&self.place.cache(), faults);
    }

    /// Chunks are read, and none is stored, until that is noticed.
    fn become_slow(&self) {
        self.disk(writes_that_hang());
        let file = self.open("first");
        for chunk in 0..BUFFERS {
            read(&file, chunk..chunk + 1);
        }
        assert!(self.cache.stats().bytes_passed_by > 0, "it is slow");
        self.disk(Faults::none());
    }

    fn open(&self, name: &str) -> File {
        self.origin.open(name.as_bytes()).unwrap()
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < LIMIT, "{what}: {:?}", self.cache.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Descriptors that this process has of files of the origin, but for that of which writes
    /// hang.
    fn open_files(&self) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        let is_file = |path: &PathBuf| {
            path.parent() == Some(&self.place.origin()) && !path.ends_with("first")
        };
        paths.filter(is_file).count()
    }
}

/// Reads chunks, in pieces of a quarter.
fn read(file: &File, chunks: std::ops::Range<u64>) {
    let mut buffer = vec![0; (CHUNK / 4) as usize];
    for piece in 4 * chunks.start..4 * chunks.end {
        let offset = piece * CHUNK / 4;
        assert_eq!(file.read_at(&mut buffer, offset).unwrap(), CHUNK / 4);
        assert!(buffer == content(1, offset, buffer.len()), "at {offset}");
    }
}

#[test]
fn what_passes_by_is_read_by_its_reader_and_not_by_a_library_thread() {
    let stage = Stage::new(&["file"]);
    // Who is on a library thread would not come back.
    let hung = Faults {
        hung: Rates::all(1000),
        ..Faults::none()
    };
    stage.host.set_faults_below(&stage.place.origin(), hung);
    let file = stage.open("file");
    let before = stage.cache.stats();
    read(&file, 0..CHUNKS);
    let after = stage.cache.stats();
    assert_eq!(after.bytes_passed_by - before.bytes_passed_by, SIZE);
    assert_eq!(after.bytes_straight - before.bytes_straight, SIZE);
    assert_eq!(after.bytes_from_origin - before.bytes_from_origin, SIZE);
    assert_eq!(after.bypasses - before.bypasses, 4 * CHUNKS);
    assert_eq!((after.errors, after.in_flight), (0, 0));
    stage
        .host
        .set_faults_below(&stage.place.origin(), Faults::none());
}

#[test]
fn reads_with_a_callback_pass_by_as_well() {
    let stage = Stage::new(&["file"]);
    let file = stage.open("file");
    let before = stage.cache.stats().bytes_passed_by;
    let mut buffer = vec![0; SIZE as usize];
    // SAFETY: the buffer stays until the completion, which is waited for.
    let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
    let (sender, done) = mpsc::channel();
    let tell = move |completion: cachefs_core::Completion| sender.send(completion.result).unwrap();
    file.read_async(lent, 0, |_| {}, tell).unwrap();
    assert_eq!(done.recv_timeout(LIMIT).unwrap(), Ok(SIZE));
    assert!(buffer == content(1, 0, buffer.len()));
    assert!(stage.cache.stats().bytes_passed_by > before);
}

#[test]
fn what_passed_by_is_stored_later_though_its_file_was_closed() {
    let stage = Stage::new(&["file"]);
    let file = stage.open("file");
    read(&file, 0..CHUNKS);
    drop(file);
    let file = stage.open("file");
    stage.until("all of it is there", || file.residency().complete);
    let before = stage.cache.stats().origin_reads;
    read(&file, 0..CHUNKS);
    assert_eq!(stage.cache.stats().origin_reads, before, "all are hits");
    assert!(stage.cache.stats().bytes_filled_later > 0);
    drop(file);
    stage.until("nothing is kept open", || stage.open_files() == 0);
}

/// What was read with an old version in mind is not given away.
#[test]
fn a_file_that_has_changed_passes_by_in_its_new_version() {
    let stage = Stage::new(&["file"]);
    let file = stage.open("file");
    read(&file, 0..2);
    let before = file.info().version;
    let path = stage.place.origin().join("file");
    write_file(&path, &content(2, 0, SIZE as usize));
    let mut buffer = vec![0; SIZE as usize];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), SIZE);
    assert!(buffer == content(2, 0, buffer.len()));
    assert_ne!(file.info().version, before);
    assert!(stage.cache.stats().stale_fetches > 0);
}

#[test]
fn a_file_that_has_become_shorter_passes_by_as_it_is() {
    let stage = Stage::new(&["file"]);
    let file = stage.open("file");
    std::fs::OpenOptions::new()
        .write(true)
        .open(stage.place.origin().join("file"))
        .unwrap()
        .set_len(CHUNK / 2)
        .unwrap();
    let mut buffer = vec![0; CHUNK as usize];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), CHUNK / 2);
}
