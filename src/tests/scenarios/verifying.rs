//! What is cached is compared with its checksums: a damaged chunk is fetched again, and
//! damaged metadata cost one object.

use crate::tests::door::{Door, Place, Settings, WAYS};
use crate::tests::origin::{content, grow_old};
use crate::tests::random::Random;
use crate::tests::scenarios::reboots::{all, damage, open, reboot};
use cachefs_core::{EngineChoice, Verification};
use std::collections::HashSet;

const CHUNK: u64 = 64 << 10;
/// The number of the word of the option `copy_method`: reads and writes.
const COPY_BY_READS: u64 = 3;
/// The last chunk is short.
const SIZES: [u64; 3] = [1, 9 * CHUNK - 77, 5 * CHUNK + 4097];

fn settings(engine: EngineChoice) -> Settings {
    let mut settings = Settings::new(engine);
    settings.chunk_bytes = CHUNK;
    settings
}

fn chunks() -> u64 {
    SIZES.iter().map(|size| size.div_ceil(CHUNK)).sum()
}

fn write_files(place: &Place) {
    for (number, size) in SIZES.iter().enumerate() {
        let bytes = content(number as u64, 0, *size as usize);
        std::fs::write(place.origin().join(number.to_string()), bytes).unwrap();
    }
    grow_old();
}

/// Has every file in the cache.
fn fill<D: Door>(cache: &D, origin: &D::Origin) {
    for (number, size) in SIZES.iter().enumerate() {
        let file = cache.file(origin, number.to_string().as_bytes()).unwrap();
        assert_eq!(cache.fill(&file, &mut |_, _| true), Ok(*size));
    }
}

/// Reads every file; gives the bytes that came from the origin.
fn read_all<D: Door>(cache: &D, origin: &D::Origin) -> u64 {
    let before = cache.stats().bytes_from_origin;
    for (number, size) in SIZES.iter().enumerate() {
        let file = cache.file(origin, number.to_string().as_bytes()).unwrap();
        let way = WAYS[number % 3];
        let bytes = cache.read_by(way, &file, *size as usize, 0).unwrap();
        assert!(
            bytes == content(number as u64, 0, *size as usize),
            "{number}"
        );
        while !cache.residency(&file).complete {
            std::thread::yield_now();
        }
    }
    cache.stats().bytes_from_origin - before
}

pub(crate) fn damaged_chunks_are_found_and_fetched_again<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for method in 0..5 {
        let place = Place::new();
        write_files(&place);
        let mut settings = settings(engine);
        settings.copy_method = method;
        let cache = D::open(&place.cache(), &settings).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        fill(&cache, &origin);
        // Those that the kernel has copied get their checksums now.
        let first = cache.verify().unwrap();
        assert_eq!(first.chunks_verified + first.chunks_summed, chunks());
        let right = Verification {
            chunks_verified: chunks(),
            chunks_summed: 0,
            ..first
        };
        assert_eq!(cache.verify(), Ok(right), "{method}");
        let mut damaged = HashSet::new();
        let mut lost = 0;
        for path in all(&place.cache(), ".data") {
            let file = open(&path);
            let size = file.metadata().unwrap().len();
            for _ in 0..2 {
                let offset = random.below(size);
                let chunk = offset / CHUNK;
                if damaged.insert((size, chunk)) {
                    damage(&file, offset);
                    lost += CHUNK.min(size - chunk * CHUNK);
                }
            }
        }
        let count = damaged.len() as u64;
        let room = cache.stats().cached_bytes;
        let found = cache.verify().unwrap();
        assert_eq!(found.chunks_dropped, count, "{method}");
        assert_eq!(found.chunks_verified, chunks() - count);
        assert_eq!(cache.stats().chunks_dropped, count);
        assert_eq!(read_all(&cache, &origin), lost, "no more than that");
        assert_eq!(cache.stats().cached_bytes, room, "room is counted once");
        assert_eq!(cache.verify(), Ok(right), "{method}");
    }
}

pub(crate) fn damaged_metadata_cost_one_object<D: Door>(engine: EngineChoice) {
    let mut random = Random::new();
    for how in 0..5 {
        let place = Place::new();
        write_files(&place);
        let cache = D::open(&place.cache(), &settings(engine)).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        fill(&cache, &origin);
        drop(origin);
        cache.close();
        drop(cache);
        let metas = all(&place.cache(), ".meta");
        let path = &metas[random.below(metas.len() as u64) as usize];
        let meta = open(path);
        match how {
            0 => damage(&meta, random.below(100)),
            1 => meta.set_len(0).unwrap(),
            2 => meta.set_len(random.below(4096)).unwrap(),
            3 => meta.set_len(8192).unwrap(),
            // Bits and checksums, in another boot: what is not right is fetched.
            _ => {
                reboot(&place.cache());
                (0..20).for_each(|_| damage(&meta, 240 + random.below(200)));
            }
        }
        let verifies = random.below(2) == 0;
        let cache = D::open(&place.cache(), &settings(engine)).unwrap();
        if verifies {
            let found = cache.verify().unwrap();
            assert_eq!(
                (found.objects_dropped, found.busy),
                (u64::from(how < 4), 0),
                "{how}"
            );
        }
        let origin = cache.directory(&place.origin()).unwrap();
        let fetched = read_all(&cache, &origin);
        assert!(
            SIZES.contains(&fetched) || how == 4,
            "{fetched} bytes, {how}"
        );
        let found = cache.verify().unwrap();
        assert_eq!(
            (found.objects_dropped, found.chunks_dropped),
            (0, 0),
            "{how}"
        );
    }
}

/// Of what another boot has left, a verification leaves nothing to be verified at the
/// first use: what is right can be served, and what is wrong is known to be.
pub(crate) fn what_another_boot_left_can_be_verified_before_its_use<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    write_files(&place);
    let mut settings = settings(engine);
    // What is durable is not doubted, and the ring sees every byte.
    (settings.durable, settings.copy_method) = (false, COPY_BY_READS);
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    fill(&cache, &origin);
    drop(origin);
    cache.close();
    drop(cache);
    let mut lost = 0;
    for path in all(&place.cache(), ".data") {
        let file = open(&path);
        damage(&file, 0);
        lost += CHUNK.min(file.metadata().unwrap().len());
    }
    reboot(&place.cache());
    let cache = D::open(&place.cache(), &settings).unwrap();
    let count = SIZES.len() as u64;
    let found = cache.verify().unwrap();
    assert_eq!(
        (found.chunks_verified, found.chunks_dropped),
        (chunks() - count, count)
    );
    let origin = cache.directory(&place.origin()).unwrap();
    let present = (0..SIZES.len()).map(|number| {
        let file = cache.file(&origin, number.to_string().as_bytes());
        cache.residency(&file.unwrap()).chunks_present
    });
    assert_eq!(present.sum::<u64>(), chunks() - count);
    let before = cache.stats();
    assert_eq!(read_all(&cache, &origin), lost, "no more than that");
    let after = cache.stats();
    assert_eq!(
        (after.chunks_verified, after.chunks_dropped),
        (before.chunks_verified, before.chunks_dropped),
        "once is enough"
    );
}
