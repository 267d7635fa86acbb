//! A cache on a file system that is stuck. It may be frozen (fsfreeze(8), or a snapshot of its
//! volume), or its disk may have stopped answering: then each store to a mapped page and each
//! change of a name waits in the kernel, and nothing can call that back. Nobody may wait for
//! it longer than for any operation of a device that hangs.

use super::core_door::CoreDoor;
use super::door::{Door, Place, Settings, WAYS, Way};
use super::origin::{content, grow_old, write_file};
use super::power::{Process, show_disk};
use super::random::Random;
use super::sharing::{disk_usage, wait_until};
use super::volume::{Volume, make};
use cachefs_core::{EngineChoice, Errno, File, Origin, OriginOptions};
use rustix::process::Signal;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 8;
const SIZE: usize = (CHUNKS * CHUNK) as usize;
/// Less than what all files of the largest test have, so that chunks come and go.
const CAPACITY: u64 = 8 << 20;
const TIMEOUT_MS: u64 = 500;
/// Longer than anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)` of linux/fs.h.
const FIFREEZE: libc::Ioctl = 0xC004_5877_u32 as libc::Ioctl;
const FITHAW: libc::Ioctl = 0xC004_5878_u32 as libc::Ioctl;

type Cache = CoreDoor<false>;

/// How a file system is stuck.
#[derive(Clone, Copy, Debug)]
enum How {
    /// It is frozen.
    Frozen,
    /// Its disk does not answer, not even what was begun before.
    Hung,
}

/// A file system that is stuck until this is dropped.
enum Stuck<'a> {
    Frozen(std::fs::File),
    Hung(&'a Process, Option<JoinHandle<()>>),
}

