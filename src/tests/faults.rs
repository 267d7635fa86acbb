//! On a simulated host whose disk, whose origins and whose kernel fail at random:
//! what fails is told to whom it concerns, and to nobody else.

use super::core_door::SimDoor;
use super::door::{Door, LIMIT, Place, QueueDoor, Settings, WAYS, Way};
use super::origin::{byte_at, content, write_file};
use super::random::Random;
use super::scenarios::reboots::{all, damage, open};
use cachefs_core::{
    CustomOrigin, EngineChoice, Errno, Faults, File, Manners, Origin, OriginRead, Rates,
    Simulation, TAG_BYTES_MAX, VersionToken,
};
use std::collections::HashSet;
use std::ffi::CStr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KIB: u64 = 1 << 10;
const CHUNK_BYTES: u64 = 64 * KIB;
/// Some of one chunk, some of several, none a multiple of one.
const SIZES: [u64; 4] = [3, 64 * KIB - 1, 300 * KIB + 5, 700 * KIB + 1];
/// What origins fail with, and nothing else does.
const OF_ORIGINS: [Errno; 2] = [Errno::REMOTEIO, Errno::HOSTDOWN];

/// What a run is like.
#[derive(Clone)]
struct Weather {
    /// Below the cache directory.
    disk: Faults,
    /// Below the origin's directory, and in an origin that is code.
    origin: Faults,
    manners: Manners,
    origin_timeout_ms: u64,
    /// Objects past the page cache.
    direct: bool,
    rounds: usize,
}

/// Code that fails, hangs and is slow as often as the directory does.
struct WeatherOrigin {
    random: Mutex<Random>,
    faults: Faults,
    /// Reads that never end by themselves.
    hung: Mutex<Vec<OriginRead>>,
}

impl WeatherOrigin {
    fn new(faults: &Faults) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(Random::new()),
            faults: faults.clone(),
            hung: Mutex::default(),
        })
    }
}

impl CustomOrigin for WeatherOrigin {
    fn stat(&self, path: &CStr) -> Result<VersionToken, Errno> {
        let file: usize = path.to_str().unwrap().parse().unwrap();
        Ok(VersionToken {
            size: SIZES[file],
            mtime_ns: 1,
            ctime_ns: 0,
            inode: file as u64,
            tag_length: 0,
            tag: [0; TAG_BYTES_MAX],
        })
    }

    fn read(&self, mut read: OriginRead) {
        let file: u64 = read.path().to_str().unwrap().parse().unwrap();
        let mut random = self.random.lock().unwrap();
        if random.below(1000) < self.faults.hung.read.into() {
            return self.hung.lock().unwrap().push(read);
        }
        if random.below(1000) < self.faults.failed.read.into() {
            let errno = OF_ORIGINS[random.below(2) as usize];
            drop(random);
            return read.complete(Err(errno));
        }
        drop(random);
        let offset = read.offset();
        let length = read.buffer().len();
        for (at, byte) in read.buffer().iter_mut().enumerate() {
            *byte = byte_at(file, offset + at as u64);
        }
        read.complete(Ok(length));
    }

    fn threads(&self) -> u32 {
        2
    }
}

fn settings(weather: &Weather) -> Settings {
    Settings {
        chunk_bytes: CHUNK_BYTES,
        origin_timeout_ms: weather.origin_timeout_ms,
        direct: weather.direct,
        ..Settings::new(EngineChoice::Auto)
    }
}

/// Opens every file of an origin anew: one whose object was given up begins again.
fn open_all(cache: &SimDoor<false>, origin: &Origin) -> Vec<File> {
    let open = |file: usize| cache.file(origin, file.to_string().as_bytes());
    (0..SIZES.len()).map(|file| open(file).unwrap()).collect()
}

fn write_files(directory: &Path) {
    for (file, size) in SIZES.iter().enumerate() {
        let bytes = content(file as u64, 0, *size as usize);
        std::fs::write(directory.join(file.to_string()), bytes).unwrap();
    }
    write_file(&directory.join("young"), b"");
}

/// What readers were told, over a run.
#[derive(Default)]
struct Told {
    good: u64,
    errnos: HashSet<i32>,
}

