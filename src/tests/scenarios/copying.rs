//! Copy-fills of files in directories, by each way.

use crate::tests::door::{Door, LIMIT, Place, QueueDoor, Settings, WAYS, Way};
use crate::tests::locks::{ALL, lock, unlock};
use crate::tests::origin::{content, grow_old, write_file};
use crate::tests::random::Random;
use crate::tests::scenarios::failing::find;
use crate::tests::sharing::{on_disk, wait_until};
use crate::tests::volume::Volume;
use cachefs_core::{EngineChoice, Stats};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const CHUNK: u64 = 64 << 10;

/// The words of the option `copy_method`, by their numbers.
const METHODS: [&str; 5] = ["auto", "reflink", "copy_file_range", "ring", "splice"];

fn settings(engine: EngineChoice, method: usize) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings.copy_method = method as u64;
    settings
}

/// Bytes that were copied, by whatever way.
fn copied(stats: &Stats) -> u64 {
    stats.bytes_reflinked
        + stats.bytes_copied_in_kernel
        + stats.bytes_copied_by_ring
        + stats.bytes_spliced
}

/// What the cache has of a whole file, past the library.
fn cached<D: Door>(cache: &D, file: &D::File, size: u64) -> (Vec<u8>, std::fs::Metadata) {
    let descriptor = std::fs::File::from(cache.descriptor(file).unwrap());
    let mut bytes = vec![0xAA; size as usize];
    descriptor.read_exact_at(&mut bytes, 0).unwrap();
    let metadata = descriptor.metadata().unwrap();
    assert_eq!(metadata.len(), size);
    (bytes, metadata)
}

/// Fills a file and compares all of it with its origin.
fn fill_and_compare<D: Door>(cache: &D, origin: &D::Origin, path: &Path, what: &str) {
    let name = path.file_name().unwrap().as_encoded_bytes();
    let expected = std::fs::read(path).unwrap();
    let size = expected.len() as u64;
    let file = cache.file(origin, name).unwrap();
    assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(size), "{what}");
    let (bytes, _) = cached(cache, &file, size);
    assert!(bytes == expected, "{what}: the copy differs");
}

fn copies_every_size<D: Door>(cache_dir: &Path, origin_dir: &Path, engine: EngineChoice) {
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * MIB, 5 * MIB + 4097];
    for (index, size) in sizes.iter().enumerate() {
        let bytes = content(index as u64, 0, *size as usize);
        std::fs::write(origin_dir.join(format!("{size}")), bytes).unwrap();
    }
    grow_old();
    for (method, word) in METHODS.iter().enumerate() {
        let directory = cache_dir.join(word);
        let cache = D::open(&directory, &settings(engine, method)).unwrap();
        let origin = cache.directory(origin_dir).unwrap();
        for size in sizes {
            let path = origin_dir.join(format!("{size}"));
            fill_and_compare(&cache, &origin, &path, &format!("{word}, {size} bytes"));
        }
        let (stats, all) = (cache.stats(), sizes.iter().sum::<u64>());
        assert_eq!(stats.bytes_from_origin, all, "{word}: each byte once");
        assert_eq!(copied(&stats), all, "{word}: {stats:?}");
        cache.close();
    }
}

pub(crate) fn files_of_every_size_are_copied_by_each_way<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    std::fs::create_dir(place.cache()).unwrap();
    copies_every_size::<D>(&place.cache(), &place.origin(), engine);
}

pub(crate) fn a_memory_file_system_is_copied_from_and_to<D: Door>(engine: EngineChoice) {
    let disk = Place::new();
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    std::fs::create_dir(disk.cache()).unwrap();
    let origins = ["for the disk", "for memory"].map(|name| {
        let path = memory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    });
    copies_every_size::<D>(&disk.cache(), &origins[0], engine);
    let inside = memory.path().join("caches");
    std::fs::create_dir(&inside).unwrap();
    copies_every_size::<D>(&inside, &disk.origin(), engine);
    std::fs::create_dir(inside.join("both")).unwrap();
    copies_every_size::<D>(&inside.join("both"), &origins[1], engine);
}

