//! Several caches on one directory, which stand for processes since locks belong to open
//! files: what is counted, limited and put right for all of them together.

use super::door::{LIMIT, Place, SPACE};
use super::locks::lock;
use super::origin::{TestOrigin, content};
use super::random::Random;
use cachefs_core::limits::REGAIN_MS;
use cachefs_core::{Cache, Config, Errno, File, Origin, OriginOptions, State};
use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const KIB: u64 = 1 << 10;
const CHUNK: u64 = 64 * KIB;
pub(super) const SIZE: u64 = 4 * CHUNK;
pub(super) const CAPACITY: u64 = 4 << 20;
/// Where the slot table is, and the lock of whoever evicts: see docs/format.md.
pub(super) const TABLE: &str = "slots";
const EVICTOR: Range<i64> = 1 << 62..(1 << 62) + 1;

pub(super) fn config() -> Config {
    Config {
        capacity_bytes: CAPACITY,
        chunk_bytes: CHUNK,
        space_run_percent: SPACE[0].into(),
        space_cull_percent: SPACE[1].into(),
        space_stop_percent: SPACE[2].into(),
        ..Config::default()
    }
}

/// A cache with an origin whose files are all alike.
pub(super) struct Scene {
    pub(super) origin: Origin,
    pub(super) cache: Cache,
}

pub(super) fn open(place: &Place, config: &Config) -> Scene {
    let cache = Cache::open(&place.cache(), config).unwrap();
    let origin = origin(&cache, "code", &OriginOptions::default());
    Scene { origin, cache }
}

fn origin(cache: &Cache, name: &str, options: &OriginOptions) -> Origin {
    let code = Arc::new(TestOrigin::new(SIZE));
    cache.open_origin(name.as_bytes(), code, options).unwrap()
}

/// Has a file kept, if there is room for it, and reads all of it.
pub(super) fn read(cache: &Cache, origin: &Origin, name: &str) -> File {
    let file = origin.open(name.as_bytes()).unwrap();
    // Unlike a read, a fill ends when everything is written.
    let filled = file.fill(0, u64::MAX, |_, _| true);
    assert!(
        filled.is_ok() || file.residency().chunks_present < 4,
        "{name}"
    );
    let mut bytes = vec![0; SIZE as usize + 1];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), SIZE, "{name}");
    bytes.truncate(SIZE as usize);
    assert!(bytes == content(1, 0, SIZE as usize), "{name}");
    wait_until("it is read", || cache.stats().in_flight == 0);
    file
}

pub(super) fn is_complete(origin: &Origin, name: &str) -> bool {
    origin.open(name.as_bytes()).unwrap().residency().complete
}

