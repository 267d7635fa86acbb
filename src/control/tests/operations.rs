//! Commands on a real cache of a real directory.

use cachefs_control::{Filler, Name, Refusal, operations};
use cachefs_core::{Cache, Config, Origin, OriginOptions};
use rustix::io::Errno;
use std::time::Duration;

struct Scene {
    cache: Cache,
    origin: Origin,
    directory: tempfile::TempDir,
}

/// Bytes of the file `a`: three chunks of 1 MiB and a part of one.
const SIZE: u64 = (3 << 20) + 5;

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("origin");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a"), vec![7; SIZE as usize]).unwrap();
    // Until its time is old enough to be trusted.
    std::thread::sleep(Duration::from_millis(60));
    let path = directory.path().join("cache");
    let cache = Cache::open(&path, &Config::default()).unwrap();
    let origin = cache.open_directory(&root, &OriginOptions::default());
    Scene {
        origin: origin.unwrap(),
        cache,
        directory,
    }
}

fn name(path: &str) -> Name {
    Name::from(path)
}

impl Scene {
    fn warm(&self) {
        let filled = operations::warm(&self.origin, &name("a"), |_, _| true).unwrap();
        assert_eq!((filled.bytes, filled.present_before), (SIZE, 0));
    }

    fn present(&self) -> u64 {
        let of = operations::stat_file(&self.origin, &name("a")).unwrap();
        assert_eq!(of.complete, of.bytes_present == SIZE);
        of.bytes_present
    }

    fn evict(&self) -> Result<(), Errno> {
        let outcome = operations::evict(&self.origin, &name("a"));
        outcome.map_err(|refusal| Errno::from_raw_os_error(refusal.errno))
    }
}

#[test]
fn a_file_is_evicted_and_fetched_again() {
    let scene = scene();
    scene.warm();
    assert_eq!(scene.present(), SIZE);
    // Also when somebody has it open, and goes on reading it.
    let open = scene.origin.open(b"a").unwrap();
    scene.evict().unwrap();
    assert_eq!(scene.present(), 0);
    let mut bytes = vec![0; 5];
    assert_eq!(open.read_at(&mut bytes, SIZE - 5).unwrap(), 5);
    assert_eq!(bytes, [7; 5]);
    scene.warm();
}

#[test]
fn what_is_pinned_is_not_evicted() {
    let scene = scene();
    scene.warm();
    operations::pin(&scene.origin, &name("a"), true).unwrap();
    assert_eq!(scene.evict(), Err(Errno::BUSY));
    assert_eq!(scene.present(), SIZE);
    operations::pin(&scene.origin, &name("a"), false).unwrap();
    assert_eq!(scene.evict(), Ok(()));
}

#[test]
fn what_is_not_cached_cannot_be_evicted() {
    let scene = scene();
    assert_eq!(scene.evict(), Err(Errno::NODATA));
    scene.warm();
    assert_eq!(scene.evict(), Ok(()));
    assert_eq!(scene.evict(), Err(Errno::NODATA));
}

#[test]
fn the_cache_is_told_by_origin_and_by_object() {
    let scene = scene();
    scene.warm();
    let path = scene.directory.path().join("cache");
    let of = operations::stat(&scene.cache, &path, true).unwrap();
    assert_eq!(of.capacity_bytes, scene.cache.capacity_bytes());
    assert_eq!((of.cached_objects, of.state.as_str()), (1, "normal"));
    assert_eq!(of.origins[0].bytes_present, SIZE);
    let mut entries = Vec::new();
    operations::list(&scene.cache, |entry| {
        entries.push(entry.clone());
        true
    })
    .unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0].path, entries[0].size), (&name("a"), SIZE));
    let found = operations::verify(&scene.cache, None, |_| true).unwrap();
    assert_eq!((found.objects, found.chunks_dropped), (1, 0));
    assert_eq!(found.chunks_verified + found.chunks_summed, 4);
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_number() {
    let scene = scene();
    let Refusal { errno, message } = operations::why(&scene.origin, &name("gone")).unwrap_err();
    assert_eq!(errno, Errno::NOENT.raw_os_error());
    assert!(message.contains("gone"), "{message}");
}

#[test]
fn what_was_asked_for_without_waiting_is_copied() {
    let scene = scene();
    let root = scene.directory.path().join("origin");
    let filler = Filler::start(scene.origin.clone(), vec!["/mnt/x".into(), root.clone()]).unwrap();
    let path = |root: &std::path::Path, name| root.join(name).into_os_string().into_encoded_bytes();
    assert!(!filler.fill(b"/elsewhere/a"));
    assert!(!filler.fill(b"a"));
    // It fails, and nothing else does.
    assert!(filler.fill(&path(&root, "gone")));
    assert!(filler.fill(&path("/mnt/x".as_ref(), "a")));
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while scene.present() != SIZE {
        assert!(std::time::Instant::now() < limit, "it was not copied");
        std::thread::sleep(Duration::from_millis(5));
    }
}
