//! Room that very large objects make: what is cold of them goes, unless anybody could
//! read it.

use super::door::{Place, SPACE};
use super::origin::{TestOrigin, content};
use super::random::Random;
use super::sharing::{agrees, disk_usage, object_files};
use cachefs_core::{Cache, Config, Origin, OriginOptions};
use rustix::fs::Advice;
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MIB: u64 = 1 << 20;
const CAPACITY: u64 = 64 * MIB;
const LARGE: u64 = 40 * MIB;
const COLD: u64 = 30 * MIB;

struct Scene {
    place: Place,
    cache: Cache,
    large: Origin,
    small: Origin,
    code: Arc<TestOrigin>,
}

/// A cache with a large file in it, which nobody has open.
fn scene() -> Scene {
    let place = Place::new();
    let config = Config {
        capacity_bytes: CAPACITY,
        space_run_percent: SPACE[0].into(),
        space_cull_percent: SPACE[1].into(),
        space_stop_percent: SPACE[2].into(),
        ..Config::default()
    };
    let cache = Cache::open(&place.cache(), &config).unwrap();
    let open = |name: &str, size| {
        let code = Arc::new(TestOrigin::new(size));
        let options = OriginOptions::default();
        let origin = cache.open_origin(name.as_bytes(), Arc::clone(&code) as _, &options);
        (origin.unwrap(), code)
    };
    let (large, code) = open("large", LARGE);
    let (small, _) = open("small", MIB);
    let file = large.open(b"file").unwrap();
    assert_eq!(file.fill(0, u64::MAX, |_, _| true).unwrap(), LARGE);
    drop(file);
    Scene {
        place,
        cache,
        large,
        small,
        code,
    }
}

/// The data file of the large object.
fn data_file(place: &Place) -> PathBuf {
    let mut paths = object_files(&place.cache()).into_iter();
    let is_large = |path: &PathBuf| path.metadata().is_ok_and(|it| it.len() == LARGE);
    paths.find(is_large).expect("it is there")
}

/// Takes the first part of the file out of the page cache.
fn cool(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, NonZeroU64::new(COLD), Advice::DontNeed).unwrap();
}

/// Takes any part of one of the objects out of the page cache, if there is one.
pub(crate) fn cool_some(cache: &Path, random: &mut Random) {
    let paths = object_files(cache);
    let Some(path) = paths.get(random.below(1 + paths.len() as u64) as usize) else {
        return;
    };
    // It may be evicted in between.
    let Ok(file) = File::open(path) else { return };
    file.sync_data().unwrap();
    let length = file.metadata().unwrap().len();
    let (offset, part) = (random.below(1 + length), random.below(1 + length));
    rustix::fs::fadvise(&file, offset, NonZeroU64::new(part), Advice::DontNeed).unwrap();
}

/// Has small files come until the large one has made room for them.
fn crowd(scene: &Scene, mut is_enough: impl FnMut() -> bool) {
    for number in 0..200 {
        if is_enough() {
            return;
        }
        let file = scene.small.open(number.to_string().as_bytes()).unwrap();
        assert_eq!(file.fill(0, u64::MAX, |_, _| true).unwrap(), MIB);
        let disk = disk_usage(&scene.place.cache());
        assert!(disk <= CAPACITY + 16 * 4096, "{disk} on the disk");
    }
    panic!("there was room for all");
}

/// Reads the large file, and gives how much of it had to be fetched.
fn fetched(scene: &Scene) -> u64 {
    let before = scene.code.bytes_read.load(Ordering::SeqCst);
    let file = scene.large.open(b"file").unwrap();
    let mut bytes = vec![0; LARGE as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), LARGE);
    assert!(bytes == content(1, 0, LARGE as usize));
    scene.code.bytes_read.load(Ordering::SeqCst) - before
}

#[test]
fn of_a_very_large_file_what_is_cold_goes_first() {
    let scene = scene();
    let before = data_file(&scene.place);
    cool(&before);
    crowd(&scene, || scene.cache.stats().trims > 0);
    assert_eq!(scene.cache.stats().evictions, 0);
    assert_ne!(data_file(&scene.place), before, "nobody knows the new name");
    agrees(&scene.cache, &scene.place.cache());
    assert_eq!(fetched(&scene), COLD, "the rest is there");
    assert_eq!(scene.cache.stats().chunks_dropped, 0);
}

#[test]
fn a_very_large_file_that_is_warm_goes_as_a_whole() {
    let scene = scene();
    crowd(&scene, || scene.cache.stats().evictions > 0);
    assert_eq!(scene.cache.stats().trims, 0);
    agrees(&scene.cache, &scene.place.cache());
    assert_eq!(fetched(&scene), LARGE);
}

#[test]
fn nobody_who_has_a_very_large_file_open_sees_it_change() {
    for is_mapped in [false, true] {
        let scene = scene();
        let path = data_file(&scene.place);
        let given_away = File::open(&path).unwrap();
        // SAFETY: nobody writes to the file.
        let mapped = is_mapped.then(|| unsafe { memmap2::Mmap::map(&given_away) }.unwrap());
        let open = mapped.is_none().then_some(given_away);
        cool(&path);
        crowd(&scene, || scene.cache.stats().evictions > 0);
        assert_eq!(scene.cache.stats().trims, 0);
        let mut bytes = vec![0; LARGE as usize];
        match (&mapped, &open) {
            (Some(mapped), _) => bytes.copy_from_slice(mapped),
            (_, Some(open)) => open.read_exact_at(&mut bytes, 0).unwrap(),
            _ => unreachable!("it is one of the two"),
        }
        assert!(bytes == content(1, 0, LARGE as usize), "{is_mapped}");
    }
}