/// The files of the objects, some of which may be gone by now.
pub(crate) fn object_files(cache: &Path) -> Vec<PathBuf> {
    let buckets = std::fs::read_dir(cache.join("objects"))
        .into_iter()
        .flatten();
    let files = buckets.flat_map(|bucket| std::fs::read_dir(bucket.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Bytes that the objects take on their disk, and how many there are.
pub(crate) fn on_disk(cache: &Path) -> (u64, u64) {
    let (mut files, mut objects) = (HashMap::new(), 0);
    for path in object_files(cache) {
        objects += u64::from(path.extension().is_some_and(|end| end == "meta"));
        // By number: it may get another name meanwhile.
        if let Ok(found) = path.symlink_metadata() {
            files.insert(found.ino(), found.blocks() * 512);
        }
    }
    (files.into_values().sum(), objects)
}

/// Bytes that the objects take on their disk.
pub(crate) fn disk_usage(cache: &Path) -> u64 {
    on_disk(cache).0
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is counted is what is on the disk, once nobody has anything open.
pub(crate) fn agrees(cache: &Cache, directory: &Path) {
    let limit = Instant::now() + LIMIT;
    loop {
        let (state, counted) = (cache.report().state, cache.stats().cached_bytes);
        let used = disk_usage(directory);
        if state == State::Normal && counted == used {
            return;
        }
        assert!(
            Instant::now() < limit,
            "{state:?}: {counted} bytes are counted, and {used} used"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_limit_holds_for_all_processes_together() {
    let place = Place::new();
    let scenes = [(); 3].map(|()| open(&place, &config()));
    for number in 0..40 {
        for (index, scene) in scenes.iter().enumerate() {
            read(&scene.cache, &scene.origin, &format!("{index} {number}"));
            let held = scene.cache.stats().cached_bytes;
            assert!(held <= CAPACITY, "{held}");
            let disk = disk_usage(&place.cache());
            assert!(disk <= CAPACITY + 16 * 4096, "{disk} on the disk");
        }
    }
    let stats = scenes.each_ref().map(|scene| scene.cache.stats());
    assert!(stats.iter().all(|one| one.evictions > 0), "{stats:?}");
    assert!(
        stats
            .windows(2)
            .all(|two| two[0].cached_bytes == two[1].cached_bytes)
    );
    agrees(&scenes[0].cache, &place.cache());
}

#[test]
fn threads_of_several_processes_stay_within_the_limit() {
    let place = Place::new();
    let scenes = [(); 2].map(|()| open(&place, &config()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let scene = &scenes[thread % 2];
            let cache = place.cache();
            scope.spawn(move || {
                let mut random = Random::of(thread as u64);
                for _ in 0..60 {
                    read(&scene.cache, &scene.origin, &random.below(50).to_string());
                    // Metadata of the objects that are being made comes on top.
                    let held = scene.cache.stats().cached_bytes;
                    assert!(held <= CAPACITY + 4 * 4096, "{held}");
                    let disk = disk_usage(&cache);
                    assert!(disk <= CAPACITY + 64 * 4096, "{disk} on the disk");
                }
            });
        }
    });
    agrees(&scenes[1].cache, &place.cache());
}

#[test]
fn a_directory_has_no_more_objects_than_it_may() {
    let place = Place::new();
    let config = Config {
        objects_max: 8,
        ..config()
    };
    let scene = open(&place, &config);
    let held: Vec<File> = (0..8)
        .map(|number| read(&scene.cache, &scene.origin, &format!("held {number}")))
        .collect();
    assert_eq!(scene.cache.stats().cached_objects, 8);
    assert_eq!(scene.cache.stats().objects_max, 8);
    // All are in use: the ninth is read past the cache.
    let ninth = read(&scene.cache, &scene.origin, "ninth");
    let filled = ninth
        .fill(0, SIZE, &mut |_, _| true)
        .map_err(|error| error.errno());
    assert_eq!(filled, Err(Errno::NOSPC), "as the header promises");
    assert_eq!(scene.cache.stats().cached_objects, 8);
    assert!(scene.cache.stats().bypasses > 0);
    drop(held);
    for number in 0..30 {
        read(&scene.cache, &scene.origin, &number.to_string());
        assert!(scene.cache.stats().cached_objects <= 8);
    }
    assert!(scene.cache.stats().evictions >= 20);
}

#[test]
fn a_file_that_was_opened_when_there_was_no_room_is_cached_once_there_is_some() {
    let place = Place::new();
    let config = Config {
        objects_max: 8,
        // Nothing is evicted that nobody asks for.
        capacity_run_percent: 99,
        capacity_cull_percent: 100,
        ..config()
    };
    let scene = open(&place, &config);
    let mut held: Vec<File> = (0..8)
        .map(|number| read(&scene.cache, &scene.origin, &format!("held {number}")))
        .collect();
    let ninth = scene.origin.open(b"ninth").unwrap();
    let read_ninth = || {
        let mut bytes = vec![0; SIZE as usize];
        assert_eq!(ninth.read_at(&mut bytes, 0).unwrap(), SIZE);
        assert!(bytes == content(1, 0, SIZE as usize));
        ninth.residency().chunks_present
    };
    // Reads evict nothing for it, which library threads would have to wait for.
    let one = held.remove(0);
    drop(held);
    let until = Instant::now() + Duration::from_millis(REGAIN_MS * 3 / 2);
    while Instant::now() < until {
        assert_eq!(read_ninth(), 0);
    }
    assert_eq!(scene.cache.stats().evictions, 0);
    one.evict().unwrap();
    wait_until("it is cached", || read_ninth() == 4);
}

#[test]
fn an_origin_over_its_quota_evicts_its_own() {
    let place = Place::new();
    let scene = open(&place, &config());
    let small = OriginOptions {
        quota_bytes: 3 * SIZE,
        ..OriginOptions::default()
    };
    let other = origin(&scene.cache, "small", &small);
    for number in 0..4 {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
    for number in 0..12 {
        drop(read(&scene.cache, &other, &number.to_string()));
    }
    assert!((0..4).all(|number| is_complete(&scene.origin, &number.to_string())));
    let left = (0..12).filter(|number| is_complete(&other, &number.to_string()));
    assert_eq!(left.count(), 2, "metadata takes a block of each");
}

#[test]
fn who_is_above_its_share_goes_first() {
    let place = Place::new();
    let scene = open(&place, &config());
    let share = OriginOptions {
        share_percent: 25,
        ..OriginOptions::default()
    };
    let greedy = origin(&scene.cache, "greedy", &share);
    for number in 0..3 {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
    // It may have what nobody else wants, and loses it first.
    for number in 0..12 {
        drop(read(&scene.cache, &greedy, &number.to_string()));
    }
    for number in 3..9 {
        let name = number.to_string();
        // On a slow disk an eviction may take longer than a read waits for it.
        wait_until("there is room", || {
            read(&scene.cache, &scene.origin, &name);
            is_complete(&scene.origin, &name)
        });
    }
    let left = (0..9).filter(|number| is_complete(&scene.origin, &number.to_string()));
    assert_eq!(left.count(), 9);
}

/// Keeps everybody from evicting, as long as the file is open.
pub(super) fn no_evictor(cache: &Path) -> std::fs::File {
    let mut options = std::fs::File::options();
    let table = options.read(true).write(true).open(cache.join(TABLE));
    let table = table.unwrap();
    wait_until("nobody evicts", || lock(&table, EVICTOR));
    table
}

#[test]
fn who_cannot_evict_passes_reads_by() {
    let place = Place::new();
    let scene = open(&place, &config());
    for number in 0..14 {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
    let table = no_evictor(&place.cache());
    let before = scene.cache.stats().bypasses;
    for number in 20..24 {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
    let stats = scene.cache.stats();
    assert!(
        stats.bypasses > before && stats.eviction_waits > 0,
        "{stats:?}"
    );
    assert!(stats.cached_bytes <= CAPACITY);
    // The lock dies with its holder.
    drop(table);
    read(&scene.cache, &scene.origin, "30");
    assert!(is_complete(&scene.origin, "30"));
}

#[test]
fn a_damaged_table_never_gives_a_wrong_byte_and_is_put_right() {
    let mut random = Random::new();
    for round in 0..12 {
        // Each is damage of another kind: a failure has to tell which.
        eprintln!("round {round}");
        let place = Place::new();
        let directory = place.cache();
        {
            let scene = open(&place, &config());
            for number in 0..10 {
                read(&scene.cache, &scene.origin, &number.to_string());
            }
        }
        let path = directory.join(TABLE);
        let table = std::fs::File::options().write(true).open(&path).unwrap();
        let length = table.metadata().unwrap().len();
        match round {
            0 => table.set_len(0).unwrap(),
            1 => table.set_len(length / 2).unwrap(),
            2 => std::fs::remove_file(&path).unwrap(),
            3 => table.write_all_at(&[0; 4096], 0).unwrap(),
            4 => table.write_all_at(b"another format..", 0).unwrap(),
            5 => table.write_all_at(&vec![0; length as usize], 0).unwrap(),
            6 => table
                .write_all_at(&vec![0xff; length as usize - 64], 64)
                .unwrap(),
            _ => {
                for _ in 0..1 + random.below(3000) {
                    let byte = [random.below(256) as u8];
                    table.write_all_at(&byte, random.below(length)).unwrap();
                }
            }
        }
        drop(table);
        let scene = open(&place, &config());
        for number in 0..12 {
            read(&scene.cache, &scene.origin, &number.to_string());
        }
        wait_until("it stores", || scene.cache.report().state == State::Normal);
        drop(scene);
        // The next one finds what is left of it.
        let scene = open(&place, &config());
        for number in 5..30 {
            read(&scene.cache, &scene.origin, &number.to_string());
        }
        agrees(&scene.cache, &directory);
        assert!(
            scene.cache.stats().cached_bytes <= CAPACITY,
            "round {round}"
        );
    }
}