impl Told {
    /// One read of a file: the origin's bytes, or an errno to look at later.
    fn check(&mut self, file: usize, (offset, length): (u64, u64), got: &Result<Vec<u8>, i32>) {
        match got {
            Ok(bytes) => {
                let expected = length.min(SIZES[file].saturating_sub(offset));
                assert_eq!(
                    bytes.len() as u64,
                    expected,
                    "{length} at {offset} of {file}"
                );
                assert!(
                    *bytes == content(file as u64, offset, bytes.len()),
                    "{length} at {offset} of {file}"
                );
                self.good += 1;
            }
            Err(errno) => {
                self.errnos.insert(*errno);
            }
        }
    }
}

fn any_range(random: &mut Random, file: usize) -> (u64, u64) {
    let length = 1 + random.any_size(200 * KIB);
    (random.below(SIZES[file]), length)
}

/// Several reads of one queue, which is asked again and again: what another
/// thread leaves may be noticed late.
fn read_by_queue(
    cache: &SimDoor<false>,
    files: &[File],
    asks: &[(usize, (u64, u64))],
) -> Vec<Result<Vec<u8>, i32>> {
    let mut buffers: Vec<Vec<u8>> = asks
        .iter()
        .map(|(_, (_, length))| vec![0xAA; *length as usize])
        .collect();
    let mut queue = cache.queue(asks.len() as u32);
    for (tag, ((file, (offset, _)), buffer)) in asks.iter().zip(&mut buffers).enumerate() {
        QueueDoor::<SimDoor<false>>::read(&mut queue, &files[*file], buffer, *offset, tag as u64)
            .unwrap();
    }
    let mut results = vec![None; asks.len()];
    let end = Instant::now() + LIMIT;
    while results.contains(&None) {
        assert!(Instant::now() < end, "every request completes");
        let tick = Some(Duration::from_millis(20));
        for done in QueueDoor::<SimDoor<false>>::wait(&mut queue, 1, asks.len(), tick) {
            let before = results[done.tag as usize].replace(done.result);
            assert_eq!(before, None, "once");
        }
    }
    drop(queue);
    let results = results.into_iter().flatten();
    let pairs = buffers.into_iter().zip(results);
    pairs
        .map(|(mut buffer, result)| {
            let count = usize::try_from(result).map_err(|_| -result as i32)?;
            buffer.truncate(count);
            Ok(buffer)
        })
        .collect()
}

/// Reads by all the ways, and fills, of one cache; from here and from two more threads.
fn one_round(cache: &SimDoor<false>, origins: &[Origin], told: &Mutex<Told>, round: u64) {
    std::thread::scope(|scope| {
        for way in 0..3 {
            scope.spawn(move || {
                let mut random = Random::of(round * 3 + way);
                for _ in 0..3 {
                    let origin = &origins[random.below(2) as usize];
                    let files = open_all(cache, origin);
                    one_set(cache, &files, told, way, &mut random);
                }
            });
        }
    });
}

fn one_set(
    cache: &SimDoor<false>,
    files: &[File],
    told: &Mutex<Told>,
    way: u64,
    random: &mut Random,
) {
    let asks: Vec<(usize, (u64, u64))> = (0..12)
        .map(|_| {
            let file = random.below(SIZES.len() as u64) as usize;
            (file, any_range(random, file))
        })
        .collect();
    if random.below(3) == 0 {
        // It says what it likes, once: a fill is about the cache.
        let file = &files[random.below(SIZES.len() as u64) as usize];
        cache.fill(file, &mut |_, _| true).ok();
    }
    let results: Vec<Result<Vec<u8>, i32>> = match way {
        0 => asks
            .iter()
            .map(|(file, (offset, length))| {
                let mut buffer = vec![0xAA; *length as usize];
                let count = cache.read(&files[*file], &mut buffer, *offset)?;
                buffer.truncate(count as usize);
                Ok(buffer)
            })
            .collect(),
        1 => {
            let start = |(file, (offset, length)): &(usize, (u64, u64))| {
                cache.read_async(&files[*file], *length as usize, *offset)
            };
            let pending: Vec<_> = asks.iter().map(|ask| start(ask).unwrap()).collect();
            let end = |pending: super::door::Pending| {
                let (mut buffer, done) = pending.done.recv_timeout(LIMIT).expect("a completion");
                assert!(pending.done.recv().is_err(), "once");
                let count = usize::try_from(done.result).map_err(|_| -done.result as i32)?;
                buffer.truncate(count);
                Ok(buffer)
            };
            pending.into_iter().map(end).collect()
        }
        _ => read_by_queue(cache, files, &asks),
    };
    let mut told = told.lock().unwrap();
    for ((file, range), result) in asks.iter().zip(&results) {
        told.check(*file, *range, result);
    }
}

