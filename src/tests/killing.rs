//! Processes that are killed at any moment: what they leave is right, or fetched again.

use super::child::Child;
use super::core_door::CoreDoor;
use super::door::{Door, LIMIT, Place, Settings, WAYS};
use super::origin::{content, grow_old};
use super::random::Random;
use super::scenarios::reboots::reboot;
use super::trimming::cool_some;
use cachefs_core::EngineChoice;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KIB: u64 = 1 << 10;
const CHUNK: u64 = 64 * KIB;
/// Together more than the cache may hold, so that objects come and go.
const SIZES: [u64; 6] = [
    1,
    64 * KIB,
    200 * KIB + 5,
    400 * KIB + 1,
    500 * KIB,
    700 * KIB + 3,
];
const CAPACITY: u64 = 1200 * KIB;
/// Unless the environment says how many.
const ROUNDS: u64 = 100;
const ROUNDS_VARIABLE: &str = "CACHEFS_KILL_ROUNDS";
/// Where the process to be killed has its files, and its number.
const PLACE: &str = "CACHEFS_KILLED_AT";
const ROUND: &str = "CACHEFS_KILLED_ROUND";
const TEST: &str = "tests::killing::what_a_killed_process_left_is_never_wrong";

type Cache = CoreDoor<false>;

fn open(root: &Path, random: &mut Random) -> Cache {
    let mut settings = Settings::new(EngineChoice::Auto);
    settings.chunk_bytes = CHUNK;
    settings.capacity_bytes = CAPACITY;
    settings.direct = random.below(3) == 0;
    settings.copy_method = random.below(5);
    settings.durable = random.below(3) > 0;
    settings.sync_interval_ms = 1 + random.below(10);
    Cache::open(&root.join("cache"), &settings).unwrap()
}

fn check(cache: &Cache, file: &cachefs_core::File, number: usize, offset: u64, length: u64) {
    for way in WAYS {
        let bytes = cache.read_by(way, file, length as usize, offset).unwrap();
        let expected = content(number as u64, offset, bytes.len());
        let whole = length.min(SIZES[number] - offset);
        assert_eq!(
            bytes.len() as u64,
            whole,
            "{length} at {offset} of {number}"
        );
        assert!(bytes == expected, "{length} at {offset} of {number}");
    }
}

/// Reads and fills, and never ends by itself.
fn work(root: &Path, mut random: Random) -> ! {
    std::fs::write(root.join("begun"), b"").unwrap();
    loop {
        let cache = open(root, &mut random);
        let origin = cache.directory(&root.join("origin")).unwrap();
        for _ in 0..20 {
            let number = random.below(SIZES.len() as u64) as usize;
            let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
            if random.below(4) == 0 {
                cool_some(&root.join("cache"), &mut random);
            }
            if random.below(3) == 0 {
                // There may be no room for it.
                cache.fill(&file, &mut |_, _| true).ok();
            } else {
                let offset = random.below(SIZES[number]);
                let length = 1 + random.any_size(200 * KIB);
                check(&cache, &file, number, offset, length);
            }
        }
    }
}

fn start(root: &Path, round: u64) -> Child {
    let begun = root.join("begun");
    std::fs::remove_file(&begun).ok();
    let round = round.to_string();
    let environment = [(PLACE, root.as_os_str()), (ROUND, OsStr::new(&round))];
    let mut child = Child::start(TEST, &environment);
    child.wait_for(&begun, LIMIT);
    child
}

#[test]
fn what_a_killed_process_left_is_never_wrong() {
    if let Some(root) = std::env::var_os(PLACE) {
        let round = std::env::var(ROUND).unwrap().parse().unwrap();
        work(&PathBuf::from(root), Random::of(round));
    }
    let mut random = Random::new();
    let place = Place::new();
    for (number, size) in SIZES.iter().enumerate() {
        let bytes = content(number as u64, 0, *size as usize);
        std::fs::write(place.origin().join(number.to_string()), bytes).unwrap();
    }
    grow_old();
    let (mut hits, mut verified, mut trims) = (0, 0, 0);
    let asked = std::env::var(ROUNDS_VARIABLE).ok();
    let rounds: u64 = asked.map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        let mut child = start(place.root(), round);
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        child.assert_alive();
        drop(child);
        if round % 4 == 3 {
            // The next to be killed takes over what is there, or is killed at that.
            reboot(&place.cache());
            continue;
        }
        let cache = open(place.root(), &mut random);
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, size) in SIZES.iter().enumerate() {
            cool_some(&place.cache(), &mut random);
            let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
            check(&cache, &file, number, 0, *size);
        }
        let stats = cache.stats();
        hits += stats.hits;
        verified += stats.chunks_verified;
        trims += stats.trims;
        assert_eq!(stats.chunks_dropped, 0, "no byte that was written is lost");
        drop(origin);
        cache.close();
        if random.below(8) == 0 {
            std::fs::remove_dir_all(place.cache()).unwrap();
        }
    }
    eprintln!("{rounds} rounds: {hits} hits, {verified} chunks verified, {trims} trims");
    assert!(hits > rounds, "{hits} hits: nothing was left");
    assert!(verified > 0, "nothing was left to verify");
    assert!(trims > 0, "nothing was trimmed");
}
