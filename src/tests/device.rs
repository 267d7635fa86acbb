//! A cache device that gives errors, fills up or hangs, on a simulated host: what readers
//! get, and what the cache says of it. The rules are in docs/device-failures.md.

use super::core_door::SimDoor;
use super::door::{Door, Place, QueueDoor, Settings, WAYS, Way};
use super::origin::{TestOrigin, content};
use super::random::Random;
use super::sharing::wait_until;
use cachefs_core::{EngineChoice, Errno, Faults, File, Origin, Rates, Simulation, State};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 40;
const TIMEOUT_MS: u64 = 1000;
/// Longer than anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Those that library threads or queues read: what the caller's thread reads itself is
/// not simulated.
const SIMULATED_WAYS: [Way; 2] = [Way::Callback, Way::Queue];

type Cache = SimDoor<false>;

/// A file that is wholly in its cache, and a disk that can be told to fail.
struct Stage {
    host: Simulation,
    code: Arc<TestOrigin>,
    file: File,
    origin: Origin,
    cache: Cache,
    place: Place,
    /// Says its seed when the test fails.
    _random: Random,
}

impl Stage {
    fn new() -> Self {
        let mut random = Random::new();
        let place = Place::new();
        let host = Simulation::new(random.next());
        let settings = Settings {
            chunk_bytes: CHUNK,
            device_timeout_ms: TIMEOUT_MS,
            close_timeout_ms: 300,
            readahead: false,
            ..Settings::new(EngineChoice::Auto)
        };
        let cache = Cache::on(&place.cache(), &settings, &host).unwrap();
        let code = Arc::new(TestOrigin::new(CHUNKS * CHUNK));
        let origin = cache.custom("code", Arc::clone(&code));
        let file = cache.file(&origin, b"file").unwrap();
        cache.fill(&file, &mut |_, _| true).unwrap();
        Self {
            host,
            code,
            file,
            origin,
            cache,
            place,
            _random: random,
        }
    }

    fn disk(&self, faults: Faults) {
        self.host.set_faults_below(&self.place.cache(), faults);
    }

    fn read(&self, way: Way, chunk: u64, chunks: u64) {
        let (offset, length) = (chunk * CHUNK, (chunks * CHUNK) as usize);
        let got = self.cache.read_by(way, &self.file, length, offset);
        assert!(got == Ok(content(1, offset, length)), "{way:?} of {chunk}");
    }

    fn origin_reads(&self) -> u64 {
        self.code.reads.load(Ordering::SeqCst)
    }

    fn state(&self) -> State {
        self.cache.report().state
    }

    fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < LIMIT, "{what}: {:?}", self.state());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn until_normal(&self) {
        self.until("it is normal again", |stage| stage.state() == State::Normal);
    }
}

fn failing(rates: Rates, errno: Errno) -> Faults {
    Faults {
        failed: rates,
        errnos: vec![errno],
        ..Faults::none()
    }
}

fn reads(rate: u32) -> Rates {
    Rates {
        read: rate,
        ..Rates::default()
    }
}

fn writes(rate: u32) -> Rates {
    Rates {
        write: rate,
        ..Rates::default()
    }
}

fn hanging(rates: Rates, deaf: u32) -> Faults {
    Faults {
        hung: rates,
        deaf,
        ..Faults::none()
    }
}

#[test]
fn a_chunk_that_cannot_be_read_is_dropped_and_fetched_again_and_the_rest_stays() {
    for way in SIMULATED_WAYS {
        let stage = Stage::new();
        stage.disk(failing(reads(1000), Errno::IO));
        stage.read(way, 7, 1);
        assert_eq!(stage.origin_reads(), CHUNKS + 1, "{way:?}");
        assert_eq!(
            stage.state(),
            State::Normal,
            "{way:?}: one error says little"
        );
        stage.disk(Faults::none());
        stage.until("it is stored again", |stage| {
            stage.cache.stats().chunks_stored == CHUNKS + 1
        });
        for chunk in 0..CHUNKS {
            stage.read(way, chunk, 1);
        }
        assert_eq!(stage.origin_reads(), CHUNKS + 1, "{way:?}: all are hits");
        let stats = stage.cache.stats();
        assert_eq!((stats.chunks_dropped, stats.device_read_errors), (1, 1));
        assert_eq!(stats.errors, 0);
    }
}