/// Runs and gives what readers were told, and the seed's generator, which says
/// which it was if the caller fails.
fn run(weather: &Weather) -> (Told, Random) {
    let mut random = Random::new();
    let place = Place::new();
    write_files(&place.origin());
    let host = Simulation::new(random.next());
    host.set_manners(weather.manners);
    host.set_faults_below(&place.cache(), weather.disk.clone());
    host.set_faults_below(&place.origin(), weather.origin.clone());
    let told = Mutex::default();
    // What was injected, by side.
    let mut sides = [0, 0];
    for round in 0..weather.rounds {
        // Anew each time: a failed disk is left alone for seconds.
        let cache = SimDoor::<false>::on(&place.cache(), &settings(weather), &host).unwrap();
        let code = WeatherOrigin::new(&weather.origin);
        let custom: Arc<dyn CustomOrigin> = Arc::clone(&code) as Arc<dyn CustomOrigin>;
        let origins = [
            cache.directory(&place.origin()).unwrap(),
            cache.origin("weather", custom),
        ];
        one_round(&cache, &origins, &told, round as u64);
        let begin = Instant::now();
        cache.close();
        assert!(begin.elapsed() < LIMIT / 2, "the close returns");
        assert_eq!(cache.stats().in_flight, 0, "each request has completed");
        code.hung.lock().unwrap().clear();
        for injection in host.take_injections() {
            let disk = injection.below.as_deref() == Some(&place.cache());
            sides[usize::from(disk)] += 1;
        }
    }
    assert!(
        sides[0] > 0 && sides[1] > 0,
        "{sides:?}: nothing went wrong"
    );
    (told.into_inner().unwrap(), random)
}

fn raw(errnos: &[Errno]) -> HashSet<i32> {
    errnos.iter().map(|errno| errno.raw_os_error()).collect()
}

fn failing(rate: u32, errnos: &[Errno]) -> Faults {
    Faults {
        failed: Rates::all(rate),
        errnos: errnos.to_vec(),
        ..Faults::default()
    }
}

fn errnos_stay_on_their_side(direct: bool) {
    let (told, _random) = run(&Weather {
        // Every errno that there is.
        disk: failing(40, &[]),
        // Often, since only chunks that were dropped are asked for again.
        origin: failing(60, &OF_ORIGINS),
        manners: Manners::default(),
        origin_timeout_ms: 0,
        direct,
        rounds: 50,
    });
    assert!(told.good > 1000, "{}", told.good);
    let (seen, allowed) = (told.errnos, raw(&OF_ORIGINS));
    assert!(seen.is_subset(&allowed), "{seen:?} but for {allowed:?}");
    assert!(!seen.is_empty(), "the origins' errors are the readers'");
}

#[test]
fn no_errno_of_the_disk_reaches_a_reader() {
    errnos_stay_on_their_side(false);
}

#[test]
fn no_errno_of_the_disk_reaches_a_reader_of_direct_objects() {
    errnos_stay_on_their_side(true);
}

#[test]
fn an_origin_that_hangs_now_and_then_and_late_wakes_hold_up_nobody_for_long() {
    // Often, since only chunks that were dropped are asked for again.
    let mut origin = failing(120, &OF_ORIGINS);
    origin.hung = Rates::all(60);
    let (told, _random) = run(&Weather {
        disk: failing(20, &[Errno::IO, Errno::NOSPC, Errno::ROFS]),
        origin,
        manners: Manners {
            wake_late: 50,
            ..Manners::default()
        },
        origin_timeout_ms: 100,
        direct: false,
        rounds: 16,
    });
    assert!(told.good > 200, "{}", told.good);
    let mut allowed = raw(&OF_ORIGINS);
    allowed.insert(libc::ETIMEDOUT);
    let seen = told.errnos;
    assert!(seen.is_subset(&allowed), "{seen:?} but for {allowed:?}");
}

/// Whether reads of the whole file give the origin's bytes, by every way.
fn serves_the_origin(cache: &SimDoor<false>, file: &File, number: usize) {
    for way in WAYS {
        let length = SIZES[number] as usize;
        let bytes = cache.read_by(way, file, length, 0).unwrap();
        assert!(
            bytes == content(number as u64, 0, length),
            "{way:?} of {number}"
        );
    }
}

#[test]
fn what_a_crash_of_the_host_tore_is_never_served() {
    for direct in [false, true] {
        crash_and_read(direct);
    }
}

