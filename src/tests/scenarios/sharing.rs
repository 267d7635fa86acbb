//! Several processes with one cache directory. Locks belong to open files, so two caches
//! stand for two processes.

use crate::tests::door::{Door, LIMIT, Place, Settings};
use crate::tests::origin::{TestOrigin, content};
use cachefs_core::EngineChoice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 6;
const SIZE: u64 = CHUNKS * CHUNK - 5;

fn settings(engine: EngineChoice) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings.readahead = false;
    settings
}

pub(crate) fn what_several_processes_miss_at_once_is_fetched_once<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin {
        delay: Duration::from_millis(10),
        ..TestOrigin::new(SIZE)
    });
    let caches: Vec<D> = (0..4)
        .map(|_| D::open(&place.cache(), &settings(engine)).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                let origin = cache.custom("shared", Arc::clone(&code));
                let file = cache.file(&origin, b"file").unwrap();
                for offset in (0..SIZE).step_by(CHUNK as usize) {
                    let mut bytes = vec![0; CHUNK as usize];
                    let count = cache.read(&file, &mut bytes, offset).unwrap() as usize;
                    assert!(bytes[..count] == content(1, offset, count), "{offset}");
                }
            });
        }
    });
    assert_eq!(code.bytes_read.load(Ordering::SeqCst), SIZE);
}

pub(crate) fn what_a_stopped_process_is_fetching_is_read_from_the_origin<D: Door>(
    engine: EngineChoice,
) {
    let place = Place::new();
    let hanging = Arc::new(TestOrigin::new(SIZE));
    let answering = Arc::new(TestOrigin::new(SIZE));
    let [stopped, other] = [(); 2].map(|()| D::open(&place.cache(), &settings(engine)).unwrap());
    hanging.set_hang(true);
    let origin = stopped.custom("shared", Arc::clone(&hanging));
    let file = stopped.file(&origin, b"file").unwrap();
    let pending = stopped.read_async(&file, 100, 0).unwrap();
    let end = Instant::now() + LIMIT;
    while hanging.reads.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < end, "the origin is not asked");
        std::thread::yield_now();
    }
    let origin = other.custom("shared", Arc::clone(&answering));
    let file = other.file(&origin, b"file").unwrap();
    let mut bytes = [0; 100];
    assert_eq!(other.read(&file, &mut bytes, 0), Ok(100));
    assert!(bytes[..] == content(1, 0, 100));
    assert_eq!(
        answering.bytes_read.load(Ordering::SeqCst),
        100,
        "it is not kept"
    );
    hanging.set_hang(false);
    let (bytes, done) = pending.done.recv_timeout(LIMIT).unwrap();
    assert_eq!(done.result, 100);
    assert!(bytes[..] == content(1, 0, 100));
}
