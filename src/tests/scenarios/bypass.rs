//! Reads of what is not kept.

use crate::tests::door::{Door, Place, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content, write_file};
use cachefs_core::EngineChoice;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// A cache that can hold no chunk, so that nothing is kept.
fn open<D: Door>(place: &Place, engine: EngineChoice) -> D {
    let mut settings = Settings::new(engine);
    settings.capacity_bytes = MIB;
    D::open(&place.cache(), &settings).unwrap()
}

pub(crate) fn what_is_not_kept_goes_straight_to_its_reader<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache: D = open(&place, engine);
    let size = 5 * MIB;
    let bytes = content(1, 0, size as usize);
    write_file(&place.origin().join("file"), &bytes);
    let near = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&near, b"file").unwrap();
    let mut straight = 0;
    for way in WAYS {
        let got = cache.read_by(way, &file, 2 * size as usize, 3).unwrap();
        assert!(got == bytes[3..], "{way:?}");
        straight += size - 3;
        let stats = cache.stats();
        assert_eq!(stats.bytes_straight, straight, "{way:?}");
        assert_eq!(stats.bytes_from_origin, straight, "{way:?}");
    }
    assert_eq!(cache.stats().bypasses, 3);
    assert_eq!(cache.residency(&file).chunks_present, 0);
    // Code may never answer, so it gets no memory of a reader's.
    let far = cache.custom("code", Arc::new(TestOrigin::new(size)));
    let file = cache.file(&far, b"file").unwrap();
    for way in WAYS {
        let got = cache.read_by(way, &file, size as usize, 0).unwrap();
        assert!(got == bytes, "{way:?}");
    }
    assert_eq!(cache.stats().bypasses, 6);
    assert_eq!(cache.stats().bytes_straight, straight);
}

pub(crate) fn a_bypassed_read_of_a_changed_file_starts_again<D: Door>(engine: EngineChoice) {
    for way in WAYS {
        let place = Place::new();
        let path = place.origin().join("file");
        let cache: D = open(&place, engine);
        let origin = cache.directory(&place.origin()).unwrap();
        write_file(&path, &content(1, 0, 3 * MIB as usize));
        let file = cache.file(&origin, b"file").unwrap();
        write_file(&path, &content(2, 0, 2 * MIB as usize));
        let bytes = cache.read_by(way, &file, 4 * MIB as usize, 0).unwrap();
        assert!(bytes == content(2, 0, 2 * MIB as usize), "{way:?}");
        let stats = cache.stats();
        assert!(stats.stale_fetches > 0, "{way:?}");
        assert!(stats.bytes_straight >= 2 * MIB, "{way:?}");
    }
}
