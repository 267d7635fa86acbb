//! A file that changes at the origin is never served as a mixture, and never old.

use crate::tests::door::{Door, Place, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content, write_file};
use crate::tests::random::Random;
use cachefs_core::EngineChoice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MIB: u64 = 1 << 20;

pub(crate) fn a_file_that_changed_between_opens_is_served_anew<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let path = place.origin().join("file");
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    for version in 1..4 {
        let bytes = content(version, 0, (2 * MIB + version) as usize);
        write_file(&path, &bytes);
        let file = cache.file(&origin, b"file").unwrap();
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(bytes.len() as u64));
        for way in WAYS {
            assert!(cache.read_by(way, &file, 4 * MIB as usize, 0).unwrap() == bytes);
        }
        assert_eq!(cache.stats().cached_objects, 1, "the old object is gone");
    }
    let data_files = walk(&place.cache().join("objects"), ".data");
    assert_eq!(data_files, 1, "on disk, too");
}

fn walk(directory: &std::path::Path, end: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += walk(&path, end);
        } else {
            count += usize::from(path.to_string_lossy().ends_with(end));
        }
    }
    count
}

pub(crate) fn a_replaced_file_is_served_anew<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let path = place.origin().join("file");
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    write_file(&path, &content(1, 0, MIB as usize));
    let old = cache.file(&origin, b"file").unwrap();
    cache.fill(&old, &mut |_, _| true).unwrap();
    let other = place.origin().join("other");
    write_file(&other, &content(2, 0, MIB as usize));
    std::fs::rename(&other, &path).unwrap();
    let new = cache.file(&origin, b"file").unwrap();
    for way in WAYS {
        let read = |file| cache.read_by(way, file, MIB as usize, 0).unwrap();
        assert!(read(&new) == content(2, 0, MIB as usize), "{way:?}");
        assert!(
            read(&old) == content(1, 0, MIB as usize),
            "{way:?}: as an open file does"
        );
    }
}

pub(crate) fn no_read_mixes_versions<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..40 {
        let place = Place::new();
        let mut settings = Settings::new(engine);
        settings.chunk_bytes = 64 << 10;
        let cache = D::open(&place.cache(), &settings).unwrap();
        let size = 16 * settings.chunk_bytes;
        let mut code = TestOrigin::new(size);
        code.uniform = true;
        // A whole read takes 16: some see no change, some one, some one each try.
        code.changes_every = 2 + random.below(60);
        let code = Arc::new(code);
        let origin = cache.custom("changing", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        for way in WAYS {
            match cache.read_by(way, &file, size as usize, 0) {
                Ok(bytes) => {
                    assert_eq!(bytes.len(), size as usize);
                    let one_version = vec![bytes[0]; bytes.len()];
                    assert!(bytes == one_version, "{way:?}: two versions in one read");
                    whole += 1;
                }
                Err(errno) => {
                    assert_eq!(errno, libc::ESTALE, "{way:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        whole > 0 && refused > 0,
        "{whole} served, {refused} refused: try both"
    );
}

pub(crate) fn a_file_that_shrinks_while_it_is_read_is_served_whole<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let place = Place::new();
        let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
        let code = Arc::new(TestOrigin::new(3 * MIB));
        let origin = cache.custom("shrinking", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        // The version and the size change after the open, before the read.
        code.version.store(2, Ordering::SeqCst);
        code.size.store(2 * MIB + 5, Ordering::SeqCst);
        let bytes = cache.read_by(way, &file, 3 * MIB as usize, 0).unwrap();
        assert!(bytes == content(2, 0, 2 * MIB as usize + 5), "{way:?}");
        assert!(cache.stats().stale_fetches > 0, "{way:?}");
    }
}