fn crash_and_read(direct: bool) {
    let mut random = Random::new();
    let place = Place::new();
    write_files(&place.origin());
    let host = Simulation::new(random.next());
    host.keep_back(4 * KIB * KIB);
    let mut settings = Settings {
        chunk_bytes: CHUNK_BYTES,
        direct,
        sync_interval_ms: 5,
        ..Settings::new(EngineChoice::Auto)
    };
    let mut lost = 0;
    for _ in 0..20 {
        {
            settings.durable = random.below(3) == 0;
            let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
            let origin = cache.directory(&place.origin()).unwrap();
            let files = open_all(&cache, &origin);
            for _ in 0..12 {
                let number = random.below(SIZES.len() as u64) as usize;
                if random.below(4) == 0 {
                    cache.fill(&files[number], &mut |_, _| true).unwrap();
                }
                let (offset, length) = any_range(&mut random, number);
                let got = cache.read_by(WAYS[number % 3], &files[number], length as usize, offset);
                let bytes = got.unwrap();
                assert!(bytes == content(number as u64, offset, bytes.len()));
            }
        }
        lost += host.crash();
        let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, file) in open_all(&cache, &origin).iter().enumerate() {
            serves_the_origin(&cache, file, number);
        }
        drop(cache);
        if random.below(2) == 0 {
            std::fs::remove_dir_all(place.cache()).unwrap();
        }
    }
    assert!(lost > 100, "{lost} sectors were torn");
}

#[test]
fn what_was_synced_outlives_a_crash_of_the_host() {
    for (direct, interval_ms) in [(false, 1), (false, 60_000), (true, 1)] {
        let mut random = Random::new();
        let place = Place::new();
        write_files(&place.origin());
        let host = Simulation::new(random.next());
        host.keep_back(4 * KIB * KIB);
        let settings = Settings {
            chunk_bytes: CHUNK_BYTES,
            direct,
            sync_interval_ms: interval_ms,
            ..Settings::new(EngineChoice::Auto)
        };
        {
            let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
            let origin = cache.directory(&place.origin()).unwrap();
            for (number, file) in open_all(&cache, &origin).iter().enumerate() {
                if number % 2 == 0 {
                    cache.fill(file, &mut |_, _| true).unwrap();
                }
                serves_the_origin(&cache, file, number);
            }
            let end = Instant::now() + LIMIT;
            while interval_ms == 1 && cache.stats().epochs == 0 {
                assert!(Instant::now() < end, "nothing is synced");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(host.crash(), 0, "the close has synced the rest");
        let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, file) in open_all(&cache, &origin).iter().enumerate() {
            serves_the_origin(&cache, file, number);
        }
        let stats = cache.stats();
        assert_eq!(stats.bytes_from_origin, 0);
        assert_eq!((stats.chunks_verified, stats.chunks_dropped), (0, 0));
    }
}

/// Leaves a host with all files cached and synced, and one bit of a file wrong since.
fn synced_and_damaged(place: &Place, settings: &Settings) -> Simulation {
    write_files(&place.origin());
    let host = Simulation::new(Random::new().next());
    let cache = SimDoor::<false>::on(&place.cache(), settings, &host).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    for file in open_all(&cache, &origin) {
        cache.fill(&file, &mut |_, _| true).unwrap();
    }
    drop((origin, cache));
    damage(&open(&all(&place.cache(), ".data")[0]), 1);
    host
}

fn of_reads() -> Settings {
    Settings {
        chunk_bytes: CHUNK_BYTES,
        // Reads and writes, so that each chunk has a checksum.
        copy_method: 3,
        ..Settings::new(EngineChoice::Auto)
    }
}

#[test]
fn a_chunk_that_was_dropped_does_not_come_back_with_a_crash_of_the_host() {
    let (place, settings) = (Place::new(), of_reads());
    let host = synced_and_damaged(&place, &settings);
    let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
    assert_eq!(cache.verify().unwrap().chunks_dropped, 1);
    drop(cache);
    host.crash();
    let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    for (number, file) in open_all(&cache, &origin).iter().enumerate() {
        serves_the_origin(&cache, file, number);
    }
    let stats = cache.stats();
    assert!((1..=CHUNK_BYTES).contains(&stats.bytes_from_origin));
    assert_eq!(stats.chunks_verified, 0, "the others are durable");
}

#[test]
fn a_chunk_that_cannot_be_dropped_for_good_costs_its_object() {
    let (place, settings) = (Place::new(), of_reads());
    let host = synced_and_damaged(&place, &settings);
    let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
    host.fail_syncs(true);
    assert!(cache.verify().is_err());
    assert!(!cache.is_normal());
    host.fail_syncs(false);
    assert_eq!(all(&place.cache(), ".meta").len(), SIZES.len() - 1);
    assert_eq!(all(&place.cache(), ".data").len(), SIZES.len() - 1);
}

#[test]
fn what_could_not_be_synced_is_not_trusted() {
    for direct in [false, true] {
        let mut random = Random::new();
        let place = Place::new();
        write_files(&place.origin());
        let host = Simulation::new(random.next());
        host.keep_back(4 * KIB * KIB);
        let settings = Settings {
            chunk_bytes: CHUNK_BYTES,
            direct,
            sync_interval_ms: 1 + random.below(60),
            ..Settings::new(EngineChoice::Auto)
        };
        {
            let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
            let origin = cache.directory(&place.origin()).unwrap();
            let files = open_all(&cache, &origin);
            host.fail_syncs(true);
            for (number, file) in files.iter().enumerate() {
                // Nothing is stored any more once one has failed.
                cache.fill(file, &mut |_, _| true).ok();
                serves_the_origin(&cache, file, number);
            }
            let end = Instant::now() + LIMIT;
            while cache.is_normal() {
                assert!(Instant::now() < end, "a failure of the device is not told");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(cache.stats().chunks_durable, 0);
            // As the kernel does, which takes the pages for clean.
            host.fail_syncs(false);
            for (number, file) in files.iter().enumerate() {
                serves_the_origin(&cache, file, number);
            }
        }
        host.crash();
        let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, file) in open_all(&cache, &origin).iter().enumerate() {
            serves_the_origin(&cache, file, number);
        }
    }
}

#[test]
fn what_outlives_the_process_is_served_without_the_origin() {
    let mut random = Random::new();
    let place = Place::new();
    write_files(&place.origin());
    let host = Simulation::new(random.next());
    let settings = Settings::new(EngineChoice::Auto);
    for pass in 0..2 {
        let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, file) in open_all(&cache, &origin).iter().enumerate() {
            cache.fill(file, &mut |_, _| true).unwrap();
            serves_the_origin(&cache, file, number);
        }
        let read = cache.stats().bytes_from_origin;
        assert_eq!(read > 0, pass == 0, "{read} bytes in pass {pass}");
    }
}

