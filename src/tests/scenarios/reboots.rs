//! What another boot of the host has left: verified before its first use, chunk by
//! chunk, and fetched again where it is not what was written.

use crate::tests::door::{Ask, Door, Place, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content, grow_old};
use crate::tests::random::Random;
use crate::tests::scenarios::failing::find;
use cachefs_core::{EngineChoice, Stats};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
/// The last one is short.
const CHUNKS: u64 = 9;
const SIZE: u64 = (CHUNKS - 1) * CHUNK + 777;
/// Where a metadata file has the boot id: see docs/format.md.
const BOOT_OFFSET: u64 = 104;
/// Where it says how long its header is, and where the bits begin.
const BITS_OFFSET: u64 = 160;
/// How long a child may take from its fork to its exec: where memory is slow, and many tests
/// run, half a second was not enough.
const CHILDREN: Duration = Duration::from_secs(10);
/// As in the header.
const SOURCE_HIT: u32 = 1;
const SOURCE_MISS: u32 = 2;
const MISS_FAILED_CHECKSUM: u32 = 5;

fn settings(engine: EngineChoice) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    // What is durable needs not be verified.
    settings.durable = false;
    settings
}

/// The files below a cache directory whose names end so.
pub(crate) fn all(directory: &Path, end: &str) -> Vec<PathBuf> {
    // Whoever was to make it may have been killed.
    let buckets = std::fs::read_dir(directory.join("objects"));
    let buckets = buckets.into_iter().flatten();
    let files = buckets.flat_map(|bucket| std::fs::read_dir(bucket.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|file| file.to_string_lossy().ends_with(end))
        .collect()
}

pub(crate) fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Makes all that is cached look as if the host had booted since.
pub(crate) fn reboot(directory: &Path) {
    for path in all(directory, ".meta") {
        let file = open(&path);
        wait_for_children(&file);
        file.write_all_at(b"another boot id.", BOOT_OFFSET).unwrap();
    }
}

/// A child of another test has everything open between its fork and its exec, with the
/// locks of a cache that was closed since. Who still uses the file has it for longer.
fn wait_for_children(file: &File) {
    let limit = Instant::now() + CHILDREN;
    let lock = FlockOperation::NonBlockingLockExclusive;
    while rustix::fs::fcntl_lock(file, lock).is_err() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
    // It may not be locked at all.
    rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingUnlock).ok();
}

/// Flips a bit of a file.
pub(crate) fn damage(file: &File, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

/// Reads all of the file by every way, in an order of chunks that differs each time,
/// and gives what that did.
fn read_all<D: Door>(place: &Place, code: &Arc<TestOrigin>, engine: EngineChoice) -> Stats {
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.custom("code", Arc::clone(code));
    let file = cache.file(&origin, b"file").unwrap();
    let mut random = Random::new();
    for way in WAYS {
        let first = random.below(CHUNKS);
        for chunk in (first..CHUNKS).chain(0..first) {
            let (offset, length) = (chunk * CHUNK + 3, CHUNK as usize + 5);
            let bytes = cache.read_by(way, &file, length, offset).unwrap();
            let expected = content(1, offset, bytes.len());
            assert!(bytes == expected, "chunk {chunk} by {way:?}");
        }
        let whole = cache.read_by(way, &file, SIZE as usize, 0).unwrap();
        assert!(whole == content(1, 0, SIZE as usize), "{way:?}");
    }
    // What was read is stored a moment after it was answered.
    while cache.residency(&file).chunks_present < CHUNKS {
        std::thread::yield_now();
    }
    let stats = cache.stats();
    cache.close();
    stats
}

pub(crate) fn what_another_boot_left_is_verified_and_served<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    read_all::<D>(&place, &code, engine);
    let reads = code.reads.load(Ordering::SeqCst);
    for _ in 0..2 {
        reboot(&place.cache());
        let stats = read_all::<D>(&place, &code, engine);
        assert_eq!((stats.chunks_verified, stats.chunks_dropped), (CHUNKS, 0));
        assert_eq!((stats.misses, stats.bytes_from_origin), (0, 0));
        // This boot has verified it.
        let stats = read_all::<D>(&place, &code, engine);
        assert_eq!((stats.chunks_verified, stats.chunks_dropped), (0, 0));
    }
    assert_eq!(code.reads.load(Ordering::SeqCst), reads);
}