impl<'a> Stuck<'a> {
    fn new(stage: &'a Stage) -> Self {
        let root = std::fs::File::open(&stage.volume.path).unwrap();
        let Some(disk) = &stage.disk else {
            // One that is frozen again at once is shut at once: see `store/pulse`.
            std::thread::sleep(Duration::from_millis(100));
            control(&root, FIFREEZE).unwrap();
            return Self::Frozen(root);
        };
        disk.signal(Signal::STOP);
        // So that the file system waits for it.
        let sync = std::thread::spawn(move || rustix::fs::syncfs(root).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        Self::Hung(disk, Some(sync))
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        match self {
            Self::Frozen(root) => control(root, FITHAW).unwrap(),
            Self::Hung(disk, sync) => {
                disk.signal(Signal::CONT);
                sync.take().map(JoinHandle::join);
            }
        }
    }
}

fn control(root: &std::fs::File, request: libc::Ioctl) -> std::io::Result<()> {
    // SAFETY: the request takes a number, and leaves memory alone.
    match unsafe { libc::ioctl(root.as_raw_fd(), request, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A cache on a volume of its own, and files of an origin elsewhere.
struct Stage {
    cache: Cache,
    origin: Origin,
    settings: Settings,
    volume: Volume,
    /// What its file is on, if that can be stopped.
    _shown: Option<Volume>,
    disk: Option<Process>,
    place: Place,
}

impl Stage {
    /// None, said: there is no such volume to be had.
    fn new(how: How, engine: EngineChoice, files: &[&str]) -> Option<Self> {
        let place = Place::new();
        let ext4 = ["mkfs.ext4", "-q", "-F"];
        let (volume, shown, disk) = match how {
            How::Frozen => (Volume::mount(place.root(), &ext4, 64)?, None, None),
            How::Hung => {
                let image = place.root().join("image");
                make(&image, &ext4, 64).then_some(())?;
                let disk = show_disk(place.root())?;
                let shown = place.root().join("disk");
                let path = place.root().join("volume");
                std::fs::create_dir(&path).unwrap();
                let volume = Volume::of(&shown.join("image"), &path, "loop")?;
                let shown = Volume { image, path: shown };
                (volume, Some(shown), Some(disk))
            }
        };
        for (number, name) in files.iter().enumerate() {
            write_file(&place.origin().join(name), &content(number as u64, 0, SIZE));
        }
        grow_old();
        let settings = Settings {
            chunk_bytes: CHUNK,
            capacity_bytes: CAPACITY,
            device_timeout_ms: TIMEOUT_MS,
            readahead: false,
            ..Settings::new(engine)
        };
        let cache = Cache::open(&volume.path.join("cache"), &settings).unwrap();
        let origin = cache.directory(&place.origin()).unwrap();
        Some(Self {
            cache,
            origin,
            settings,
            volume,
            _shown: shown,
            disk,
            place,
        })
    }

    fn open(&self, name: &str) -> File {
        self.cache.file(&self.origin, name.as_bytes()).unwrap()
    }

    fn filled(&self, name: &str) -> File {
        let file = self.open(name);
        assert_eq!(self.cache.fill(&file, &mut |_, _| true), Ok(SIZE as u64));
        file
    }

    fn read(&self, way: Way, file: &File, number: u64, chunk: u64) {
        let offset = chunk * CHUNK;
        let read = self.cache.read_by(way, file, CHUNK as usize, offset);
        let right = content(number, offset, CHUNK as usize);
        assert!(read == Ok(right), "{way:?} of chunk {chunk} of {number}");
    }

    /// Does something while the file system is stuck. It must end by itself.
    fn stuck(&self, what: &str, work: impl FnOnce() + Send) {
        let stuck = Stuck::new(self);
        std::thread::scope(|scope| {
            let (over, wait) = channel::<()>();
            let worker = scope.spawn(move || {
                // Dropped at the end, also by a panic.
                let _over = over;
                work();
            });
            let ended = wait.recv_timeout(LIMIT);
            drop(stuck);
            worker.join().unwrap();
            let is_over = ended == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
            assert!(is_over, "{what} waited until it went on");
        });
    }

    fn until_normal(&self) {
        let begun = Instant::now();
        while !self.cache.is_normal() {
            assert!(begun.elapsed() < LIMIT, "it is not normal again");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// On each engine, while the file system is frozen, with these files at the origin.
fn frozen(files: &[&str], test: impl Fn(Stage)) {
    each_way(&[How::Frozen], files, test);
}

/// The same, and while its disk hangs.
fn stuck(files: &[&str], test: impl Fn(Stage)) {
    each_way(&[How::Frozen, How::Hung], files, test);
}

fn each_way(ways: &[How], files: &[&str], test: impl Fn(Stage)) {
    for how in ways.iter().copied() {
        for engine in [EngineChoice::Auto, EngineChoice::Psync] {
            if let Some(stage) = Stage::new(how, engine, files) {
                eprintln!("{how:?}, {engine:?}");
                test(stage);
            }
        }
    }
}

#[test]
fn what_is_missing_is_read_while_the_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        let file = stage.open("file");
        for way in WAYS {
            stage.stuck("a miss", || {
                for chunk in 0..CHUNKS {
                    stage.read(way, &file, 0, chunk);
                }
            });
            stage.until_normal();
        }
    });
}

#[test]
fn what_is_there_is_read_while_the_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        let file = stage.filled("file");
        stage.stuck("a hit", || {
            for way in WAYS {
                stage.read(way, &file, 0, 3);
            }
        });
        assert_eq!(stage.cache.stats().device_hangs, 0);
    });
}

#[test]
fn files_are_opened_while_the_file_system_is_stuck() {
    stuck(&["closed", "new", "other"], |stage| {
        drop(stage.filled("closed"));
        let kept = Mutex::new(None);
        stage.stuck("an open", || {
            let file = stage.open("closed");
            stage.read(Way::Blocking, &file, 0, 3);
            let begun = Instant::now();
            for (number, name) in [(1, "new"), (2, "other")] {
                let file = stage.open(name);
                for way in WAYS {
                    stage.read(way, &file, number, 3);
                }
            }
            // A disk that hangs may be found out only when something is written.
            if stage.disk.is_none() {
                assert!(begun.elapsed() >= Duration::from_millis(TIMEOUT_MS));
                assert!(!stage.cache.is_normal());
            }
            *kept.lock().unwrap() = Some(stage.open("other"));
        });
        stage.until_normal();
        let new = stage.filled("new");
        assert_eq!(stage.cache.residency(&new).chunks_present, CHUNKS);
        // What stayed open since is cached as well.
        let kept = kept.into_inner().unwrap().unwrap();
        wait_until("it is cached", || {
            stage.read(Way::Callback, &kept, 2, 3);
            stage.cache.residency(&kept).chunks_present > 0
        });
    });
}

#[test]
fn a_fill_fails_in_time_while_the_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        let file = stage.open("file");
        stage.stuck("a fill", || {
            let filled = stage.cache.fill(&file, &mut |_, _| true);
            assert_eq!(filled, Err(libc::ETIMEDOUT));
        });
        stage.until_normal();
        assert_eq!(stage.cache.fill(&file, &mut |_, _| true), Ok(SIZE as u64));
    });
}