#[test]
fn of_a_read_of_many_chunks_only_those_are_dropped_that_cannot_be_read() {
    let stage = Stage::new();
    for _ in 0..20 {
        stage.disk(failing(reads(60), Errno::IO));
        stage.read(Way::Callback, 0, CHUNKS);
    }
    let stats = stage.cache.stats();
    assert!(stats.chunks_dropped < 20 * CHUNKS / 4, "{stats:?}");
    assert_eq!(stats.errors, 0);
}

#[test]
fn reads_that_fail_and_fail_turn_the_cache_off_until_probes_succeed() {
    let stage = Stage::new();
    stage.disk(failing(reads(1000), Errno::IO));
    for way in SIMULATED_WAYS {
        stage.read(way, 0, CHUNKS / 2);
        stage.read(way, CHUNKS / 2, CHUNKS / 2);
    }
    let State::Off(reason) = stage.state() else {
        panic!("{:?}", stage.state());
    };
    assert!(reason.contains("reads of the cache failed"), "{reason}");
    let report = stage.cache.report();
    assert!(report.state_since_ns > 0);
    // Present or not, nothing is read from the device, and nothing is stored.
    let before = stage.cache.stats();
    for way in WAYS {
        stage.read(way, 1, 1);
        stage.read(way, CHUNKS - 3, 3);
    }
    let after = stage.cache.stats();
    assert_eq!(after.bytes_from_cache, before.bytes_from_cache);
    assert_eq!(after.chunks_stored, before.chunks_stored);
    assert_eq!(after.errors, 0);
    stage.disk(Faults::none());
    stage.until_normal();
    for way in WAYS {
        stage.read(way, 0, CHUNKS);
    }
    stage.until("it stores again", |stage| {
        stage.cache.stats().chunks_stored > after.chunks_stored
    });
    let stats = stage.cache.stats();
    assert!(stats.device_probes >= 2, "{stats:?}");
    assert!(stats.device_changes >= 2, "{stats:?}");
}

#[test]
fn a_full_or_read_only_disk_serves_what_it_has_and_stores_nothing() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO] {
        let stage = Stage::new();
        let other = stage.cache.file(&stage.origin, b"other").unwrap();
        stage.disk(failing(writes(1000), errno));
        for way in WAYS {
            let got = stage.cache.read_by(way, &other, CHUNK as usize, 0);
            assert!(got == Ok(content(1, 0, CHUNK as usize)), "{errno}: {way:?}");
        }
        stage.until("the disk has refused", |stage| {
            matches!(stage.state(), State::Degraded(_))
        });
        assert!(stage.cache.fill(&other, &mut |_, _| true).is_err());
        let before = stage.origin_reads();
        for way in WAYS {
            stage.read(way, 0, CHUNKS);
        }
        assert_eq!(stage.origin_reads(), before, "{errno}: hits are served");
        assert_eq!(stage.cache.stats().errors, 0);
        stage.disk(Faults::none());
        stage.until_normal();
        assert_eq!(
            stage.cache.fill(&other, &mut |_, _| true),
            Ok(CHUNKS * CHUNK)
        );
    }
}

#[test]
fn a_disk_whose_reads_hang_holds_up_no_reader() {
    for way in SIMULATED_WAYS {
        let stage = Stage::new();
        stage.disk(hanging(reads(1000), 0));
        stage.read(way, 3, 2);
        let state = stage.state();
        let reason = state.reason().unwrap_or("");
        assert!(reason.contains("not answered"), "{way:?}: {state:?}");
        // What is read now has memory of ours, whichever way it is asked for.
        for way in WAYS {
            stage.read(way, 5, 1);
        }
        assert_eq!(stage.cache.stats().errors, 0);
        assert!(stage.cache.stats().device_hangs >= 2);
        stage.disk(Faults::none());
        stage.until_normal();
        let before = stage.origin_reads();
        stage.read(way, 0, CHUNKS);
        assert_eq!(stage.origin_reads(), before, "{way:?}: nothing was lost");
    }
}

