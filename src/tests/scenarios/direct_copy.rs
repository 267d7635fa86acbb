//! Large files that are copied whole: past the page cache until the copy is complete.

use crate::tests::door::{Door, LIMIT, Place, Settings, WAYS, Way};
use crate::tests::origin::{content, write_file};
use crate::tests::random::Random;
use crate::tests::scenarios::failing::find;
use cachefs_core::EngineChoice;
use rustix::fs::Advice;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const CHUNK: u64 = 64 << 10;
/// Its last chunk is short, and does not end with a page.
const SIZE: u64 = 80 * CHUNK + 5001;
const PAGES: u64 = SIZE.div_ceil(4096);

fn settings(engine: EngineChoice) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings.direct_copy_bytes = SIZE;
    settings
}

/// A file of an origin that no page of is in memory.
fn cold_file(place: &Place) -> Vec<u8> {
    let bytes = content(1, 0, SIZE as usize);
    let path = place.origin().join("file");
    write_file(&path, &bytes);
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    bytes
}

/// Pages that memory has of the only object's data (cachestat(2)). None: this kernel
/// does not tell, so the copy is an ordinary one, too.
fn pages_in_memory(cache: &Path) -> Option<u64> {
    let file = File::open(find(cache, ".data")).unwrap();
    let range = [0u64, SIZE];
    let mut counts = [0u64; 5];
    // SAFETY: the call reads one structure and writes the other.
    let result = unsafe {
        let (range, counts) = (range.as_ptr(), counts.as_mut_ptr());
        libc::syscall(451, file.as_raw_fd(), range, counts, 0)
    };
    (result == 0).then_some(counts[0])
}

fn compare<D: Door>(cache: &D, file: &D::File, bytes: &[u8], random: &mut Random) {
    for way in WAYS {
        let offset = random.below(SIZE);
        let length = 1 + random.any_size(3 * CHUNK);
        let end = bytes.len().min((offset + length) as usize);
        let read = cache.read_by(way, file, length as usize, offset);
        let right = read.as_deref() == Ok(&bytes[offset as usize..end]);
        assert!(right, "{way:?}: {length} bytes at {offset}");
    }
}

pub(crate) fn a_large_cold_file_is_copied_past_the_page_cache<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let bytes = cold_file(&place);
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(SIZE));
    let Some(pages) = pages_in_memory(&place.cache()) else {
        eprintln!("skipped: this kernel has no cachestat(2), so nothing is copied directly");
        return;
    };
    // The last chunk does not end with a page, and is written as ever.
    let last_chunk = CHUNK / 4096 + 2;
    assert!(pages <= last_chunk, "{pages} pages are in memory");
    let mut random = Random::new();
    for _ in 0..20 {
        compare(&cache, &file, &bytes, &mut random);
    }
    // Complete, it is read through the page cache like any other.
    let all = cache.read_by(Way::Blocking, &file, SIZE as usize, 0);
    assert!(all.unwrap() == bytes);
    assert_eq!(pages_in_memory(&place.cache()), Some(PAGES));
}

pub(crate) fn an_unfinished_direct_copy_is_read_and_finished<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let bytes = cold_file(&place);
    let cache = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    // Ended at once, or too late: whatever was copied, reads are right.
    let filled = cache.fill(&file, &mut |_, _| false);
    assert!(matches!(filled, Err(libc::ECANCELED) | Ok(SIZE)));
    let mut random = Random::new();
    for _ in 0..20 {
        compare(&cache, &file, &bytes, &mut random);
    }
    drop(file);
    // As after the end of the process: the object is found as it was left.
    let again = D::open(&place.cache(), &settings(engine)).unwrap();
    let origin = again.directory(&place.origin()).unwrap();
    let file = again.file(&origin, b"file").unwrap();
    compare(&again, &file, &bytes, &mut random);
    assert_eq!(again.fill(&file, &mut |_, _| true), Ok(SIZE));
    assert!(again.residency(&file).complete);
    let on_disk = std::fs::read(find(&place.cache(), ".data")).unwrap();
    assert!(on_disk == bytes, "by others");
}

pub(crate) fn a_direct_copy_can_be_read_by_another_process_meanwhile<D: Door>(
    engine: EngineChoice,
) {
    let place = Place::new();
    let bytes = cold_file(&place);
    // Locks belong to open files, so two caches stand for two processes.
    let caches = [(); 2].map(|()| D::open(&place.cache(), &settings(engine)).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let origin = caches[0].directory(&place.origin()).unwrap();
            let file = caches[0].file(&origin, b"file").unwrap();
            let filled = caches[0].fill(&file, &mut |_, _| true);
            done.store(true, Ordering::Release);
            assert_eq!(filled, Ok(SIZE));
        });
        let origin = caches[1].directory(&place.origin()).unwrap();
        let file = caches[1].file(&origin, b"file").unwrap();
        let mut random = Random::new();
        let begun = Instant::now();
        while !done.load(Ordering::Acquire) {
            assert!(begun.elapsed() < LIMIT, "the copy ends");
            compare(&caches[1], &file, &bytes, &mut random);
        }
        compare(&caches[1], &file, &bytes, &mut random);
    });
    let on_disk = std::fs::read(find(&place.cache(), ".data")).unwrap();
    assert!(on_disk == bytes, "by others");
}