pub(crate) fn holes_are_not_copied_and_stay_holes<D: Door>(engine: EngineChoice) {
    for (method, word) in METHODS.iter().enumerate() {
        let place = Place::new();
        let path = place.origin().join("sparse");
        let file = std::fs::File::create(&path).unwrap();
        let size = 40 * CHUNK + 777;
        file.set_len(size).unwrap();
        // One byte in the middle of nowhere, a run across chunks, and a hole at the end.
        file.write_all_at(b"x", 3 * CHUNK + 17).unwrap();
        let run = content(4, 0, 3 * CHUNK as usize + 5);
        file.write_all_at(&run, 10 * CHUNK - 3).unwrap();
        file.sync_all().unwrap();
        grow_old();
        let cache = D::open(&place.cache(), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        fill_and_compare(&cache, &origin, &path, word);
        let stats = cache.stats();
        // Of the run: a chunk that ends in it, three of it, and one that it ends in.
        let data = (1 + 5) * CHUNK;
        assert_eq!(copied(&stats), data, "{word}");
        assert_eq!(stats.bytes_of_holes, size - data, "{word}");
        assert_eq!(stats.bytes_from_origin, data, "{word}: holes are not read");
        assert!(
            stats.cached_bytes < data + 2 * CHUNK,
            "{word}: holes take no room: {}",
            stats.cached_bytes
        );
        let file = cache.file(&origin, b"sparse").unwrap();
        let (_, metadata) = cached(&cache, &file, size);
        assert!(metadata.blocks() * 512 <= data + CHUNK, "{word}");
        drop(file);
        cache.close();
        // Another process counts them in the same way.
        let cache = D::open(&place.cache(), &settings(engine, method)).unwrap();
        assert!(cache.stats().cached_bytes < data + 2 * CHUNK, "{word}");
    }
}

pub(crate) fn a_file_that_changed_since_it_was_opened_is_copied_as_it_is<D: Door>(
    engine: EngineChoice,
) {
    for (method, word) in METHODS.iter().enumerate() {
        let place = Place::new();
        let path = place.origin().join("file");
        write_file(&path, &vec![1; 2 * MIB as usize]);
        let cache = D::open(&place.cache(), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        // In place, so that the open file sees it; and with another size.
        let new = vec![2; 2 * MIB as usize - 70_000];
        write_file(&path, &new);
        let filled = cache.fill(&file, &mut |_, _| true);
        assert_eq!(filled, Ok(new.len() as u64), "{word}");
        assert!(cached(&cache, &file, new.len() as u64).0 == new, "{word}");
        assert!(cache.stats().stale_fetches > 0, "{word}");
    }
}

pub(crate) fn a_file_that_keeps_changing_is_copied_as_it_is_at_last<D: Door>(engine: EngineChoice) {
    for (method, word) in METHODS.iter().enumerate() {
        let place = Place::new();
        let path = place.origin().join("file");
        let size = 4 * MIB;
        write_file(&path, &vec![0; size as usize]);
        let cache = D::open(&place.cache(), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                for version in 1..=8u8 {
                    // From the back, so that a copy runs into it.
                    for chunk in (0..size / CHUNK).rev() {
                        let bytes = vec![version; CHUNK as usize];
                        file.write_all_at(&bytes, chunk * CHUNK).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(25));
                }
            });
            while !changes.is_finished() {
                match cache.fill(&file, &mut |_, _| true) {
                    Ok(_) | Err(libc::ESTALE) => {}
                    Err(errno) => panic!("{word}: errno {errno}"),
                }
            }
        });
        grow_old();
        assert_eq!(cache.file(&origin, b"file").map(drop), Ok(()));
        let file = cache.file(&origin, b"file").unwrap();
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(size), "{word}");
        let (bytes, _) = cached(&cache, &file, size);
        assert!(
            bytes.iter().all(|byte| *byte == 8),
            "{word}: it is the last"
        );
    }
}

pub(crate) fn a_copy_that_is_cancelled_completes_once_and_can_go_on<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let bytes = content(5, 0, 48 * MIB as usize);
    write_file(&place.origin().join("file"), &bytes);
    for (method, word) in METHODS.iter().enumerate() {
        let cache = D::open(&place.root().join(word), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        let mut queue = cache.queue(1);
        queue.fill(&file, 7).unwrap();
        while cache.stats().chunks_stored == 0 && cache.stats().in_flight > 0 {
            std::thread::yield_now();
        }
        queue.cancel(7);
        let done = queue.wait(1, 1, Some(LIMIT))[0];
        // A fast machine may be done before it is asked to stop.
        let ends = [-i64::from(libc::ECANCELED), bytes.len() as i64];
        assert!(ends.contains(&done.result), "{word}: {}", done.result);
        assert!(queue.wait(0, 1, None).is_empty(), "{word}: once");
        assert_eq!(cache.stats().in_flight, 0, "{word}");
        // What was written and is not there after all takes no room that nobody counts; but
        // the file system may take a block for extents.
        let counted = || cache.stats().cached_bytes + 4096;
        wait_until(word, || on_disk(&place.root().join(word)).0 <= counted());
        let path = place.origin().join("file");
        fill_and_compare(&cache, &origin, &path, word);
    }
}

