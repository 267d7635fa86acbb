//! What somebody sees who only looks at a cache directory.

use cachefs_core::peek::{FileKey, Peek, Seen, Whole, version_of};
use cachefs_core::{Cache, Config, Origin, OriginOptions};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIZE: usize = 5 << 20;

struct Scene {
    directory: tempfile::TempDir,
}

/// Copies the whole file into the cache; gives its bytes.
fn fill(origin: &Origin) -> u64 {
    let file = origin.open(b"file").unwrap();
    file.fill(0, u64::MAX, |_, _| true).unwrap()
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(scene.origin()).unwrap();
        fs::write(scene.file(), vec![7; SIZE]).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        scene
    }

    fn origin(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("origin")
    }

    fn file(&self) -> PathBuf {
        self.origin().join("file")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn open(&self, config: &Config) -> (Cache, Origin) {
        let cache = Cache::open(&self.cache(), config).unwrap();
        let origin = cache.open_directory(&self.origin(), &OriginOptions::default());
        (cache, origin.unwrap())
    }

    fn peek(&self) -> Peek {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rustix::fs::open(self.cache(), flags, Mode::empty()).unwrap();
        Peek::open(root.as_fd(), true).unwrap()
    }

    fn see(&self, peek: &Peek) -> Seen {
        let stat = rustix::fs::stat(self.file()).unwrap();
        let key = FileKey::new(self.origin().as_os_str().as_bytes(), stat.st_ino);
        peek.find(key, &version_of(&stat))
    }

    fn whole(&self, peek: &Peek) -> Whole {
        match self.see(peek) {
            Seen::Whole(whole) => whole,
            other => panic!("{other:?}"),
        }
    }

    fn data(&self, whole: &Whole) -> PathBuf {
        let name = whole.data_name();
        let name = Path::new(std::ffi::OsStr::from_bytes(&name)).to_owned();
        self.cache().join(cachefs_core::peek::OBJECTS).join(name)
    }
}

#[test]
fn a_file_is_whole_from_its_last_chunk_on_and_until_it_is_evicted() {
    let scene = Scene::new();
    let (cache, origin) = scene.open(&Config::default());
    let peek = scene.peek();
    assert_eq!(scene.see(&peek), Seen::Nothing);
    let file = origin.open(b"file").unwrap();
    let mut bytes = vec![0; 1];
    for at in (0..SIZE).step_by(1 << 20).rev().map(|at| at as u64) {
        assert!(!matches!(scene.see(&peek), Seen::Whole(_)), "at {at}");
        file.fill(at, 1, |_, _| true).unwrap();
        file.read_at(&mut bytes, at).unwrap();
    }
    let whole = scene.whole(&peek);
    assert_eq!(fs::read(scene.data(&whole)).unwrap(), vec![7; SIZE]);
    file.evict().unwrap();
    assert_eq!(scene.see(&peek), Seen::Nothing);
    drop((file, origin));
    cache.close().unwrap();
}

#[test]
fn another_version_is_not_whole() {
    let scene = Scene::new();
    let (_cache, origin) = scene.open(&Config::default());
    let peek = scene.peek();
    fill(&origin);
    scene.whole(&peek);
    fs::write(scene.file(), vec![8; SIZE]).unwrap();
    assert_eq!(scene.see(&peek), Seen::NotWhole);
    std::thread::sleep(Duration::from_millis(60));
    fill(&origin);
    let whole = scene.whole(&peek);
    assert_eq!(fs::read(scene.data(&whole)).unwrap(), vec![8; SIZE]);
}

#[test]
fn a_file_with_a_damaged_chunk_is_whole_no_longer() {
    let scene = Scene::new();
    let (cache, origin) = scene.open(&Config::default());
    let peek = scene.peek();
    let file = origin.open(b"file").unwrap();
    // By reads, so that chunks have checksums.
    let mut bytes = vec![0; SIZE];
    file.read_at(&mut bytes, 0).unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !file.residency().complete {
        assert!(std::time::Instant::now() < limit, "it is not stored");
        std::thread::sleep(Duration::from_millis(10));
    }
    let data = scene.data(&scene.whole(&peek));
    let damaged = fs::File::options().write(true).open(&data).unwrap();
    damaged.write_all_at(b"wrong", 2 << 20).unwrap();
    damaged.sync_all().unwrap();
    let found = cache.verify(|_| true).unwrap();
    assert_eq!(found.chunks_dropped, 1, "{found:?}");
    assert_eq!(scene.see(&peek), Seen::NotWhole);
    // What was dropped is fetched again.
    file.read_at(&mut bytes, 0).unwrap();
    while !file.residency().complete {
        assert!(std::time::Instant::now() < limit, "it is not stored again");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        fs::read(scene.data(&scene.whole(&peek))).unwrap(),
        vec![7; SIZE]
    );
}

#[test]
fn what_is_whole_stays_so_when_the_cache_is_closed_and_opened() {
    let scene = Scene::new();
    for _ in 0..3 {
        let (cache, origin) = scene.open(&Config::default());
        fill(&origin);
        drop(origin);
        cache.close().unwrap();
        scene.whole(&scene.peek());
    }
}

#[test]
fn a_table_that_was_replaced_says_so() {
    let scene = Scene::new();
    let (cache, origin) = scene.open(&Config::default());
    fill(&origin);
    drop(origin);
    cache.close().unwrap();
    let peek = scene.peek();
    assert!(peek.is_current());
    let (cache, _origin) = scene.open(&Config {
        objects_max: 100,
        ..Config::default()
    });
    assert!(!peek.is_current());
    assert!(scene.peek().is_current());
    drop(cache);
}

#[test]
fn a_mark_stays_with_the_version() {
    let scene = Scene::new();
    let (_cache, origin) = scene.open(&Config::default());
    let peek = scene.peek();
    let fill = || fill(&origin);
    fill();
    let whole = scene.whole(&peek);
    assert!(!whole.is_marked());
    peek.mark(&whole);
    assert!(scene.whole(&scene.peek()).is_marked());
    fs::write(scene.file(), vec![8; SIZE]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    fill();
    assert!(!scene.whole(&peek).is_marked());
    // Of the version before, it says nothing.
    peek.mark(&whole);
    assert!(!scene.whole(&peek).is_marked());
}