/// Even if none of its operations can be called back.
#[test]
fn a_disk_whose_writes_hang_for_ever_holds_up_no_reader() {
    let stage = Stage::new();
    let other = stage.cache.file(&stage.origin, b"other").unwrap();
    stage.disk(hanging(writes(1000), 1000));
    let fill = stage.cache.fill(&other, &mut |_, _| true);
    assert_eq!(fill, Err(libc::ETIMEDOUT));
    let third = stage.cache.file(&stage.origin, b"third").unwrap();
    for round in 0..3 {
        for way in WAYS {
            for chunk in 0..CHUNKS {
                let offset = chunk * CHUNK;
                let got = stage.cache.read_by(way, &third, CHUNK as usize, offset);
                let good = content(1, offset, CHUNK as usize);
                assert!(got == Ok(good), "{way:?} of {chunk} in round {round}");
            }
        }
    }
    let stats = stage.cache.stats();
    assert_eq!(stats.errors, 0);
    assert!(stats.device_hangs > 0);
    let begun = Instant::now();
    stage.cache.close();
    assert!(begun.elapsed() < LIMIT / 2, "the close returns");
}

/// A read whose memory the kernel has, and does not give back, cannot end: all others do.
#[test]
fn after_one_read_that_cannot_be_called_back_others_have_memory_of_ours() {
    let stage = Stage::new();
    stage.disk(hanging(reads(1000), 1000));
    let mut stuck = stage.cache.read_async(&stage.file, 100, 0).unwrap();
    stage.until("it is noticed", |stage| stage.state() != State::Normal);
    for way in WAYS {
        stage.read(way, 9, 1);
        stage.read(way, 11, 20);
    }
    assert!(stuck.done.try_recv().is_err(), "its memory is the kernel's");
    stage.cache.close();
    let (buffer, done) = stuck.done.recv_timeout(LIMIT).expect("a completion");
    assert_eq!(done.result, -i64::from(libc::EBUSY));
    // Which may still be written to.
    std::mem::forget(buffer);
    stuck.id = 0;
}

/// Errors, hangs and recoveries in no order: readers never hear of it.
#[test]
fn whatever_the_disk_does_readers_get_the_origins_bytes() {
    let mut random = Random::new();
    for _ in 0..6 {
        let stage = Stage::new();
        let errnos = [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::NODEV];
        for _ in 0..8 {
            stage.disk(Faults {
                failed: Rates::all(random.below(300) as u32),
                errnos: errnos.to_vec(),
                hung: Rates::all(random.below(60) as u32),
                ..Faults::default()
            });
            let mut queue = stage.cache.queue(8);
            for way in WAYS {
                let chunk = random.below(CHUNKS - 4);
                stage.read(way, chunk, 1 + random.below(4));
            }
            QueueDoor::<Cache>::submit(&mut queue);
        }
        let stats = stage.cache.stats();
        assert_eq!((stats.errors, stats.in_flight), (0, 0), "{stats:?}");
    }
}

#[test]
fn what_is_to_be_synced_makes_room_while_that_takes_its_time() {
    let mut random = Random::new();
    let place = Place::new();
    let host = Simulation::new(random.next());
    let settings = Settings {
        chunk_bytes: CHUNK,
        capacity_bytes: 32 * CHUNK,
        sync_interval_ms: 300,
        ..Settings::new(EngineChoice::Auto)
    };
    let cache = Cache::on(&place.cache(), &settings, &host).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(4 * CHUNK)));
    let fill = |number: u64| {
        let file = cache.file(&origin, format!("{number}").as_bytes()).unwrap();
        let filled = cache.fill(&file, &mut |_, _| true);
        assert_eq!(filled, Ok(4 * CHUNK), "{number}");
    };
    host.hold_syncs(true);
    (0..7).for_each(fill);
    wait_until("the first one is being synced", || host.held_syncs() > 0);
    (7..14).for_each(fill);
    host.hold_syncs(false);
}