pub(crate) fn closing_ends_a_copy<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let size = 48 * MIB;
    write_file(&place.origin().join("file"), &content(12, 0, size as usize));
    for (method, word) in METHODS.iter().enumerate() {
        let cache = D::open(&place.root().join(word), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        let mut queue = cache.queue(1);
        queue.fill(&file, 3).unwrap();
        while cache.stats().chunks_stored == 0 && cache.stats().in_flight > 0 {
            std::thread::yield_now();
        }
        cache.close();
        let done = queue.wait(1, 1, Some(LIMIT));
        let ends = [-i64::from(libc::ECANCELED), size as i64];
        assert!(ends.contains(&done[0].result), "{word}: {done:?}");
        drop((queue, file));
        // What was published is right.
        let again = D::open(&place.root().join(word), &settings(engine, method)).unwrap();
        let origin = again.directory(&place.origin()).unwrap();
        fill_and_compare(&again, &origin, &place.origin().join("file"), word);
    }
}

pub(crate) fn readers_join_a_copy<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let size = 16 * MIB;
    let bytes = content(6, 0, size as usize);
    write_file(&place.origin().join("file"), &bytes);
    let mut random = Random::new();
    for (method, word) in METHODS.iter().enumerate() {
        let cache = D::open(&place.root().join(word), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        let offsets: Vec<u64> = (0..60).map(|_| random.below(size)).collect();
        std::thread::scope(|scope| {
            let fills = [(); 2].map(|()| scope.spawn(|| cache.fill(&file, &mut |_, _| true)));
            for (index, offset) in offsets.iter().enumerate() {
                let read = cache.read_by(WAYS[index % 3], &file, 100_000, *offset);
                let start = *offset as usize;
                let end = bytes.len().min(start + 100_000);
                assert!(read.unwrap() == bytes[start..end], "{word} at {offset}");
            }
            for fill in fills {
                assert_eq!(fill.join().unwrap(), Ok(size), "{word}");
            }
        });
        let stats = cache.stats();
        assert_eq!(stats.bytes_from_origin, size, "{word}: each byte once");
        assert_eq!((stats.errors, stats.bypasses), (0, 0), "{word}");
    }
}

pub(crate) fn what_another_process_writes_is_waited_for<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let path = place.origin().join("file");
    let bytes = content(13, 0, 3 * CHUNK as usize);
    write_file(&path, &bytes);
    for (method, word) in METHODS.iter().enumerate() {
        let directory = place.root().join(word);
        let cache = D::open(&directory, &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        let data = find(&directory, ".data");
        let data = std::fs::File::options().write(true).open(data).unwrap();
        assert!(lock(&data, ALL));
        let mut queue = cache.queue(1);
        queue.fill(&file, 4).unwrap();
        let early = queue.wait(1, 1, Some(Duration::from_millis(60)));
        assert!(early.is_empty(), "{word}: it waits");
        // A reader need not for long, whatever the method, and what it got is not written.
        if method == 0 {
            let read = cache.read_by(Way::Blocking, &file, 100, 5);
            assert!(read.unwrap() == bytes[5..105], "{word}");
        }
        assert_eq!(cache.residency(&file).chunks_present, 0, "{word}");
        unlock(&data, ALL);
        let done = queue.wait(1, 1, Some(LIMIT))[0];
        assert_eq!(done.result, bytes.len() as i64, "{word}");
        assert!(
            cached(&cache, &file, bytes.len() as u64).0 == bytes,
            "{word}"
        );
    }
}

pub(crate) fn processes_that_copy_one_file_agree<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let path = place.origin().join("file");
    write_file(&path, &content(7, 0, 24 * MIB as usize));
    for (method, word) in METHODS.iter().enumerate() {
        let directory = place.root().join(word);
        // Locks belong to open files, so two caches stand for two processes.
        let caches = [(); 2].map(|()| D::open(&directory, &settings(engine, method)).unwrap());
        std::thread::scope(|scope| {
            for cache in &caches {
                scope.spawn(|| {
                    let origin = cache.directory(&place.origin()).unwrap();
                    fill_and_compare(cache, &origin, &path, word);
                });
            }
        });
    }
}