#[test]
fn files_are_closed_and_what_is_owed_is_paid_once_the_file_system_goes_on() {
    stuck(&["whole", "part"], |stage| {
        let files = [stage.filled("whole"), stage.open("part")];
        stage.read(Way::Callback, &files[1], 1, 0);
        stage.stuck("a close", || drop(files));
        stage.until_normal();
        let directory = stage.volume.path.join("cache");
        let are_equal = || stage.cache.stats().cached_bytes == disk_usage(&directory);
        wait_until("what is counted is what is there", are_equal);
    });
}

#[test]
fn a_cache_is_closed_in_time_while_its_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        let file = stage.filled("file");
        stage.stuck("the close of the cache", || {
            drop(file);
            stage.cache.close();
        });
    });
}

#[test]
fn a_cache_passes_through_that_is_opened_while_its_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        drop(stage.filled("file"));
        stage.cache.close();
        let directory = stage.volume.path.join("cache");
        stage.stuck("the open of a cache", || {
            let cache = Cache::open(&directory, &stage.settings).unwrap();
            assert!(!cache.is_normal());
            let origin = cache.directory(&stage.place.origin()).unwrap();
            let file = cache.file(&origin, b"file").unwrap();
            for way in WAYS {
                let read = cache.read_by(way, &file, SIZE, 0);
                assert!(read == Ok(content(0, 0, SIZE)), "{way:?}");
            }
        });
        let cache = Cache::open(&directory, &stage.settings).unwrap();
        assert!(cache.is_normal());
    });
}

#[test]
fn what_is_invalidated_is_asked_for_anew_also_while_the_file_system_is_stuck() {
    stuck(&["file"], |stage| {
        let options = OriginOptions {
            // Never, until it is told.
            validation: 2,
            ..OriginOptions::default()
        };
        let origin = stage
            .cache
            .directory_with(&stage.place.origin(), &options)
            .unwrap();
        let file = stage.cache.file(&origin, b"file").unwrap();
        stage.cache.fill(&file, &mut |_, _| true).unwrap();
        write_file(&stage.place.origin().join("file"), &content(7, 0, SIZE));
        stage.stuck("an invalidation", || {
            let told = origin.invalidate(b"file");
            assert_eq!(told.unwrap_err().errno(), Errno::TIMEDOUT);
            stage.read(Way::Blocking, &file, 7, 3);
        });
        stage.until_normal();
        assert!(origin.invalidate(b"file").is_ok());
    });
}

/// Says that it is over when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_go_on_whenever_their_file_system_is_frozen() {
    const FILES: u64 = 24;
    const READERS: u64 = 4;
    let names: Vec<String> = (0..FILES).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    frozen(&names, |stage| {
        // Of reads that each reader has ended.
        let done: Vec<AtomicU64> = (0..READERS).map(|_| AtomicU64::new(0)).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (reader, done) in (0..).zip(&done) {
                let (stage, over) = (&stage, &over);
                scope.spawn(move || {
                    let mut random = Random::of(reader);
                    while !over.load(Ordering::Relaxed) {
                        let number = random.below(FILES);
                        let file = stage.open(&number.to_string());
                        for _ in 0..=random.below(3) {
                            let way = WAYS[random.below(3) as usize];
                            stage.read(way, &file, number, random.below(CHUNKS));
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            // Also if the test fails.
            let _ended = Ended(&over);
            let mut random = Random::of(READERS);
            for _ in 0..8 {
                std::thread::sleep(Duration::from_millis(random.below(300)));
                stage.stuck("a reader", || {
                    let now = || done.iter().map(|one| one.load(Ordering::Relaxed));
                    let before: Vec<u64> = now().collect();
                    let go_on = || now().zip(&before).all(|(now, before)| now > before + 3);
                    while !go_on() && !over.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
        stage.until_normal();
    });
}
