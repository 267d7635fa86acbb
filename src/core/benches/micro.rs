//! What the inner parts take, in nanoseconds: `make bench`.

use cachefs_core::bench::{Planned, Turns, present};
use cachefs_core::{Cache, Config, File, Origin, OriginOptions};
use divan::{Bencher, black_box};
use tempfile::TempDir;

const CHUNK: u64 = 64 << 10;
/// Chunks of the file: more than one word of its bitmap.
const CHUNKS: u64 = 100;

fn main() {
    divan::main();
}

/// A file that is wholly in its cache.
struct Scene {
    file: File,
    _origin: Origin,
    _cache: Cache,
    _directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let root = directory.path().join("origin");
        std::fs::create_dir(&root).expect("make the origin");
        let bytes = vec![7; (CHUNKS * CHUNK) as usize];
        std::fs::write(root.join("file"), bytes).expect("make the file");
        let config = Config {
            chunk_bytes: CHUNK,
            ..Config::default()
        };
        let cache = Cache::open(&directory.path().join("cache"), &config).expect("open the cache");
        let origin = cache
            .open_directory(&root, &OriginOptions::default())
            .expect("open the origin");
        let file = origin.open(b"file").expect("open the file");
        file.fill(0, u64::MAX, |_, _| true).expect("fill the cache");
        Self {
            file,
            _origin: origin,
            _cache: cache,
            _directory: directory,
        }
    }
}

/// Looks up whether the bytes of a read are there.
#[divan::bench(args = [4 << 10, 1 << 20, CHUNKS * CHUNK])]
fn presence(bencher: Bencher, length: u64) {
    let scene = Scene::new();
    bencher.bench(|| present(&scene.file, black_box(0), black_box(length)));
}

/// Plans the next piece of a read.
#[divan::bench(args = [4 << 10, 1 << 20])]
fn planning(bencher: Bencher, length: u64) {
    let scene = Scene::new();
    let planned = Planned::new(&scene.file, CHUNK, length);
    bencher.bench_local(|| black_box(&planned).plan());
}

/// Takes an operation in, finds it, and lets it go.
#[divan::bench(args = [8, 256, 4096])]
fn slab(bencher: Bencher, depth: u32) {
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let mut turns = Turns::new(depth, file.into());
    bencher.bench_local(|| turns.turn());
}

/// Reads a block from the page cache, blocking: all of the above, and the call.
#[divan::bench]
fn blocking_read(bencher: Bencher) {
    let scene = Scene::new();
    let mut block = [0; 4 << 10];
    bencher.bench_local(|| scene.file.read_at(&mut block, black_box(CHUNK)));
}