pub(crate) fn a_device_that_fills_up_during_a_copy_says_so<D: Door>(engine: EngineChoice) {
    let make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal"];
    for (method, word) in METHODS.iter().enumerate() {
        let place = Place::new();
        let Some(volume) = Volume::mount(place.root(), &make, 8) else {
            return;
        };
        let bytes = content(8, 0, 16 * MIB as usize);
        write_file(&place.origin().join("file"), &bytes);
        let cache = D::open(&volume.path.join("cache"), &settings(engine, method)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let file = cache.file(&origin, b"file").unwrap();
        let filled = cache.fill(&file, &mut |_, _| true);
        assert_eq!(filled, Err(libc::ENOSPC), "{word}");
        for way in WAYS {
            let read = cache.read_by(way, &file, bytes.len(), 0);
            assert!(read.unwrap() == bytes, "{word}: it is read all the same");
        }
        assert_eq!(cache.stats().errors, 0, "{word}");
        drop(file);
        cache.close();
    }
}

pub(crate) fn blocks_are_shared_where_the_file_system_can<D: Door>(engine: EngineChoice) {
    for make in [
        &["mkfs.xfs", "-q", "-m", "reflink=1"][..],
        &["mkfs.btrfs", "-q"][..],
    ] {
        let place = Place::new();
        let Some(volume) = Volume::mount(place.root(), make, 320) else {
            continue;
        };
        let origin_dir = volume.path.join("origin");
        std::fs::create_dir(&origin_dir).unwrap();
        let size = 9 * MIB + 123;
        write_file(&origin_dir.join("file"), &content(9, 0, size as usize));
        for (method, word) in METHODS.iter().enumerate().take(2) {
            let directory = volume.path.join(word);
            let cache = D::open(&directory, &settings(engine, method)).unwrap();
            let origin = cache.directory(&origin_dir).unwrap();
            fill_and_compare(&cache, &origin, &origin_dir.join("file"), word);
            let stats = cache.stats();
            assert_eq!(stats.bytes_reflinked, size, "{}, {word}", make[0]);
            // The origin's later changes are its own.
            let before = std::fs::read(origin_dir.join("file")).unwrap();
            let file = cache.file(&origin, b"file").unwrap();
            let descriptor = std::fs::File::from(cache.descriptor(&file).unwrap());
            std::fs::OpenOptions::new()
                .write(true)
                .open(origin_dir.join("file"))
                .unwrap()
                .write_all_at(&[0xEE; 100], 5000)
                .unwrap();
            let mut bytes = vec![0; size as usize];
            descriptor.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes == before, "{}, {word}", make[0]);
            grow_old();
            cache.close();
        }
    }
}

pub(crate) fn a_way_that_is_refused_is_followed_by_a_plainer_one<D: Door>(engine: EngineChoice) {
    // Between file systems neither blocks are shared nor ranges copied by all
    // kernels; reads and writes go everywhere.
    let place = Place::new();
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    write_file(&memory.path().join("file"), &content(10, 0, MIB as usize));
    for (method, word) in [(1, "reflink"), (2, "copy_file_range")] {
        let cache = D::open(&place.root().join(word), &settings(engine, method)).unwrap();
        let origin = cache.directory(memory.path()).unwrap();
        fill_and_compare(&cache, &origin, &memory.path().join("file"), word);
        let stats = cache.stats();
        assert_eq!(
            stats.bytes_reflinked + stats.bytes_copied_in_kernel,
            0,
            "{word}"
        );
        assert_eq!(stats.bytes_copied_by_ring, MIB, "{word}");
        assert_eq!(stats.store_errors, 0, "{word}");
    }
}

pub(crate) fn blocks_are_allocated_before_direct_writes_and_not_for_holes<D: Door>(
    engine: EngineChoice,
) {
    let place = Place::new();
    let path = place.origin().join("file");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(20 * CHUNK).unwrap();
    file.write_all_at(&content(11, 0, 5 * CHUNK as usize), 2 * CHUNK)
        .unwrap();
    file.sync_all().unwrap();
    grow_old();
    let mut settings = settings(engine, 3);
    settings.direct = true;
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    fill_and_compare(&cache, &origin, &path, "direct");
    let stats = cache.stats();
    assert_eq!(
        stats.bytes_preallocated + stats.bytes_preallocated_zeroed,
        5 * CHUNK
    );
    let file = cache.file(&origin, b"file").unwrap();
    let (_, metadata) = cached(&cache, &file, 20 * CHUNK);
    assert!((5 * CHUNK..7 * CHUNK).contains(&(metadata.blocks() * 512)));
    let read = cache.read_by(Way::Blocking, &file, 10, 2 * CHUNK);
    assert_eq!(read, Ok(content(11, 0, 10)));
}
