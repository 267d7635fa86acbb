//! Reads of what is present allocate nothing, however they come: what they need was
//! made with the queue, the ring and the file.

use allocation_counter::measure;
use cachefs_core::{
    Cache, Config, EngineChoice, File, Lent, Origin, OriginOptions, Queue, QueueOptions,
};
use tempfile::TempDir;

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 40;
const BLOCK: usize = 4096;
const BATCH: usize = 32;

/// A file that is wholly in its cache.
struct Scene {
    file: File,
    _origin: Origin,
    cache: Cache,
    _directory: TempDir,
}

fn scene(engine: EngineChoice, memory_bytes: u64) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("origin");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), vec![7; (CHUNKS * CHUNK) as usize]).unwrap();
    let config = Config {
        engine,
        chunk_bytes: CHUNK,
        memory_bytes,
        ..Config::default()
    };
    let cache = Cache::open(&directory.path().join("cache"), &config).unwrap();
    let origin = cache
        .open_directory(&root, &OriginOptions::default())
        .unwrap();
    let file = origin.open(b"file").unwrap();
    file.fill(0, u64::MAX, |_, _| true).unwrap();
    Scene {
        file,
        _origin: origin,
        cache,
        _directory: directory,
    }
}

/// Block `index` of a walk that comes to all chunks.
fn offset(index: usize) -> u64 {
    (index as u64 * 37 * BLOCK as u64) % (CHUNKS * CHUNK)
}

/// Reads on a queue, in batches; each block is looked at.
fn by_queue(scene: &Scene, queue: &mut Queue, memory: &mut [u8], batches: usize) {
    for batch in 0..batches {
        for (place, block) in memory.chunks_exact_mut(BLOCK).enumerate() {
            // SAFETY: the memory is not looked at before all reads are completed.
            let lent = unsafe { Lent::new(block.as_mut_ptr(), BLOCK) };
            let at = offset(batch * BATCH + place);
            queue.read(&scene.file, lent, at, place as u64).unwrap();
        }
        let mut done = 0;
        queue
            .wait((BATCH, BATCH), None, |completion| {
                assert_eq!(completion.result, Ok(BLOCK as u64));
                done += 1;
            })
            .unwrap();
        assert_eq!(done, BATCH);
        assert!(memory.iter().all(|byte| *byte == 7));
        memory.fill(0);
    }
}

fn blocking(scene: &Scene, memory: &mut [u8], reads: usize) {
    for index in 0..reads {
        let block = &mut memory[..BLOCK];
        let read = scene.file.read_at(block, offset(index)).unwrap();
        assert_eq!(read, BLOCK as u64);
        assert!(block.iter().all(|byte| *byte == 7));
        block.fill(0);
    }
}

fn queue_allocates_nothing(scene: &Scene) {
    let options = QueueOptions {
        depth: BATCH as u32,
        ..QueueOptions::default()
    };
    let mut queue = scene.cache.open_queue(options).unwrap();
    let mut memory = vec![0; BATCH * BLOCK];
    // The first reads make the ring, and register file and memory.
    by_queue(scene, &mut queue, &mut memory, 50);
    let counted = measure(|| by_queue(scene, &mut queue, &mut memory, 200));
    assert_eq!(counted.count_total, 0, "by {} reads", 200 * BATCH);
}

#[test]
fn a_hit_on_a_queue_allocates_nothing() {
    for engine in [EngineChoice::Auto, EngineChoice::Psync] {
        queue_allocates_nothing(&scene(engine, 0));
    }
}

#[test]
fn a_blocking_hit_allocates_nothing() {
    let scene = scene(EngineChoice::Auto, 0);
    let mut memory = vec![0; BLOCK];
    blocking(&scene, &mut memory, 100);
    let counted = measure(|| blocking(&scene, &mut memory, 5_000));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_hit_in_the_memory_tier_allocates_nothing() {
    let scene = scene(EngineChoice::Auto, 2 * CHUNKS * CHUNK);
    let mut memory = vec![0; BLOCK];
    let mut loaded = 0;
    // Until no more comes in: a process may lock little.
    loop {
        blocking(&scene, &mut memory, 20_000);
        let now = scene.cache.stats().memory_bytes;
        if now == loaded {
            break;
        }
        loaded = now;
    }
    if loaded < CHUNKS * CHUNK {
        eprintln!("skipped: only {loaded} bytes can be locked");
        return;
    }
    let counted = measure(|| blocking(&scene, &mut memory, 5_000));
    assert_eq!(counted.count_total, 0);
    queue_allocates_nothing(&scene);
    let leases = || {
        for index in 0..1_000 {
            let lease = scene.file.lease(offset(index), BLOCK as u64).unwrap();
            assert_eq!(lease.bytes().len(), BLOCK);
        }
    };
    assert_eq!(measure(leases).count_total, 0);
}