/// A disk that hangs has no time limit of its own: a close ends it.
#[test]
fn a_close_ends_what_hangs_on_the_disk() {
    let mut random = Random::new();
    for deaf in [0, 1000] {
        let place = Place::new();
        write_files(&place.origin());
        let host = Simulation::new(random.next());
        let settings = Settings {
            chunk_bytes: CHUNK_BYTES,
            close_timeout_ms: 300,
            ..Settings::new(EngineChoice::Auto)
        };
        let cache = SimDoor::<false>::on(&place.cache(), &settings, &host).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        let files = open_all(&cache, &origin);
        // The first chunk of two, so that a read of all goes to a library thread.
        for file in &files[2..] {
            cache.read_by(Way::Callback, file, 10, 0).unwrap();
        }
        // What was read is stored a moment after it was answered.
        while cache.stats().chunks_stored < 2 {
            std::thread::yield_now();
        }
        host.set_faults_below(
            &place.cache(),
            Faults {
                hung: Rates::all(1000),
                deaf,
                ..Faults::none()
            },
        );
        let start = |number: usize| cache.read_async(&files[number], SIZES[number] as usize, 0);
        let pending: Vec<_> = [2, 3, 2, 3].map(|number| start(number).unwrap()).into();
        while host.take_injections().is_empty() {
            std::thread::yield_now();
        }
        let begin = Instant::now();
        cache.close();
        assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
        for (index, pending) in pending.into_iter().enumerate() {
            let (buffer, done) = pending.done.recv_timeout(LIMIT).expect("a completion");
            let errno = -done.result as i32;
            // EBUSY says that the memory may still be written to.
            let allowed = [libc::ECANCELED, libc::EBUSY];
            assert!(allowed.contains(&errno), "{errno} of request {index}");
            assert!(deaf > 0 || errno == libc::ECANCELED, "{errno}");
            if errno == libc::EBUSY {
                std::mem::forget(buffer);
            }
        }
        assert_eq!(cache.stats().in_flight, 0);
    }
}