pub(crate) fn a_damaged_chunk_is_fetched_again_and_the_rest_stays<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for way in WAYS {
        let place = Place::new();
        let code = Arc::new(TestOrigin::new(SIZE));
        read_all::<D>(&place, &code, engine);
        let offset = random.below(SIZE);
        damage(&open(&find(&place.cache(), ".data")), offset);
        reboot(&place.cache());
        let chunk = offset / CHUNK;
        let length = CHUNK.min(SIZE - chunk * CHUNK);
        {
            let cache = D::open(&place.cache(), &settings(engine)).unwrap();
            let origin = cache.custom("code", Arc::clone(&code));
            let file = cache.file(&origin, b"file").unwrap();
            let bytes = cache.read_by(way, &file, 1, offset).unwrap();
            assert_eq!(bytes, content(1, offset, 1), "{way:?}");
            let stats = cache.stats();
            cache.close();
            assert_eq!((stats.chunks_verified, stats.chunks_dropped), (0, 1));
            assert_eq!(stats.bytes_from_origin, length, "{way:?}");
        }
        reboot(&place.cache());
        let stats = read_all::<D>(&place, &code, engine);
        assert_eq!((stats.chunks_verified, stats.chunks_dropped), (CHUNKS, 0));
        assert_eq!(
            stats.bytes_from_origin, 0,
            "what was fetched again was kept"
        );
    }
}

pub(crate) fn a_completion_says_that_a_checksum_failed<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    read_all::<D>(&place, &code, engine);
    damage(&open(&find(&place.cache(), ".data")), 2 * CHUNK);
    reboot(&place.cache());
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let ask = |chunk: u64| Ask {
        file: &file,
        length: CHUNK as usize,
        offset: chunk * CHUNK,
    };
    let of = |(_, done): &(Vec<u8>, crate::tests::door::Done)| (done.source, done.miss_reason);
    let done = cache.batch(&[ask(1), ask(2)]);
    assert_eq!(of(&done[0]), (SOURCE_HIT, 0));
    assert_eq!(of(&done[1]), (SOURCE_MISS, MISS_FAILED_CHECKSUM));
}

pub(crate) fn a_fill_verifies_what_is_there_and_fetches_the_rest<D: Door>(engine: EngineChoice) {
    for method in 0..5 {
        let place = Place::new();
        std::fs::write(place.origin().join("file"), content(1, 0, SIZE as usize)).unwrap();
        grow_old();
        let mut settings = settings(engine);
        settings.copy_method = method;
        for pass in 0..3 {
            let cache = D::open(&place.cache(), &settings).unwrap();
            let origin = cache.directory(&place.origin()).unwrap();
            let file = cache.file(&origin, b"file").unwrap();
            assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(SIZE), "{method}");
            let copy = File::from(cache.descriptor(&file).unwrap());
            let mut bytes = vec![0xAA; SIZE as usize];
            copy.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes == content(1, 0, SIZE as usize), "{method}, {pass}");
            let stats = cache.stats();
            let known = stats.chunks_verified + stats.chunks_dropped;
            assert_eq!(stats.chunks_stored + known - stats.chunks_dropped, CHUNKS);
            if method == 3 && pass > 0 {
                // By the ring: each chunk has its checksum.
                assert_eq!((known, stats.chunks_dropped), (CHUNKS, pass - 1));
            }
            drop((file, origin));
            cache.close();
            drop(cache);
            if pass == 1 {
                damage(&open(&find(&place.cache(), ".data")), 0);
            }
            reboot(&place.cache());
        }
    }
}

/// Whatever of the metadata reached the disk.
pub(crate) fn torn_metadata_serves_no_wrong_byte<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    read_all::<D>(&place, &code, engine);
    let mut dropped = 0;
    for _ in 0..12 {
        let metadata = open(&find(&place.cache(), ".meta"));
        let mut bits = [0; 8];
        metadata.read_exact_at(&mut bits, BITS_OFFSET).unwrap();
        let bits = u64::from_le_bytes(bits);
        let length = metadata.metadata().unwrap().len() - bits;
        for _ in 0..1 + random.below(4) {
            let offset = bits + random.below(length.min(5 * 8 + CHUNKS * 4));
            let bytes = random.next().to_le_bytes();
            let bytes = &bytes[..1 + random.below(4) as usize];
            metadata.write_all_at(bytes, offset).unwrap();
        }
        // Some bytes did not reach the disk either.
        let data = open(&find(&place.cache(), ".data"));
        let lost = vec![0; random.below(2 * CHUNK) as usize];
        let offset = random.below(SIZE - lost.len() as u64);
        data.write_all_at(&lost, offset).unwrap();
        reboot(&place.cache());
        dropped += read_all::<D>(&place, &code, engine).chunks_dropped;
    }
    assert!(dropped > 0, "nothing was torn");
}

pub(crate) fn what_a_living_process_uses_is_not_taken_over<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let code = Arc::new(TestOrigin::new(SIZE));
    read_all::<D>(&place, &code, engine);
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let here = cache.read_by(WAYS[0], &file, 10, 0).unwrap();
    assert_eq!(here, content(1, 0, 10));
    // Of another host, say, that shares the directory.
    reboot(&place.cache());
    let stats = read_all::<D>(&place, &code, engine);
    assert_eq!((stats.chunks_verified, stats.chunks_dropped), (0, 0));
    assert_eq!(cache.residency(&file).chunks_present, CHUNKS);
    let here = cache.read_by(WAYS[0], &file, SIZE as usize, 0).unwrap();
    assert!(here == content(1, 0, SIZE as usize));
}
